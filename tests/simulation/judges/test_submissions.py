"""The judge of submissions: how many may pass a job that waits."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runqueue.records.job import EnqueueStatus
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.judges.submissions import PASSED, SubmissionJudge
from simulation.plan import PlannedJob, draw
from simulator.model.runs import Run

#: Submissions that may pass a job beside a turn of each other group: one run is live at most.
MOST = PASSED + 3


def _violations(
    waiting: PlannedJob,
    submitted: Sequence[PlannedJob],
    *,
    are_new: bool = False,
    changing: Hashable = None,
    **known: Any,
) -> list[str]:
    """Submit requests while a job waits, and return what does not hold.

    Args:
        waiting: the job that waits, since 0 s.
        submitted: the others, one a second from 100 s on.
        are_new: whether each is accepted as it is submitted; at 0 s otherwise.
        changing: what an operator changes, without an answer.
        known: what the ledger knows.
    """
    now = 100.0
    ledger = InvariantLedger(lambda: now, lambda: 1.0, 600.0, lambda: 0.0)
    for name, value in known.items():
        setattr(ledger, name, value)
    requests = {one.number: one for one in (waiting, *submitted)}
    times = [0.0] + [100.0 + second if are_new else 0.0 for second in range(len(submitted))]
    for number, accepted_at in zip(requests, times, strict=True):
        ledger.accepted[number] = AcceptedJob(
            *(number, f"job{number}", accepted_at, 1, 0.0),
            may_repeat=False,
            stays_unconfirmed=False,
        )
    judge = SubmissionJudge(ledger, requests, {}, lambda *_: True, lambda: 0.0)
    judge.change(changing)
    for one in submitted:
        judge.judge(b"Do sim-job-%d." % one.number)
        now += 1
    return ledger.violations


@pytest.mark.parametrize(("apart", "is_wrong"), [(20, True), (60, False)])
def test_a_job_that_begins_sooner_than_the_rate_of_its_key_lets_it_is_wrong(
    apart: int, *, is_wrong: bool
) -> None:
    now = 100.0
    ledger = InvariantLedger(lambda: now, lambda: 9.0, 600.0, lambda: 0.0)
    requests = {number: replace(_job(number, "a"), keys=("login:a",)) for number in (1, 2)}
    judge = SubmissionJudge(
        *(ledger, requests, {}, lambda *_: True, lambda: 0.0), key_rates={"login:*": 60.0}
    )
    judge.judge(b"Do sim-job-1.")
    ledger.runs[1].append(cast(Run, SimpleNamespace(created=ledger.wall())))
    now += apart
    judge.judge(b"Do sim-job-2.")
    assert bool(ledger.violations) is is_wrong


@pytest.mark.parametrize(("keeps_canary", "is_wrong"), [(True, True), (False, False)])
def test_a_resume_leaves_the_canary_in_force_where_a_person_paused_the_batch(
    *, keeps_canary: bool, is_wrong: bool
) -> None:
    ledger = InvariantLedger(lambda: 100.0, lambda: 9.0, 600.0, lambda: 0.0)
    requests = {
        number: replace(_job(number, "a"), route="batch", batch=1) for number in range(1, 5)
    }
    judge = SubmissionJudge(ledger, requests, {1: 2}, lambda *_: True, lambda: 0.0)
    judge.pause(("batch", 1), keeps_canary=keeps_canary)
    judge.resume(("batch", 1))
    judge.judge(b"Do sim-job-3.")
    assert bool(ledger.violations) is is_wrong


@pytest.mark.parametrize(
    ("refused", "submitted", "is_wrong"), [({1}, 3, False), ({1}, 4, True), (set(), 3, True)]
)
def test_a_job_that_a_budget_refuses_at_first_is_no_canary(
    refused: set[int], submitted: int, *, is_wrong: bool
) -> None:
    ledger = InvariantLedger(lambda: 100.0, lambda: 9.0, 600.0, lambda: 0.0)
    requests = {
        number: replace(_job(number, "a"), route="batch", batch=1, max_steps=40)
        for number in range(1, 5)
    }
    judge = SubmissionJudge(ledger, requests, {1: 2}, lambda *_: True, lambda: 0.0)
    new, known = EnqueueStatus.NEW, EnqueueStatus.KNOWN
    for some, others in ((EnqueueStatus.REFUSED, new), (new, known)):
        answers = (
            (one, SimpleNamespace(status=some if one.number in refused else others))
            for one in requests.values()
        )
        judge.note_stored(1, cast("Any", answers))
    judge.judge(b"Do sim-job-%d." % submitted)
    assert bool(ledger.violations) is is_wrong


@pytest.mark.parametrize(
    ("age", "is_hidden", "is_wrong"),
    [(700.0, True, False), (500.0, True, True), (700.0, False, True)],
)
def test_a_run_that_nobody_knows_takes_no_session_once_it_would_be_over(
    age: float, *, is_hidden: bool, is_wrong: bool
) -> None:
    ledger = InvariantLedger(lambda: 900.0, lambda: 9.0, 600.0, lambda: 0.0)
    ledger.is_hidden = lambda _: is_hidden
    requests = {number: replace(_job(number, "a"), session=1) for number in (1, 2)}
    ledger.accepted[1] = AcceptedJob(
        *(1, "job1", 0.0, 1, 0.0), may_repeat=False, stays_unconfirmed=False
    )
    run = SimpleNamespace(created=ledger.wall() - age, is_over=lambda _: False)
    ledger.runs[1].append(cast(Run, run))
    judge = SubmissionJudge(ledger, requests, {}, lambda *_: True, lambda: 0.0)
    judge.judge(b"Do sim-job-2.")
    assert bool(ledger.violations) is is_wrong


def _job(number: int, group: str, priority: int = 2) -> PlannedJob:
    return replace(
        draw(0, 1).requests[0],
        number=number,
        group=group,
        priority=priority,
        route="alone",
        delay=0,
        deadline=None,
        keys=(),
        session=0,
    )


def test_each_other_group_may_pass_a_job_once() -> None:
    others = [_job(number, f"g{number}") for number in range(2, 100)]
    assert _violations(_job(1, "a"), others) == []


def test_ever_new_groups_may_not_pass_a_job() -> None:
    others = [_job(number, f"g{number}") for number in range(2, MOST + 5)]
    assert _violations(_job(1, "a"), others[:-1], are_new=True) == []
    assert len(_violations(_job(1, "a"), others, are_new=True)) == 1


def test_one_group_may_not_pass_a_job_again_and_again() -> None:
    others = [_job(number, "b") for number in range(2, MOST + 4)]
    assert _violations(_job(1, "a"), others[:-1]) == []
    (violation,) = _violations(_job(1, "a"), others)
    assert f"{MOST + 1} submissions passed it beside turns of 1 groups" in violation


def test_after_a_turn_of_its_own_group_all_others_may_pass_a_job_once_more() -> None:
    others = [_job(number, f"g{number % 40}") for number in range(2, 82)]
    own = _job(100, "a")
    assert _violations(_job(1, "a"), [*others[:40], own, *others[40:]]) == []
    assert len(_violations(_job(1, "a"), others)) == 1


def test_less_urgent_jobs_have_no_turn_before_a_job() -> None:
    others = [_job(number, f"g{number}", priority=3) for number in range(2, MOST + 3)]
    assert _violations(_job(1, "a"), others[:-1]) == []
    assert len(_violations(_job(1, "a"), others)) == 1


@pytest.mark.parametrize("change", ["group", "cap"])
def test_a_job_whose_group_may_be_paused_or_capped_is_skipped(change: str) -> None:
    others = [_job(number, "b") for number in range(2, MOST + 4)]
    assert _violations(_job(1, "a"), others, changing=(change, "a")) == []
    assert len(_violations(_job(1, "a"), others, changing=(change, "b"))) == 1


def test_a_job_that_is_unconfirmed_after_a_death_or_a_failover_is_skipped() -> None:
    others = [_job(number, "b") for number in range(2, MOST + 4)]
    assert _violations(_job(1, "a"), others, last_death=50.0) == []
    known: dict[str, Any] = {"lost_writes": [(10.0, 12.0)], "is_hidden": lambda _: True}
    assert _violations(_job(1, "a"), others, runs={1: [cast(Run, None)]}, **known) == []
