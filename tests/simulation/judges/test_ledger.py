"""The ledger: which lost writes and given-up runs it excuses."""

from types import SimpleNamespace
from typing import cast

import pytest

from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.processes import EPOCH
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
    ("emptied", "is_forgotten", "created", "is_unknown"),
    [
        (True, True, 29.0, True),
        (True, True, 49.0, True),
        (True, True, 51.0, False),
        (True, False, 29.0, False),
        (False, True, 31.0, False),
    ],
)
def test_a_run_is_unknown_if_redis_was_emptied_after_it_and_nobody_noticed(
    *, emptied: bool, is_forgotten: bool, created: float, is_unknown: bool
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.lost_writes += [(0.0, 10.0), (0.0 if emptied else 27.0, 30.0)]
    if is_forgotten:
        ledger.forgotten.add(1)
    assert ledger.is_of_an_earlier_redis(1, created) is is_unknown


@pytest.mark.parametrize(
    ("has_markers", "created", "is_owned", "is_left"),
    [
        (False, 11.0, False, True),
        (False, 11.0, True, False),
        (False, 17.0, False, False),
        (True, 11.0, False, False),
    ],
)
def test_only_a_run_without_a_marker_whose_claim_was_lost_is_left_to_a_person(
    *, has_markers: bool, created: float, is_owned: bool, is_left: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.lost_writes.append((10.5, 12.0))
    ledger.has_markers = has_markers
    ledger.is_owned = lambda _: is_owned
    run = cast(Run, SimpleNamespace(run_id="tsk_1", created=EPOCH + created))
    assert ledger.is_left_to_a_person(run) is is_left


@pytest.mark.parametrize(
    ("is_unreadable", "is_hidden", "may_stay"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_job_that_cannot_be_read_stays_in_doubt_while_nothing_tells_whose_a_run_is(
    *, is_unreadable: bool, is_hidden: bool, may_stay: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = AcceptedJob(
        *(1, "job", 0.0, 1, 0.0),
        may_repeat=False,
        stays_unconfirmed=False,
        is_unreadable=is_unreadable,
    )
    ledger.runs[2].append(cast(Run, object()))
    ledger.is_hidden = lambda _: is_hidden
    assert ledger.may_stay_unconfirmed(1) is may_stay
