"""The ledger: what it excuses, and what it does not."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runqueue.records.account import AccountStats
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.processes import EPOCH
from simulator.model.runs import Run


@pytest.mark.parametrize(
    ("answered", "is_lost"), [(9.0, False), (11.0, True), (12.0, True), (15.9, True), (16.1, False)]
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
    ("has_markers", "is_hidden", "created", "is_owned", "is_left"),
    [
        (False, True, 11.0, False, True),
        (False, False, 11.0, True, False),
        (False, True, 17.0, False, False),
        (True, False, 11.0, False, False),
        (True, True, 11.0, False, True),
        (True, True, 17.0, False, False),
    ],
)
def test_only_a_run_without_a_marker_whose_claim_was_lost_is_left_to_a_person(
    *, has_markers: bool, is_hidden: bool, created: float, is_owned: bool, is_left: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.lost_writes.append((10.5, 12.0))
    ledger.has_markers = has_markers
    ledger.is_hidden = lambda _: is_hidden
    ledger.is_owned = lambda _: is_owned
    run = cast(Run, SimpleNamespace(run_id="tsk_1", created=EPOCH + created))
    assert ledger.is_left_to_a_person(run) is is_left


@pytest.mark.parametrize(
    ("is_unreadable", "is_hidden", "may_stay"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_job_that_cannot_be_read_stays_unconfirmed_while_nothing_tells_whose_a_run_is(
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


def _job(number: int, **fields: Any) -> AcceptedJob:
    rules = {"may_repeat": False, "stays_unconfirmed": False} | fields
    return AcceptedJob(number, f"job{number}", 0.0, 1, 0.0, **rules)


def _run(number: int, created: float, *, is_over: bool = False, title: str = "") -> Run:
    submission = SimpleNamespace(
        request=b"Do sim-job-%d." % number,
        workflow=None,
        sent_title=title,
        webhook_url="",
        tags=None,
    )
    run = SimpleNamespace(
        run_id=f"tsk_{number}",
        created=EPOCH + created,
        is_over=lambda _: is_over,
        submission=submission,
    )
    return cast(Run, run)


@pytest.mark.parametrize(
    ("may_repeat", "created", "is_marked", "may_stay"),
    [
        (True, [100.0, 0.0, 179.0], False, True),
        (True, [0.0, 81.0], False, False),
        (True, [0.0], False, False),
        (True, [0.0, 31.0], True, False),
        (False, [0.0, 31.0], False, False),
    ],
)
def test_a_job_with_resubmit_stays_unconfirmed_if_runs_without_a_marker_follow_each_other_soon(
    *, may_repeat: bool, created: list[float], is_marked: bool, may_stay: bool
) -> None:
    ledger = InvariantLedger(lambda: 20.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = job = _job(1, may_repeat=may_repeat)
    title = f"[rq:{'a' * 24}.1]" if is_marked else ""
    ledger.runs[job.body] += [_run(1, at, title=title) for at in created]
    assert ledger.may_stay_unconfirmed(1) is may_stay


@pytest.mark.parametrize(
    ("is_answer_lost", "is_claim_lost", "may_be_let_go"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_a_job_with_resubmit_gives_up_its_slot_only_after_an_answer_or_a_claim_was_lost(
    *, is_answer_lost: bool, is_claim_lost: bool, may_be_let_go: bool
) -> None:
    now = 0.0
    ledger = InvariantLedger(lambda: now, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.first_lost_answer = lambda _: 0.0 if is_answer_lost else math.inf
    if is_claim_lost:
        ledger.lost_writes.append((0.0, 1.0))
    ledger.accepted |= {1: _job(1, may_repeat=True), 2: _job(2)}
    ledger.judge_new_run(_run(1, now), 1)
    now = 60.0
    ledger.judge_new_run(_run(2, now), 2)
    assert (ledger.violations == []) is may_be_let_go


def test_a_job_with_resubmit_has_given_up_its_slot_when_its_run_comes_late() -> None:
    now = 50.0
    ledger = InvariantLedger(lambda: now, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.first_lost_answer = lambda number: 0.0 if number == 1 else math.inf
    ledger.accepted |= {1: _job(1, may_repeat=True), 2: _job(2)}
    ledger.judge_new_run(_run(2, now), 1)
    ledger.judge_new_run(_run(1, now), 2)
    assert ledger.violations == []


@pytest.mark.parametrize("is_over", [False, True])
def test_a_job_with_resubmit_has_given_up_the_slot_of_a_live_run_alone(*, is_over: bool) -> None:
    now = 300.0
    ledger = InvariantLedger(lambda: now, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.first_lost_answer = lambda number: 0.0 if number == 1 else math.inf
    ledger.accepted |= {1: _job(1, may_repeat=True), 2: _job(2), 3: _job(3)}
    ledger.runs[1].append(_run(1, 1.0, is_over=is_over))
    ledger.judge_new_run(_run(2, now), 1)
    ledger.judge_new_run(_run(3, now), 2)
    assert bool(ledger.violations) is is_over


@pytest.mark.parametrize(
    ("may_repeat", "is_answer_lost", "holds"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_after_a_lost_answer_a_job_with_resubmit_may_have_a_run_beyond_its_deadline(
    *, may_repeat: bool, is_answer_lost: bool, holds: bool
) -> None:
    ledger = InvariantLedger(lambda: 500.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.first_lost_answer = lambda _: 0.0 if is_answer_lost else math.inf
    ledger.accepted[1] = _job(1, may_repeat=may_repeat, deadline=20.0)
    run = _run(1, 1.0)
    run.ended = EPOCH + 600.0
    ledger.runs[1].append(run)
    ledger.judge_deadlines({1: None}, 0.0, EPOCH + 500.0)
    assert (ledger.violations == []) is holds


@pytest.mark.parametrize(
    ("found_at", "is_answer_lost", "holds"),
    [(480.0, True, True), (400.0, True, False), (480.0, False, False)],
)
def test_a_run_whose_answer_was_lost_is_to_be_canceled_from_when_it_was_found(
    *, found_at: float, is_answer_lost: bool, holds: bool
) -> None:
    ledger = InvariantLedger(lambda: 500.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.first_lost_answer = lambda _: 0.0 if is_answer_lost else math.inf
    ledger.accepted[1] = _job(1, deadline=20.0)
    run = _run(1, 1.0)
    run.ended = EPOCH + 600.0
    ledger.runs[1].append(run)
    started_at = datetime.fromtimestamp(EPOCH + found_at, UTC)
    job = SimpleNamespace(run_id=run.run_id, state=JobState.RUNNING, started_at=started_at)
    ledger.judge_deadlines({1: cast(Job, job)}, 0.0, EPOCH + 500.0)
    assert (ledger.violations == []) is holds


@pytest.mark.parametrize(
    ("is_lost", "is_discarded", "is_marked", "may_run_again", "holds"),
    [
        (True, False, False, True, True),
        (True, False, True, False, True),
        (False, True, False, False, True),
        (False, False, False, False, False),
    ],
)
def test_only_a_job_that_redis_lost_or_a_person_discarded_is_new_again_or_leaves_its_key(
    *, is_lost: bool, is_discarded: bool, is_marked: bool, may_run_again: bool, holds: bool
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = _job(1)
    ledger.accepted[1].is_discarded = is_discarded
    if is_lost:
        ledger.lost_writes.append((0.0, 1.0))
    ledger.runs[1].append(_run(1, 5.0, title=f"[rq:{'a' * 24}.1]" if is_marked else ""))
    ledger.judge_enqueued_again(1)
    assert (1 in ledger.forgotten) is may_run_again
    assert (ledger.violations == []) is holds
    ledger.violations.clear()
    ledger.judge_key_is_free(ledger.accepted[1].job_id)
    assert ledger.accepted[1].is_discarded
    assert (ledger.violations == []) is holds


@pytest.mark.parametrize(("is_emptied", "forgotten"), [(False, {2}), (True, {1, 2})])
def test_runs_without_a_marker_may_repeat_once_a_person_ends_a_recovery(
    *, is_emptied: bool, forgotten: set[int]
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted |= {1: _job(1), 2: _job(2)}
    ledger.lost_writes.append((0.0 if is_emptied else 3.0, 4.0))
    ledger.runs[1].append(_run(1, 5.0, title=f"[rq:{'a' * 24}.1]"))
    ledger.runs[2].append(_run(2, 5.0))
    ledger.let_go_on()
    assert ledger.forgotten == forgotten


@pytest.mark.parametrize("accepted_at", [11.0, 17.0])
def test_the_deadline_of_a_job_that_redis_lost_counts_from_when_it_is_enqueued_again(
    accepted_at: float,
) -> None:
    ledger = InvariantLedger(lambda: 200.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.lost_writes.append((10.5, 12.0))
    ledger.accepted[1] = replace(_job(1, deadline=80.0), accepted_at=accepted_at)
    ledger.judge_waiting({1: cast(Job, SimpleNamespace(state=JobState.READY))}, 0.0)
    assert bool(ledger.violations) is (accepted_at == 17.0)


@pytest.mark.parametrize("is_abandoned", [True, False])
def test_a_job_that_a_person_replays_runs_beside_its_abandoned_run_alone(
    *, is_abandoned: bool
) -> None:
    ledger = InvariantLedger(lambda: 900.0, lambda: 9.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = _job(1)
    ledger.judge_new_run(_run(1, 0.5), 1)
    if is_abandoned:
        ledger.abandoned.add("tsk_1")
    ledger.judge_new_run(_run(1, 900.0), 2)
    assert bool(ledger.violations) is not is_abandoned


@pytest.mark.parametrize(
    ("reason", "is_hidden"),
    [("deadline: it passed while the job was queued", False), ("crash loop: 3 workers died", True)],
)
def test_only_a_deadline_ends_the_search_for_the_run_of_a_job_with_resubmit(
    *, reason: str, is_hidden: bool
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = _job(1, may_repeat=True)
    ledger.runs[1].append(_run(1, 5.0))
    dead = SimpleNamespace(state=JobState.DEAD, reason=reason, run_id=None)
    ledger.judge_orphans({1: cast(Job, dead)}, [], {1: 1})
    assert bool(ledger.violations) is is_hidden


@pytest.mark.parametrize(
    ("state", "is_wrong"), [(DeliveryState.NONE, False), (DeliveryState.DELIVERED, True)]
)
def test_a_job_without_a_run_has_no_webhook_that_was_delivered(
    *, state: DeliveryState, is_wrong: bool
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = _job(1, webhook="https://user.test/1")
    job = SimpleNamespace(run_id=None, webhook=SimpleNamespace(state=state))
    ledger.judge_webhooks({1: cast(Job, job)}, {}, {}, 3, 0.0)
    assert bool(ledger.violations) is is_wrong


@pytest.mark.parametrize("ended", [100.0, 300.0])
def test_a_webhook_may_be_abandoned_before_its_last_try_only_once_its_time_is_up(
    ended: float,
) -> None:
    ledger = InvariantLedger(lambda: 900.0, lambda: 1.0, 600.0, lambda: 0.0)
    ledger.accepted[1] = _job(1, webhook="https://user.test/1")
    ledger.runs[1].append(_run(1, 5.0))
    webhook = SimpleNamespace(state=DeliveryState.ABANDONED)
    moment = datetime.fromtimestamp(EPOCH + ended, UTC)
    job = SimpleNamespace(run_id=ledger.runs[1][0].run_id, webhook=webhook, ended_at=moment)
    ledger.judge_webhooks({1: cast(Job, job)}, {}, {}, 3, EPOCH + 200.0)
    assert bool(ledger.violations) is (ended > 200.0)


@pytest.mark.parametrize("has_slot", [False, True])
def test_only_unconfirmed_jobs_that_hold_slots_keep_others_of_a_capped_group_waiting(
    *, has_slot: bool
) -> None:
    ledger = InvariantLedger(lambda: 60.0, lambda: 5.0, 600.0, lambda: 0.0)
    ledger.accepted |= {1: _job(1, stays_unconfirmed=True), 2: _job(2)}
    ledger.caps["a"] = 1
    fields = {"group": "a", "keys": (), "is_over": False, "reason": "", "search_message": ""}
    fields |= {"attempts": 1, "waits_for": ()}
    jobs = {
        1: SimpleNamespace(id="job1", state=JobState.UNCONFIRMED, **fields),
        2: SimpleNamespace(id="job2", state=JobState.READY, **fields),
    }
    stats = SimpleNamespace(
        states={JobState.READY: 1, JobState.SCHEDULED: 0},
        live=int(has_slot),
        orphans_live=0,
        damage=None,
        quarantined=0,
        hold_reason=None,
        paused=False,
        pace=None,
        permits={},
        limits={"concurrent_runs": 5},
    )
    ledger.judge_end(
        cast("dict[int, Job | None]", jobs), cast(AccountStats, stats), ["job1"] if has_slot else []
    )
    assert (ledger.violations == []) is has_slot
