"""Judges budgets at the end: each counts what every run of its jobs took, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from runqueue.records.job import Job
from runqueue.store.budgets import BudgetUse
from simulation.fault_times import FaultTimes
from simulation.judges.ledger import InvariantLedger
from simulation.judges.submissions import RECORD_SECONDS
from simulation.plan import PlannedJob
from simulator.answers import steps as taken_steps


class SpendingJudge:
    """Judges what budgets have counted.

    Args:
        ledger: what was accepted and what ran.
        faults: when faults lasted.
        credits_per_step: what a step of any run is billed.
        windows: when a new window of a budget begins, by its scope; simulated seconds.
    """

    def __init__(
        self,
        ledger: InvariantLedger,
        faults: FaultTimes,
        credits_per_step: int = 0,
        windows: Mapping[str, float] | None = None,
    ) -> None:
        self._ledger = ledger
        self._faults = faults
        self._credits_per_step = credits_per_step
        self._windows = windows or {}
        #: When each budget was set, simulated seconds.
        self._set_at: dict[str, float] = {}

    def note_set(self, scopes: Iterable[str]) -> None:
        """Note that budgets were set."""
        self._set_at = dict.fromkeys(scopes, self._ledger.clock())

    def judge(
        self,
        uses: Iterable[BudgetUse],
        jobs: Mapping[int, Job | None],
        requests: Mapping[int, PlannedJob],
    ) -> None:
        """Judge that each budget counts what all runs took that the queue knows of (I4).

        It may count those of others, too, but no more than there were. What is committed for live
        runs is given back.

        Args:
            uses: the budgets as they are.
            jobs: by their numbers.
            requests: likewise.
        """
        ledger, now = self._ledger, self._ledger.wall()
        for use in uses:
            if ledger.lost_writes or use.estimated_runs:
                continue
            window = self._windows.get(use.scope, 0.0)
            since = max(self._set_at.get(use.scope, math.inf), window)
            # An end is recorded later, after any fault: what ended before that may count, too.
            maybe_since = window - RECORD_SECONDS
            if not self._faults.is_calm(maybe_since, window, ("a person",)):
                maybe_since = 0.0
            numbers = {
                number
                for number, request in requests.items()
                if number in ledger.accepted and use.scope in _scopes(request)
            }
            known = {n for n in numbers if ledger.has_known_runs(n) and _is_over(jobs.get(n))}
            unit = use.budget.unit
            each = 1 if unit == "steps" else self._credits_per_step
            least = each * self._taken(known, since, now)
            most = each * self._taken(numbers, maybe_since, now)
            is_open = numbers != known
            if not least <= use.spent <= most or (not is_open and (use.live or use.committed)):
                ledger.fail(
                    f"I4: the budget of {use.scope} counts {use.spent} {unit}, {use.live} live runs"
                    f" and {use.committed:g} {unit} of these; the runs took {least} to {most}"
                )

    def _taken(self, numbers: Iterable[int], since: float, now: float) -> int:
        """Return the steps of the runs of jobs that ended since a time, simulated seconds."""
        ledger = self._ledger
        return sum(
            taken_steps(run, now)
            for number in numbers
            for run in ledger.runs[number]
            if run.ended - now + ledger.clock() > since
        )


def _is_over(job: Job | None) -> bool:
    return job is not None and job.is_over


def _scopes(request: PlannedJob) -> set[str]:
    return {"account", f"group:{request.group}", *(f"key:{key}" for key in request.all_keys)}
