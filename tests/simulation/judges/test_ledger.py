"""The ledger: which lost writes and given-up runs it excuses."""

import pytest

from simulation.judges.ledger import InvariantLedger


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
