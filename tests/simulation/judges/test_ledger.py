"""The ledger: which lost writes and given-up runs it excuses."""

from typing import cast

import pytest

from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulator.model.runs import Run


@pytest.mark.parametrize(
    ("answered", "is_lost"),
    [(9.0, False), (11.0, True), (12.0, True), (15.9, True), (16.1, False)],
)
def test_a_failover_loses_writes_whose_answers_were_still_on_their_way(
    *, answered: float, is_lost: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.lost_writes.append((10.5, 12.0))
    assert ledger.may_be_lost(answered) is is_lost


@pytest.mark.parametrize(
    ("is_unreadable", "is_hidden", "may_stay"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_job_that_cannot_be_read_stays_in_doubt_while_nothing_tells_whose_a_run_is(
    *, is_unreadable: bool, is_hidden: bool, may_stay: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = AcceptedJob(
        *(1, "job", 0.0, 1, 0.0, float("inf")),
        may_repeat=False,
        stays_unconfirmed=False,
        is_unreadable=is_unreadable,
    )
    ledger.runs[2].append(cast(Run, object()))
    ledger.is_hidden = lambda _: is_hidden
    assert ledger.may_stay_unconfirmed(1) is may_stay
