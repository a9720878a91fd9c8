"""Searching for the runs of unconfirmed jobs: one pass over what the server lists.

Finding is by marker wherever one is seen (a title in the list, a webhook's URL in the run's own
request, a tag), else by comparing requests (`comparison.py`). That a job has *no* run is believed
only of a list that is complete back to its claim and dated by the server, that shows something
newer than the loss and runs of ours of the same kind, and in which every run without an owner is
told apart from the job's: by a marker of another attempt, by a difference, or by having no marker
where runs of ours are seen to have theirs. Anything less cannot be told, and the job stays.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from api_client import ListClass, ListedRun
from runqueue import ids, stages
from runqueue.items import Accepted, Doubtful
from runqueue.spec import Kind
from worker.account import AccountLink
from worker.comparison import TASK_V2, WORKFLOW_RUN, Comparison, Likeness, ShownRun, compare
from worker.finding import BEFORE, Carrier, Wanted, markers_of, wanted
from worker.runs import Listing, Runs

#: Seconds by which something in the list must be newer than the loss, to show that the list is: the
#: server tells its time in whole seconds.
NEWER = 2.0
#: Runs whose requests are read in one pass; what was read is remembered for the next ones.
MOST_REQUESTS = 1_000
#: Unconfirmed jobs that are compared with each other; beyond that none is told by its request.
MOST_DOUBTS, DOUBTS_PAGE = 10_000, 100
#: Candidates that are kept of a job, and fields that are named of each.
MOST_CANDIDATES, MOST_FIELDS = 5, 12
#: A tag and a job that cannot exist: a filter that finds runs by it filters nothing.
NO_JOB = "0" * ids.ID_LENGTH
#: Seconds for which it is remembered whether a server filters by tags.
TAGS_REMEMBERED = 600.0


class Reason(StrEnum):
    """What keeps an unconfirmed job from being settled, in words for people."""

    NO_LIST = "the server has no list of runs, so nothing can be looked for"
    NO_MARKER = "it was submitted without a marker (RUNQUEUE_CORRELATION=off): for a person"
    UNREADABLE = "its stored request cannot be read"
    INCOMPLETE = "the list of runs could not be read back to its claim"
    NO_CLAIM = "it is not known when it was claimed"
    NO_DATE = "the server does not date its answers"
    CANDIDATES = "runs that no job owns may be its own"
    SHARED_CANDIDATES = "equal runs exist, and others submit to this account, too"
    IN_FLIGHT = "submissions under way may own the runs that were found"
    NOTHING_NEWER = "nothing in the list is newer than the loss, so the list may be behind"
    NO_CONTROL = "no run of ours of this kind is seen in the list"
    NO_TAGS = "it could not be asked for the run by its tag"
    WAITING = "no run of it was seen so far"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a pass found out about a job whose run it did not find.

    Args:
        verdict: `negative`, `absent` or `unknown`, as `items.Searched` has it.
        note: what keeps the job from being settled.
        candidates: runs that may be its own, as JSON; '' = none.
    """

    verdict: str
    note: str
    candidates: str = ""


@dataclass(slots=True)
class _Seen:
    """What a pass has seen.

    Args:
        listing: the list.
        owners: the job that each listed run belongs to; '' = none.
        free: runs that no job owns and that carry no marker of ours, as the server shows them.
        others: what remains of the unconfirmed jobs, those included that are not due.
        in_flight: since when submissions are under way, by the monotonic clock; None = not known.
        is_whole: every run without an owner was read, and every unconfirmed job.
    """

    listing: Listing
    owners: Mapping[str, str]
    free: list[ShownRun] = field(default_factory=list)
    others: list[Wanted] = field(default_factory=list)
    in_flight: float | None = None
    is_whole: bool = True


