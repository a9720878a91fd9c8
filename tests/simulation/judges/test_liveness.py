"""The judge of liveness: what keeps a job, and what does not."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runqueue.records.account import AccountStats
from runqueue.records.job import Job, JobState
from runqueue.records.waits import Wait
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.judges.liveness import BEGIN_SECONDS, LivenessJudge
from simulation.judges.submissions import SubmissionJudge
from simulation.marks import PUT_OFF
from simulation.plan import PlannedJob, draw
from simulation.processes import EPOCH
from simulator.model.runs import Run


class World:
    """Job 1 waits, job 2 runs."""

    def __init__(self, key_rates: dict[str, float] | None = None, **rules: Any) -> None:
        self.now = 0.0
        self.ledger = InvariantLedger(lambda: self.now, lambda: 9.0, 600.0, lambda: 0.0)
        requests = {number: request(number, **rules) for number in (1, 2)}
        for number in requests:
            self.ledger.accepted[number] = AcceptedJob(
                number, f"job{number}", 0.0, 1, 0.0, may_repeat=False, stays_unconfirmed=False
            )
        self.limits = SubmissionJudge(
            *(self.ledger, requests, {}, lambda *_: True, lambda: 0.0), key_rates=key_rates
        )
        self.reached: Counter[str] = Counter()
        self.judge = LivenessJudge(
            *(self.ledger, requests, {}, self.limits, self.reached), has_rates=False
        )

    def wait(self, seconds: float, jobs: dict[int, Job | None] | None = None, **stats: Any) -> int:
        """Let time pass, and return how many violations there are."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            self.judge.judge(_stats(**stats), jobs or JOBS, 0.0)
        return len(self.ledger.violations)


def request(number: int, **rules: Any) -> PlannedJob:
    plain: dict[str, Any] = {
        "number": number,
        "group": "a",
        "route": "alone",
        "keys": (),
        "session": 0,
        "run": "",
        "max_steps": 0,
    }
    return replace(draw(0, 1).requests[0], **plain | rules)


def _job(number: int, state: JobState, **fields: Any) -> Job:
    plain: dict[str, Any] = {
        "id": f"job{number}",
        "state": state,
        "attempts": 1,
        "group": "a",
        "keys": (),
        "waits_for": (),
        "run_id": None,
        "reason": None,
        "search_message": None,
    }
    return cast(Job, SimpleNamespace(**plain | fields))


def _run(*, created: float) -> Run:
    return cast(Run, SimpleNamespace(created=created))


def _stats(**fields: Any) -> AccountStats:
    plain: dict[str, Any] = {
        "orphans_live": 0,
        "hold_reason": None,
        "hold_kind": None,
        "paused": False,
        "pace": None,
        "live": 1,
        "limits": {"concurrent_runs": 9},
        "slots": 9,
        "permits": {},
    }
    return cast(AccountStats, SimpleNamespace(**plain | fields))


JOBS: dict[int, Job | None] = {1: _job(1, JobState.READY), 2: _job(2, JobState.RUNNING)}
LONG = 3 * BEGIN_SECONDS


def test_a_job_that_nothing_keeps_begins_soon() -> None:
    world = World()
    assert world.wait(BEGIN_SECONDS) == 0
    assert world.wait(10) == 1
    assert "waits for group a, keys none" in world.ledger.violations[0]


@pytest.mark.parametrize(
    "stats", [{"hold_reason": "a 403"}, {"paused": True}, {"pace": 1.0}, {"live": 9}]
)
def test_an_account_that_is_held_or_full_keeps_its_jobs(stats: dict[str, Any]) -> None:
    assert World().wait(LONG, **stats) == 0


def test_a_cap_keeps_a_job_until_it_is_raised() -> None:
    world = World()
    world.limits.cap("a", 1)
    assert world.wait(LONG) == 0
    world.limits.change(("cap", "a"))
    assert world.wait(LONG) == 0
    world.limits.cap("a", 2)
    assert world.wait(BEGIN_SECONDS + 10) == 1


def test_a_limit_of_a_key_keeps_a_job_until_it_is_raised() -> None:
    world = World(keys=("login:a",))
    world.limits.limit_key("login:*", 1)
    assert world.wait(LONG) == 0
    world.limits.limit_key("login:*", 2)
    assert world.wait(BEGIN_SECONDS + 10) == 1


def test_a_strict_budget_keeps_a_job_until_it_is_raised() -> None:
    world = World(max_steps=40)
    world.limits.set_budget(70)
    assert world.wait(LONG) == 0
    world.limits.set_budget(80)
    held: dict[str, Any] = {
        "hold_reason": "the budget of the account has no room",
        "hold_kind": "budget",
    }
    assert world.wait(BEGIN_SECONDS + 10, **held) == 1


def test_a_job_that_is_deferred_for_a_budget_comes_back_once_there_is_room() -> None:
    world = World(max_steps=40)
    in_a_day, soon = (datetime.fromtimestamp(EPOCH + wait, UTC) for wait in (86_400, 200))
    jobs = JOBS | {1: _job(1, JobState.SCHEDULED, run_at=in_a_day)}
    world.limits.set_budget(70)
    assert world.wait(LONG, jobs) == 0
    world.limits.set_budget(80)
    assert world.wait(BEGIN_SECONDS + 10, jobs) == 1
    later = World(max_steps=40)
    assert later.wait(LONG, JOBS | {1: _job(1, JobState.SCHEDULED, run_at=soon)}) == 0


def test_a_rate_keeps_a_job_until_the_next_may_begin_and_what_made_no_run_spends_none() -> None:
    world = World({"login:*": 300.0}, keys=("login:a",))
    jobs: dict[int, Job | None] = {1: JOBS[1]}
    world.ledger.runs[2].append(_run(created=EPOCH))
    assert world.wait(300, jobs) == 0
    assert world.wait(BEGIN_SECONDS + 10, jobs) == 1
    without_run = World({"login:*": 300.0}, keys=("login:a",))
    assert without_run.wait(BEGIN_SECONDS + 10, jobs) == 1


def test_a_job_that_waited_for_a_budget_and_began_reaches_a_mark() -> None:
    world = World()
    world.judge.note_waits({1: _job(1, JobState.READY, waits_for=(Wait("budget", "group:a"),))})
    world.judge.note_waits({1: _job(1, JobState.RUNNING, run_id="tsk_1")})
    assert world.reached[PUT_OFF] == 1
