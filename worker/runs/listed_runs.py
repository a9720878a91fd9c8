"""The account's runs as the server lists and shows them, for the searches for one that was lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from api_client import ListClass, ListedRun, ReadClass, RunPage
from api_client.elapsed import elapsed
from runqueue.store import worker_calls
from worker.process.account import AccountRuntime
from worker.runs.comparison import WORKFLOW_RUN, ShownRun

#: Seconds one call may take.
CALL_SECONDS = 12.0
#: Pages of recent runs read in one pass, of so many runs; the server has no more of either.
MAX_PAGES, PAGE_SIZE = 100, 100
#: Seconds by which a run may seem to lie ahead: the server gives its time in whole seconds.
AHEAD = 2.0
#: Runs of a list whose submissions are held against its date.
MOST_DATED = 100
#: Requests, and workflows, that are remembered (those of a run do not change), and their bytes.
MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 10_000, 64 * 1024 * 1024
#: Seconds by which a list's date and our own times may differ: half of what a run may seem to be
#: older than its claim (`matcher.BEFORE`).
DATE_TOLERANCE = 30.0
#: Seconds that a submission takes at most by which a date is corrected.
LONGEST_SUBMISSION = 30.0


@dataclass(slots=True)
class Listing:
    """Runs of the list, newest first.

    Args:
        made: when each was made, by the process's monotonic clock (seconds): reading many pages
            takes its time.
        changed: when the newest thing in it happened: a run was made, or ended.
        is_complete: nothing is missing back to where it was to be read to.
        back_to: nothing is missing that was made later than that (monotonic seconds).
        is_dated: the server gave its time with every page, so that ages can be relied on.
        ahead: by how much the server's clock is ahead of the process's (seconds).
        is_fresh: no page came from a cache on the way, where runs may be missing that were made
            meanwhile.
        date_ahead: seconds by which that is ahead of the clock that dates the runs.
    """

    made: dict[ListedRun, float] = field(default_factory=dict)
    changed: float = float("-inf")
    is_complete: bool = False
    back_to: float = float("inf")
    is_dated: bool = True
    ahead: float = 0.0
    is_fresh: bool = True
    date_ahead: float = 0.0
    _ids: set[str] = field(default_factory=set)

    def is_after(self, run: ListedRun, since: float) -> bool:
        """Say whether a run may have been made since then; without dates any may have been."""
        return not self.is_dated or run.created is None or self.made[run] >= since

    def moment(self, date: float) -> float:
        """Return when the server's clock showed a time (unix seconds), by the monotonic clock."""
        return date - self.ahead

    def add(self, page: RunPage) -> None:
        """Take the runs of a page that was just read."""
        self.is_dated = self.is_dated and page.server_date is not None
        self.is_fresh = self.is_fresh and page.age == 0.0
        now = elapsed()
        server = page.server_date if page.server_date is not None else time.time()
        self.ahead = server - now
        server -= self.date_ahead
        for run in page.runs:
            if run.run_id not in self._ids:  # one that moved to the next page meanwhile comes twice
                self._ids.add(run.run_id)
                self.made[run] = now - (0.0 if run.created is None else server - run.created)
            for moment in (run.created, run.finished):
                # What lies ahead of the server's own time says nothing of when it was.
                if moment is not None and moment <= server + AHEAD:
                    self.changed = max(self.changed, now - (server - moment))


class Submitted(NamedTuple):
    """A run of ours, by the monotonic clock (seconds).

    Args:
        made: when it was made, as its list dates it.
        claimed, accepted: when its job was claimed, and had its answer, as the queue knows it.
    """

    made: float
    claimed: float
    accepted: float

    def fits(self, ahead: float) -> bool:
        """Say whether it was made while it was submitted, with the date so many seconds ahead."""
        made = self.made + ahead
        return self.claimed - DATE_TOLERANCE <= made <= self.accepted + DATE_TOLERANCE


def date_ahead(submissions: Sequence[Submitted]) -> float | None:
    """Return by how many seconds a list's date is ahead of the clock that dates its runs.

    The date may be that of a proxy, or of another machine before the server. Of a run of ours we
    know ourselves when it was made: between its job's claim and its answer. One run alone corrects
    nothing: its job may have been claimed again since.

    Returns:
        0: nothing contradicts the date. None: it is another clock's, and by how much is not known.
        Else rather too little, so that no run seems newer than it is.
    """
    known = [one for one in submissions if one.claimed <= one.accepted]
    quick = [one for one in known if one.accepted - one.claimed <= LONGEST_SUBMISSION]
    if not known or any(one.fits(0.0) for one in quick or known):
        return 0.0
    for one in sorted(quick, reverse=True):
        fitting = [other for other in quick if other.fits(one.claimed - one.made)]
        if len(fitting) > 1:
            return max(other.claimed - other.made for other in fitting)
    return None


