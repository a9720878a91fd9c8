"""The comparison of an account's runs, as the queue knows them, with those that Skyvern lists.

The lists are read first, and only runs that jobs got before are judged, so a run that is accepted
meanwhile is missing in none. Jobs are gone through in pages, and no more is kept of them than what
no list shows. Such a run is read by itself before it counts as missing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from api_client import ListedRun, ReadClass
from runqueue import AsyncRunQueue
from runqueue.records.job import JobState, Orphan
from runqueue.store import job_calls, operator_calls, worker_calls
from worker.ledger.lists import MAX_READS, SkyvernRuns

#: Redis keys that one call searches, and runs that one call asks for the owners of.
_KEYS, _OWNERS = 1000, 1000


class OurRun(NamedTuple):
    """A run that a job got.

    Args:
        accepted_at: None of an earlier run of the job: it is not known.
        steps: what the job's runs took.
    """

    run_id: str
    job_id: str
    accepted_at: datetime | None
    steps: int = 0
    is_orphan: bool = False


@dataclass
class Sum:
    """Runs, the steps that our jobs report, and the credits of runs of which Skyvern shows them."""

    runs: int = 0
    steps: int | None = None
    credits: int = 0
    cached_credits: int = 0
    runs_with_credits: int = 0

    def add(self, run: ListedRun | None, steps: int = 0) -> None:
        """Count a run."""
        self.runs += 1
        if steps:
            self.steps = (self.steps or 0) + steps
        if run is not None and run.credits is not None:
            self.credits += run.credits
            self.cached_credits += run.cached_credits or 0
            self.runs_with_credits += 1


@dataclass
class Ledger:
    """What came of the comparison.

    Attributes:
        until: the end of the period, or when the lists were read.
        both: runs that are ours, and that Skyvern has.
        missing: runs that we accepted, and that Skyvern does not have.
        others: runs that Skyvern has and that are not ours, by what started them; those of debug
            sessions, and those that other runs started, are apart.
        orphans: runs that are ours, and that no job owns.
        not_judged: runs of ours that no list shows, and that could not be read.
        unconfirmed: jobs whose runs, if they have any, are not known to be ours yet.
        notes: what could not be read, in words.
    """

    account: str
    since: datetime
    until: datetime
    both: Sum = field(default_factory=Sum)
    missing: list[OurRun] = field(default_factory=list)
    others: dict[str, Sum] = field(default_factory=dict)
    orphans: list[Orphan] = field(default_factory=list)
    not_judged: int = 0
    unconfirmed: int = 0
    notes: list[str] = field(default_factory=list)


async def compare(
    queue: AsyncRunQueue,
    skyvern: SkyvernRuns,
    account: str,
    since: datetime,
    until: datetime | None,
) -> Ledger:
    """Compare our runs with Skyvern's.

    Args:
        queue: ours.
        skyvern: the account at Skyvern.
        account: its name.
        since, until: the period; None = until now.
    """
    _, now_us, _ = await queue.send(operator_calls.list_runs(account, "0", 1, since))
    began = datetime.fromtimestamp(now_us / 1e6, UTC)
    ledger = Ledger(account, since, min(until or began, began))
    await skyvern.read_lists(since.timestamp())
    before = until.timestamp() if until else float("inf")

    def is_in_period(run: ListedRun) -> bool:
        return run.created is None or since.timestamp() <= run.created < before

    listed = [run.run_id for run in skyvern.runs.values() if is_in_period(run)]
    ours: dict[str, int] = {}
    for start in range(0, len(listed), _OWNERS):
        some = listed[start : start + _OWNERS]
        owners = await queue.send(worker_calls.owned_runs(account, some))
        ours |= {run_id: 0 for run_id, owner in zip(some, owners, strict=True) if owner}
    ledger.orphans = [
        one
        async for one in queue.orphans(account=account)
        if one.run_id in ours or since <= one.since < ledger.until
    ]
    await _judge(ledger, skyvern, await _unlisted(queue, skyvern, ledger, ours))
    await skyvern.join_tasks(ours)
    for run in skyvern.runs.values():
        if run.run_id in ours:
            ledger.both.add(run, ours[run.run_id])
        elif is_in_period(run):
            ledger.others.setdefault(_started_by(run), Sum()).add(run)
    ledger.unconfirmed = (await queue.send(job_calls.stats(account))).states[JobState.UNCONFIRMED]
    ledger.notes += skyvern.notes
    return ledger


def _started_by(run: ListedRun) -> str:
    if run.debug_session_id:
        return "debug session"
    return "another run" if run.parent_run_id else run.trigger_type or "not shown"


async def _unlisted(
    queue: AsyncRunQueue, skyvern: SkyvernRuns, ledger: Ledger, ours: dict[str, int]
) -> list[OurRun]:
    """Return our runs of the period that no list shows; the others go into `ours`, with steps.

    Those that are too many to be read by themselves only count.
    """
    found: dict[str, OurRun] = {}

    def take(runs: Iterable[OurRun]) -> None:
        for run in runs:
            if run.run_id not in skyvern.runs:
                found.setdefault(run.run_id, run)
            elif run.accepted_at is not None:
                ours[run.run_id] = run.steps
        for run_id in list(islice(found, MAX_READS, None)):
            del found[run_id]
            ledger.not_judged += 1

    take(OurRun(one.run_id, one.job_id, one.since, 0, True) for one in ledger.orphans)
    cursor = ""
    while cursor != "0":
        call = operator_calls.list_runs(ledger.account, cursor or "0", _KEYS, ledger.since)
        cursor, _, jobs = await queue.send(call)
        take(run for job in jobs for run in _of_job(job, ledger.until))
    return list(found.values())


def _of_job(job: operator_calls.JobRuns, until: datetime) -> Iterator[OurRun]:
    until_us = until.timestamp() * 1e6
    if job.run_id and job.started < until_us:
        accepted = datetime.fromtimestamp(job.started / 1e6, UTC)
        yield OurRun(job.run_id, job.job_id, accepted, job.steps)
    if job.created < until_us:
        yield from (OurRun(run_id, job.job_id, None) for run_id in job.earlier.split())


async def _judge(ledger: Ledger, skyvern: SkyvernRuns, unlisted: list[OurRun]) -> None:
    """Read the runs of ours that no list shows: one that is there is not missing."""
    for run in unlisted:
        reading = await skyvern.read(run.run_id)
        if reading is None:
            ledger.not_judged += 1
        elif reading.outcome is ReadClass.NOT_FOUND:
            ledger.missing.append(run)
        elif run.accepted_at is not None:  # else it may be from before the period
            ledger.both.add(None, run.steps)
