"""Which waiting jobs may have been claimed by a Redis that is lost, and own runs without a marker.

Claims take the first jobs of lanes, so what was claimed stands there still: only so many jobs of
each lane come into question as claims can have been lost. So does each job that came to its lane
since, for on the lost server it may have come before others; each that was to wait, if its time may
have come; and each that runs and may run again: its first run may have failed, and the claim for
its next one be lost. So do jobs whose run no list need show yet, whatever it shows.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from hashlib import blake2b
from math import inf
from typing import Any

from runqueue.request.requests import Kind
from runqueue.store import codec, job_calls, worker_calls
from worker.process.account import AccountLink
from worker.runs.comparison import Likeness, ShownRun, compare
from worker.runs.matcher import digest_of, is_listed_late
from worker.runs.plausible import Index
from worker.runs.turns import LoopTurns

#: Keys read in one step while lanes are looked for, ids read in one, and jobs whose requests
#: are read at once.
KEYS, IDS, REQUESTS = 1000, 1000, 100
#: Where jobs stand that run, that wait for their time, and that wait apart (`claim.lua`).
RUNNING, DUE, APART = "poll", "due", "suspects"
#: Jobs that may become unconfirmed in one recovery; beyond that a person decides.
MOST_SUSPECTS = 10_000
#: Claims that can have been lost beside those that are known of: refused ones made no run. And
#: those under way at once where the account's plan is not known.
UNKNOWN, UNLIMITED = 50, 500


class TooManyError(Exception):
    """More jobs than can be looked for may own the runs."""


async def most_lost(account: AccountLink, runs: int, claims: int) -> int:
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


async def suspects(account: AccountLink, unmarked: Sequence[ShownRun], most: int) -> list[str]:
    """Return the jobs that runs may be of; of equal jobs no more than there are such runs.

    Jobs that are looked for later take none from others: they may never ask for one.

    Args:
        account: the account.
        unmarked: the runs.
        most: how many jobs of each lane come into question.

    Raises:
        TooManyError: they are more than `MOST_SUSPECTS`.
    """
    turns, index = LoopTurns(), Index(unmarked)
    found: dict[str, None] = {}
    left: dict[bytes, Iterator[ShownRun]] = {}
    async for job_id, stored, is_later in _first_in_line(account, most):
        if job_id in found:
            continue
        request, kind, fields = _read(stored)
        runs = left.get(request)
        if runs is None or is_later:
            runs = iter(unmarked) if kind is None else index.plausible(kind, fields)
        if await _finds_one(kind, fields, runs, turns):
            found[job_id] = None
            if not is_later:
                left[request] = runs
            if len(found) > MOST_SUSPECTS:
                raise TooManyError
    return [*found]


async def unlisted(account: AccountLink, most: int) -> list[str]:
    """Return the jobs that may have been claimed and whose runs the list need not show yet.

    Of a lane its first jobs alone: what came since is thousands at times, and there is no run.

    Args:
        account: the account.
        most: how many jobs of each lane come into question.

    Raises:
        TooManyError: they are more than `MOST_SUSPECTS`.
    """
    turns = LoopTurns()
    found: dict[str, None] = {}
    async for job_id, stored, _ in _first_in_line(account, most, newest=False):
        await turns.take()
        _, kind, fields = _read(stored)
        if kind is None or is_listed_late(kind, fields):
            found[job_id] = None
            if len(found) > MOST_SUSPECTS:
                raise TooManyError
    return [*found]


async def _finds_one(
    kind: Kind | None, fields: Mapping[str, Any], runs: Iterator[ShownRun], turns: LoopTurns
) -> bool:
    """Go on to the next run that may be of a request; any may be of one that cannot be read."""
    for run in runs:
        await turns.take()
        if kind is None or compare(kind, fields, run).likeness is not Likeness.DIFFERENT:
            return True
    return False


async def _first_in_line(
    account: AccountLink, most: int, *, newest: bool = True
) -> AsyncIterator[tuple[str, bytes, bool]]:
    """Read the jobs that come into question: each, its stored request, whether it is for later.

    One may come twice.
    """
    async for job_ids, are_later in _in_question(account, most, newest=newest):
        stored = await account.run(worker_calls.read_requests, job_ids)
        for job_id, one in zip(job_ids, stored, strict=True):
            if one is not None and one[2]:
                yield job_id, one[2], are_later


async def _in_question(
    account: AccountLink, most: int, *, newest: bool
) -> AsyncIterator[tuple[list[str], bool]]:
    """Read the ids of jobs, at most `REQUESTS` at a time, and whether these are for later.

    In the order in which a job goes on, so that none is missed that does so meanwhile. Those that
    wait for their time come last: an equal job that can go is rather given a run.
    """
    async for page in _indexed(account, RUNNING):
        yield page
    due = [page async for page in _indexed(account, DUE)]
    async for page in _indexed(account, APART):
        yield page
    async for lanes in _lanes(account):
        seen: set[str] = set()
        async for job_ids, are_later in _in_lanes(account, lanes, most):
            seen.update(job_ids)
            yield job_ids, are_later
        if not newest:
            continue
        async for job_ids, are_later in _in_lanes(account, lanes, inf, newest=True):
            if new := [job_id for job_id in job_ids if job_id not in seen]:
                yield new, are_later
    for page in due:
        yield page


async def _indexed(account: AccountLink, index: str) -> AsyncIterator[tuple[list[str], bool]]:
    """Read the jobs of an index: those that wait, and those for later."""
    cursor = ""
    while cursor != "0":
        cursor, *found = await account.run(
            worker_calls.read_waiting, index, cursor or "0", REQUESTS
        )
        for job_ids, are_later in zip(found, (False, True), strict=True):
            for first in range(0, len(job_ids), REQUESTS):
                yield job_ids[first : first + REQUESTS], are_later


async def _in_lanes(
    account: AccountLink, names: Sequence[str], most: float, *, newest: bool = False
) -> AsyncIterator[tuple[list[str], bool]]:
    """Read so many jobs of each lane: those that wait, and those for later.

    What claims may have passed by does not count.
    """
    left, first = dict.fromkeys(names, most), 0
    while left:
        count = min(REQUESTS, max(10, IDS // len(left)))
        read = await account.run(worker_calls.read_lanes, [*left], first, count, newest=newest)
        for name, (ids, waiting, later, marks) in zip([*left], read, strict=True):
            found: tuple[list[str], list[str]] = ([], [])
            unread = iter(waiting), iter(later)
            for mark in marks:
                if left[name] <= 0:
                    break
                left[name] -= mark in "wW"
                found[mark.isupper()].append(next(unread[mark.isupper()]))
            for job_ids, are_later in zip(found, (False, True), strict=True):
                if job_ids:
                    yield job_ids, are_later
            if ids < count or left[name] <= 0:
                del left[name]
        first += count


async def _lanes(account: AccountLink) -> AsyncIterator[Sequence[str]]:
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
