"""Searching for the runs of unconfirmed jobs: one pass over what the server lists.

A run is found by its marker wherever that is seen (a title in the list, a webhook's URL in the
run's own request, a tag), else by comparing requests (`comparison.py`). That a job has *no* run is
believed only of a list that is complete back to its claim, that the server dated and no cache kept,
that shows something newer than the loss and a run of ours of the same kind that was made after the
claim (`controls.py`), and in which every run without an owner is distinguished from the job's: by a
marker of another attempt, by a difference, or by having no marker where newer runs of ours are seen
to have theirs. Anything less proves nothing: the job stays, with the runs that may be its own.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain

import orjson

from api_client import ListedRun
from api_client.elapsed import elapsed
from runqueue import ids
from runqueue.records.claim_items import RunAccepted, Unconfirmed
from runqueue.records.retention import SURELY_RETAINED_SECONDS
from runqueue.store import codec, worker_calls
from worker.process.account import AccountRuntime
from worker.runs.comparison import Comparison, ShownRun, Similarity, compare
from worker.runs.controls import ListControls, OwnedRun, Proven, lacks_marker
from worker.runs.listed_runs import Listing, Runs
from worker.runs.matcher import BEFORE, Carrier, LostJob, markers_of, own_markers, wanted
from worker.runs.plausible import Index

#: Seconds by which something in the list must be newer than the loss, to show that the list is: the
#: server gives its time in whole seconds.
NEWER = 2.0
#: Seconds for which a submission that a proxy has taken may yet arrive: systems send what is not
#: acknowledged again and again, Linux for 924 s (`tcp_retries2`). Without a proxy it is we who see
#: to it that nothing arrives late (`api_client/http/connect.py`).
BEHIND_PROXY = 960.0
#: Runs whose requests are read anew in one pass, so that it ends in its lease; what was read is
#: remembered for the next ones.
MOST_REQUESTS = 300
#: Unconfirmed jobs that are compared with each other; beyond that none is matched by its request.
MOST_UNCONFIRMED, UNCONFIRMED_PAGE = 10_000, 100
#: Bytes of their stored requests; beyond that it is the same.
MOST_UNCONFIRMED_BYTES = 64 * 1024 * 1024
#: Runs of ours that are read in a pass, of each type, to see what the list is worth.
MOST_OWNED = 3
#: Candidates that are kept of a job, fields that are named of each, and characters of a name.
MOST_CANDIDATES, MOST_FIELDS, LONGEST_NAME = 5, 12, 100
#: An id that no job can have: a filter that finds runs by it filters nothing.
NO_JOB = "0" * ids.ID_LENGTH
#: Seconds of comparing after which the event loop gets its turn: large requests take milliseconds.
TURN_SECONDS = 0.01
#: Seconds for which it is remembered that a server does not filter by tags.
TAGS_REMEMBERED = 600.0

#: Records runs, by its request or not, of canceled jobs or not; returns a code for each
#: (`mark_running.lua`).
Record = Callable[[Sequence[RunAccepted], bool, bool], Awaitable[Sequence[int]]]
Pair = tuple[LostJob, ListedRun]
#: Runs that may be a job's own, and how like they are.
Fit = tuple[ShownRun, Comparison]
Fits = list[Fit]


class SearchMessage(StrEnum):
    """What keeps an unconfirmed job from being settled, in words for people."""

    NO_LIST = "the server has no list of runs: nothing can be looked for"
    NO_MARKER = "submitted without a marker (RUNQUEUE_CORRELATION=false): a person decides"
    UNREADABLE = "its stored request cannot be read"
    INCOMPLETE = "the list of runs could not be read back to its claim"
    NO_CLAIM = "it is not known when it was claimed"
    NO_DATE = "the answers are not dated by the clock that dates the runs"
    PROXIED = (
        "no run of it is listed so far; what a proxy passes on late may make one for 16 minutes"
    )
    STORED = "the list of runs came from a cache on the way, and may be old"
    TAKEN = "the run that carries its marker was recorded as another job's"
    CANDIDATES = "runs that no job owns may be its own"
    SHARED = "equal runs exist that no job owns, and others submit to this account, too"
    IN_FLIGHT = "runs that may be its own may also be of submissions under way"
    NOTHING_NEWER = "nothing newer than the loss is listed: waits for the next run of the account"
    BEFORE_CLAIM = "a run with its marker is listed as made before its claim: the clock was set"
    NO_CONTROL = "no newer run of ours of its kind is listed: waits for one"
    NOT_SEEN = "no run of it is listed so far"
    WITHOUT_URL = "no run of it is listed so far; without a url one may appear for 15 minutes"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a pass found out about a job whose run it did not find.

    Args:
        verdict: `not_found`, `not_seen` or `unknown`, as `claim_items.Searched` has it.
        message: what keeps the job from being settled.
        candidates: runs that may be its own, as JSON; '' = none.
    """

    verdict: str
    message: str
    candidates: str = ""


