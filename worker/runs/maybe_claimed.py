"""Which waiting jobs may have been claimed by a Redis that is lost, and own runs without a marker.

Claims take the first jobs of lanes, so what was claimed stands there still, behind no more jobs
than claims can have been lost, and those that claims passed by (`losses.lua`). This copy shows
no more: what was canceled, or did not fit a budget, after it was made looks like any other job, and
hides those behind it. So any waiting job may own a run that shows an equal request. Where a run's
request shows less, or the run need not be listed yet, only so many jobs of each lane come into
question as claims can have been lost; each job that came to its lane since, for on the lost server
it may have come before others; each that was to wait, if its time may have come; and each that runs
and may run again: its first run may have failed, and the claim for its next one be lost.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from runqueue.records.claim_items import MaybeClaimed
from runqueue.request.requests import Kind
from runqueue.store import codec, job_calls, worker_calls
from worker.process.account import AccountRuntime
from worker.runs.comparison import ShownRun, Similarity, compare
from worker.runs.matcher import digest_of, is_listed_late
from worker.runs.plausible import Index
from worker.runs.search import LoopTurns

#: Keys read in one step while lanes are looked for, ids read in one, and jobs whose requests
#: are read at once.
KEYS, IDS, REQUESTS = 1000, 1000, 100
#: Where jobs stand that run, and that wait for their time.
RUNNING, DUE = "poll", "due"
#: Jobs that may become unconfirmed in one recovery; beyond that a person decides.
MOST_MAYBE_CLAIMED = 10_000
#: Claims that can have been lost beside those that are known of: refused ones made no run. And
#: those under way at once where the account's plan is not known.
UNKNOWN, UNLIMITED = 50, 500


class TooManyError(Exception):
    """More jobs than can be looked for may own the runs."""


async def most_lost(account: AccountRuntime, runs: int, claims: int) -> int:
    """Return how many claims can have been lost whose jobs wait: ample rather than exact.

    Args:
        account: the account.
        runs: runs without a marker and an owner.
        claims: those that a process remembers and Redis does not know.
    """
    stats = await account.run(job_calls.stats)
    # A limit that was set live may be lost with the claims.
    plans = (account.settings.max_concurrent_runs, int(stats.limits["concurrent_runs"]))
    plan = max(plans) if all(plans) else UNLIMITED
    return UNKNOWN + 2 * (runs + claims + plan)


async def maybe_claimed(
    account: AccountRuntime, no_marker: Sequence[ShownRun], most: int
) -> list[str]:
    """Return the jobs that runs may be of; of equal jobs no more than there are such runs.

    Jobs that are looked for later take none from others: they may never ask for one.

    Args:
        account: the account.
        no_marker: the runs.
        most: how many jobs of each lane may own any run that is not surely another request's. Those
            behind them have to be equal.

    Raises:
        TooManyError: they are more than `MOST_MAYBE_CLAIMED`.
    """
    turns, index = LoopTurns(), Index(no_marker)
    found: dict[str, None] = {}
    left: dict[tuple[bytes, bool], Iterator[ShownRun]] = {}
    given: dict[bytes, set[str]] = {}
    async for job, stored, is_near in _first_in_line(account, most, others=True):
        request, kind, fields = _read(stored)
        if job.job_id in found or (kind is None and not is_near):
            continue
        is_later = "l" in job.letters
        runs = None if is_later else left.get((request, is_near))
        if kind is None:
            runs = runs or iter(no_marker)
        elif runs is None:
            runs = (index.plausible if is_near else index.equal)(kind, fields)
        gone = () if is_later else given.get(request, ())
        wanted = (Similarity.EQUAL, Similarity.UNSURE) if is_near else (Similarity.EQUAL,)
        run = await _next_run(kind, fields, runs, turns, gone=gone, wanted=wanted)
        if run is None:
            continue
        found[job.job_id] = None
        if not is_later:
            left[request, is_near] = runs
            given.setdefault(request, set()).add(run.listed.run_id)
        if len(found) > MOST_MAYBE_CLAIMED:
            raise TooManyError
    return [*found]


async def unlisted(account: AccountRuntime, most: int) -> list[str]:
    """Return the jobs that may have been claimed and whose runs the list need not show yet.

    Of a lane its first jobs alone: what came since is thousands at times, and there is no run.

    Args:
        account: the account.
        most: how many jobs of each lane come into question.

    Raises:
        TooManyError: they are more than `MOST_MAYBE_CLAIMED`.
    """
    turns = LoopTurns()
    found: dict[str, None] = {}
    async for job, stored, _ in _first_in_line(account, most, others=False):
        await turns.take()
        _, kind, fields = _read(stored)
        if kind is None or is_listed_late(kind, fields):
            found[job.job_id] = None
            if len(found) > MOST_MAYBE_CLAIMED:
                raise TooManyError
    return [*found]


async def _next_run(
    kind: Kind | None,
    fields: Mapping[str, Any],
    runs: Iterator[ShownRun],
    turns: LoopTurns,
    *,
    gone: Collection[str],
    wanted: Collection[Similarity],
) -> ShownRun | None:
    """Go on to the next run that may be of a request; any may be of one that cannot be read."""
    for run in runs:
        await turns.take()
        if run.listed.run_id in gone:
            continue
        if kind is None or compare(kind, fields, run).similarity in wanted:
            return run
    return None


async def _first_in_line(
    account: AccountRuntime, most: int, *, others: bool
) -> AsyncIterator[tuple[MaybeClaimed, bytes, bool]]:
    """Read the jobs that come into question, each with its stored request, and the other ones.

    The flag says that a job comes into question whatever its request. One may come twice.
    """
    async for jobs, are_near in _in_question(account, most, others=others):
        job_ids = [job.job_id for job in jobs]
        stored = await account.run(worker_calls.read_requests, job_ids)
        for job, one in zip(jobs, stored, strict=True):
            if one is not None and one[2]:
                yield job, one[2], are_near


async def _in_question(
    account: AccountRuntime, most: int, *, others: bool
) -> AsyncIterator[tuple[list[MaybeClaimed], bool]]:
    """Read jobs, at most `REQUESTS` at a time, and whether these come into question.

    In the order in which a job goes on, so that none is missed that does so meanwhile. Those that
    wait for their time come last: an equal job that can go is rather given a run.
    """
    async for page in _indexed(account, RUNNING):
        yield page, True
    due = [page async for page in _indexed(account, DUE)]
    async for lanes in _lanes(account):
        async for page, are_near in _in_lanes(account, lanes, most, others=others):
            yield page, are_near
    for page in due:
        yield page, True


async def _indexed(account: AccountRuntime, index: str) -> AsyncIterator[list[MaybeClaimed]]:
    """Read the jobs of an index."""
    cursor = ""
    while cursor != "0":
        cursor, jobs = await account.run(worker_calls.read_waiting, index, cursor or "0", REQUESTS)
        for first in range(0, len(jobs), REQUESTS):
            yield jobs[first : first + REQUESTS]


async def _in_lanes(
    account: AccountRuntime, names: Sequence[str], most: int, *, others: bool
) -> AsyncIterator[tuple[list[MaybeClaimed], bool]]:
    """Read the jobs of lanes, and whether these come into question: so many of each lane.

    What claims may have passed by does not count; what came since always comes into question
    beside the `others`.
    """
    left, first, unread = dict.fromkeys(names, most), 0, [*names]
    while unread:
        count = min(REQUESTS, max(10, IDS // len(unread)))
        read = await account.run(worker_calls.read_lanes, unread, first, count)
        for name, (ids, jobs) in zip([*unread], read, strict=True):
            near: list[MaybeClaimed] = []
            far: list[MaybeClaimed] = []
            for job in jobs:
                is_near = left[name] > 0 or (others and "n" in job.letters)
                (near if is_near else far).append(job)
                left[name] -= "p" not in job.letters
            for page, are_near in ((near, True), (far if others else [], False)):
                if page:
                    yield page, are_near
            if ids < count or (left[name] <= 0 and not others):
                unread.remove(name)
        first += count


async def _lanes(account: AccountRuntime) -> AsyncIterator[Sequence[str]]:
    """Read the names of the lanes that hold jobs, some at a time."""
    cursor = ""
    while cursor != "0":
        cursor, names = await account.run(worker_calls.waiting_lanes, cursor or "0", KEYS)
        for first in range(0, len(names), REQUESTS):
            yield names[first : first + REQUESTS]


def _read(stored: bytes) -> tuple[bytes, Kind | None, Mapping[str, Any]]:
    """Return what stands for a stored request, its kind, and the request; None = unreadable."""
    try:
        kind, fields = codec.read_request(stored)
    except (ValueError, KeyError):
        return blake2b(stored).digest(), None, {}
    return digest_of(kind, fields), kind, fields
