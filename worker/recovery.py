"""Recovering claims that Redis may have lost: the runs since then are listed and adopted.

Another Redis server answers, which may be from before the last claims (`lua/lib/server.lua`). What
shows a marker of ours is recorded as that attempt's. A run that shows none and has no owner may be
anybody's: a person's, or of a claim that was lost. So jobs that wait, and whose requests it may
come of, become unconfirmed and are looked for as after any lost answer; the account goes on.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson
import structlog

from runqueue import ids, operator_calls, stages, wire
from runqueue.items import Accepted, Taken
from runqueue.requests import Kind
from worker.account import AccountLink
from worker.comparison import Likeness, ShownRun, compare
from worker.finding import markers_of, own_markers
from worker.run_reads import answers_reads
from worker.runs import Listing, Runs

log = structlog.get_logger()

#: Seconds after a change of server was noticed in which submissions from before may yet become
#: runs (14 s of a lease to begin one, and 60 s for its answer); and between two tries to recover.
GRACE, EVERY = 75.0, 15.0
#: Seconds: a server that lags by more has lost more than claims. People hand in again what it does
#: not know, after the recovery, and a run without a marker cannot be given to such a job.
LONG_LOSS = 600.0
#: Keys looked at in one step while open jobs are read, and jobs whose requests are read at once.
KEYS, REQUESTS = 1000, 100
#: Jobs that may become unconfirmed in one recovery; beyond that a person decides.
MOST_SUSPECTS = 10_000

#: Records runs that were found; returns a code for each (`mark_running.lua`).
Record = Callable[[Sequence[Accepted]], Awaitable[Sequence[int]]]


class Recovery:
    """Finds the runs of claims that Redis may have lost, and lets the account go on.

    Args:
        account: what the process holds for the account.
        runs: reads the server's lists and requests.
        record: records runs that were found.
    """

    def __init__(self, account: AccountLink, runs: Runs, record: Record) -> None:
        self._account = account
        self._runs = runs
        self._record = record
        self._due_at = 0.0

    def is_due(self) -> bool:
        """Say whether it is time for the next attempt."""
        return time.monotonic() >= self._due_at

    async def attempt(self, loss: Taken, start: float) -> None:
        """Adopt the runs of lost claims, and end the recovery once none can be missing.

        Args:
            loss: since when runs are to be listed, and when the change was noticed.
            start: the monotonic clock when that was read, or a little earlier (seconds).
        """
        waited = (loss.now_us - loss.recover_since_us) / 1e6
        left = max(0.0, GRACE - waited)
        self._due_at = time.monotonic() + min(left or EVERY, EVERY)
        if not self._account.may_list():
            await self._give_up(loss, "the server has no list of runs")
            return
        since = start - (loss.now_us - loss.recover_from_us) / 1e6
        listing = await self._runs.recent(since)
        complete = listing.is_complete and listing.is_dated
        shown, are_read = await self._shown(listing, since)
        marked = [run for run in shown if own_markers(run, self._account.queue_name)]
        unmarked = [run for run in shown if not _names_any(run)]
        for run in marked:
            await self._adopt(run)
        if left:
            return
        if not complete or not are_read:
            log.warning("lost_claims_not_recovered", account=self._account.name, why="incomplete")
            return
        if unmarked:
            why = await self._suspect(loss, unmarked, found=bool(marked))
            if why:
                await self._give_up(loss, why)
                return
        account, since_us = self._account.name, loss.recover_since_us
        if await self._account.send(stages.recovered(account, loss.recover_from_us, since_us)):
            log.warning("lost_claims_recovered", account=account, runs=len(marked))

    async def _give_up(self, loss: Taken, why: str) -> None:
        """Call a person; the next attempt may still succeed."""
        account, noticed = self._account.name, loss.recover_since_us
        stuck = stages.recovery_stuck(account, loss.recover_from_us, noticed, why)
        if await self._account.send(stuck):
            log.warning("lost_claims_not_recovered", account=account, why=why)

    async def _shown(self, listing: Listing, since: float) -> tuple[list[ShownRun], bool]:
        """Return the runs without an owner that may be ours, and whether they were read.

        Where runs of a type show their markers in their titles, one without is not ours. One that
        alone cannot be read, while the server answers other reads, may be anybody's for ever.
        """
        owners = await self._runs.owners(listing.made)
        titled = {run.run_type for run in listing.made if ids.markers_in(run.title or "")}
        free = [
            run
            for run in listing.made
            if not owners[run.run_id]
            and listing.is_after(run, since)
            and not (
                self._account.correlates
                and run.run_type in titled
                and not ids.markers_in(run.title or "")
            )
        ]
        shown = await self._runs.shown(free, with_workflows=True)
        unread = [run.listed for run in shown if run.request is None and not _names_any(run)]
        if not unread:
            return shown, True
        if not await answers_reads(self._account, unread[0].run_id):
            return shown, False
        again = await self._runs.shown(unread, with_workflows=True)
        read = {run.listed.run_id: run for run in again}
        return [read.get(run.listed.run_id, run) for run in shown], True

    async def _adopt(self, run: ShownRun) -> None:
        listed = run.listed
        for job_id, attempt in own_markers(run, self._account.queue_name):
            await self._record([Accepted(job_id, attempt, listed.run_id, listed.status, 0)])

    async def _suspect(self, loss: Taken, unmarked: Sequence[ShownRun], *, found: bool) -> str:
        """Have the jobs looked for that runs without a marker may be of; returns why that fails.

        Args:
            loss: what is being recovered.
            unmarked: the runs.
            found: runs of ours were found that this Redis did not know.
        """
        is_long = loss.recover_since_us - loss.recover_from_us > LONG_LOSS * 1e6
        if is_long and (found or loss.has_lost_claims or not self._account.correlates):
            return f"{len(unmarked)} runs without a marker may be of jobs that Redis lost"
        suspects = await self._suspects(unmarked)
        if len(suspects) > MOST_SUSPECTS:
            return f"too many jobs may own the {len(unmarked)} runs without a marker"
        account, marked = self._account.name, self._account.correlates
        for first in range(0, len(suspects), REQUESTS):
            part = suspects[first : first + REQUESTS]
            noticed = loss.recover_from_us, loss.recover_since_us
            call = stages.suspect_lost(account, part, *noticed, marked=marked)
            codes = await self._account.send(call)
            log.warning("jobs_may_have_runs", account=account, jobs=sum(codes))
        return ""

    async def _suspects(self, unmarked: Sequence[ShownRun]) -> list[str]:
        """Return jobs that the runs may be of; of equal jobs no more than there are such runs."""
        likely: dict[bytes, int] = {}
        suspects: dict[bytes, list[str]] = defaultdict(list)
        async for job_id, stored in self._waiting():
            request, kind, fields = _read(stored)
            if request not in likely:
                likely[request] = _count_likely(kind, fields, unmarked)
            if len(suspects[request]) < likely[request] and job_id not in suspects[request]:
                suspects[request].append(job_id)
        return [job_id for group in suspects.values() for job_id in group]

    async def _waiting(self) -> AsyncIterator[tuple[str, bytes]]:
        """Read the jobs that wait, and their stored requests; one may come twice."""
        account = self._account.name
        for state in ("ready", "scheduled"):
            cursor = ""
            while cursor != "0":
                call = operator_calls.open_jobs(account, cursor or "0", KEYS, state)
                cursor, job_ids = await self._account.send(call)
                for first in range(0, len(job_ids), REQUESTS):
                    part = job_ids[first : first + REQUESTS]
                    stored = await self._account.send(stages.read_requests(account, part))
                    for job_id, one in zip(part, stored, strict=True):
                        if one is not None and one[2]:
                            yield job_id, one[2]
                    await asyncio.sleep(0)  # comparing large requests takes milliseconds


def _names_any(run: ShownRun) -> bool:
    """Say whether a run shows a marker, of whatever queue."""
    return bool(markers_of(run.request or {}) or ids.markers_in(run.listed.title or ""))


def _read(stored: bytes) -> tuple[bytes, Kind | None, dict[str, Any]]:
    """Return what stands for a stored request, its kind, and the request; None = unreadable."""
    try:
        kind, fields = wire.read_request(stored)
    except (ValueError, KeyError):
        return blake2b(stored).digest(), None, {}
    body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return blake2b(kind.encode() + body).digest(), kind, fields


def _count_likely(kind: Kind | None, fields: Mapping[str, Any], runs: Sequence[ShownRun]) -> int:
    """Return how many of the runs may be of a request; all if it cannot be read."""
    if kind is None:
        return len(runs)
    return sum(compare(kind, fields, run).likeness is not Likeness.DIFFERENT for run in runs)
