"""Runs that ended, or were found, as spans: for workers and gateways, in groups.

The code that ends a run does not know its job's trace. Only where traces are on it is read
afterwards: one call for the hundreds that ended together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from runqueue import tracing
from runqueue.records.claim_items import Finished, RunAccepted, RunAgain
from runqueue.records.delivery import Reported
from runqueue.records.job import Job
from runqueue.store import job_calls
from runqueue.store.scripts import ScriptCall
from runqueue.tracing import Origin

#: A run of a job's attempt, as what ends or finds it records it.
TracedRun = Finished | Reported | RunAccepted | RunAgain


class TracedRuns:
    """Traces an account's runs; nothing depends on whether that succeeds.

    Args:
        account: its name.
        send: how to run a script.
    """

    def __init__(self, account: str, send: Callable[[ScriptCall[Any]], Awaitable[Any]]) -> None:
        self._account = account
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def over(self, runs: Sequence[TracedRun], told_by: str) -> None:
        """Trace runs whose ends were recorded, as spans from their starts on.

        Args:
            runs: the runs.
            told_by: what reported that they are over: poll or webhook.
        """
        self._begin(runs, "run", told_by)

    def found(self, runs: Sequence[TracedRun]) -> None:
        """Trace runs that were found after the answers to their submissions were lost."""
        self._begin(runs, "found", "search")

    async def settled(self) -> None:
        """Wait until all of them are traced."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _begin(self, runs: Sequence[TracedRun], name: str, told_by: str) -> None:
        if not runs or not tracing.is_on():
            return
        task = asyncio.get_running_loop().create_task(self._trace(runs, name, told_by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _trace(self, runs: Sequence[TracedRun], name: str, told_by: str) -> None:
        ids = [run.job_id for run in runs]
        try:
            jobs = await self._send(job_calls.get_jobs(self._account, ids, result=False))
        except (RedisError, OSError):
            return
        for run, job in zip(runs, jobs, strict=True):
            if job is not None:
                self._trace_one(run, job, name, told_by)

    def _trace_one(self, run: TracedRun, job: Job, name: str, told_by: str) -> None:
        is_over = name == "run"
        tracing.record_past(
            name,
            Origin(self._account, run.job_id, run.attempt, job.traceparent),
            job.started_at if is_over else None,
            job.ended_at if is_over else None,
            runqueue__run_id=run.run_id,
            runqueue__run_status=run.run_status,
            runqueue__state=job.state.value,
            runqueue__reported_by=told_by,
        )
