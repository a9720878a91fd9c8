"""Directed plans: the shortest plan known that shows each planted defect.

A seed may need long to meet a defect; its plan meets it at once. Without the defect it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from simulation.plan import (
    ANSWERS_NO_CALL,
    CUSTOMER,
    FLAPS,
    KILLS_WORKERS,
    NEVER_ENDS,
    UNREADABLE,
    Fault,
    PlannedJob,
    SimulationPlan,
)
from simulation.schedules.drawn import CHANGES, PlannedSchedule


def _job(number: int, at: float, **rules: Any) -> PlannedJob:
    fields: dict[str, Any] = {
        "kind": "task",
        "route": "alone",
        "batch": number,
        "priority": 2,
        "group": "default",
        "delay": 0,
        "deadline": None,
        "on_unconfirmed": "auto",
        "runs": 1,
        "has_webhook": False,
    }
    return PlannedJob(number=number, at=at, **fields | rules)


def _jobs(count: int, at: float = 0.5, apart: float = 0.0, **rules: Any) -> list[PlannedJob]:
    return [_job(number, at + apart * number, **rules) for number in range(1, count + 1)]


def _batch(count: int, at: float = 0.5, **rules: Any) -> list[PlannedJob]:
    return _jobs(count, at, route="batch", **{"batch": 1} | rules)


def _fault(kind: str, at: float, seconds: float, share: float = 1.0, number: int = 0) -> Fault:
    return Fault(kind, at, seconds, share, number)


def _plan(
    requests: Sequence[PlannedJob], faults: Sequence[Fault] = (), **fields: Any
) -> SimulationPlan:
    defaults: dict[str, Any] = {
        "seed": 0,
        "minutes": 1,
        "workers": 2,
        "gateways": 1,
        "max_concurrent_runs": 4,
        "max_submissions_per_second": 0,
        "max_requests_per_second": 0,
        "max_run_seconds": 600,
        "run_seconds": 4,
        "bad_run_share": 0,
        "batch_rules": {},
    }
    return SimulationPlan(requests=tuple(requests), faults=tuple(faults), **defaults | fields)


def _timed(
    faults: Sequence[Fault] = (), fields: dict[str, Any] | None = None, seed: int = 0, **others: Any
) -> SimulationPlan:
    """Return a plan whose schedule fires each minute; after the first one clocks change."""
    zone, change = CHANGES[1]
    usual = {"cron": "* * * * *", "timezone": zone, "overlap": "queue", "catch_up": "all"}
    usual["end"] = (change + timedelta(minutes=3)).isoformat()
    schedule = PlannedSchedule("s1", fields={**usual, **(fields or {})}, **others)
    begins = change.timestamp() - 60
    return _plan(_jobs(1), faults, seed=seed, minutes=3, begins=begins, schedules=(schedule,))


def _line(
    count: int = 40, apart: float = 2.0, kinds: Sequence[str] = ("task", "workflow"), **rules: Any
) -> list[PlannedJob]:
    """Return jobs of alternating kinds, one after the other."""
    return [
        _job(index + 1, index * apart, kind=kinds[index % len(kinds)], **rules)
        for index in range(count)
    ]


def _alike(count: int, apart: float, kind: str) -> list[PlannedJob]:
    """Return jobs with equal requests."""
    return [
        _job(index + 1, index * apart, kind=kind, like=int(index > 0)) for index in range(count)
    ]


def _long_plan(
    requests: Sequence[PlannedJob], faults: Sequence[Fault] = (), **fields: Any
) -> SimulationPlan:
    defaults: dict[str, Any] = {
        "seed": 1,
        "minutes": 3,
        "gateways": 0,
        "max_concurrent_runs": 20,
        "max_run_seconds": 120,
        "run_seconds": 8,
    }
    return _plan(requests, faults, **defaults | fields)


def _once_begun(plan: SimulationPlan, seconds: float = 5.0) -> SimulationPlan:
    """Return the plan some seconds later, behind a job by which workers learn their address."""
    later = tuple(replace(one, at=one.at + seconds) for one in plan.requests)
    faults = tuple(replace(one, at=one.at + seconds) for one in plan.faults)
    first = _job(900, 0.2)
    return replace(
        plan, requests=(first, *later), faults=faults, minutes=plan.minutes + seconds / 60
    )


def _stops(*times: float) -> list[Fault]:
    return [
        _fault("a worker is stopped", at, 1, number=index % 3) for index, at in enumerate(times)
    ]


#: One job at a time has a login.
_A_LOGIN = (("login:*", 1),)
_FAILOVER = _fault("redis fails over", 12, 2)
_LATE = _fault("effects come late", 0.2, 10)
_LATE_RUNS = _plan(
    [*_jobs(18, apart=0.3), _job(19, 25)], [_LATE], gateways=0, max_concurrent_runs=20
)
_STUCK = [_job(1, 1, run=ANSWERS_NO_CALL, cancel_after=5), _job(2, 2)]
_MANY: dict[str, Any] = {"max_concurrent_runs": 20, "run_seconds": 2}
_LOST = _fault("answers are lost", 1, 5)
_BAD: dict[str, Any] = {"bad_run_share": 0.8, "run_seconds": 2}
_BILLED: dict[str, Any] = {"credits_per_step": 3, "budgets": (("account", 5000),)}
_PAID: dict[str, Any] = {"keys": (CUSTOMER,), "max_steps": 40}
#: Two runs leave the third job too few steps; the others fit beside them.
_ONE_DOES_NOT_FIT = _plan(
    [
        *_jobs(2, 5, max_steps=100),
        _job(3, 6, group="b", max_steps=450),
        *(_job(number, 8, max_steps=40) for number in range(4, 8)),
    ],
    strict_budget=600,
    budget_scope="account",
    run_seconds=100,
    max_concurrent_runs=20,
    minutes=4,
)
#: The plans by the names of their defects.
PLANS: dict[str, SimulationPlan] = {
    "webhook-dies-with-its-sender": _plan(
        _jobs(6, has_webhook=True),
        [
            _fault("a receiver is slow", 0.1, 40),
            _fault("a worker is killed", 8, 3),
            _fault("a worker is killed", 10, 3, number=1),
        ],
        seed=1,
        run_seconds=2,
    ),
    "batch-callback-is-tried-once": _plan(
        _batch(3),
        [_fault("a receiver fails", 0.1, 20)],
        batch_rules={1: {"callback_url": "https://user.test/batch"}},
    ),
    "claim-ignores-the-pause": _plan(
        _batch(150),
        [_fault("a person pauses the account", 5, 20)],
        max_submissions_per_second=5,
        **_MANY,
    ),
    "claim-ignores-the-deadline": _plan(
        _batch(150, deadline=10.0),
        [_fault("messages are lost", 8, 30)],
        max_submissions_per_second=5,
        **_MANY,
    ),
    "group-cap-counts-old-jobs-only": _plan(
        _batch(12, 8, group="a"),
        [_fault("a person caps a group", 1, 30)],
        max_concurrent_runs=8,
        run_seconds=6,
    ),
    "key-is-never-freed": _plan(_jobs(4, keys=("login:a",)), key_limits=_A_LOGIN),
    "lost-answer-frees-its-key": _plan(
        _jobs(4, 5, keys=("login:a",)),
        [_fault("answers are lost", 4, 3)],
        key_limits=_A_LOGIN,
        run_seconds=40,
    ),
    # Two jobs end in a pause, so two lanes are offered their key at once.
    "claim-counts-a-key-once": _plan(
        [
            *_jobs(2, 8, keys=("login:a",)),
            _job(3, 9, keys=("login:a", "site:x")),
            *(_job(number, 9.5, keys=("login:a",)) for number in (4, 5, 6)),
        ],
        [_fault("a person pauses the account", 10, 15)],
        key_limits=(("login:a", 2), ("site:x", 4)),
        max_concurrent_runs=8,
    ),
    "offered-lane-is-not-listed": _plan(_batch(4, 8, keys=("login:a",)), key_limits=_A_LOGIN),
    "second-key-is-not-asked-for": _plan(
        _batch(6, 8, keys=("login:a", "site:a")), key_limits=(("login:a", 4), ("site:a", 1))
    ),
    "others-may-take-every-slot": _plan(
        _jobs(6, 5),
        [_fault("others run much", 1, 0)],
        run_seconds=60,
        minutes=4,
        shares_capacity=True,
    ),
    "unconfirmed-runs-count-as-others": _plan(
        _jobs(8, 5),
        [_fault("answers are lost", 4, 30)],
        run_seconds=60,
        minutes=4,
        shares_capacity=True,
    ),
    "known-orphan-is-not-given-to-its-job": _plan(
        _jobs(4, 10, again_after=6), [_FAILOVER], run_seconds=100
    ),
    "run-of-a-job-that-is-gone-is-dropped": _plan(
        _jobs(4, 10, again_after=95), [_FAILOVER], minutes=2, run_seconds=300, gateways=0
    ),
    "batch-of-claims-costs-one-permit": _plan(
        _batch(60), max_submissions_per_second=1, max_concurrent_runs=20, run_seconds=1
    ),
    "repeated-claim-takes-new-jobs": _plan(
        _jobs(20, apart=0.7), [_fault("redis loses answers", 1, 12, 0.5)]
    ),
    "held-lanes-stay-in-line": _plan(
        [
            *_batch(20, group="a"),
            *(_job(30 + index, 4, group="b", batch=2, route="batch") for index in range(20)),
        ],
        [_fault("a person pauses a batch", 3, 80)],
        minutes=3,
        max_submissions_per_second=1,
        **_MANY,
    ),
    "ended-hold-lets-all-through": _plan(
        _batch(20), [_fault("the key is refused", 0.1, 100)], max_concurrent_runs=8
    ),
    "orphan-keeps-its-slot-for-ever": _plan(_STUCK, gateways=0, max_run_seconds=60),
    "cancel-is-never-tried-for-long": _plan(_STUCK, gateways=0, max_run_seconds=60),
    "unconfirmed-cancel-leaves-no-slot-taken": _plan(_STUCK, max_run_seconds=900),
    "cancel-is-sent-once": _plan(
        [_job(1, 1, run=NEVER_ENDS, cancel_after=5)],
        [_fault("calls are lost", 4, 10)],
        max_run_seconds=300,
    ),
    "inbox-lines-die-with-their-worker": _plan(
        [_job(n, 1 + n // 5, batch=1 + n // 5, route="inbox") for n in range(40)],
        [_fault("redis loses answers", 0.5, 12, 0.7)],
        seed=1,
    ),
    "finish-is-recorded-twice": _plan(
        _jobs(20, apart=0.5), [_fault("redis loses answers", 1, 25, 0.5)], gateways=0, run_seconds=2
    ),
    "one-search-proves-absence": _LATE_RUNS,
    "absence-counts-before-the-grace": _LATE_RUNS,
    "searches-need-no-spacing": replace(
        _LATE_RUNS, faults=(_LATE, _fault("redis loses answers", 28, 14, 0.6))
    ),
    "resubmit-does-not-wait": _plan(
        _jobs(9, apart=0.3, on_unconfirmed="resubmit"), [_LATE], gateways=0
    ),
    "canceled-resubmit-job-leaves-its-run-alive": _plan(
        _jobs(4, 1, on_unconfirmed="resubmit", cancel_after=2.0, run=NEVER_ENDS),
        [_LOST, _fault("the list fails", 1, 140)],
        gateways=0,
        minutes=4,
        max_run_seconds=3000,
    ),
    "unseen-run-keeps-its-slot": _plan(
        [_job(1, 1, kind="workflow"), *(_job(number, 10) for number in range(2, 5))],
        [_fault("calls are lost", 0.5, 2)],
        max_concurrent_runs=1,
    ),
    "retry-counts-no-runs": _plan(_jobs(4, runs=2), bad_run_share=1.0, run_seconds=1, gateways=0),
    "canceled-job-is-run-again": _plan(
        _jobs(6, runs=3, cancel_after=2.0),
        [_fault("calls are lost", 2.2, 12)],
        bad_run_share=1.0,
        run_seconds=8,
    ),
    "early-webhook-is-dropped": _once_begun(
        _plan(_jobs(10), [_fault("the server is slow", 0.1, 30)], run_seconds=1)
    ),
    "webhook-skips-the-retry-policy": _plan(_jobs(4, runs=2), bad_run_share=1.0, run_seconds=1),
    "retry-after-of-a-429-is-ignored": _plan(
        _jobs(40, apart=0.2),
        [_fault("the server limits", 1, 8, 0.7)],
        max_concurrent_runs=20,
        run_seconds=1,
    ),
    "dead-workers-claims-go-straight-back": _once_begun(
        _plan(
            _jobs(10, apart=0.2),
            [
                _fault("the server is slow", 0.1, 30),
                _fault("a worker is killed", 2, 5),
                _fault("a worker is killed", 2.5, 5, number=1),
            ],
            run_seconds=60,
            gateways=0,
            max_concurrent_runs=20,
        )
    ),
    "deaths-are-not-counted": _plan(
        [_job(1, 1, run=KILLS_WORKERS), *(_job(number, 10.0 * number) for number in range(2, 20))],
        minutes=4,
    ),
    "canceled-batch-leaves-its-runs-alive": _plan(
        _batch(4, run=NEVER_ENDS), [_fault("a person cancels a batch", 5, 0)], max_run_seconds=400
    ),
    "goodbye-forgets-open-claims": _plan(
        _jobs(60, apart=0.2),
        [
            _fault("redis loses answers", 5.9, 2.5),
            _fault("a worker is stopped", 6, 1),
            _fault("a worker is stopped", 6.3, 1, number=1),
        ],
        max_concurrent_runs=30,
        run_seconds=2,
    ),
    "orphans-alone-start-no-poll": _plan(_jobs(3, 10), [_FAILOVER], run_seconds=20, gateways=0),
    "recovery-starts-no-search": _plan(
        [*_jobs(3, 5), _job(9, 45)], [_fault("redis fails over", 30, 2)], run_seconds=2
    ),
    "tick-waits-for-a-time-far-ahead": _plan(
        _jobs(10, apart=3.0),
        [_fault("redis's clock is set", 8, 0, 0.9), _fault("redis restarts", 14, 3)],
    ),
    "due-job-of-a-batch-enters-no-lane": _plan(_batch(3, delay=5.0)),
    "capped-group-forgets-its-urgent-jobs": _plan(
        _jobs(12, 2, group="a", priority=0),
        [_fault("a person caps a group", 2.5, 20)],
        run_seconds=3,
    ),
    "capped-group-gets-no-places-back": _plan(
        _jobs(15, 2, 0.1, group="c"), run_seconds=2, caps=(("c", 2),)
    ),
    "canary-lets-all-go-whatever-came-of-it": _plan(
        _batch(20, 2), bad_run_share=0.9, run_seconds=2, batch_rules={1: {"canary": 2}}
    ),
    "newcomer-group-begins-at-zero": _plan(
        [*_jobs(60, 1, group="a"), *(_job(number, 60, group="c") for number in range(61, 111))],
        minutes=2,
        max_concurrent_runs=2,
        run_seconds=2,
    ),
    "resumed-group-stays-out": _plan(
        _jobs(20, 1, 0.3, group="b"),
        [_fault("a person pauses a group", 3, 10)],
        max_concurrent_runs=2,
        run_seconds=2,
    ),
    "paused-batch-is-submitted": _plan(
        _batch(40, 2),
        [_fault("a person pauses a batch", 6, 40)],
        max_concurrent_runs=2,
        run_seconds=2,
    ),
    "clock-step-moves-users-deadlines": _plan(
        _jobs(20, 1, 1.0, deadline=15_000.0, is_dated=True),
        [_fault("redis's clock is set", 10, 0, 0.7)],
        gateways=0,
    ),
    # Before any process is sure: a sure one sets the clock right with its next report.
    "suspended-server-counts-as-a-clock-step": _plan(
        _jobs(20, 0.3, delay=50, deadline=60),
        [_fault("redis is suspended", 1, 40)],
        workers=1,
        gateways=0,
        minutes=2,
        run_seconds=3,
    ),
    "give-back-takes-the-shortest-wait": _plan(
        _jobs(40, 2),
        [_fault("redis is slow", 1, 60, 0.05), _fault("the server limits", 2, 6)],
        seed=3,
        workers=1,
        max_concurrent_runs=20,
        run_seconds=3,
    ),
    "acceptance-ends-the-servers-wait": _once_begun(
        _plan(
            _jobs(40, 2, 0.01),
            [
                _fault("the server is slow", 1.5, 8, 0.3),
                _fault("the server limits", 2.35, 3, 0.5),
                _fault("the key is refused", 2.35, 3),
            ],
            seed=1,
            minutes=2,
            max_concurrent_runs=40,
            run_seconds=30,
        )
    ),
    "orphans-take-no-slot": _plan(
        [*_jobs(8, 10), *(_job(number, 100) for number in range(9, 25))],
        [_fault("redis fails over", 12, 1)],
        minutes=5,
        max_concurrent_runs=8,
        run_seconds=200,
    ),
    "late-report-of-an-earlier-attempt-counts": _plan(
        _jobs(60, 1, 0.05),
        [_fault("calls are not sent", 1, 80, 0.6), _fault("redis loses answers", 1, 80, 0.8)],
        seed=5,
        minutes=2,
        workers=3,
        max_concurrent_runs=8,
        run_seconds=3,
    ),
    "given-back-claim-keeps-its-slot": _plan(
        _jobs(12, 2), [_fault("calls are not sent", 1, 10)], run_seconds=2
    ),
    "run-of-an-earlier-attempt-is-adopted": _plan(
        _jobs(8, 2),
        [
            _fault("answers are lost", 1, 3),
            _fault("a person settles unconfirmed jobs", 3.4, 0, number=1),
            _fault("the server is slow", 3.5, 60, 0.3),
        ],
        seed=1,
        minutes=2,
        max_concurrent_runs=8,
        run_seconds=6,
    ),
    "held-job-ended-by-its-webhook-leaks-a-slot": _plan(
        _jobs(8, 2),
        [_fault("answers are lost", 1, 3), _fault("the list fails", 1, 150)],
        minutes=4,
        max_concurrent_runs=8,
        max_run_seconds=60,
        run_seconds=80,
    ),
    "cancel-before-the-run-is-known-is-forgotten": _once_begun(
        _plan(
            _jobs(4, 2),
            [
                _fault("the server is slow", 1, 40, 0.5),
                *(_fault("a person cancels a job", 4, 0, number=number) for number in range(4)),
            ],
            minutes=2,
            gateways=0,
            run_seconds=200,
        )
    ),
    "cancel-of-a-running-job-only-flags": _plan(
        _jobs(4, 1),
        [_fault("a person cancels a job", 10, 0, number=number) for number in range(4)],
        minutes=2,
        run_seconds=200,
    ),
    "canceled-for-time-counts-as-canceled": _plan(
        _jobs(4, 1, deadline=20.0), minutes=2, run_seconds=100
    ),
    # The job ends once its cancel was refused for ten minutes, and its run some minutes later.
    "replay-gets-the-run-it-gave-up": _plan(
        _jobs(1),
        [_fault("a person replays dead jobs", 1300, 0)],
        gateways=0,
        minutes=22,
        max_run_seconds=60,
        run_seconds=800,
        refuses_cancels=True,
    ),
    "replay-begins-its-attempts-anew": _plan(
        _jobs(10, 1, 0.3), [_fault("a person replays dead jobs", at, 0) for at in (20, 40)], **_BAD
    ),
    "misconf-throws-records-away": _plan(
        _jobs(60, 1, 0.1),
        [
            _fault("redis has no disk", 3.03, 2),
            _fault("redis has no replica", 10.02, 2),
            _fault("redis is busy", 15, 2),
        ],
        max_concurrent_runs=8,
        run_seconds=3,
    ),
    "missing-webhooks-cost-no-health": _plan(
        _jobs(60, 1, 2.0), [_fault("webhooks are dropped", 0, 900)], minutes=3, run_seconds=8
    ),
    "run-missing-in-the-list-gets-no-get": _plan(
        _jobs(40, 1, 0.2), minutes=3, gateways=0, max_concurrent_runs=20, run_seconds=30
    ),
    "copied-request-keeps-its-old-marker": _plan(
        [_job(number, 1, has_webhook=True, copied_from=number + 1) for number in range(1, 4)],
        gateways=0,
        run_seconds=2,
    ),
    "other-request-under-a-known-key-is-accepted": _plan(
        [*_jobs(2, 1), *(_job(10 + number, 8, key=number) for number in range(1, 3))]
    ),
    "end-seen-by-a-poll-reports-no-webhook": _plan(
        _jobs(4, 1, has_webhook=True), [_fault("webhooks are dropped", 0.5, 60)], run_seconds=2
    ),
    "retry-policy-allows-one-run-more": _plan(_jobs(6, 1, runs=2), **_BAD),
    "retry-policy-ignores-what-it-names": _plan(
        _jobs(20, 1, 0.3, runs=2, retry_on=("timed_out",)), seed=1, **_BAD
    ),
    "marker-names-the-attempt-before": _plan(_jobs(4, 1, runs=3), **_BAD),
    "emptied-server-lists-one-minute": _plan(
        _jobs(4, 1),
        [_fault("redis comes back empty", 115, 1, number=5)],
        minutes=4,
        run_seconds=200,
    ),
    "unconfirmed-server-is-vouched-for": _plan(
        _jobs(15),
        [_FAILOVER],
        minutes=2,
        max_submissions_per_second=1,
        **_MANY | {"run_seconds": 40},
    ),
}

_TASK, _WORKFLOW, _LOGIN = ("task",), ("workflow",), ("login",)
_MIXED = [_fault("answers are mixed up", 10, 60, 0.5)]
_PROXY = [_fault("another answer comes instead", 10, 60, 0.5)]
_UNANSWERED = [_fault("answers are lost", 10, 60, 0.5)]
_FORGED = [_fault("webhooks are forged", 20, 20)]
_LOST_RUNS = [_fault("a worker is killed", 20, 5), _fault("redis fails over", 20.5, 0.5)]
#: Jobs that a slow Redis hinders from being recorded while their workers stop.
_DRAINED = _long_plan(
    _line(120, 0.3),
    [_fault("redis is slow", 10, 60, 0.1), *_stops(*(15 + 2.7 * index for index in range(10)))],
    drain_seconds=5,
    workers=3,
)
_OTHERS = _long_plan(
    _line(60, kinds=_WORKFLOW),
    [
        *(_fault("others run what a job asks for", at, 0, number=at) for at in range(8, 60, 4)),
        _fault("answers are lost", 5, 60, 0.3),
    ],
    run_tags=False,
)
_FLAPPING = _line(10, kinds=_WORKFLOW, run=FLAPS)
_UNREADABLE = _long_plan(_line(10, kinds=_WORKFLOW, run=UNREADABLE, limit=60))
_OVERDUE: dict[str, Any] = {"run": NEVER_ENDS, "deadline": 60.0, "limit": 240}
_FAILING: dict[str, Any] = {"bad_run_share": 1.0, "run_seconds": 3}
_OUTAGES = [_fault("redis is not reached", 20 + 3 * index, 0.8) for index in range(70)]
#: Further plans, with faults of workers, gateways and the way to Skyvern.
PLANS |= {
    "another-requests-answer-is-believed": _long_plan(
        _line(kinds=_WORKFLOW), _MIXED, run_tags=False
    ),
    "another-runs-reading-is-believed": _long_plan(_line(), _MIXED),
    "other-urls-are-no-difference": _long_plan(
        [_job(2 * index, 2.0 * index) for index in range(1, 41)], _MIXED, correlation=False
    ),
    "every-503-counts-as-busy": _long_plan(_line(), _PROXY),
    "gateway-errors-count-as-busy": _long_plan(_line(), _PROXY),
    "acceptance-without-a-run-id-is-a-refusal": _long_plan(_line(), _PROXY),
    "every-422-is-a-refusal": _long_plan(_line(), _PROXY, seed=0),
    "lost-answer-counts-as-not-sent": _long_plan(_line(), _UNANSWERED),
    "post-is-repeated-after-an-error": _long_plan(_line(), _UNANSWERED),
    "lost-answer-is-given-back": _long_plan(_line(), _UNANSWERED),
    "unknown-key-check-kills-jobs": _long_plan(
        _line(),
        [_fault("the key is refused", 5, 28), _fault("calls are lost", 5, 28, 0.5)],
        seed=2,
        workers=3,
    ),
    "stored-list-looks-fresh": _long_plan(
        _line(60, 0.0, _TASK),
        [
            _fault("lists come from a cache", 5, 115),
            _fault("answers are lost", 10, 1.5),
            *_LOST_RUNS,
        ],
        max_submissions_per_second=1,
        max_requests_per_second=20,
    ),
    "list-that-ends-too-early-proves-absence": _long_plan(
        _line(60),
        [_fault("lists have short pages", 5, 100), _fault("answers are lost", 20, 20, 0.5)],
        seed=2,
        version="1.0.40",
    ),
    "failed-page-ends-the-list": _long_plan(
        _line(50, kinds=_WORKFLOW),
        [
            _fault("answers are lost", 18, 0.5),
            _fault("the list fails", 18.55, 80, number=1),
            _fault("others run much", 18.6, 0, number=20),
        ],
        run_tags=False,
    ),
    "failed-list-means-no-list": _long_plan(
        _line(60), [_fault("the list fails", 15, 60, 0.5), _fault("answers are lost", 20, 20, 0.5)]
    ),
    "candidates-do-not-count": _OTHERS,
    "run-of-a-submission-under-way-is-matched": _long_plan(
        _alike(60, 1.0, "workflow"),
        [
            _fault("answers are lost", 5, 60, 0.3),
            _fault("calls are lost", 5, 60, 0.3),
            _fault("the server is slow", 5, 60, 0.6),
        ],
        seed=0,
        run_tags=False,
    ),
    "task-without-url-waits-no-longer": _long_plan(
        _line(30, kinds=_TASK, has_url=False), [_fault("the model is slow", 5, 40, 0.3)]
    ),
    "recovery-does-not-wait-for-the-wire": _long_plan(
        _line(60, 1.0), [_fault("the server begins late", 5, 40), *_LOST_RUNS], seed=2
    ),
    "recovery-believes-a-list-that-is-behind": _long_plan(
        _line(60, 1.0), [_fault("lists stand still", 18, 120), *_LOST_RUNS], run_seconds=60
    ),
    "recovery-passes-over-runs-without-a-marker": _long_plan(
        _line(60, 0.0, _LOGIN), _LOST_RUNS, max_submissions_per_second=1, max_requests_per_second=20
    ),
    "outage-of-reads-cancels-runs": _long_plan(
        _line(20, kinds=_TASK),
        [_fault("runs cannot be read", 10, 190)],
        run_seconds=20,
        max_run_seconds=60,
        minutes=6,
    ),
    "unreadable-run-outlives-its-limit": _UNREADABLE,
    "cancel-of-an-unreadable-run-is-never-believed": _UNREADABLE,
    "running-job-outlives-its-deadline": _long_plan(
        _line(10, kinds=_TASK, **_OVERDUE), max_run_seconds=600
    ),
    "cancel-is-never-given-up": _long_plan(
        _line(2, kinds=_TASK, **_OVERDUE), max_run_seconds=600, refuses_cancels=True
    ),
    "unreadable-orphan-frees-its-slot": _long_plan(
        _line(2, kinds=_TASK, **_OVERDUE),
        [_fault("runs cannot be read", 640, 200)],
        max_run_seconds=900,
        refuses_cancels=True,
        minutes=13,
    ),
    "end-that-is-not-final-is-recorded": _long_plan(_FLAPPING),
    "pending-retry-is-overlooked": _long_plan(_FLAPPING, seed=2),
    "webhook-ends-a-run-that-is-tried-again": _long_plan(_FLAPPING, gateways=2),
    "poll-counts-one-run-too-few": _long_plan(_line(10, runs=3), **_FAILING),
    "webhook-counts-one-run-too-few": _long_plan(_line(10, runs=3), gateways=1, **_FAILING),
    "webhook-without-a-signature-is-taken": _long_plan(_line(20), _FORGED, gateways=1),
    "signature-is-not-checked": _long_plan(_line(20), _FORGED, gateways=1),
    "webhook-of-another-attempt-is-taken": _long_plan(
        _line(60, 1.0),
        [
            _fault("webhooks are forged", 10, 60),
            _fault("answers are lost", 8, 60, 0.9),
            _fault("webhooks are dropped", 8, 60),
        ],
        seed=3,
        gateways=1,
    ),
    "unrecorded-webhook-is-acknowledged": _long_plan(
        _line(20), [_fault("redis is not reached", 20, 20)], gateways=1
    ),
    "webhook-cut-off-by-the-drain-is-given-up": _long_plan(
        _line(has_webhook=True),
        [_fault("a receiver is slow", 10, 60), *_stops(20, 30, 40)],
        drain_seconds=1,
        gateways=1,
    ),
    "receivers-500-is-final": _long_plan(
        _line(has_webhook=True), [_fault("a receiver fails", 10, 60, 0.3)], gateways=1
    ),
    "submission-cut-off-by-the-drain-counts-as-not-sent": _long_plan(
        _line(apart=1.0),
        [_fault("the server is slow", 10, 60, 0.3), *_stops(20, 21)],
        drain_seconds=1,
    ),
    "drain-drops-what-the-last-claim-took": _DRAINED,
    "goodbye-does-not-wait-for-its-records": _DRAINED,
    "damaged-account-stops-all-others": _long_plan(_line(10), has_damaged_account=True),
    "refused-message-starts-nothing": _long_plan(
        _line(80, 1.0), [_fault("the broker is not reached", 5, 90)]
    ),
    "claims-are-taken-over-after-ten-seconds": _long_plan(
        _line(80, 1.0), [_fault("the server is slow", 5, 50, 0.5)]
    ),
    "process-sends-beyond-its-lease": _long_plan(
        _line(60), [_fault("a worker is frozen at a claim", 20, 120)]
    ),
    "lease-is-hardly-longer-than-its-beat": _long_plan(
        _line(30), [_fault("redis is slow", 10, 60, 0.3)]
    ),
    "permit-never-gets-old": _long_plan(
        [
            _job(at + 1, 10.0 if at < 5 else 18.0 if at < 15 else 36.0 if at < 20 else 44.0)
            for at in range(30)
        ],
        [
            _fault("a worker is frozen at a claim", 9.9, 8),
            _fault("a worker is frozen at a claim", 35.9, 8),
        ],
        max_submissions_per_second=1,
        max_requests_per_second=20,
    ),
    "capacity-is-lost-when-a-stage-fails": _long_plan(
        _line(90, 2.5),
        [
            _fault("answers are lost", 10, 230, 0.5),
            _fault("the server is slow", 10, 230, 0.05),
            *_OUTAGES,
        ],
        workers=1,
        minutes=6,
    ),
    "failed-search-is-the-last": _long_plan(
        _line(60), [_fault("answers are lost", 10, 90, 0.4), *_OUTAGES[:28]], seed=2, workers=1
    ),
    "sweep-frees-no-unconfirmed-slots": _long_plan(
        _line(30, kinds=_TASK),
        [_fault("calls are lost", 10, 40, 0.5)],
        max_run_seconds=60,
        correlation=False,
    ),
    "sweep-ends-no-overdue-jobs": _long_plan(
        [
            _job(1, 1.0, run=NEVER_ENDS, limit=240),
            *(_job(number, 5.0, deadline=60.0) for number in range(2, 12)),
        ],
        max_concurrent_runs=1,
        max_run_seconds=600,
    ),
    "sweep-cancels-no-batches": _long_plan(
        _line(30, 0.0, route="batch", batch=1),
        [_fault("a person cancels a batch", 8, 0)],
        max_concurrent_runs=1,
    ),
    "runs-found-by-marker-are-recorded-as-request-matches": _plan(
        _jobs(6, 2, cancel_after=5.0),
        [_LOST],
        minutes=2,
        gateways=0,
        max_concurrent_runs=8,
        run_seconds=400,
    ),
    "failed-list-is-not-repeated": _plan(
        _jobs(60, 1, 0.1),
        [_fault("the list fails", 15, 20)],
        minutes=6,
        gateways=0,
        max_concurrent_runs=60,
        run_seconds=120,
        max_run_seconds=1200,
    ),
    "lost-answer-of-a-lost-claim-is-ignored": _long_plan(
        _line(24, 0.0, _TASK, has_url=False),
        [_fault("the model is slow", 5, 30, 0.3), _fault("redis fails over", 20, 0.5)],
        seed=0,
        max_submissions_per_second=1,
        max_requests_per_second=20,
        max_concurrent_runs=30,
    ),
    "list-that-is-behind-proves-absence": _long_plan(
        _line(30, 1.0, _TASK),
        [
            _fault("the server begins late", 5, 40, 0.5),
            _fault("answers are lost", 15, 40, 0.5),
            _fault("lists stand still", 25, 150),
        ],
        seed=0,
        run_seconds=40,
    ),
    # The heartbeats of the two workers are seconds apart: the one that claimed nothing is first.
    "emptied-redis-is-not-noticed": _plan(
        _jobs(2, 33.3),
        [_fault("a worker is killed", 1, 3, number=1), _fault("redis comes back empty", 34.3, 0.2)],
        minutes=2,
        gateways=0,
        run_seconds=60,
    ),
    "recovery-passes-over-runs-listed-late": _long_plan(
        _line(24, 0.0, _TASK, has_url=False),
        [_fault("the model is slow", 5, 30, 0.4), *_LOST_RUNS],
        workers=1,
        max_submissions_per_second=1,
        max_requests_per_second=20,
        max_concurrent_runs=40,
    ),
    # The second copy is made two seconds before the recovery ends, and lacks what is claimed then.
    "second-failover-keeps-the-first-wait": _long_plan(
        _jobs(30, 0.0),
        [
            _fault("redis fails over", 20, 0.5),
            _fault("the server begins late", 60, 60),
            _fault("a worker is killed", 97.4, 2),
            _fault("a worker is killed", 97.4, 3, number=1),
            _fault("redis fails over", 97.5, 0.5),
        ],
        minutes=5,
        max_submissions_per_second=1,
        max_requests_per_second=20,
        run_seconds=60,
    ),
    "bounded-look-says-no-work": _plan(
        [
            _job(1, 1, group="y"),
            *(_job(n, 2, route="batch", batch=2, group=f"g{n}") for n in range(2, 72)),
            _job(72, 8, group="z"),
        ],
        [
            _fault("a person pauses a batch", 2.5, 150),
            _fault("a worker is killed", 4, 10),
            _fault("a person cancels a batch", 165, 0),
        ],
        workers=1,
        gateways=0,
        minutes=5,
        max_concurrent_runs=1,
        run_seconds=40,
    ),
    "resumed-batch-lists-its-first-lanes-only": _plan(
        [
            _job(1, 1, run=NEVER_ENDS, cancel_after=20.0),
            *(_job(n, 2, route="batch", batch=2, group=f"g{n}") for n in range(2, 652)),
        ],
        [_fault("a person pauses a batch", 5, 25)],
        gateways=0,
        minutes=2,
        max_concurrent_runs=20,
        run_seconds=1,
    ),
    "marker-in-an-answer-is-not-compared": _long_plan(_alike(60, 1.0, "task"), _MIXED, gateways=1),
    "unrecognised-runs-prove-absence": _long_plan(
        _line(40), [_fault("answers are lost", 10, 20, 0.5)], lists_workflows_from=160
    ),
    "records-are-given-up-while-redis-is-away": _long_plan(
        _line(60),
        [_fault("redis is not reached", 20, 20), _fault("the server is slow", 10, 30, 0.1)],
    ),
    "possibly-lost-claim-of-an-upload-is-not-searched": _plan(
        # The new server has a copy made between the lines and their seal; it is sealed again later.
        _batch(4, 2, kind="workflow", again_after=110),
        [_fault("redis is slow", 1.5, 7.5, 0.3), _fault("redis fails over", 11.5, 0.5)],
        gateways=0,
        run_tags=False,
        max_concurrent_runs=20,
        run_seconds=40,
        minutes=4,
    ),
    "more-equal-runs-than-jobs-are-shared-out": _plan(
        [_job(1, 2, kind="workflow"), _job(2, 60, kind="workflow"), _job(3, 90, kind="workflow")],
        [
            _fault("answers are lost", 1, 6),
            _fault("the server begins late", 1, 6, 0.3),
            _fault("others run what a job asks for", 2.5, 0),
        ],
        gateways=0,
        run_tags=False,
        is_declared_shared=False,
        run_seconds=10,
        minutes=3,
    ),
    "old-recovery-ends-a-newer-one": _plan(
        # No run is found before the recovery could end; then Redis fails over once more.
        _jobs(8, 9.3, apart=0.2),
        [
            _fault("redis fails over", 12, 0.5),
            _fault("the list fails", 10, 76),
            _fault("redis is slow", 85, 30, 0.25),
            _fault("redis fails over", 102, 0.3),
        ],
        seed=2,
        max_concurrent_runs=20,
        run_seconds=200,
        minutes=6,
    ),
    "job-ends-before-its-session-is-free": _plan(
        _jobs(4, session=1), gateways=0, session_release=5.0, minutes=2
    ),
    "occupied-run-ends-its-job": _plan(
        _jobs(4, 5, session=1, on_unconfirmed="resubmit"),
        [_fault("answers are lost", 4, 8), _fault("effects come late", 4, 40)],
        seed=1,
        gateways=0,
        run_seconds=100,
        minutes=6,
    ),
    "ended-run-costs-nothing": _plan(
        _jobs(10, 8, apart=0.1, **_PAID), strict_budget=100, run_seconds=30, minutes=8
    ),
    "end-keeps-its-committed-steps": _plan(_jobs(6, 8, **_PAID), strict_budget=100),
    "unconfirmed-job-commits-nothing": _plan(
        _jobs(4, 8, apart=1.0, **_PAID),
        [_fault("answers are lost", 7, 8)],
        strict_budget=100,
        run_seconds=40,
        minutes=3,
    ),
    "claim-commits-no-steps": _plan(_batch(4, 8, **_PAID), strict_budget=90),
    "steps-of-a-retried-run-cost-nothing": _plan(
        _jobs(4, 8, runs=3, **_PAID), strict_budget=2000, minutes=2, **_BAD
    ),
    "credits-of-a-retried-run-cost-nothing": _plan(
        _jobs(4, 8, runs=3, **_PAID), strict_budget=2000, minutes=2, **_BILLED, **_BAD
    ),
    "credits-that-were-expected-stay": _plan(
        _jobs(4, 8, kind="workflow", **_PAID), gateways=0, strict_budget=2000, **_BILLED
    ),
    "strict-budget-forgets-what-is-live": _plan(
        [*_jobs(4, 1, **_PAID), *(_job(number, 20, **_PAID) for number in range(5, 11))],
        strict_budget=200,
        budget_from=10,
        max_concurrent_runs=20,
        run_seconds=60,
        minutes=4,
    ),
    "job-that-does-not-fit-stops-its-account": _ONE_DOES_NOT_FIT,
    "held-budget-wakes-claims": _plan(
        _jobs(4, 5, max_steps=40),
        strict_budget=80,
        budget_scope="account",
        run_seconds=60,
        max_concurrent_runs=20,
        minutes=2,
    ),
    "rate-with-room-has-claims-repeated": _plan(
        [*_jobs(2, 5, keys=("login:a",)), *(_job(number, 5 + number) for number in range(3, 40))],
        key_limits=_A_LOGIN,
        key_rates=(("login:*", 5.0),),
        run_seconds=40,
        max_concurrent_runs=20,
        minutes=2,
    ),
    "job-deferred-for-a-budget-stays-deferred": _ONE_DOES_NOT_FIT,
    # A day begins at 60 s; only then, and only at first, is there room for the third job.
    "largest-job-is-not-first-in-a-new-window": _plan(
        [
            *_jobs(2, 5, max_steps=40),
            _job(3, 6, priority=3, max_steps=100),
            *(_job(number, 55, max_steps=40) for number in range(4, 10)),
        ],
        [_fault("a person pauses the account", 40, 21)],
        strict_budget=100,
        budget_scope="account",
        budget_window=60,
        run_seconds=4,
        minutes=3,
    ),
    "claim-without-a-run-spends-the-rate": _plan(
        _jobs(1, 10, keys=("login:a",)),
        [_fault("the server is unavailable", 8, 12)],
        key_limits=(("login:*", 4),),
        key_rates=(("login:*", 300.0),),
        minutes=3,
    ),
    "ended-holders-are-not-found": _plan(
        _jobs(4, 8, **_PAID), [_fault("redis keeps what has ended", 6, 10)], strict_budget=100
    ),
    # Nine runs are polled rarely when the tenth begins, and few of them at once.
    "lists-begin-with-what-is-due": _plan(
        [
            *_jobs(9, 1, apart=1.7, run=NEVER_ENDS, cancel_after=260.0),
            *(_job(number, 200, run=NEVER_ENDS, cancel_after=60.0) for number in (10, 11)),
        ],
        gateways=0,
        max_concurrent_runs=20,
        minutes=5,
    ),
    # Claims pass the jobs of a busy session by, and those of the jobs behind them are lost.
    "recovery-counts-jobs-that-claims-passed-by": _plan(
        [
            replace(one, session=int(one.number <= 100))
            for one in _batch(104, 8, group="b", kind="login")
        ],
        [
            _fault("a person pauses a group", 3, 16),
            _fault("redis fails over", 21.5, 0.5),
            _fault("a worker is killed", 21.4, 2),
        ],
        workers=1,
        gateways=0,
        max_concurrent_runs=6,
        run_seconds=2,
        minutes=4,
    ),
    "mark-moves-before-the-firing-is-recorded": _timed(
        [_fault("a worker is killed at a firing", 59, 2, number=1)]
    ),
    "schedules-version-is-not-compared": _timed(
        [
            _fault("redis is slow", 50, 20),
            *(_fault("a schedule is paused", 59 + n, 4) for n in range(3)),
        ],
        seed=2,
    ),
    "repeated-upload-has-another-batch": _timed(
        [_fault("a worker is killed at a firing", 59, 2, number=3)], lines=12
    ),
    "overlap-is-not-looked-at": _timed(run_seconds=80),
    "clock-step-moves-the-mark": _timed(
        [_fault("redis's clock is set", 58, 0), _fault("a schedule is paused", 58.2, 0.5)]
    ),
    "repeated-hour-fires-twice": _timed(fields={"cron": "0-3,58,59 2 * * *"}),
    # Both workers die while one of them tells that the batch is over.
    "notice-is-recorded-before-it-is-sent": _plan(
        _batch(2),
        [
            _fault("a receiver is slow", 1, 30),
            *(_fault("a worker is killed", 15.5, 2, number=number) for number in range(2)),
        ],
        has_notices=True,
        minutes=3,
    ),
}
PLANS = {name: replace(plan, name=name) for name, plan in PLANS.items()}
