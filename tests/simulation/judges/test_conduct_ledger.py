"""The conduct ledger: what is excused, and what is not."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.job import Job, JobState
from simulation.fault_times import FaultTimes
from simulation.judges.conduct_ledger import LISTS_END, ConductLedger
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.observer import Outcome
from simulation.plan import draw
from simulation.processes import EPOCH
from simulation.virtual.addresses import callback_url
from simulator.model.runs import Run
from tests.figures import stats


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def conduct(clock: _Clock) -> ConductLedger:
    ledger = InvariantLedger(clock, lambda: 10.0, max_run_seconds=600.0, uncounted=lambda: 0.0)
    ledger.accepted[1] = AcceptedJob(
        *(1, "job", 0.0, 1, 0.0), may_repeat=False, stays_unconfirmed=False
    )
    return ConductLedger(ledger, FaultTimes(clock), 600.0)


def _submit(conduct: ConductLedger, clock: _Clock, at: float, outcome: str) -> None:
    clock.now = at
    sent = conduct.note_submission(b"Do sim-job-1.")
    assert sent is not None
    sent.outcome = outcome


def _violations(conduct: ConductLedger) -> list[str]:
    conduct.judge({1: None}, {1: draw(0, 1).requests[0]})
    return conduct.ledger.violations


def test_time_counts_only_while_no_fault_lasts(conduct: ConductLedger, clock: _Clock) -> None:
    for kind, begin, end in (
        ("calls are lost", 5.0, 20.0),
        ("a person pauses a batch", 25.0, 90.0),
    ):
        clock.now = begin
        time = conduct.faults.begin(kind)
        clock.now = end
        conduct.faults.end(time)
    assert conduct.faults.due(0.0, 4.0) == 4.0
    assert conduct.faults.due(0.0, 10.0) == 30.0


def test_a_fault_that_goes_on_has_no_end(conduct: ConductLedger) -> None:
    conduct.faults.begin("redis is slow")
    assert conduct.faults.due(0.0, 10.0) == float("inf")


@pytest.mark.parametrize(("second", "is_early"), [(40.0, True), (70.0, False)])
def test_a_job_is_not_submitted_soon_after_a_lost_answer(
    conduct: ConductLedger, clock: _Clock, second: float, is_early: bool
) -> None:
    _submit(conduct, clock, 5.0, Outcome.UNKNOWN)
    _submit(conduct, clock, second, Outcome.ANSWERED)
    assert bool(_violations(conduct)) is is_early


def test_what_was_not_sent_may_be_submitted_again_at_once(
    conduct: ConductLedger, clock: _Clock
) -> None:
    _submit(conduct, clock, 5.0, Outcome.NOT_SENT)
    _submit(conduct, clock, 6.0, Outcome.ANSWERED)
    assert _violations(conduct) == []


def test_a_canceled_job_is_not_submitted(conduct: ConductLedger, clock: _Clock) -> None:
    conduct.note_canceled([1])
    _submit(conduct, clock, 9.0, Outcome.ANSWERED)
    (violation,) = _violations(conduct)
    assert "job 1 is submitted 9.0 s after it was canceled" in violation


@pytest.mark.parametrize(("at", "is_late"), [(60.0, False), (100.0, True)])
def test_a_fault_delays_a_submission_beyond_its_deadline_for_a_bounded_time(
    conduct: ConductLedger, clock: _Clock, *, at: float, is_late: bool
) -> None:
    conduct.ledger.accepted[1].deadline = 20.0
    clock.now = 15.0
    slow = conduct.faults.begin("redis is slow")
    clock.now = 30.0
    conduct.faults.end(slow)
    _submit(conduct, clock, at, Outcome.ANSWERED)
    assert bool(_violations(conduct)) is is_late


@pytest.mark.parametrize(("created", "is_counted"), [(30.0, True), (90.0, False)])
def test_a_run_that_is_made_after_its_client_gave_up_may_have_no_slot(
    conduct: ConductLedger, clock: _Clock, *, created: float, is_counted: bool
) -> None:
    _submit(conduct, clock, 5.0, Outcome.UNKNOWN)
    request = SimpleNamespace(request=b"Do sim-job-1.", workflow=None)
    run = SimpleNamespace(run_id="tsk_1", created=EPOCH + created, submission=request)
    stats = SimpleNamespace(hold_kind=None, live=0, orphans_live=0)
    clock.now = 100.0
    conduct.judge_slots(cast(AccountStats, stats), [cast(Run, run)], seconds=0.0)
    assert bool(conduct.ledger.violations) is is_counted


@pytest.mark.parametrize("accepted_at", [11.0, 17.0])
def test_the_run_of_a_lost_job_counts_for_the_job_that_has_its_key(
    conduct: ConductLedger, accepted_at: float
) -> None:
    ledger = conduct.ledger
    ledger.lost_writes.append((10.5, 12.0))
    ledger.accepted[1].max_runs = 2
    ledger.accepted[2] = replace(ledger.accepted[1], number=2, body=2, accepted_at=accepted_at)
    for number in (1, 2):
        ledger.runs[number].append(cast(Run, SimpleNamespace(created=12.0, ended=15.0)))
    failed = SimpleNamespace(
        state=JobState.FAILED, run_status="timed_out", cancel_requested=False, is_over=True
    )
    conduct.judge({1: cast(Job, failed), 2: None}, dict.fromkeys((1, 2), draw(0, 1).requests[0]))
    assert bool(ledger.violations) is (accepted_at == 17.0)


@pytest.mark.parametrize(("stepped_at", "is_wrong"), [(42.0, False), (4.0, True)])
def test_an_abandoned_run_frees_its_slot_early_only_by_a_step_ahead_behind_its_submission(
    conduct: ConductLedger, clock: _Clock, stepped_at: float, *, is_wrong: bool
) -> None:
    conduct.ledger.accepted[1].is_stuck = True
    conduct.ledger.unwitnessed = lambda since: 10_000.0 if stepped_at >= since else 0.0
    _submit(conduct, clock, 5.0, Outcome.ANSWERED)
    request = SimpleNamespace(request=b"Do sim-job-1.", workflow=None)
    run = SimpleNamespace(run_id="tsk_1", created=EPOCH + 5.1, submission=request)
    stats = SimpleNamespace(hold_kind=None, live=0, orphans_live=0)
    clock.now = 500.0
    conduct.judge_slots(cast(AccountStats, stats), [cast(Run, run)], seconds=0.0)
    assert bool(conduct.ledger.violations) is is_wrong


def test_a_job_kills_three_workers_at_most(conduct: ConductLedger) -> None:
    for _ in range(3):
        conduct.judge_death(1)
    assert conduct.ledger.violations == []
    conduct.judge_death(1)
    assert len(conduct.ledger.violations) == 1


@pytest.mark.parametrize(("apart", "is_cut"), [(0.1, False), (1.0, True)])
def test_the_pace_is_cut_while_every_submission_is_limited(
    conduct: ConductLedger, clock: _Clock, *, apart: float, is_cut: bool
) -> None:
    at = 0.0
    while at < 20.0:
        clock.now = at
        sent = conduct.note_submission(b"Do sim-job-1.")
        assert sent is not None
        sent.status = 429
        at += 0.1 if at < 1 else apart
    conduct.judge_pace(5, asks_to_wait=False)
    assert (conduct.ledger.violations == []) is is_cut


@pytest.mark.parametrize(("apart", "is_wrong"), [(10.0, False), (1.0, True)])
def test_lists_that_begin_and_end_again_and_again_are_wrong(
    conduct: ConductLedger, clock: _Clock, apart: float, *, is_wrong: bool
) -> None:
    for _ in range(LISTS_END + 1):
        conduct.judge_lists_end()
        clock.now += apart
    assert bool(conduct.ledger.violations) is is_wrong


def _claimed(
    conduct: ConductLedger, seen: dict[str, object] | None = None, *, attempt: int = 1
) -> None:
    limits = {"concurrent_runs": 2, "burst_size": 5}
    figures = {"limits": limits, "live": 1, "permits": {"submission": 4}, **(seen or {})}
    conduct.judge_claim(f"claim {attempt}", {"job": attempt}, stats(**figures))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({}, ""),
        ({"live": 2, "orphans_live": 1}, "3 of 2 slots"),
        ({"permits": {"request": 5}}, "5 request permits"),
    ],
)
def test_a_claim_takes_free_slots_and_permits(
    conduct: ConductLedger, seen: dict[str, object], words: str
) -> None:
    _claimed(conduct, seen)
    found = conduct.ledger.violations
    assert bool(found) is bool(words)
    assert words in "".join(found)


@pytest.mark.parametrize(("second", "is_late"), [(0.2, False), (1.0, True)])
def test_a_submission_follows_at_once_on_its_claim(
    conduct: ConductLedger, clock: _Clock, second: float, is_late: bool
) -> None:
    _claimed(conduct)
    clock.now = second
    conduct.note_submission(b"Do sim-job-1.")
    assert bool(conduct.ledger.violations) is is_late


@pytest.mark.parametrize(("frozen_at", "is_late"), [(0.0, True), (0.1, False)])
def test_a_submission_is_late_unless_its_process_was_frozen_behind_its_claim(
    conduct: ConductLedger, clock: _Clock, frozen_at: float, *, is_late: bool
) -> None:
    _claimed(conduct)
    clock.now = 60.0
    conduct.note_submission(b"Do sim-job-1.", frozen_at)
    assert bool(conduct.ledger.violations) is is_late


@pytest.mark.parametrize("kind", ["redis is slow", "redis loses answers"])
@pytest.mark.parametrize(("second", "is_late"), [(3.0, False), (60.0, True)])
def test_a_permit_may_be_older_by_an_answer_while_these_take_long(
    conduct: ConductLedger, clock: _Clock, kind: str, second: float, *, is_late: bool
) -> None:
    conduct.faults.begin(kind)
    _claimed(conduct)
    clock.now = second
    conduct.note_submission(b"Do sim-job-1.")
    assert bool(conduct.ledger.violations) is is_late


@pytest.mark.parametrize(("delivered", "is_missing"), [(3, False), (2, True)])
def test_a_batch_reports_its_end_and_each_of_its_shares(
    conduct: ConductLedger, delivered: int, *, is_missing: bool
) -> None:
    called = SimpleNamespace(pending=0, delivered=delivered, abandoned=0)
    status = SimpleNamespace(is_final=True)
    batch = SimpleNamespace(callback=called, status=status, states={JobState.COMPLETED: 4})
    rules = {1: {"callback_at": (0.3, 0.6)}}
    conduct.judge_callbacks({1: cast(Batch, batch)}, {callback_url(1): 1}, rules)
    assert bool(conduct.ledger.violations) is is_missing


def test_no_claim_is_late_once_no_rate_applies(conduct: ConductLedger, clock: _Clock) -> None:
    _claimed(conduct)
    _claimed(conduct, {"permits": {}}, attempt=2)
    clock.now = 60.0
    conduct.note_submission(b"Do sim-job-1.")
    assert conduct.ledger.violations == []


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("give_back", ["void", 0, "", "", "job", 1]), ("mark_dead", ["job", 1, "refused"])],
)
@pytest.mark.parametrize(("code", "is_wrong"), [(0, False), (1, True)])
def test_an_earlier_attempt_moves_no_job(
    conduct: ConductLedger, script: str, arguments: list[object], code: int, is_wrong: bool
) -> None:
    _claimed(conduct, attempt=2)
    conduct.judge_fence(script, arguments, [code])
    assert bool(conduct.ledger.violations) is is_wrong


@pytest.mark.parametrize(
    ("apart", "attempt", "is_wrong"), [(30, 1, False), (5, 1, True), (30, 2, True)]
)
def test_two_searches_of_one_attempt_prove_that_it_made_no_run(
    conduct: ConductLedger, apart: int, attempt: int, is_wrong: bool
) -> None:
    def search(second: int, attempt: int, code: int) -> None:
        row = ["job", attempt, "not_found", 0, 0, "", ""]
        conduct.judge_searches([second * 1_000_000, 30_000_000, *row], [code])

    search(100, 1, 1)
    search(100 + apart, attempt, 2)
    assert bool(conduct.ledger.violations) is is_wrong
