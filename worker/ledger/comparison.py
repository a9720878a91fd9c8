"""The comparison of an account's runs, as its jobs got them, with those that Skyvern lists.

`GET /v1/runs` shows tasks and workflow runs, `GET /v1/workflows/runs` workflow runs with what they
cost, those of debug sessions and those beneath tasks of engine 2.0 among them. Neither has a filter
by time: they are read from the newest run back. A run of ours that is on neither is read by itself
before it counts as missing; it may have been accepted meanwhile.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from api_client import ListClass, ListedRun, RawClient, ReadClass, RunPage, RunReading
from api_client.calls.calls import MAX_PAGE, MAX_PAGE_SIZE, RUNS_PATH, WORKFLOW_RUNS_PATH
from runqueue import AsyncRunQueue
from runqueue.errors import JobArchived, RunQueueError
from runqueue.records.job import JobState
from runqueue.store import job_calls, worker_calls
from runqueue.store.operator_calls import OurRun, list_runs

#: Redis keys that one call searches, and runs that one call asks for the owners of; results that
#: one call reads.
_AT_ONCE, _RESULTS_AT_ONCE = 1000, 50
#: Runs that a list shows, at most.
MOST_LISTED = MAX_PAGE * MAX_PAGE_SIZE
#: Seconds between the tries of a call that fails in passing, unless Skyvern asks for others; and
#: the most that it may ask for.
_WAITS, _MOST_WAIT = (1.0, 4.0, 16.0, None), 60.0

_Answer = TypeVar("_Answer", RunPage, RunReading)


class ReadError(RunQueueError):
    """Skyvern did not answer, or has no such list."""


@dataclass
class Sum:
    """Runs, and the credits of those of which Skyvern shows them."""

    runs: int = 0
    credits: int = 0
    runs_with_credits: int = 0

    def add(self, run: ListedRun | None) -> None:
        """Count a run."""
        self.runs += 1
        if run is not None and run.credits is not None:
            self.credits += run.credits
            self.runs_with_credits += 1


@dataclass
class LedgerReport:
    """What came of the comparison.

    Attributes:
        since: from when on runs are compared: later than requested if a list shows no more.
        both: runs that are ours, and that Skyvern has.
        missing: runs that jobs got, and that Skyvern does not have.
        others: runs that Skyvern has and that are not ours, by what started them; those of debug
            sessions, and those that other runs started, are apart.
        unconfirmed: jobs whose runs, if they have any, are not known to be ours yet.
        steps: of the jobs that got runs of ours, as their results say; no list shows any.
    """

    account: str
    since: datetime
    until: datetime
    both: Sum = field(default_factory=Sum)
    missing: list[OurRun] = field(default_factory=list)
    others: dict[str, Sum] = field(default_factory=dict)
    unconfirmed: int = 0
    steps: int = 0


class SkyvernRuns:
    """An account's runs, as Skyvern shows them.

    Args:
        client: the account's.
        requests_per_second: how many it may make; 0 = any number.
    """

    def __init__(self, client: RawClient, requests_per_second: float) -> None:
        self._client = client
        self._pause = 1 / requests_per_second if requests_per_second else 0.0

    async def list(self, path: str, since: datetime) -> tuple[dict[str, ListedRun], datetime]:
        """Read a list back to a time; returns its runs, by run, and how far back it went.

        Raises:
            ReadError: it cannot be read.
        """
        runs: dict[str, ListedRun] = {}
        reach = 0.0
        for number in range(1, MOST_LISTED // MAX_PAGE_SIZE + 1):
            page = await self._read(path, partial(self._client.list_runs, path=path, page=number))
            runs.update((run.run_id, run) for run in page.runs)
            times = [run.created for run in page.runs if run.created]
            if not page.runs or (times and max(times) < since.timestamp()):
                return runs, since
            reach = max(times, default=reach)
        return runs, datetime.fromtimestamp(reach, UTC)

    async def get(self, run_id: str) -> str | None:
        """Read by which id a run is shown, that of its task if it is beneath one; None = it is not.

        Raises:
            ReadError: it cannot be read.
        """
        path = f"{RUNS_PATH}/{run_id}"
        reading = await self._read(path, partial(self._client.get_run, run_id))
        return None if reading.outcome is ReadClass.NOT_FOUND else reading.run_id

    async def _read(self, path: str, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Make a call, and again while it fails in passing."""
        for wait in _WAITS:
            await asyncio.sleep(self._pause)
            answer = await call()
            if answer.outcome in {ListClass.DONE, ReadClass.RUN, ReadClass.NOT_FOUND}:
                return answer
            if wait is None or answer.outcome not in {ReadClass.BUSY, ReadClass.TROUBLE}:
                break
            await asyncio.sleep(min(answer.retry_after or wait, _MOST_WAIT))
        raise ReadError(f"GET {path}: {answer.detail}")