class LoopTurns:
    """Gives the event loop its turn when work has had its own."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def take(self) -> None:
        """Go on, or first let others run."""
        if time.monotonic() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.monotonic()


class Search:
    """Looks for the runs of an account's unconfirmed jobs.

    Args:
        account: what the process holds for the account.
        runs: reads the server's lists and requests.
        slots: bounds the calls open at once.
        record: records runs that were found.
    """

    def __init__(
        self, account: AccountRuntime, runs: Runs, slots: asyncio.Semaphore, record: Record
    ) -> None:
        self.account = account
        self.runs = runs
        self.slots = slots
        self.record = record
        #: Until when the server is believed not to filter by tags (`elapsed`).
        self.tags_again = 0.0
        #: Attempts of jobs that were not due, whose tags are on no run and come on none any more.
        self.untagged: set[tuple[str, int]] = set()

    async def find(self, jobs: Sequence[LostJob]) -> dict[str, SearchResult]:
        """Make one pass; returns what it found out about the jobs whose runs it did not find."""
        no_list = {job.job_id: SearchResult("unknown", SearchMessage.NO_LIST) for job in jobs}
        if not self.account.may_list():
            return no_list
        dates = [job.date - BEFORE for job in jobs if job.date is not None]
        since = min(job.since for job in jobs)
        listing = await self.runs.recent(since, min(dates, default=None))
        if not self.account.may_list():  # that is known only now
            return no_list
        return await _Pass(self, listing).find(_by_date(jobs, listing))


class _Pass:
    """One pass of a search: what it has seen, and what it makes of that.

    Args:
        search: whose pass it is.
        listing: the list, read just before.
    """

    def __init__(self, search: Search, listing: Listing) -> None:
        self._search = search
        self._account = search.account
        self._runs = search.runs
        self._queue = search.account.worker_settings.queue_name
        self._listing = listing
        #: Jobs whose runs are another job's.
        self._taken: set[str] = set()
        #: Runs with their markers that seem older than their claims, where no date says more.
        self._early: dict[str, Fits] = {}
        #: Runs that no job owns and that carry no marker of ours, as the server shows them.
        self._free: list[ShownRun] = []
        #: Every run without an owner that was made later was read (`elapsed`).
        self._back_to = listing.back_to
        #: The unconfirmed jobs that are not due, and the attempts of all unconfirmed jobs, read
        #: after the list.
        self._others: list[LostJob] = []
        self._waiting: set[tuple[str, int]] = set()
        #: Runs from before were made for no submission under way (`elapsed`).
        self._in_flight = float("inf")
        #: Whether every unconfirmed job was read, so that equal ones can be counted.
        self._is_whole = False
        #: Runs of ours.
        self._controls = ListControls([])
        #: Per unconfirmed job: the free runs that may be its own, and how alike the two requests
        #: are.
        self._fits: dict[str, Fits] = {}
        #: Free runs that may be tagged as another job's.
        self._kept_back: set[str] = set()

    def _covers(self, job: LostJob) -> bool:
        """Say whether a run of the job would be among those that were read."""
        return job.since > self._back_to

    async def find(self, jobs: Sequence[LostJob]) -> dict[str, SearchResult]:
        """Look for the jobs' runs; returns what was found out about those that have none."""
        left = await self._adopt_titles(jobs)
        left = await self._adopt_tags(left)
        if not left:
            return {}
        await self._read(left)
        left = await self._adopt_webhooks(left)
        self._fits = await self._compare_all([*left, *self._others])
        await self._adopt_tagged_elsewhere(left)
        left = await self._adopt_equal(left)
        # Of a list that ends too early nothing is denied; a search may still find.
        left = await self._adopt_searched(left)
        return {job.job_id: self._judge(job) for job in left}

    # By markers.

    async def _adopt_titles(self, jobs: Sequence[LostJob]) -> list[LostJob]:
        """Adopt the runs whose titles carry a marker; returns the jobs that are left."""
        named = defaultdict(list)
        for run in self._listing.made:
            for marker in ids.own_markers_in(run.title or "", self._queue):
                named[marker].append(run)
        return await self._adopt_named(jobs, named)

    async def _adopt_webhooks(self, jobs: Sequence[LostJob]) -> list[LostJob]:
        """Adopt the runs whose own requests carry a marker; what names any is no candidate."""
        named, no_marker = defaultdict(list), []
        for run in self._free:
            for marker in own_markers(run, self._queue):
                named[marker].append(run.listed)
            if not markers_of(run.request or {}):
                no_marker.append(run)
        self._free = no_marker
        return await self._adopt_named(jobs, named)

    async def _adopt_named(
        self, jobs: Sequence[LostJob], named: Mapping[tuple[str, int], Sequence[ListedRun]]
    ) -> list[LostJob]:
        pairs = [(job, run) for job in jobs for run in named.get(job.marker, ())]
        return await self._adopt(jobs, self._not_early(pairs, self._listing))

    def _not_early(self, pairs: Iterable[Pair], listing: Listing) -> list[Pair]:
        """Leave out runs that seem older than the claims of the jobs whose markers they show.

        By the server's own date of the claim such a run is of an earlier life: a job whose record
        was lost counts its attempts anew. Where none is known our clock may be wrong just as well.
        """
        kept = []
        for job, run in pairs:
            if listing.is_after(run, job.since):
                kept.append((job, run))
            elif job.date is None:
                fit = ShownRun(run, None), Comparison(Similarity.UNSURE, ("marker",))
                self._early.setdefault(job.job_id, []).append(fit)
        return kept

    async def _adopt_tags(self, jobs: Sequence[LostJob]) -> list[LostJob]:
        """Adopt the runs that carry a marker's tag; returns the jobs that are left.

        A tag is written beside the run, and may be missing: it denies nothing.
        """
        tagged = [job for job in jobs if Carrier.TAG in job.carriers]
        if not tagged or not self._account.wants_tags or not await self._filters_by_tags():
            return list(jobs)
        left, _ = await self._adopt_tagged(jobs, tagged)
        return left

    async def _adopt_tagged(
        self, jobs: Sequence[LostJob], tagged: Sequence[LostJob]
    ) -> tuple[list[LostJob], set[tuple[str, int]]]:
        """Look for the tags of some; return the jobs that are left, and whose tag is on no run."""
        pages = await asyncio.gather(
            *(self._tagged(ids.tag_markers(*job.marker, self._queue)) for job in tagged)
        )
        untagged = {
            job.marker
            for job, page in zip(tagged, pages, strict=True)
            if page is not None and not page.made
        }
        found = [
            (job, run, page)
            for job, page in zip(tagged, pages, strict=True)
            if page is not None
            for run in page.made
        ]
        # A run carries one tag of ours: what comes for several was not filtered by it.
        times = Counter(run.run_id for _, run, _ in found)
        pairs = [
            pair
            for job, run, page in found
            if times[run.run_id] == 1
            for pair in self._not_early([(job, run)], page)
        ]
        return await self._adopt(jobs, await self._compared(pairs)), untagged

    async def _compared(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Leave out runs that show another marker or request than the job for which they came.

        The list does not show tags, and something between may mix up answers to two queries.
        """
        read = pairs[:MOST_REQUESTS]
        shown = await self._runs.shown([run for _, run in read])
        queue = self._queue
        return [
            pair for pair, run in zip(read, shown, strict=True) if _may_be_of(pair[0], run, queue)
        ]

    async def _tagged(self, tags: Sequence[str]) -> Listing | None:
        async with self._search.slots:
            return await self._runs.first_page(tags=tags)

    async def _filters_by_tags(self) -> bool | None:
        """Say whether the server filters by tags; None = it does not answer.

        One that ignores them shows runs for any tag; an empty list can show nothing of the kind.
        """
        if not self._listing.made or elapsed() < self._search.tags_again:
            return False
        page = await self._tagged([ids.tag_marker(NO_JOB, 1)])
        if page is None:
            return None
        if page.made:
            self._search.tags_again = elapsed() + TAGS_REMEMBERED
        return not page.made

    async def _adopt_searched(self, jobs: Sequence[LostJob]) -> list[LostJob]:
        """Search for the markers that the list does not cover; returns the jobs that are left."""
        searched = [
            job
            for job in jobs
            if job.carriers & {Carrier.TITLE, Carrier.WEBHOOK}
            and (job.date is None or not self._covers(job))
        ]
        found = await asyncio.gather(*map(self._searched, searched))
        pairs = [(job, run) for job, runs in zip(searched, found, strict=True) for run in runs]
        return await self._adopt(jobs, pairs)

    async def _searched(self, job: LostJob) -> list[ListedRun]:
        """Return the runs that a search for the job's marker finds, and that show it themselves."""
        is_titled = Carrier.TITLE in job.carriers
        queue = self._queue
        key = ids.title_search(*job.marker, queue) if is_titled else ids.url_marker(*job.marker)
        async with self._search.slots:
            listing = await self._runs.first_page(search_key=key)
            if listing is None or len(listing.made) > MOST_CANDIDATES:
                return []
            found = []
            for run in listing.made:
                request = None if is_titled else await self._runs.request(run)
                marked = own_markers(ShownRun(run, request), queue)
                if job.marker in marked:
                    found.append((job, run))
            return [run for _, run in self._not_early(found, listing)]

    # By what the server shows of each run.

    async def _read(self, jobs: Sequence[LostJob]) -> None:
        """Read whose the runs are, what those of nobody ask for, and which other jobs wait."""
        listing, since = self._listing, min(job.since for job in jobs)
        await self._read_unconfirmed({job.job_id for job in jobs})
        # Owners after submissions under way: one that ends in between has its run by then.
        owners = await self._runs.owners(listing.made, except_late_runs=True)
        free = [
            run
            for run in listing.made
            if not owners[run.run_id]
            and listing.is_after(run, since)
            and not ids.markers_in(run.title or "")
        ]
        kinds = {job.kind for job in (*jobs, *self._others)}
        unread = [run for run in free if not self._runs.remembers(run)][MOST_REQUESTS:]
        later = set(unread)
        self._free = await self._runs.shown(
            [run for run in free if run not in later],
            with_workflows=not kinds <= {"task", "workflow"},
        )
        self._back_to = max([listing.back_to, *(listing.made[run] for run in unread)])
        self._controls = ListControls(await self._read_owned(owners))

    async def _read_unconfirmed(self, due: Collection[str]) -> None:
        """Read the unconfirmed jobs, and since when runs may be of submissions under way."""
        read, total, last, is_readable, size = 0, 1, "", True, 0
        while read < total and read < MOST_UNCONFIRMED and size < MOST_UNCONFIRMED_BYTES:
            start = elapsed()
            # Each page begins with the last job of the one before: where that is another by now,
            # one that left has moved the others, and some were passed over.
            offset = max(0, read - 1)
            page = await self._account.run(worker_calls.read_unconfirmed, offset, UNCONFIRMED_PAGE)
            total = page.total
            if page.in_flight_us is not None:
                claimed = start - (page.now_us - page.in_flight_us) / 1e6
                self._in_flight = min(self._in_flight, claimed - BEFORE)
            if read and (not page.items or page.items[0].job_id != last):
                return
            items = page.items[1:] if read else page.items
            if not items:
                break
            read, last = read + len(items), items[-1].job_id
            size += sum(len(unconfirmed.stored) for unconfirmed in items)
            self._waiting |= {(unconfirmed.job_id, unconfirmed.attempt) for unconfirmed in items}
            others = [unconfirmed for unconfirmed in items if unconfirmed.job_id not in due]
            jobs, broken = readable(others, page.now_us, start)
            self._others += _by_date(jobs, self._listing)
            is_readable = is_readable and not broken
        self._is_whole = is_readable and read == total

    async def _read_owned(self, owners: Mapping[str, str]) -> list[OwnedRun]:
        """Read the newest runs of ours of each type, and what they were submitted as."""
        made = self._listing.made
        newest: dict[str | None, list[ListedRun]] = defaultdict(list)
        for run in made:
            if owners[run.run_id] and len(newest[run.run_type]) < MOST_OWNED:
                newest[run.run_type].append(run)
        runs = [run for some in newest.values() for run in some]
        if not runs:
            return []
        jobs = [owners[run.run_id] for run in runs]
        stored = await self._account.run(worker_calls.read_requests, jobs)
        shown = await self._runs.shown(runs, with_workflows=True)
        owned = []
        for each, job_id, one in zip(shown, jobs, stored, strict=True):
            # A run that was matched by its request alone does not show how requests are stored.
            if one is None or one[1] != each.listed.run_id or not one[2]:
                continue
            try:
                request = codec.read_request(one[2])
            except (ValueError, KeyError):
                continue  # it shows nothing, and the next one may
            owned.append(OwnedRun(each, made[each.listed], job_id, *request))
        return owned

    async def _compare_all(self, jobs: Iterable[LostJob]) -> dict[str, Fits]:
        """Return, by job, the runs that may be its own, and how like they are.

        Equal jobs are compared once, and share one list where all of its runs came after them.
        """
        index, turns, fits = Index(self._free), LoopTurns(), {}
        listing, made = self._listing, self._listing.made
        alike: dict[tuple[bytes, frozenset[Proven]], tuple[Fits, float]] = {}
        for job in jobs:
            key = job.body, self._controls.proven(job)
            if key not in alike:
                found = await _alike(job, index, key[1], turns)
                alike[key] = found, min((made[run.listed] for run, _ in found), default=0.0)
            found, oldest = alike[key]
            if found and oldest < job.since:
                await turns.take()
                found = [pair for pair in found if listing.is_after(pair[0].listed, job.since)]
            fits[job.job_id] = found
        return fits

    async def _adopt_tagged_elsewhere(self, due: Sequence[LostJob]) -> None:
        """Adopt what is tagged as the run of a job that is not due, before it is matched another's.

        Of equal jobs none is given a run by its request while the tag of one of them may yet be
        found.
        """
        grace = self._account.worker_settings.unconfirmed_grace_seconds
        tagged = [job for job in (*due, *self._others) if Carrier.TAG in job.carriers]
        equal = {
            job.marker: {
                run.listed.run_id
                for run, fit in self._fits[job.job_id]
                if fit.similarity is Similarity.EQUAL
            }
            for job in tagged
            if job.marker not in self._search.untagged
        }
        waiting = [job for job in tagged if equal.get(job.marker)]
        if not waiting or not self._account.wants_tags:
            return
        filters = await self._filters_by_tags()
        if filters is False:
            return
        # The tags of those that are due were looked for already.
        own = {job.marker for job in due}
        others_tagged = [job for job in waiting if job.marker not in own]
        looked = others_tagged[:MOST_REQUESTS] if filters else []
        left, untagged = await self._adopt_tagged(looked, looked)
        found = {job.job_id for job in looked} - {job.job_id for job in left}
        self._others = [job for job in self._others if job.job_id not in found]
        if len(self._search.untagged) > MOST_UNCONFIRMED:
            self._search.untagged.clear()
        # A tag is written after its run: what is missing soon after the loss may come.
        late = {job.marker for job in waiting if job.age >= job.wait(grace)}
        self._search.untagged |= untagged & late
        for job in waiting:
            if job.marker not in (late if job.marker in own else self._search.untagged):
                self._kept_back |= equal[job.marker]

    async def _adopt_equal(self, jobs: Sequence[LostJob]) -> list[LostJob]:
        """Give equal jobs the runs that equal them, where there are no more runs than jobs.

        No run is given that a job with another request may own as well, nor one that was made
        since a submission under way was claimed. Runs cannot be counted if an unconfirmed job could
        not be read, or if the list does not reach back to the claim of one of the jobs. A job that
        is to be canceled gets what the others leave, and that run is canceled. In a shared account
        it gets none, and any other job gets a run only if no second run may be its own (a run whose
        request could not be read may be). An old job gets none, either: the run may be of an equal
        job whose record is gone. Returns the jobs that are left.
        """
        listing = self._listing
        if not (self._is_whole and listing.is_dated and listing.is_fresh):
            return list(jobs)
        groups: dict[bytes, list[LostJob]] = defaultdict(list)
        equal: dict[bytes, dict[str, ListedRun]] = defaultdict(dict)
        likely: dict[str, set[bytes]] = defaultdict(set)
        known_since = elapsed() - SURELY_RETAINED_SECONDS
        for job in (*jobs, *self._others):
            if job.marker not in self._waiting or job.claimed < known_since:
                continue  # it was settled meanwhile, or is old
            groups[job.body].append(job)
        for body, group in groups.items():
            for run, fit in _all_fits(group, self._fits):
                likely[run.listed.run_id].add(body)
                if fit.similarity is Similarity.EQUAL:
                    equal[body][run.listed.run_id] = run.listed
        pairs: list[Pair] = []
        for body, runs in equal.items():
            group = groups[body]
            are_clear = all(
                len(likely[run_id]) == 1
                and listing.made[run] < self._in_flight
                and (len(group) == 1 or run_id not in self._kept_back)
                for run_id, run in runs.items()
            )
            is_counted = all(map(self._covers, group))
            is_sole = len(group) == len(self._fits[group[0].job_id]) == 1
            may_count = is_sole or not self._account.settings.shared_account
            if are_clear and is_counted and may_count and len(runs) <= len(group):
                pairs += _oldest_first(group, runs.values(), listing)
        active = [pair for pair in pairs if not pair[0].is_canceled]
        left = await self._adopt(jobs, active, by_request=True)
        if self._account.settings.shared_account:
            return left
        canceled = [pair for pair in pairs if pair[0].is_canceled]
        return await self._adopt(left, canceled, by_request=True, canceled=True)

    def _judge(self, job: LostJob) -> SearchResult:
        """Say what the pass shows of a job whose run was not found."""
        early = self._early.get(job.job_id, [])
        candidates = [*early, *self._fits.get(job.job_id, [])]
        if job.job_id in self._taken:
            return SearchResult("unknown", SearchMessage.TAKEN, _shown(candidates))
        if candidates:
            message = SearchMessage.BEFORE_CLAIM if early else self._why_candidates(candidates)
            return SearchResult("unknown", message, _shown(candidates))
        listing = self._listing
        missing = (
            ("unknown", SearchMessage.NO_MARKER, not job.unconfirmed.marked),
            ("unknown", SearchMessage.NO_CLAIM, job.unconfirmed.claimed_us is None),
            ("unknown", SearchMessage.STORED, not listing.is_fresh),
            ("unknown", SearchMessage.INCOMPLETE, not self._covers(job)),
            ("unknown", SearchMessage.NO_DATE, not listing.is_dated),
            ("not_seen", SearchMessage.NOTHING_NEWER, listing.changed < job.lost + NEWER),
            ("not_seen", SearchMessage.NO_CONTROL, not self._controls.shows(job)),
            (
                "not_seen",
                SearchMessage.PROXIED,
                self._account.is_proxied and job.age < BEHIND_PROXY,
            ),
        )
        for verdict, reason, is_so in missing:
            if is_so:
                return SearchResult(verdict, reason)
        is_slow = job.wait(0.0) > 0.0
        return SearchResult(
            "not_found", SearchMessage.WITHOUT_URL if is_slow else SearchMessage.NOT_SEEN
        )

    def _why_candidates(self, candidates: Sequence[Fit]) -> SearchMessage:
        equal = [run for run, fit in candidates if fit.similarity is Similarity.EQUAL]
        if equal and self._account.settings.shared_account:
            return SearchMessage.SHARED
        if any(self._listing.made[run.listed] >= self._in_flight for run in equal):
            return SearchMessage.IN_FLIGHT
        return SearchMessage.CANDIDATES

    async def _adopt(
        self,
        jobs: Sequence[LostJob],
        pairs: Sequence[Pair],
        *,
        by_request: bool = False,
        canceled: bool = False,
    ) -> list[LostJob]:
        """Record runs that were found; returns the jobs that have none yet.

        Of two runs of one job the older is its own; the other is recorded as an orphan.
        """
        if not pairs:
            return list(jobs)
        pairs = sorted(pairs, key=lambda pair: pair[1].created or 0.0)
        items = [RunAccepted(*job.marker, run.run_id, run.status, 0) for job, run in pairs]
        codes = await self._search.record(items, by_request, canceled)
        if not by_request:
            self._taken |= {
                job.job_id for (job, _), code in zip(pairs, codes, strict=True) if code == 3
            }
        has_run = {
            job.job_id for (job, _), code in zip(pairs, codes, strict=True) if code in {0, 1, 5}
        }
        return [job for job in jobs if job.job_id not in has_run]


def _by_date(jobs: Iterable[LostJob], listing: Listing) -> list[LostJob]:
    """Return jobs with their times by the server's own clock, where they and the list have it."""
    if not listing.is_dated or not listing.made:
        return list(jobs)
    return [job.by_date(listing.moment) for job in jobs]


def _may_be_of(job: LostJob, run: ShownRun, queue: str) -> bool:
    """Say whether a run's own marker, or its request where it shows none, may be a job's."""
    if own := own_markers(run, queue):
        return job.marker in own
    return compare(job.kind, job.fields, run).similarity is not Similarity.DIFFERENT


def _all_fits(group: Iterable[LostJob], fits: Mapping[str, Fits]) -> Iterator[Fit]:
    """Return the runs that may be those of some of these equal jobs; one may come twice.

    The lists of jobs whose markers have the same carriers differ by how far back they go alone, so
    the longest holds the others.
    """
    longest: dict[frozenset[Carrier], Fits] = {}
    for job in group:
        if len(fits[job.job_id]) > len(longest.get(job.carriers, ())):
            longest[job.carriers] = fits[job.job_id]
    return chain.from_iterable(longest.values())


async def _alike(job: LostJob, index: Index, proven: frozenset[Proven], turns: LoopTurns) -> Fits:
    """Return the runs that are like a job, whenever they were made.

    Args:
        job: the job.
        index: the runs.
        proven: where the job's run would show its marker.
        turns: gives the event loop its turn.
    """
    found: Fits = []
    for run in index.plausible(job.kind, job.fields):
        await turns.take()
        if lacks_marker(run, proven):
            continue
        comparison = compare(job.kind, job.fields, run)
        if comparison.similarity is not Similarity.DIFFERENT:
            found.append((run, comparison))
    return found


def _oldest_first(
    group: Iterable[LostJob], runs: Iterable[ListedRun], listing: Listing
) -> list[Pair]:
    """Pair equal jobs with runs: the oldest run goes to the job that was claimed first.

    Those that are to be canceled come last.
    """
    pairs = []
    marked = (job for job in group if job.unconfirmed.marked)
    left = sorted(marked, key=lambda job: (job.is_canceled, job.since))
    for run in sorted(runs, key=lambda run: listing.made[run]):
        job = next((job for job in left if listing.made[run] >= job.since), None)
        if job is not None:
            left.remove(job)
            pairs.append((job, run))
    return pairs


def _shown(candidates: Sequence[Fit]) -> str:
    """Return candidates as JSON, for people: the likeliest first; no value of any field."""
    ordered = sorted(candidates, key=lambda pair: pair[1].similarity is not Similarity.EQUAL)
    return orjson.dumps(
        [
            {
                "run_id": run.listed.run_id,
                "status": run.listed.status,
                "created_at": _iso(run.listed.created),
                "equal": [name[:LONGEST_NAME] for name in fit.equal[:MOST_FIELDS]],
                "different": [name[:LONGEST_NAME] for name in fit.different[:MOST_FIELDS]],
            }
            for run, fit in ordered[:MOST_CANDIDATES]
        ]
    ).decode()


def _iso(moment: float | None) -> str | None:
    """Return unix seconds as an ISO time; None stays None."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, tz=UTC).isoformat(timespec="seconds")


def readable(
    unconfirmed_jobs: Sequence[Unconfirmed], now_us: int, now: float
) -> tuple[list[LostJob], list[str]]:
    """Return the jobs whose request can be read, and the ids of the others."""
    jobs, broken = [], []
    for unconfirmed in unconfirmed_jobs:
        try:
            jobs.append(wanted(unconfirmed, now_us, now))
        except (ValueError, KeyError):
            broken.append(unconfirmed.job_id)
    return jobs, broken
