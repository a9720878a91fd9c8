"""The judge of who has keys and steps of budgets."""

from simulation.judges.holders import judge_holders
from simulation.judges.ledger import InvariantLedger


def test_live_jobs_and_orphan_runs_alone_keep_keys_and_steps() -> None:
    ledger = InvariantLedger(lambda: 0.0, lambda: 9.0, 600.0, lambda: 0.0)
    held = {"key:login:a": {"job1", "orphan tsk_1"}, "max_steps:account": {"job1"}}
    judge_holders(ledger, held, {"job1", "orphan tsk_1"})
    assert ledger.violations == []
    judge_holders(ledger, held, {"job1"})
    (violation,) = ledger.violations
    assert "key:login:a is kept by orphan tsk_1, which no live job owns" in violation