class Search:
    """Looks for the runs of an account's unconfirmed jobs.

    Args:
        account: what the process holds for the account.
        runs: reads the server's lists and requests.
        slots: bounds the calls open at once.
        record: records runs that were found; returns a code for each (`mark_running.lua`).
    """

    def __init__(
        self,
        account: AccountLink,
        runs: Runs,
        slots: asyncio.Semaphore,
        record: "Record",
    ) -> None:
        self._account = account
        self._runs = runs
        self._slots = slots
        self._record = record
        #: Whether the server filters by tags, and until when that is believed.
        self._tags_work: tuple[float, bool] = (0.0, False)

    async def look(self, jobs: Sequence[Wanted]) -> dict[str, Finding]:
        """Make one pass; returns what it found out about the jobs whose runs it did not find."""
        if not self._account.may_list():
            return dict.fromkeys((job.job_id for job in jobs), _unknown(Reason.NO_LIST))
        listing = await self._runs.recent(min(job.since for job in jobs))
        left = await self._adopt_titles(jobs, listing)
        tagged, found_by_tag = await self._adopt_tags(left)
        left = [job for job in left if job.job_id not in found_by_tag]
        if not left:
            return {}
        seen = await self._read(listing, left)
        left = await self._adopt_webhooks(left, seen)
        verdicts = await self._compare(left, seen, tagged)
        if not listing.is_complete:
            # Of a list that ends too early nothing is denied; a search may still find.
            found = await self._search([job for job in left if job.job_id in verdicts])
            verdicts = {job_id: one for job_id, one in verdicts.items() if job_id not in found}
        return verdicts

    # By markers.

    async def _adopt_titles(self, jobs: Sequence[Wanted], listing: Listing) -> list[Wanted]:
        """Adopt the runs whose titles carry a marker; returns the jobs that are left."""
        named = defaultdict(list)
        for run in listing.made:
            for marker in ids.markers_in(run.title or ""):
                named[marker].append(run)
        return await self._adopt_marked(jobs, named, listing)

    async def _adopt_webhooks(self, jobs: Sequence[Wanted], seen: _Seen) -> list[Wanted]:
        """Adopt the runs whose own requests carry a marker; what names any is no candidate."""
        named = defaultdict(list)
        unmarked = []
        for run in seen.free:
            marked = markers_of(run.request or {})
            for marker in marked:
                named[marker].append(run.listed)
            if not marked:
                unmarked.append(run)
        seen.free = unmarked
        return await self._adopt_marked(jobs, named, seen.listing)

    async def _adopt_marked(
        self,
        jobs: Sequence[Wanted],
        named: Mapping[tuple[str, int], list[ListedRun]],
        listing: Listing,
    ) -> list[Wanted]:
        """Adopt runs by what they name: of two the older is the job's, the other an orphan."""
        pairs = [
            (listing.made[run], job, run)
            for job in jobs
            for run in named.get(job.marker, ())
            if listing.is_after(run, job.since)
        ]
        pairs.sort(key=lambda pair: pair[0])
        has_run = await self._adopt([(job, run) for _, job, run in pairs])
        return [job for job in jobs if job.job_id not in has_run]

    async def _adopt_tags(self, jobs: Sequence[Wanted]) -> tuple[set[str], set[str]]:
        """Ask for runs by their tags.

        Returns:
            The jobs whose tag finds no run on a server that is seen to filter by tags, and those
            that have their run now.
        """
        asked = [job for job in jobs if Carrier.TAG in job.carriers]
        if not asked or not await self._filters_by_tags():
            return set(), set()
        pages = await asyncio.gather(*(self._by_tag(job.tag) for job in asked))
        pairs, without = [], set()
        for job, page in zip(asked, pages, strict=True):
            if page is None:
                continue
            hits = [run for run in page.made if page.is_after(run, job.since)]
            pairs += [(page.made[run], job, run) for run in hits]
            if not page.made:
                without.add(job.job_id)
        pairs.sort(key=lambda pair: pair[0])
        return without, await self._adopt([(job, run) for _, job, run in pairs])

    async def _by_tag(self, tag: str) -> Listing | None:
        async with self._slots:
            return await self._runs.tagged(tag)

    async def _filters_by_tags(self) -> bool:
        """Say whether the server filters by tags: one that ignores them shows runs for any tag."""
        until, works = self._tags_work
        if time.monotonic() >= until:
            page = await self._by_tag(ids.tag_marker(NO_JOB, 1))
            if page is None:
                return False
            works = not page.made
            self._tags_work = (time.monotonic() + TAGS_REMEMBERED, works)
        return works

    async def _search(self, jobs: Sequence[Wanted]) -> set[str]:
        """Search for markers one by one; returns the jobs that have their run now."""

        async def one(job: Wanted) -> list[tuple[Wanted, ListedRun]]:
            is_titled = Carrier.TITLE in job.carriers
            key = ids.title_marker(*job.marker) if is_titled else ids.url_marker(*job.marker)
            async with self._slots:
                page = await self._runs.page(1, search_key=key)
                if page.outcome is not ListClass.DONE or len(page.runs) > MOST_CANDIDATES:
                    return []
                carrying = []
                for run in page.runs:
                    marked = ids.markers_in(run.title or "")
                    if not marked:
                        marked = markers_of(await self._runs.request(run) or {})
                    if job.marker in marked:
                        carrying.append((job, run))
            return carrying

        searched = [job for job in jobs if job.carriers & {Carrier.TITLE, Carrier.WEBHOOK}]
        found = await asyncio.gather(*map(one, searched))
        pairs = [pair for pairs in found for pair in pairs]
        pairs.sort(key=lambda pair: pair[1].created or 0.0)
        return await self._adopt(pairs)

    # By what the server shows of each run.

    async def _read(self, listing: Listing, jobs: Sequence[Wanted]) -> _Seen:
        """Read whose the runs are, what those of nobody ask for, and which other jobs wait."""
        others, in_flight, is_whole = await self._doubts({job.job_id for job in jobs})
        # The owners after the submissions under way: one that ends between has its run by then.
        owners = await self._runs.owners(listing.made)
        since = min(job.since for job in jobs)
        free = [
            run
            for run in listing.made
            if not owners[run.run_id]
            and listing.is_after(run, since)
            and not ids.markers_in(run.title or "")
        ]
        made = any(job.kind in {"login", "download_files"} for job in (*jobs, *others))
        shown = await self._runs.shown(free[:MOST_REQUESTS], with_workflows=made)
        is_whole = is_whole and len(free) <= MOST_REQUESTS
        return _Seen(listing, owners, shown, others, in_flight, is_whole)

    async def _doubts(self, due: Collection[str]) -> tuple[list[Wanted], float | None, bool]:
        """Read the unconfirmed jobs that are not due, and since when submissions are under way."""
        start = time.monotonic()
        others: list[Wanted] = []
        read, total, in_flight = 0, 1, float("inf")
        while read < total and read < MOST_DOUBTS:
            page = await self._account.send(
                stages.read_doubts(self._account.name, read, DOUBTS_PAGE)
            )
            total = page.total
            if page.in_flight_us is not None:
                in_flight = min(in_flight, start - (page.now_us - page.in_flight_us) / 1e6 - BEFORE)
            if not page.items:
                break
            read += len(page.items)
            waiting = [doubt for doubt in page.items if doubt.job_id not in due]
            jobs, broken = readable(waiting, page.now_us, start)
            others += jobs
            total += len(broken) * MOST_DOUBTS  # what cannot be read may ask for anything
        return others, in_flight, read == total

    async def _compare(
        self, jobs: Sequence[Wanted], seen: _Seen, tagged: Collection[str]
    ) -> dict[str, Finding]:
        """Adopt runs that are told by their requests alone, and judge the jobs that are left."""
        control = _Controls(seen, await self._owned(seen))
        fits = {
            (job.job_id, run.listed.run_id): comparison
            for run in seen.free
            for job in (*jobs, *seen.others)
            if seen.listing.is_after(run.listed, job.since)
            and not control.lacks_marker(job, run, tagged)
            and (comparison := compare(job.kind, job.fields, run)).likeness
            is not Likeness.DIFFERENT
        }
        adopted = await self._adopt_equal(jobs, seen, fits)
        return {
            job.job_id: self._judge(job, seen, control, fits, tagged)
            for job in jobs
            if job.job_id not in adopted
        }

    async def _adopt_equal(
        self,
        jobs: Sequence[Wanted],
        seen: _Seen,
        fits: Mapping[tuple[str, str], Comparison],
    ) -> set[str]:
        """Give equal jobs the runs that equal them, where there are no more runs than jobs.

        Not one that a job with another request may own as well, nor one that was made since a
        submission under way was claimed.
        """
        if not seen.is_whole or not seen.listing.is_dated:
            return set()
        groups = defaultdict(list)
        for job in (*jobs, *seen.others):
            groups[job.body].append(job)
        free: dict[bytes, list[ListedRun]] = defaultdict(list)
        is_clear: dict[bytes, bool] = defaultdict(lambda: True)
        for run in seen.free:
            likely = {
                body
                for body, group in groups.items()
                for job in group
                if (fit := fits.get((job.job_id, run.listed.run_id)))
                and fit.likeness is Likeness.EQUAL
            }
            in_time = seen.in_flight is None or seen.listing.made[run.listed] < seen.in_flight
            for body in likely:
                is_clear[body] &= len(likely) == 1 and in_time
                free[body].append(run.listed)
        due = {job.job_id for job in jobs}
        pairs = []
        for body, runs in free.items():
            group = sorted(groups[body], key=lambda job: job.since)
            most = 1 if self._account.is_shared else len(group)
            if is_clear[body] and len(runs) <= len(group) <= max(most, len(runs)):
                pairs += _oldest_first(group, runs, seen.listing, due)
        return await self._adopt(pairs, guess=True)

    def _judge(
        self,
        job: Wanted,
        seen: _Seen,
        control: "_Controls",
        fits: Mapping[tuple[str, str], Comparison],
        tagged: Collection[str],
    ) -> Finding:
        """Say what the pass tells of a job whose run was not found."""
        candidates = [
            (run, fits[job.job_id, run.listed.run_id])
            for run in seen.free
            if (job.job_id, run.listed.run_id) in fits
        ]
        if not job.doubt.marked:
            return _unknown(Reason.NO_MARKER, candidates)
        if candidates:
            are_equal = any(fit.likeness is Likeness.EQUAL for _, fit in candidates)
            reason = Reason.CANDIDATES
            if are_equal and self._account.is_shared:
                reason = Reason.SHARED_CANDIDATES
            elif are_equal and seen.in_flight is not None:
                made = min(seen.listing.made[run.listed] for run, _ in candidates)
                reason = Reason.IN_FLIGHT if made >= seen.in_flight else reason
            return _unknown(reason, candidates)
        if job.doubt.claimed_us is None:
            return _unknown(Reason.NO_CLAIM)
        if not seen.listing.is_complete or not seen.is_whole:
            return _unknown(Reason.INCOMPLETE)
        if not seen.listing.is_dated:
            return _unknown(Reason.NO_DATE)
        if Carrier.TAG in job.carriers and self._tags_work[1] and job.job_id not in tagged:
            return _unknown(Reason.NO_TAGS)
        lost = job.since + BEFORE + self._claimed_for(job)
        if not seen.listing.is_newer_than(lost + NEWER):
            return Finding("absent", Reason.NOTHING_NEWER)
        if not control.shows(job):
            return Finding("absent", Reason.NO_CONTROL)
        return Finding("negative", Reason.WAITING)

    @staticmethod
    def _claimed_for(job: Wanted) -> float:
        """Return the seconds between a job's claim and the loss of its answer."""
        claimed_us = job.doubt.claimed_us
        return 0.0 if claimed_us is None else (job.doubt.since_us - claimed_us) / 1e6

    async def _owned(self, seen: _Seen) -> list["_Owned"]:
        """Read what runs of ours were asked for, and what the server shows of them: controls."""
        newest: dict[str, ListedRun] = {}
        for run in seen.listing.made:
            if seen.owners[run.run_id]:
                newest.setdefault(run.run_type or "", run)
        requests = await self._runs.requests_of_jobs(
            [seen.owners[run.run_id] for run in newest.values()]
        )
        shown = await self._runs.shown(list(newest.values()), with_workflows=True)
        owned = []
        for run in shown:
            request = requests.get(seen.owners[run.listed.run_id])
            if request is not None:
                owned.append(_Owned(run, *request))
        return owned

    async def _adopt(
        self, pairs: Sequence[tuple[Wanted, ListedRun]], *, guess: bool = False
    ) -> set[str]:
        """Record runs that were found; returns the jobs that have theirs now."""
        if not pairs:
            return set()
        items = [Accepted(*job.marker, run.run_id, run.status, 0) for job, run in pairs]
        codes = await self._record(items, guess=guess)
        return {
            job.job_id for (job, _), code in zip(pairs, codes, strict=True) if code in {0, 1, 5}
        }