class Runs:
    """Reads lists of runs, and the request of each, within the account's limits.

    Args:
        account: what the process holds for the account.
        slots: bounds the calls open at once.
        permit: waits for leave to make a call; by default the account's.
    """

    def __init__(
        self,
        account: AccountRuntime,
        slots: asyncio.Semaphore,
        permit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._account = account
        self._slots = slots
        self._permit = permit or account.permit
        self._requests = _Remembered()
        self._workflows = _Remembered()
        self._tags = _Remembered()
        self._failure_logged = False

    def begin_pass(self) -> None:
        """Let a failed list be logged again: once a pass."""
        self._failure_logged = False

    async def recent(self, since: float, date: float | None = None) -> Listing:
        """Read the runs made since then, and those that share a page.

        What they are dated by is held against runs of ours (`date_ahead`).

        Args:
            since: by the monotonic clock (seconds).
            date: by the server's own clock (unix seconds); None = by the other alone.
        """
        listing = await self._read(since, date)
        submissions = await self._submissions(listing) if listing.is_dated else []
        ahead = date_ahead(submissions)
        is_unheld = bool(listing.made) and not submissions
        if ahead is None or (self._account.is_forwarded and is_unheld):
            listing.is_dated = False
        elif ahead:
            self._account.date_ahead += ahead
            self._account.log.warning(
                "answers_dated_by_another_clock", seconds_ahead=round(self._account.date_ahead)
            )
            listing = await self._read(since, date)
        return listing

    async def _submissions(self, listing: Listing) -> list[Submitted]:
        """Return what we know ourselves of the newest runs of ours."""
        newest = sorted(listing.made.items(), key=lambda item: item[1], reverse=True)[:MOST_DATED]
        dated = [(run.run_id, made) for run, made in newest if run.created is not None]
        if not dated:
            return []
        start = elapsed()
        now_us, times = await self._account.run(
            worker_calls.submission_times, [run_id for run_id, _ in dated]
        )
        return [
            Submitted(made, start - (now_us - known[0]) / 1e6, start - (now_us - known[1]) / 1e6)
            for (_, made), known in zip(dated, times, strict=True)
            if known is not None
        ]

    async def _read(self, since: float, date: float | None) -> Listing:
        listing = Listing(date_ahead=self._account.date_ahead)
        for number in range(1, MAX_PAGES + 1):
            page = await self.page(number)
            if page.outcome is not ListClass.DONE:
                return listing
            listing.add(page)
            if date is not None and listing.is_dated:
                since = min(since, listing.moment(date))
            # Those that moved to this page meanwhile were counted on the page before.
            made = [listing.made[run] for run in page.runs if run.created and run in listing.made]
            listing.back_to = min([listing.back_to, *made])
            if listing.back_to < since:
                listing.is_complete = True
                return listing
            if page.is_short:
                if await self._is_end(number, page):
                    listing.is_complete, listing.back_to = True, float("-inf")
                return listing
        return listing

    async def _is_end(self, number: int, page: RunPage) -> bool:
        """Say whether a short page ends the list, and not a bound on pages or on their sizes."""
        if number > 1:
            return bool(page.runs)  # an empty one may be where the server stops showing more
        count = len(page.runs)
        if not count:
            return True
        # A server that bounds or ignores the size shows more behind them; one that ignores the page
        # shows the same again. A few that are known come again where some were made meanwhile.
        behind = await self.page(2, page_size=count)
        known = {run.run_id for run in page.runs}
        return (
            behind.outcome is ListClass.DONE
            and behind.age == 0.0
            and len(behind.runs) < count
            and all(run.run_id in known for run in behind.runs)
        )

    async def first_page(
        self, *, search_key: str | None = None, tags: Sequence[str] = ()
    ) -> Listing | None:
        """Read the newest runs that carry a tag, or the first that a search finds; None if not."""
        page = await self.page(1, search_key=search_key, tags=tags)
        if page.outcome is not ListClass.DONE:
            return None
        listing = Listing(date_ahead=self._account.date_ahead)
        listing.add(page)
        return listing

    async def page(
        self,
        number: int,
        search_key: str | None = None,
        status: Sequence[str] = (),
        tags: Sequence[str] = (),
        page_size: int = PAGE_SIZE,
    ) -> RunPage:
        """Read one page, of a search if there is a key; a server without lists is remembered."""
        await self._permit()
        with self._account.metrics.timed("list") as timer:
            page = await self._account.client.list_runs(
                search_key=search_key,
                status=status,
                tags=tags,
                page=number,
                page_size=page_size,
                timeout=CALL_SECONDS,
            )
            timer.status = page.status_code
        if page.outcome is ListClass.NOT_SUPPORTED:
            self._account.remember_no_list()
        elif page.outcome is ListClass.DONE:
            self._account.remember_list()
        elif not self._failure_logged:
            self._failure_logged = True
            self._account.log.warning(
                "run_list_failed", why=page.outcome.value, status=page.status_code
            )
        return page

    async def owners(
        self, found: Iterable[ListedRun], *, except_late_runs: bool = False
    ) -> dict[str, str]:
        """Return which job each run belongs to, by run id; '' = none that we know.

        Args:
            found: the runs.
            except_late_runs: count runs that may be given to an equal job as nobody's.
        """
        runs = [run.run_id for run in found]
        owners: dict[str, str] = {}
        for start in range(0, len(runs), 1000):
            part = runs[start : start + 1000]
            names = await self._account.run(
                worker_calls.owned_runs, part, except_late_runs=except_late_runs
            )
            owners.update(zip(part, names, strict=True))
        return owners

    async def shown(
        self, runs: Sequence[ListedRun], *, with_workflows: bool = False
    ) -> list[ShownRun]:
        """Return runs as the server shows them, a few read at a time.

        Args:
            runs: the runs.
            with_workflows: read the workflows of workflow runs, too.
        """

        async def one(run: ListedRun) -> ShownRun:
            async with self._slots:
                request = await self.request(run)
                workflow = None
                if with_workflows and run.run_type == WORKFLOW_RUN and run.workflow_id:
                    workflow = await self._workflow(run.workflow_id)
            return ShownRun(run, request, workflow)

        return list(await asyncio.gather(*map(one, runs)))

    def remembers(self, run: ListedRun) -> bool:
        """Say whether the request of a run is known without a call."""
        return self._requests.get(run.run_id) is not None

    async def request(self, run: ListedRun) -> Mapping[str, Any] | None:
        """Return the request of a run as the server shows it; None if it could not be read."""
        shown = self._requests.get(run.run_id)
        if shown is None:
            await self._permit()
            with self._account.metrics.timed("get") as timer:
                reading = await self._account.client.get_run(run.run_id, CALL_SECONDS)
                timer.status = reading.status_code
            shown = reading.shown.get("run_request") if reading.outcome is ReadClass.RUN else None
            if not isinstance(shown, dict):
                return None
            self._requests.add(run.run_id, shown)
        return shown

    async def tags(self, run: ListedRun) -> Mapping[str, str] | None:
        """Return the tags of a workflow run, by their keys; None if they could not be read.

        They are remembered: the server writes them before it begins the run.
        """
        tags = self._tags.get(run.run_id)
        if tags is None:
            async with self._slots:
                await self._permit()
                with self._account.metrics.timed("get") as timer:
                    reading = await self._account.client.get_run_tags(run.run_id, CALL_SECONDS)
                    timer.status = reading.status_code
            tags = reading.by_key
            if tags is not None:
                self._tags.add(run.run_id, tags)
        return tags

    async def _workflow(self, workflow_id: str) -> Mapping[str, Any] | None:
        workflow = self._workflows.get(workflow_id)
        if workflow is None:
            await self._permit()
            with self._account.metrics.timed("get") as timer:
                reading = await self._account.client.get_workflow(workflow_id, CALL_SECONDS)
                timer.status = reading.status_code
            workflow = reading.workflow
            if workflow is not None:
                self._workflows.add(workflow_id, workflow)
        return workflow


class _Remembered:
    """What servers showed, by name; the oldest goes first."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Mapping[str, Any], int]] = {}
        self._size = 0

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return what was shown under a name; None = it is not remembered."""
        found = self._kept.get(name)
        return None if found is None else found[0]

    def add(self, name: str, value: Mapping[str, Any]) -> None:
        """Remember what was shown of a run, or of a workflow."""
        size = len(orjson.dumps(value))
        self._size += size - self._kept.pop(name, (None, 0))[1]
        self._kept[name] = value, size
        while len(self._kept) > MAX_REMEMBERED or self._size > MAX_REMEMBERED_BYTES:
            self._size -= self._kept.pop(next(iter(self._kept)))[1]