async def compare(
    queue: AsyncRunQueue,
    skyvern: SkyvernRuns,
    account: str,
    since: datetime,
    until: datetime | None,
) -> LedgerReport:
    """Compare our runs with Skyvern's.

    Args:
        queue: ours.
        skyvern: the account at Skyvern.
        account: its name.
        since, until: the period; None = until now.

    Raises:
        ReadError: something cannot be read.
    """
    listed, reach = await skyvern.list(RUNS_PATH, since)
    workflow_runs, second_reach = await skyvern.list(WORKFLOW_RUNS_PATH, since)
    runs = listed | workflow_runs
    found = LedgerReport(account, max(reach, second_reach), until or datetime.now(UTC))
    owned = await _owned(queue, account, list(runs))
    accepted, unlisted = await _accepted(queue, found, set(runs))
    for one in unlisted:
        if await skyvern.get(one.run_id) is None:
            found.missing.append(one)
        elif one.accepted_us:  # else it may be from before the period
            found.both.add(None)
    if any(run.run_type == "task_v2" for run in listed.values()):
        await _join_tasks(skyvern, runs, runs.keys() - listed.keys() - owned)
    first, last = found.since.timestamp(), until.timestamp() if until else math.inf
    for run in runs.values():
        if run.run_id in accepted or run.created is None or first <= run.created < last:
            is_ours = run.run_id in owned or run.run_id in accepted
            (found.both if is_ours else found.others.setdefault(_started_by(run), Sum())).add(run)
    found.steps = await _steps(queue, account, sorted(set(accepted.values())))
    found.unconfirmed = (await queue.send(job_calls.stats(account))).states[JobState.UNCONFIRMED]
    return found


async def _owned(queue: AsyncRunQueue, account: str, run_ids: list[str]) -> set[str]:
    """Return the runs that are or were a job's, or that a job left."""
    owned: set[str] = set()
    for start in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[start : start + _AT_ONCE]
        owners = await queue.send(worker_calls.owned_runs(account, some))
        owned.update(run_id for run_id, owner in zip(some, owners, strict=True) if owner)
    return owned


async def _accepted(
    queue: AsyncRunQueue, compared: LedgerReport, listed: set[str]
) -> tuple[dict[str, str], list[OurRun]]:
    """Return runs of the period that lists show, with their jobs, and those that no list shows."""
    accepted: dict[str, str] = {}
    unlisted: dict[str, OurRun] = {}
    cursor = ""
    while cursor != "0":
        call = list_runs(compared.account, cursor or "0", _AT_ONCE, compared.since, compared.until)
        cursor, found = await queue.send(call)
        for one in found:
            if one.run_id not in listed:
                unlisted[one.run_id] = one
            elif one.accepted_us:
                accepted[one.run_id] = one.job_id
    return accepted, list(unlisted.values())


async def _steps(queue: AsyncRunQueue, account: str, job_ids: list[str]) -> int:
    """Return how many steps jobs took, as far as their results say."""
    steps = 0
    for at in range(0, len(job_ids), _RESULTS_AT_ONCE):
        some = job_ids[at : at + _RESULTS_AT_ONCE]
        try:
            found = await queue.send(job_calls.get_jobs(account, some))
        except JobArchived:  # what their records say of steps is there
            found = await queue.send(job_calls.get_jobs(account, some, result=False))
        steps += sum(job.steps or 0 for job in found if job)
    return steps


async def _join_tasks(
    skyvern: SkyvernRuns, runs: dict[str, ListedRun], run_ids: Iterable[str]
) -> None:
    """Put what runs beneath tasks of engine 2.0 cost to the tasks: only a read says which it is."""
    for run in [runs[run_id] for run_id in run_ids]:
        is_alone = not (run.debug_session_id or run.parent_run_id)
        task = runs.get(await skyvern.get(run.run_id) or "") if is_alone else None
        if task is not None and task is not run:
            del runs[run.run_id]
            runs[task.run_id] = replace(task, credits=run.credits, trigger_type=run.trigger_type)


def _started_by(run: ListedRun) -> str:
    if run.debug_session_id:
        return "debug session"
    return "another run" if run.parent_run_id else run.trigger_type or "not shown"
