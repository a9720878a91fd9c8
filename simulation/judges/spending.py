"""Judges budgets at the end: each counts the steps of every run of its jobs, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from runqueue.records.job import Job
from runqueue.store.budgets import BudgetUse
from simulation.judges.ledger import InvariantLedger
from simulation.plan import PlannedJob
from simulator.answers import steps as taken_steps


class SpendingJudge:
    """Judges what budgets have counted.

    Args:
        ledger: what was accepted and what ran.
    """

    def __init__(self, ledger: InvariantLedger) -> None:
        self._ledger = ledger
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
        """Judge each budget of whose jobs the queue knows all runs (I4).

        Args:
            uses: the budgets as they are.
            jobs: by their numbers.
            requests: likewise.
        """
        ledger, now = self._ledger, self._ledger.wall()
        for use in uses:
            members = [
                number
                for number, request in requests.items()
                if number in ledger.accepted and use.scope in _scopes(request)
            ]
            since = self._set_at.get(use.scope, math.inf)
            ends = [run.ended - now + ledger.clock() for n in members for run in ledger.runs[n]]
            are_known = all(
                ledger.has_known_runs(number) and (job := jobs.get(number)) and job.is_over
                for number in members
            )
            if not are_known or use.estimated_runs or min(ends, default=0.0) <= since:
                continue
            steps = sum(taken_steps(run, now) for n in members for run in ledger.runs[n])
            if use.spent != steps or use.live or use.committed:
                ledger.fail(
                    f"I4: the budget of {use.scope} counts {use.spent} steps, {use.live} live runs"
                    f" and {use.committed:g} steps of these; the runs took {steps}"
                )


def _scopes(request: PlannedJob) -> set[str]:
    return {"account", f"group:{request.group}", *(f"key:{key}" for key in request.all_keys)}
