"""The judge of budgets: every run of a job counts, once."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from runqueue.records.job import Job
from runqueue.store.budgets import Budget, BudgetUse
from simulation.fault_times import FaultTimes
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.judges.spending import SpendingJudge
from simulation.plan import CUSTOMER
from simulation.processes import EPOCH
from simulator.model.runs import Run
from tests.simulation.judges.test_liveness import request


def _run(seconds: float) -> Run:
    """A run that worked for some seconds: a step, and one more for each ten of them."""
    run = SimpleNamespace(
        started=EPOCH, ended=EPOCH + seconds, canceled=False, is_over=lambda _: True
    )
    return cast(Run, run)


def _violations(
    monkeypatch: pytest.MonkeyPatch, *, window: float = 0.0, fault: str = "", **use: Any
) -> list[str]:
    monkeypatch.setattr(
        "simulation.judges.spending.taken_steps", lambda run, _: 1 + int(run.ended - EPOCH) // 10
    )
    now = 0.0
    ledger = InvariantLedger(lambda: now, lambda: 9.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = AcceptedJob(
        *(1, "job1", 0.0, 2, 0.0), may_repeat=False, stays_unconfirmed=False
    )
    faults = FaultTimes(lambda: now)
    if fault:
        faults.begin(fault)
    judge = SpendingJudge(ledger, faults, 3, windows={f"key:{CUSTOMER}": window})
    judge.note_set([f"key:{CUSTOMER}"])
    now = 100.0
    ledger.runs[1] += [_run(20), _run(40)]
    plain: dict[str, Any] = {"scope": f"key:{CUSTOMER}", "spent": 8, "live": 0, "committed": 0.0}
    plain |= {"estimated_runs": 0, "budget": Budget(1)}
    shown = SimpleNamespace(**{**plain, **use})
    job = cast(Job, SimpleNamespace(is_over=True))
    judge.judge([cast(BudgetUse, shown)], {1: job}, {1: request(1, keys=(CUSTOMER,))})
    return ledger.violations


def test_the_steps_of_each_run_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _violations(monkeypatch) == []


@pytest.mark.parametrize("use", [{"spent": 3}, {"live": 1}, {"committed": 40.0}])
def test_a_budget_that_counts_one_run_of_two_or_keeps_what_was_committed_is_wrong(
    monkeypatch: pytest.MonkeyPatch, use: dict[str, Any]
) -> None:
    (violation,) = _violations(monkeypatch, **use)
    assert "the runs took 8 to 8" in violation


def test_what_ended_before_a_new_window_need_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _violations(monkeypatch, window=30.0, spent=5) == []
    (violation,) = _violations(monkeypatch, window=30.0, spent=3)
    assert "the runs took 5 to 8" in violation


@pytest.mark.parametrize(("fault", "is_wrong"), [("", True), ("runs cannot be read", False)])
def test_what_ended_long_before_a_new_window_counts_only_if_a_fault_kept_it_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch, fault: str, *, is_wrong: bool
) -> None:
    assert bool(_violations(monkeypatch, window=90.0, fault=fault)) is is_wrong


@pytest.mark.parametrize(("spent", "is_right"), [(24, True), (8, False), (9, False)])
def test_a_budget_of_credits_counts_the_credits(
    monkeypatch: pytest.MonkeyPatch, spent: int, *, is_right: bool
) -> None:
    found = _violations(monkeypatch, spent=spent, budget=Budget(credits=1000))
    assert (found == []) is is_right
