"""The plan of a simulation, drawn from its seed: processes, limits, requests and faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from simulation.processes import EPOCH
from simulation.schedules import drawn
from simulation.virtual.addresses import USER_URL
from simulator.model.releases import DEFAULT_VERSION, RELEASES

#: The share of the simulated time in which faults start; the rest is quiet.
FAULT_SHARE = 0.6


#: A key and a group that a strict budget is set for, and the `max_steps` of most of their jobs:
#: more than runs take in a plan.
CUSTOMER, PAYING = "customer:c", "a"
MAX_STEPS = 40
#: Seconds between two jobs that begin with a key, at least: a faster rate lets several begin at
#: once.
LEAST_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, or an action of an operator.

    Args:
        kind: one of `FAULTS`.
        at: when it starts, simulated seconds.
        seconds: how long it lasts.
        share: the share of calls that it affects, 0 to 1; or, of a clock, how far it is set.
        number: selects a process, job or batch (modulo their number).
    """

    kind: str
    at: float
    seconds: float
    share: float
    number: int

    def __str__(self) -> str:
        return (
            f"{self.at:7.1f} s  {self.kind} for {self.seconds:.1f} s,"
            f" share {self.share:.2f}, number {self.number}"
        )


#: Runs that only a cancel ends; that neither a GET nor a cancel reaches; whose submissions kill
#: the workers that send them.
NEVER_ENDS, ANSWERS_NO_CALL, KILLS_WORKERS = "never ends", "answers no call", "kills workers"
SPECIAL_RUNS = (NEVER_ENDS, ANSWERS_NO_CALL, KILLS_WORKERS)
#: Seconds after which a run is abandoned whose cancel is never confirmed, and some more.
_ABANDONED = (620.0, 640.0)
#: The shares of ended jobs that a batch's callbacks report.
_SHARES = (0.3, 0.6)
#: Runs of workflows: that fail and are tried again by Skyvern; that cannot be read.
FLAPS, UNREADABLE = "fails and is tried again", "cannot be read"
#: The time limit of runs that cannot be read, seconds.
UNREADABLE_LIMIT = 60


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that a producer enqueues.

    Args:
        number: identifies its runs at Skyvern.
        at: when it is enqueued, simulated seconds.
        kind: task, workflow or login.
        route: alone, in a batch, or through the inbox.
        batch: the requests with the same number are enqueued together.
        priority, group, delay, deadline, on_unconfirmed: as `RunQueue.enqueue` has them.
        runs: how many runs its retry policy allows.
        has_webhook: whether a webhook reports its end to a user.
        again_after: seconds from its acceptance until its producer enqueues it once more, under the
            same key; None = never.
        cancel_after: seconds from its acceptance until its producer cancels it; None = never.
        run: what is special about its run, one of `SPECIAL_RUNS`, `FLAPS` or `UNREADABLE`; '' =
            nothing.
        key: the number of the request whose idempotency key it has; 0 = its own.
        retry_on: the ends of a run after which it is run again; empty = the default.
        is_dated: whether delay and deadline are given as times of day.
        copied_from: the number of a request whose marker its webhook URL has; 0 = none.
        has_url: whether a task names an address; else a model finds one first.
        like: the number of the job whose request it has; 0 = one of its own.
        limit: the time limit of its run, seconds; 0 = the account's.
        keys: what it uses together with other jobs.
        max_steps: steps after which its run is stopped; 0 = it names none.
        session: the number of the browser session that its run uses; 0 = none.
    """

    number: int
    at: float
    kind: str
    route: str
    batch: int
    priority: int
    group: str
    delay: float
    deadline: float | None
    on_unconfirmed: str
    runs: int
    has_webhook: bool
    again_after: float | None = None
    cancel_after: float | None = None
    run: str = ""
    key: int = 0
    retry_on: tuple[str, ...] = ()
    is_dated: bool = False
    copied_from: int = 0
    has_url: bool = True
    like: int = 0
    limit: float = 0
    keys: tuple[str, ...] = ()
    max_steps: int = 0
    session: int = 0

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Its keys, and that of its session."""
        return (*self.keys, f"session:{session_id(self.session)}") if self.session else self.keys

    @property
    def body(self) -> int:
        """The number in its request, which jobs with equal requests share."""
        return self.like or self.number

    def __str__(self) -> str:
        rules = {
            "delay": f"{self.delay:g} s" if self.delay else "",
            "deadline": f"{self.deadline:g} s" if self.deadline else "",
            "webhook": "yes" if self.has_webhook else "",
            "enqueued again after": "" if self.again_after is None else f"{self.again_after:g} s",
            "canceled after": "" if self.cancel_after is None else f"{self.cancel_after:g} s",
            "its run": self.run,
            "key": f"of job {self.key}" if self.key else "",
            "retry_on": ", ".join(self.retry_on),
            "dated": "yes" if self.is_dated else "",
            "copied": f"from job {self.copied_from}" if self.copied_from else "",
            "url": "" if self.has_url else "none",
            "request": f"of job {self.like}" if self.like else "",
            "limit": f"{self.limit:g} s" if self.limit else "",
            "keys": " ".join(self.keys),
            "max_steps": str(self.max_steps) if self.max_steps else "",
            "session": str(self.session) if self.session else "",
        }
        return (
            f"{self.at:7.1f} s  job {self.number}: {self.kind}, {self.route}, group {self.group},"
            f" priority {self.priority}, on_unconfirmed {self.on_unconfirmed},"
            f" up to {self.runs} runs"
            + "".join(f", {name} {value}" for name, value in rules.items() if value)
        )


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """One simulation.

    Args:
        seed: the seed of its random numbers.
        minutes: simulated minutes; jobs that have not ended by then get more.
        workers, gateways: numbers of processes.
        max_concurrent_runs, max_submissions_per_second, max_requests_per_second: of the account.
        max_run_seconds: the time limit of a run.
        run_seconds: the average time of a run.
        bad_run_share: the share of runs that fail or time out.
        requests: the jobs to enqueue.
        batch_rules: the rules of each batch, by its number; `is_counted`: its producer says how
            many jobs it has when it seals it.
        faults: faults and operators' actions, in their order.
        caps: the caps of groups that stay.
        key_limits: how many jobs may use a key at a time, by key or pattern.
        key_rates: seconds between two jobs that begin with a key, by key or pattern of these.
        strict_budget: steps that runs of jobs with `max_steps` may take; 0 = any number.
        budget_scope: what the strict budget is for: the jobs with `max_steps`, and no others.
        budget_from: when the strict budget is set, simulated seconds.
        budget_window: when a new window of the strict budget begins, simulated seconds; 0 = it is a
            budget in all.
        budgets: further budgets, which are not strict: what for, and how many steps.
        credits_per_step: what a step of a run is billed; if so, the further budgets are of credits.
        jobs_beside: how many jobs a second account has, whose Skyvern has no fault.
        failing_receivers: the share of webhooks that users' receivers refuse, at any time.
        asks_to_wait: whether a 429 names a time to wait.
        session_release: seconds after a run's end for which it has its browser session.
        version: the release of Skyvern.
        correlation, run_tags, drain_seconds, max_burst_size: as the settings have them.
        has_damaged_account: whether the workers serve another account, whose keys are damaged.
        refuses_cancels: whether Skyvern answers every cancel with a 500, without an effect.
        lists_workflows_from: until then lists show no runs of workflows, simulated seconds.
        has_notices: whether a URL is notified of the batches that are over.
        is_declared_shared: whether the account is declared as shared if others submit to it.
        shares_capacity: whether live runs of others take slots of the account.
        begins: the time of day at its start, unix seconds.
        schedules: of an account of their own, whose Skyvern has no fault.
        name: the planted defect that it was made for; '' = it is drawn.
    """

    seed: int
    minutes: float
    workers: int
    gateways: int
    max_concurrent_runs: int
    max_submissions_per_second: float
    max_requests_per_second: float
    max_run_seconds: float
    run_seconds: float
    bad_run_share: float
    requests: tuple[PlannedJob, ...]
    batch_rules: dict[int, dict[str, Any]]
    faults: tuple[Fault, ...]
    caps: tuple[tuple[str, int], ...] = ()
    key_limits: tuple[tuple[str, int], ...] = ()
    key_rates: tuple[tuple[str, float], ...] = ()
    strict_budget: int = 0
    budget_scope: str = f"key:{CUSTOMER}"
    budget_from: float = 0
    budget_window: float = 0
    budgets: tuple[tuple[str, int], ...] = ()
    credits_per_step: int = 0
    jobs_beside: int = 0
    failing_receivers: float = 0
    asks_to_wait: bool = True
    session_release: float = 1
    version: str = DEFAULT_VERSION
    correlation: bool = True
    run_tags: bool = True
    drain_seconds: float = 25
    max_burst_size: int = 5
    has_damaged_account: bool = False
    refuses_cancels: bool = False
    lists_workflows_from: float = 0
    has_notices: bool = False
    is_declared_shared: bool = True
    shares_capacity: bool = False
    begins: float = EPOCH
    schedules: tuple[drawn.PlannedSchedule, ...] = ()
    name: str = ""

    @property
    def alike(self) -> dict[int, list[int]]:
        """The jobs with the same request, by the number in it, where there are more of them."""
        alike: dict[int, list[int]] = {}
        for request in self.requests:
            if request.like:
                alike.setdefault(request.like, [request.like]).append(request.number)
        return alike

    def with_faults(self, faults: tuple[Fault, ...]) -> SimulationPlan:
        """Return the same plan with other faults, in the order of their times."""
        return replace(self, faults=tuple(sorted(faults, key=lambda fault: fault.at)))

    def with_requests(self, requests: tuple[PlannedJob, ...]) -> SimulationPlan:
        """Return the same plan with other requests."""
        return replace(self, requests=requests)


#: Each kind of fault, and how long it lasts (seconds): the least and the most.
FAULTS: dict[str, tuple[float, float]] = {
    "calls are not sent": (1, 40),
    "calls are lost": (1, 40),
    "answers are lost": (1, 40),
    "effects come late": (1, 20),
    "answers are garbled": (1, 30),
    "the server fails": (1, 40),
    "the server is unavailable": (1, 60),
    "the server limits": (1, 40),
    "the key is refused": (1, 100),
    "the list fails": (5, 150),
    "the server is slow": (5, 60),
    "the server begins late": (5, 60),
    "the model is slow": (5, 60),
    "another answer comes instead": (1, 40),
    "answers are mixed up": (1, 60),
    "runs cannot be read": (20, 200),
    "lists have short pages": (5, 120),
    "lists stand still": (5, 120),
    "lists come from a cache": (5, 120),
    "redis loses calls": (1, 30),
    "redis loses answers": (1, 30),
    "redis is slow": (2, 30),
    "redis is not reached": (0.5, 40),
    "redis restarts": (0.2, 20),
    "redis fails over": (0.2, 20),
    "redis comes back empty": (0.2, 20),
    "redis keeps what has ended": (5, 60),
    "redis is suspended": (1, 60),
    "redis is full": (1, 30),
    "redis is read-only": (1, 30),
    "redis has no disk": (1, 30),
    "redis is busy": (0.5, 10),
    "redis has no replica": (1, 30),
    "redis's clock is set": (0, 0),
    "a worker is killed": (0.5, 60),
    "a worker is stopped": (0.5, 30),
    "a worker is frozen": (0.5, 40),
    "a worker is frozen at a claim": (15, 135),
    "a worker's clock is set": (0, 0),
    "a gateway is killed": (0.5, 40),
    "a gateway is frozen": (0.5, 20),
    "messages are lost": (1, 40),
    "messages come twice": (1, 60),
    "messages are late": (1, 40),
    "the broker is not reached": (1, 120),
    "webhooks are dropped": (1, 180),
    "webhooks come twice": (1, 90),
    "webhooks are forged": (1, 60),
    "a receiver fails": (1, 90),
    "a receiver's answers are lost": (1, 60),
    "a receiver is slow": (5, 60),
    "a person pauses the account": (1, 90),
    "a person resumes the account": (0, 0),
    "a person cancels a job": (0, 0),
    "a person replays dead jobs": (0, 0),
    "a person discards dead jobs": (0, 0),
    "a person changes the limits": (10, 60),
    "a person changes a key's limit": (10, 60),
    "a person lowers the budget": (10, 60),
    "a person cancels a batch": (0, 0),
    "a person pauses a batch": (1, 120),
    "a person caps a group": (5, 60),
    "a person pauses a group": (5, 60),
    "a person cancels orphans": (0, 0),
    "a person settles unconfirmed jobs": (0, 0),
    "others run what a job asks for": (0, 0),
    "others run much": (0, 0),
}

#: Those that only plans with schedules have.
OF_SCHEDULES: dict[str, tuple[float, float]] = {
    "a worker is killed at a firing": (0.5, 120),
    "a schedule is paused": (1, 60),
    "a schedule fires by hand": (0, 0),
}
#: Of schedules, and what is hardest for them: each is drawn as often as it is named.
_BESIDE_SCHEDULES = (
    *("a worker is killed at a firing",) * 4,
    *("redis fails over", "redis's clock is set", "a schedule is paused") * 2,
    *("a schedule fires by hand", "a worker is killed", "a worker is frozen", "redis is slow"),
    *("redis is not reached", "redis loses answers", "a worker's clock is set"),
)
#: The share of seeds that have schedules.
_SCHEDULES_SHARE = 0.15

#: Beginnings of the kinds that leave the queue's own processes, messages and Redis alone.
OF_SKYVERN = (
    *("a person", "a receiver", "webhooks", "a gateway", "calls", "answers", "effects"),
    *("the server", "the key", "the list", "lists", "another answer", "runs", "the model"),
    "others",
)
#: Kinds that are drawn more often than others, because they are the hardest to survive.
_WEIGHTS = {
    "redis fails over": 5,
    "redis restarts": 2,
    "redis's clock is set": 3,
    "answers are lost": 4,
    "effects come late": 3,
    "calls are lost": 2,
    "another answer comes instead": 2,
    "answers are mixed up": 2,
    "lists have short pages": 2,
    "lists come from a cache": 2,
    "a worker is killed": 4,
    "a worker is frozen": 3,
    "a worker is stopped": 3,
    "redis loses answers": 2,
    "webhooks are dropped": 2,
    "a person cancels a job": 2,
    "a person cancels a batch": 2,
    "a person replays dead jobs": 2,
}


_SETTLES = "a person settles unconfirmed jobs"
#: Kinds that are hardest to survive one after the other, and how many seconds after the first.
_SEQUENCES: tuple[tuple[tuple[str, float], ...], ...] = (
    (("redis fails over", 0), ("redis fails over", 75)),
    (("answers are lost", 0), (_SETTLES, 4), ("a person discards dead jobs", 25)),
    (("answers are lost", 0), (_SETTLES, 4), ("a person replays dead jobs", 25)),
    (("answers are lost", 0), (_SETTLES, 3), ("the server is slow", 3)),
    (("answers are lost", 0), ("a person cancels a batch", 3), ("webhooks are dropped", 0)),
    (("the server is slow", 0), ("a person cancels a job", 3), ("a person cancels a batch", 3)),
    (("calls are not sent", 0), ("redis loses answers", 0), ("the server is slow", 0)),
    (("the server is slow", 0), ("the server limits", 2), ("the key is refused", 2)),
    (("redis is slow", 0), ("the server limits", 2)),
    (("answers are lost", 0), ("the list fails", 0)),
)
#: Kinds that are drawn together, since each alone is survived in many ways; and whether they need
#: runs that show no marker.
_THEMES: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("answers are lost", "others run what a job asks for"), True),
    (("answers are lost", "others run much", "the list fails"), True),
    (("answers are lost", "lists have short pages"), True),
    (("answers are lost", "calls are lost", "the server is slow"), True),
    (("answers are mixed up",), True),
    *((("redis fails over", "a worker is killed"), True),) * 3,
    (("redis fails over", "a worker is killed", "lists stand still"), False),
    (("redis fails over", "answers are lost", "lists come from a cache"), False),
    (("redis fails over", "a worker is killed", "the server begins late"), False),
    (("redis fails over", "a worker is killed", "the model is slow"), False),
    (("redis is not reached", "answers are lost"), False),
    (("redis is slow", "a worker is stopped"), False),
    (("a worker is stopped", "the server is slow", "a receiver is slow"), False),
    (("a worker is frozen at a claim", "a worker is frozen"), False),
    (("webhooks are forged", "answers are lost"), False),
    (("the key is refused", "calls are lost"), False),
    (("runs cannot be read",), True),
    (("the broker is not reached",), False),
)
#: Kinds that seldom have an effect by chance. A plan that has one of them in any case gets three
#: more faults of it.
_SELDOM_MET = {
    "a gateway is frozen",
    "a receiver fails",
    "a receiver's answers are lost",
    "another answer comes instead",
    "answers are garbled",
    "calls are not sent",
    "effects come late",
    "lists stand still",
    "messages are late",
    "messages are lost",
    "redis has no replica",
    "redis is full",
    "redis is read-only",
    "redis is suspended",
    "the list fails",
    "the model is slow",
    "the server fails",
    "the server is unavailable",
    "webhooks come twice",
}
#: A list that stands still hides the runs that come after it: no search can tell then. So a run
#: comes late, or the list stands still, but not both.
_STILL, _LATE = (
    "lists stand still",
    {
        *("effects come late", "the server begins late", "the model is slow"),
        "a worker is frozen at a claim",
    },
)


#: Kinds by which Redis loses what it knew.
_LOSES_DATA = ("redis comes back empty", "redis fails over")


def draw(seed: int, minutes: float, *, has_schedules: bool = False) -> SimulationPlan:
    """Draw the plan of a seed.

    Args:
        seed: any number.
        minutes: simulated minutes.
        has_schedules: whether it has schedules in any case.
    """
    chance = Random(f"plan {seed}")
    seconds = minutes * 60
    first = first_kind(seed)
    requests = tuple(_requests(chance, seconds * FAULT_SHARE))
    requests = _with_special_jobs(Random(f"special jobs {seed}"), requests)
    at_once = chance.choice([1, 2, 4, 8, 20])
    # All of them must fit into the simulated time.
    fits = seconds / 2 * at_once / len(requests)
    plan = SimulationPlan(
        seed=seed,
        minutes=minutes,
        workers=chance.choice([1, 2, 2, 3, 3]),
        gateways=chance.choice([0, 1, 2, 2]),
        max_concurrent_runs=at_once,
        max_submissions_per_second=chance.choice([0, 0, 1, 2, 5]),
        max_requests_per_second=chance.choice([0, 10, 10, 20]),
        max_run_seconds=max(chance.choice([60, 120, 600]), _least_run_seconds(requests)),
        run_seconds=min(fits, chance.choice([1, 4, 10, 30, 90])),
        bad_run_share=chance.choice([0, 0.1, 0.4]),
        requests=requests,
        batch_rules={one.batch: _batch_rules(chance) for one in requests},
        faults=tuple(_faults(chance, first, requests, seconds * FAULT_SHARE)),
        caps=(("c", chance.choice([1, 2, 4])),) if chance.random() < 0.4 else (),
    )
    odd = Random(f"oddities {seed}")
    if odd.random() < 0.4:
        plan = _with_theme(plan, odd, first, seconds * FAULT_SHARE)
    if first in _SELDOM_MET:
        plan = _with_more_of(first, plan, Random(f"more {seed}"), seconds * FAULT_SHARE)
    keyed = _with_keys(_with_oddities(plan, odd), Random(f"keys {seed}"))
    plan = _with_budget(keyed, Random(f"budget {seed}"))
    plan = _with_sessions(plan, Random(f"sessions {seed}"))
    plan = _with_surroundings(plan, Random(f"surroundings {seed}"))
    plan = _with_pauses_of_canaries(plan, Random(f"canaries {seed}"))
    plan = _with_visits(plan, Random(f"visits {seed}"))
    if any(fault.kind == "others run much" for fault in plan.faults):
        plan = replace(plan, shares_capacity=Random(f"shares {seed}").random() < 0.5)
    plan = _with_meeting(seed, plan, Random(f"meeting {seed}"))
    chance = Random(f"schedules {seed}")
    has_schedules |= chance.random() < _SCHEDULES_SHARE
    return _with_schedules(plan, chance) if has_schedules else plan


def _with_schedules(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Give a plan schedules, a change of the clocks, faults about the minutes, and few others."""
    zone, begins = drawn.begins(chance)
    schedules = tuple(drawn.schedules(chance, zone, begins + plan.minutes * 60))
    faults = list(plan.faults[:2])
    for _ in range(chance.choice([0, 2, 4, 8])):
        kind = chance.choice(_BESIDE_SCHEDULES)
        least, most = (FAULTS | OF_SCHEDULES)[kind]
        minute = chance.randrange(math.ceil(plan.minutes)) * 60 - begins % 60
        at = minute + chance.gauss(0, 2)
        if not 5 < at < _until(plan):
            at = chance.uniform(5, _until(plan))
        seconds, share = chance.uniform(least, most), chance.choice([0.3, 0.7, 1.0])
        faults.append(Fault(kind, round(at, 3), round(seconds, 3), share, chance.randrange(100)))
    plan = replace(plan, begins=begins, schedules=schedules, requests=plan.requests[:3])
    return plan.with_faults(tuple(faults))


def first_kind(seed: int) -> str:
    """Return the kind that a plan has in any case: each comes once in as many seeds as there are.

    In which order it is drawn anew, so that neighbouring seeds have kinds of all sorts.
    """
    kinds = sorted(FAULTS)
    Random(f"kinds {seed // len(kinds)}").shuffle(kinds)
    return kinds[seed % len(kinds)]


def session_id(number: int) -> str:
    """Return the id that Skyvern gives the browser session that is made as the nth."""
    return f"pbs_{100_000_000 + number}"


def _with_surroundings(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Draw what is around the account: another one, users' receivers, Skyvern's words of 429s."""
    return replace(
        plan,
        jobs_beside=chance.choice([0, 0, 0, 6]),
        failing_receivers=chance.choice([0, 0, 0, 0.2, 0.5]),
        asks_to_wait=chance.random() < 0.5,
    )


def _with_sessions(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Give requests browser sessions; the runs of each fit into the time, one after another."""
    # Others may use a job's session, too.
    are_others = any(fault.kind == "others run what a job asks for" for fault in plan.faults)
    if chance.random() < 0.75 and not are_others:
        return plan
    longest = sum((plan.run_seconds + 5) * request.runs for request in plan.requests)
    count = math.ceil(longest / (plan.minutes * 15))
    changed = [
        replace(request, session=chance.randint(1, count))
        if not request.run and not request.like and chance.random() < 0.6
        else request
        for request in plan.requests
    ]
    return replace(
        plan.with_requests(tuple(changed)), session_release=chance.choice([0.0, 1.0, 5.0])
    )


def _with_pauses_of_canaries(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Have a person pause a batch now and then while its canary runs."""
    starts = {
        one.at
        for one in plan.requests
        if one.route == "batch" and plan.batch_rules[one.batch].get("canary")
    }
    pauses = [
        Fault(
            "a person pauses a batch",
            round(min(at + chance.uniform(0, plan.run_seconds), _until(plan)), 3),
            round(chance.uniform(0, plan.run_seconds), 3),
            1.0,
            0,
        )
        for at in sorted(starts)
        if chance.random() < 0.5
    ]
    return plan.with_faults((*plan.faults, *pauses))


def _with_visits(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Have a person replay what has died of a deadline, or pause an idle group, now and then."""
    of_group = [one.at for one in plan.requests if one.group == "b"]
    if of_group and chance.random() < 0.4:
        pause = Fault("a person pauses a group", max(0.0, of_group[0] - 1), 10.0, 1.0, 0)
        plan = plan.with_faults((*plan.faults, pause))
    ends = [one.at + one.deadline for one in plan.requests if one.deadline and one.deadline < 100]
    over = [end for end in ends if end + 20 < _until(plan)]
    if not over or chance.random() < 0.4:
        return plan
    at = round(chance.choice(over) + chance.uniform(2, 20), 3)
    replay = Fault("a person replays dead jobs", at, 0.0, 1.0, chance.randrange(100))
    return plan.with_faults((*plan.faults, replay))


def _with_meeting(seed: int, plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Change a plan by one of `_MEETINGS` in sixteen of twenty-four seeds, by each as often."""
    if first_kind(seed) == "the model is slow":  # for jobs that a meeting would make plain
        return plan
    cards = [*_MEETINGS, *_MEETINGS, *[None] * 8]
    Random(f"meetings {seed // len(cards)}").shuffle(cards)
    meeting = cards[seed % len(cards)]
    return meeting(plan, chance) if meeting else plan


def _start_of_meeting(plan: SimulationPlan) -> float:
    """Return when a meeting begins, so that its last fault starts in time; simulated seconds."""
    return max(0.0, min(plan.requests[0].at, _until(plan) - _MEETING_SECONDS))


def _at_once(plan: SimulationPlan, apart: float) -> SimulationPlan:
    """Have all batches come one right after the other, without a delay."""
    start = _start_of_meeting(plan)
    return plan.with_requests(
        tuple(replace(one, at=start + one.batch * apart, delay=0) for one in plan.requests)
    )


def _runs_fail_late(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Leave failed jobs no time to run again."""
    hurried = [
        replace(
            one,
            runs=max(one.runs, 2),
            retry_on=("failed", "timed_out"),
            has_webhook=True,
            deadline=one.deadline or one.delay + plan.run_seconds + chance.choice([4.0, 12.0]),
        )
        for one in plan.requests
    ]
    return replace(plan.with_requests(tuple(hurried)), bad_run_share=0.6)


def _calls_are_few(plan: SimulationPlan, _chance: Random) -> SimulationPlan:
    """Have many jobs wait for the rate of requests alone."""
    return replace(
        _at_once(plan, 0.3),
        max_requests_per_second=2,
        max_submissions_per_second=0,
        max_concurrent_runs=20,
        gateways=0,
        run_seconds=min(plan.run_seconds, 4),
    )


def _claims_are_lost_with_runs_to_come(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Have Redis lose the claims of submissions whose runs are still to come."""
    start = _start_of_meeting(plan)
    jobs = _plain_jobs(plan, [0.2 * number for number in range(60)])
    plan = replace(_with_plain_jobs(plan, jobs), max_concurrent_runs=200)
    more = (
        Fault("effects come late", start, 10.0, 0.7, 0),
        Fault(chance.choice(_LOSES_DATA), start + 9, chance.choice([0.5, 20.0]), 1.0, 0),
    )
    return plan.with_faults((*_without_still_lists(plan), *more))


def _webhooks_are_cut_off(plan: SimulationPlan, _chance: Random) -> SimulationPlan:
    """Kill the only gateway while it records bad ends of runs whose answers were lost."""
    start = _start_of_meeting(plan)
    more = (
        Fault("answers are lost", start, 7.0, 1.0, 0),
        Fault("redis is slow", start + 5, 20.0, 1.0, 0),
        Fault("a gateway is killed", start + 8, 40.0, 1.0, 0),
        Fault("webhooks are dropped", start + 8, 180.0, 1.0, 0),
    )
    plan = _at_once(plan, 0.1).with_faults((*plan.faults, *more))
    many = [
        replace(one, runs=max(one.runs, 2), retry_on=("failed", "timed_out"))
        for one in plan.requests
    ]
    return replace(
        plan.with_requests(tuple(many)),
        max_submissions_per_second=0,
        max_requests_per_second=0,
        max_concurrent_runs=20,
        gateways=1,
        run_seconds=min(plan.run_seconds, 4),
        bad_run_share=0.6,
    )


def _two_attempts_are_lost(plan: SimulationPlan, _chance: Random) -> SimulationPlan:
    """Have jobs lose an attempt, and the next one once it is proved that there is no run."""
    start = _start_of_meeting(plan)
    plan = _with_steady_jobs(plan)
    more = (
        Fault("calls are lost", start, 4.0, 1.0, 0),
        Fault("a worker is frozen at a claim", start + 58, 90.0, 1.0, 0),
    )
    return plan.with_faults((*_without_still_lists(plan), *more))


def _an_old_claim_comes_back(plan: SimulationPlan, _chance: Random) -> SimulationPlan:
    """Freeze a worker at its claim until another one has claimed its jobs; then freeze that one."""
    start = _start_of_meeting(plan)
    plan = _with_steady_jobs(plan)
    more = (
        Fault("a worker is frozen at a claim", max(0.0, start - 1), 100.0, 1.0, 0),
        Fault("a worker is frozen at a claim", start + 70, 60.0, 1.0, 0),
    )
    return plan.with_faults((*_without_still_lists(plan), *more))


def _an_orphan_takes_a_slot(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Have jobs come while a canceled run that no call reaches has a slot and keys as an orphan."""
    stuck, *others = _plain_jobs(plan, [0] * 40)
    keys = ("login:l0", "site:a")
    late = [
        replace(
            one,
            delay=round(chance.uniform(*_ABANDONED), 3),
            keys=() if one.number % 10 else keys[: one.number // 20],
        )
        for one in others
    ]
    stuck = replace(stuck, kind="task", run=ANSWERS_NO_CALL, cancel_after=5.0, keys=keys)
    return replace(
        _with_plain_jobs(plan, (stuck, *late)),
        key_limits=(("login:*", 1), ("site:a", 1)),
        max_concurrent_runs=3,
        max_run_seconds=_least_run_seconds([stuck]),
    )


def _workers_are_killed_by_a_job(plan: SimulationPlan, _chance: Random) -> SimulationPlan:
    """Have the submissions of one job kill workers, while runs of others prove that it has none."""
    killer, *others = _plain_jobs(plan, [0, *range(5, 400, 8)])
    killer = replace(killer, kind="task", run=KILLS_WORKERS)
    return replace(_with_plain_jobs(plan, (killer, *others)), workers=3)


def _with_steady_jobs(plan: SimulationPlan) -> SimulationPlan:
    """Have one job come after another, whose runs prove that a lost attempt of the first has none.

    That proof takes a minute; then no job comes until the first ones were claimed again.
    """
    jobs = _plain_jobs(plan, [0, 0, 0, *range(57), *range(78, 150, 4)])
    return replace(_with_plain_jobs(plan, jobs), workers=3, max_concurrent_runs=200)


def _plain_jobs(plan: SimulationPlan, times: Sequence[float]) -> tuple[PlannedJob, ...]:
    """Return jobs of the kinds and groups of a plan without its rules, each with one run.

    Args:
        plan: the plan.
        times: when each comes, seconds from the start of the meeting.
    """
    start = _start_of_meeting(plan)
    return tuple(
        PlannedJob(
            number=at + 1,
            batch=at + 1,
            at=start + after,
            kind=one.kind,
            route="alone",
            priority=one.priority,
            group=one.group,
            delay=0,
            deadline=None,
            on_unconfirmed="auto",
            runs=1,
            has_webhook=one.has_webhook,
        )
        for at, after in enumerate(times)
        for one in [plan.requests[at % len(plan.requests)]]
    )


def _with_plain_jobs(plan: SimulationPlan, jobs: tuple[PlannedJob, ...]) -> SimulationPlan:
    """Return the plan with short runs of these jobs alone, and without rates, keys and budgets."""
    plan = replace(
        plan.with_requests(jobs),
        batch_rules={one.batch: {} for one in jobs},
        key_limits=(),
        key_rates=(),
        strict_budget=0,
        budgets=(),
        max_submissions_per_second=0,
        max_requests_per_second=0,
        run_seconds=min(plan.run_seconds, 4),
        bad_run_share=0,
    )
    return plan.with_faults(tuple(one for one in plan.faults if one.kind not in _OF_LIMITS))


def _without_still_lists(plan: SimulationPlan) -> tuple[Fault, ...]:
    """Return the faults of a plan whose runs may come late."""
    return tuple(fault for fault in plan.faults if fault.kind != _STILL)


#: From the start of a meeting until its last fault starts, seconds.
_MEETING_SECONDS = 70.0
#: Kinds that need limits on keys, or a budget.
_OF_LIMITS = {
    *("a person changes a key's limit", "a person lowers the budget"),
    "redis keeps what has ended",
}
_MEETINGS = (
    _runs_fail_late,
    _calls_are_few,
    _claims_are_lost_with_runs_to_come,
    _webhooks_are_cut_off,
    _two_attempts_are_lost,
    _an_old_claim_comes_back,
    _an_orphan_takes_a_slot,
    _workers_are_killed_by_a_job,
)


def _with_budget(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Give requests a strict budget, which is enough for all of their runs one after another.

    Many of these runs fail, and are tried again. Further budgets count the same runs.
    """
    is_changed = any(fault.kind == "a person lowers the budget" for fault in plan.faults)
    if chance.random() < 0.75 and not is_changed:
        return plan
    if chance.random() < 0.5:
        more = [
            replace(request, runs=max(request.runs, chance.choice([1, 2, 3])))
            for request in plan.requests
        ]
        plan = replace(plan, requests=tuple(more), bad_run_share=0.4)
    is_of_a_group = chance.random() < 0.4
    changed = [_with_max_steps(request, chance, is_of_a_group) for request in plan.requests]
    runs = sum(request.runs for request in changed if request.max_steps)
    steps = math.ceil(3 * runs * (1 + plan.run_seconds / 5)) + 3 * MAX_STEPS
    plan = replace(
        plan.with_requests(tuple(changed)),
        strict_budget=steps,
        budget_scope=f"group:{PAYING}" if is_of_a_group else f"key:{CUSTOMER}",
        budget_from=chance.choice([0.0, 0.0, round(chance.uniform(0, _until(plan)), 3)]),
    )
    is_timed = not any("clock" in fault.kind for fault in plan.faults)
    if is_timed and chance.random() < 0.3:
        plan = replace(plan, budget_window=round(chance.uniform(0.1, 0.9) * plan.minutes * 60))
    plan = _with_changes(plan, chance, "a person lowers the budget")
    if any(fault.kind == "a person lowers the budget" for fault in plan.faults):
        # A line of the inbox that a budget is too small for is set aside for a person.
        other = [
            replace(one, route="batch") if one.route == "inbox" else one for one in plan.requests
        ]
        plan = plan.with_requests(tuple(other))
    if chance.random() < 0.5:
        return plan
    scopes = {"account", f"group:{PAYING}"} - {plan.budget_scope}
    return replace(
        plan,
        budgets=tuple((scope, 100 * steps) for scope in sorted(scopes)),
        credits_per_step=chance.choice([0, 3]),
    )


def _with_max_steps(request: PlannedJob, chance: Random, is_of_a_group: bool) -> PlannedJob:
    """Return a request as one of those that the strict budget is for, or of the others.

    Some need more steps than others, and do not fit while these do.
    """
    may_have = request.kind != "login" and not request.run
    max_steps = chance.choice([MAX_STEPS, MAX_STEPS, 3 * MAX_STEPS])
    if is_of_a_group and request.group == PAYING:
        return replace(request, max_steps=max_steps) if may_have else replace(request, group="b")
    if not is_of_a_group and may_have and chance.random() < 0.7:
        return replace(request, keys=(*request.keys, CUSTOMER), max_steps=max_steps)
    return request


def _with_changes(plan: SimulationPlan, chance: Random, kind: str) -> SimulationPlan:
    """Have a person change a limit now and then, soon after jobs came."""
    least, most = FAULTS[kind]
    changes = [
        Fault(
            kind,
            round(min(chance.choice(plan.requests).at + chance.uniform(0, 10), _until(plan)), 3),
            round(chance.uniform(least, most), 3),
            1.0,
            chance.randrange(100),
        )
        for _ in range(chance.choice([0, 1, 2]))
    ]
    return plan.with_faults((*plan.faults, *changes))


def _until(plan: SimulationPlan) -> float:
    """Return when the last fault may start, simulated seconds."""
    return plan.minutes * 60 * FAULT_SHARE


def _with_keys(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Give requests keys, of which some are limited; all of their jobs fit into the time."""
    of_keys = {"a person changes a key's limit", "redis keeps what has ended"}
    is_changed = any(fault.kind in of_keys for fault in plan.faults)
    if chance.random() < 0.6 and not is_changed:
        return plan
    most = chance.choice([1, 1, 2, 3])
    longest = sum(plan.run_seconds * request.runs for request in plan.requests)
    count = max(2, math.ceil(longest / most / (plan.minutes * 15)))
    changed = []
    for request in plan.requests:
        login = (f"login:l{chance.randrange(count)}",)
        keys = chance.choice([(), login, login, (*login, "site:a"), ("site:b",)])
        changed.append(replace(request, keys=keys))
    limits = (("login:*", most), ("site:a", math.ceil(count * most / 2)))
    rates = _rates(changed, plan.minutes * 30) if chance.random() < 0.3 else ()
    return _with_changes(
        replace(plan.with_requests(tuple(changed)), key_limits=limits, key_rates=rates),
        *(chance, "a person changes a key's limit"),
    )


def _rates(requests: Sequence[PlannedJob], seconds: float) -> tuple[tuple[str, float], ...]:
    """Return a rate of logins by which all runs of each fit into so many seconds; none is fast."""
    runs = Counter({key: 0 for one in requests for key in one.keys if key.startswith("login:")})
    for request in requests:
        runs.update({key: request.runs for key in request.keys if key in runs})
    interval = min(20.0, seconds / max(runs.values(), default=1))
    return (("login:*", round(interval, 3)),) if interval >= LEAST_INTERVAL else ()


def _exclude_each_other(some: set[str], others: set[str]) -> bool:
    """Say whether runs would come late while a list stands still."""
    return bool((_STILL in some and _LATE & others) or (_STILL in others and _LATE & some))


def _with_more_of(kind: str, plan: SimulationPlan, chance: Random, until: float) -> SimulationPlan:
    """Draw more faults of a kind, each about a job's start or end, and what they affect."""
    kinds = {fault.kind for fault in plan.faults}
    if _exclude_each_other({kind}, kinds):
        return plan
    least, most = FAULTS[kind]
    is_of_reports = kind.startswith(("a receiver", "webhooks"))
    after = 5 + plan.run_seconds if is_of_reports else 5
    faults = [
        Fault(
            kind=kind,
            at=round(
                min(chance.choice(plan.requests).at + chance.expovariate(1 / after), until), 3
            ),
            seconds=round(chance.uniform((least + most) / 2, most), 3),
            share=1.0,
            number=chance.randrange(100),
        )
        for _ in range(3)
    ]
    if kind.startswith("a receiver"):
        plan = plan.with_requests(tuple(replace(one, has_webhook=True) for one in plan.requests))
    if kind.startswith(("webhooks", "a gateway")):
        plan = replace(plan, gateways=max(plan.gateways, 1))
    return plan.with_faults((*plan.faults, *faults))


def _with_theme(plan: SimulationPlan, chance: Random, first: str, until: float) -> SimulationPlan:
    """Draw faults that go together, and one of the kind that the plan has in any case."""
    kinds, has_no_marker = chance.choice(_THEMES)
    if not _exclude_each_other({*kinds}, {first}):
        kinds = (first, *kinds)
    count = chance.choice([4, 8, 12])
    faults = _drawn(chance, kinds, plan.requests, until, count, first=kinds)
    if has_no_marker:
        plan = replace(plan, gateways=0, run_tags=False)
    return plan.with_faults(tuple(faults))


def _with_oddities(plan: SimulationPlan, chance: Random) -> SimulationPlan:
    """Draw what few plans have: other settings, another account, odd requests and runs."""
    plan = replace(
        plan,
        version=chance.choices(sorted(RELEASES), [1, 2])[0],
        correlation=chance.random() < 0.95,
        run_tags=plan.run_tags and chance.random() < 0.7,
        drain_seconds=chance.choice([25, 25, 5, 1]),
        max_burst_size=chance.choice([5, 5, 1]),
        has_damaged_account=chance.random() < 0.1,
        refuses_cancels=plan.max_concurrent_runs >= 4 and chance.random() < 0.03,
    )
    if any(fault.kind == "others run what a job asks for" for fault in plan.faults):
        plan = replace(
            plan, max_concurrent_runs=20
        )  # jobs may stay unconfirmed, and keep their slots
    share = chance.choice([0.0] * 6 + [0.05, 0.2])
    if any(fault.kind == "the model is slow" for fault in plan.faults):
        share = 0.6
    if chance.random() < 0.06:  # Many runs outlive their limits, which a worker sees in lists.
        share = 0.8
        plan = replace(plan, max_concurrent_runs=20, gateways=max(plan.gateways, 1))
    requests = [
        _odd(plan, request, chance) if not request.run and chance.random() < share else request
        for request in plan.requests
    ]
    if plan.refuses_cancels:
        requests[0] = replace(
            requests[0], kind="task", run=NEVER_ENDS, delay=0, deadline=60.0, limit=240
        )
    # A job that has the key of one that Redis lost may get its run, and that may never end.
    limits = {request.number: request.limit for request in requests}
    return plan.with_requests(
        tuple(replace(one, limit=one.limit or limits.get(one.key, 0)) for one in requests)
    )


def _odd(plan: SimulationPlan, request: PlannedJob, chance: Random) -> PlannedJob:
    """Give a request an odd run; one that never ends by itself is canceled."""
    if request.kind == "task":
        # A lost answer to a task without an address is searched for a quarter of an hour.
        if any(fault.kind == "the model is slow" for fault in plan.faults):
            return replace(request, has_url=False)
        return replace(request, run=NEVER_ENDS, deadline=request.delay + 60.0, limit=240)
    if request.kind == "workflow":
        if chance.random() < 0.7 and plan.version == DEFAULT_VERSION:
            return replace(request, run=FLAPS)
        return replace(request, run=UNREADABLE, limit=UNREADABLE_LIMIT)
    return request


def _requests(chance: Random, until: float) -> Iterator[PlannedJob]:
    number, at, batch = 0, 0.0, 0
    count = chance.choice([6, 15, 30, 60, 120])
    # Groups of one priority share the capacity only while both wait.
    is_one_line = chance.random() < 0.2
    sizes = chance.choice([[1], [1, 1, 2, 5], [1, 12], [5, 30]])
    while number < count:
        size = min(chance.choice(sizes), count - number)
        at = min(until, at + chance.expovariate(count / size / until))
        batch += 1
        route = chance.choices(["alone", "batch", "inbox"], [5, 4 if size > 1 else 0, 1])[0]
        group = chance.choice(["a", "c"] if is_one_line else ["default", "a", "b", "c", "own"])
        for _ in range(size):
            number += 1
            yield PlannedJob(
                number=number,
                at=at,
                kind=chance.choices(["task", "workflow", "login"], [6, 3, 1])[0],
                route=route,
                batch=batch,
                priority=2 if is_one_line else chance.choice([2, 2, 2, 0, 1, 3]),
                group=group if group != "own" else f"g{number}",
                delay=chance.choice([0, 0, 0, 0, 5, 30]),
                deadline=chance.choice([None] * 8 + [60.0, round(chance.uniform(600, 20_000))]),
                on_unconfirmed=chance.choice(["auto"] * 6 + ["hold", "resubmit"]),
                runs=chance.choice([1, 1, 1, 2, 3]),
                has_webhook=chance.random() < 0.3,
                **_details(chance, number, is_single=route == "alone" and size == 1),
            )


def _with_special_jobs(chance: Random, requests: tuple[PlannedJob, ...]) -> tuple[PlannedJob, ...]:
    """Return the requests, of which some are enqueued again, canceled, due soon, or run oddly."""
    again, canceled, soon = (chance.random() < share for share in (0.3, 0.3, 0.15))
    waits: dict[int, float | None] = {}
    changed = []
    for request in requests:
        if again and request.batch not in waits:
            waits[request.batch] = chance.choice([None, None, 1.0, 6.0, 100.0])
        changes: dict[str, Any] = {"again_after": waits.get(request.batch)}
        if canceled and chance.random() < 0.15:
            changes["cancel_after"] = chance.choice([0.2, 2.0, 10.0, 30.0])
        if soon and chance.random() < 0.3:
            changes["deadline"] = request.delay + chance.choice([8.0, 20.0])
        changed.append(replace(request, **changes))
    odd = chance.choices([*SPECIAL_RUNS, ""], [4, 8, 8, 80])[0]
    tasks = [at for at, request in enumerate(changed) if request.kind == "task"]
    if odd and tasks:
        at = chance.choice(tasks)
        changed[at] = replace(changed[at], run=odd)
        if odd == ANSWERS_NO_CALL:
            changed[at] = replace(changed[at], cancel_after=chance.choice([None, 5.0, 5.0]))
            if changed[at].cancel_after:
                # Half of the others begin once its run is abandoned, and takes a slot as an orphan.
                changed = [
                    replace(one, delay=chance.uniform(*_ABANDONED))
                    if not one.run and one.deadline is None and chance.random() < 0.5
                    else one
                    for one in changed
                ]
    return tuple(changed)


def _details(chance: Random, number: int, *, is_single: bool) -> dict[str, Any]:
    """Draw what few requests have.

    Args:
        chance: the random source of the plan.
        number: the request's.
        is_single: whether it is enqueued by itself.
    """
    details: dict[str, Any] = {
        "retry_on": chance.choice([(), (), ("failed",), ("timed_out",)]),
        "is_dated": chance.random() < 0.3,
        "copied_from": chance.randint(1, number + 1) if chance.random() < 0.1 else 0,
    }
    if is_single and number > 1 and chance.random() < 0.1:
        details["key"] = chance.randrange(1, number)
    return details


def _least_run_seconds(requests: Sequence[PlannedJob]) -> float:
    """Return how long runs may take at least: one that is canceled in vain is abandoned before."""
    return 900.0 if any(one.run == ANSWERS_NO_CALL and one.cancel_after for one in requests) else 0


def _batch_rules(chance: Random) -> dict[str, Any]:
    """Draw the rules of a batch."""
    rules: dict[str, Any] = {}
    if chance.random() < 0.3:
        rules |= {"callback_url": f"{USER_URL}/batch", "callback_at": _SHARES}
    if chance.random() < 0.2:
        rules |= {"abort_at_failure_ratio": 0.3, "abort_after": 4}
    if chance.random() < 0.2:
        rules["canary"] = 2
    if chance.random() < 0.1:
        rules["expires_after"] = 40
    if chance.random() < 0.5:
        rules["is_counted"] = True
    return rules


def _faults(
    chance: Random, first: str, requests: Sequence[PlannedJob], until: float
) -> Iterator[Fault]:
    """Draw faults of a few kinds, often close to each other and to the requests.

    Args:
        chance: the random source of the plan.
        first: the kind of one of them, if there are any.
        requests: the requests of the plan.
        until: when the last may start, simulated seconds.
    """
    count = chance.choice([0, 2, 4, 8, 16, 24])
    weighted = [kind for kind in sorted(FAULTS) for _ in range(_WEIGHTS.get(kind, 1))]
    kinds = chance.sample(weighted, chance.choice([1, 2, 3, 3, 6, 16]))
    if _STILL in {first, *kinds}:
        kinds = [kind for kind in kinds if kind not in _LATE] or [_STILL]
        first = _STILL if first in _LATE else first
    yield from _drawn(chance, kinds, requests, until, count, first=[first])


def _drawn(
    chance: Random,
    kinds: Sequence[str],
    requests: Sequence[PlannedJob],
    until: float,
    count: int,
    *,
    first: Sequence[str],
) -> Iterator[Fault]:
    """Draw so many faults, those of the first kinds first; arguments as in `_faults`."""
    drawn: list[Fault] = []
    while len(drawn) < count:
        kind = first[len(drawn)] if len(drawn) < len(first) else chance.choice(kinds)
        least, most = FAULTS[kind]
        seconds = min(most, least * (most / least) ** chance.random()) if least else most
        draw = chance.random()
        at = chance.uniform(0.0, until)
        if draw < 0.4:
            at = chance.choice(requests).at + chance.expovariate(0.2)
        elif draw < 0.7 and drawn:
            at = chance.choice(drawn).at + chance.expovariate(0.3)
        drawn.append(
            Fault(
                kind,
                round(min(at, until), 3),
                round(seconds, 3),
                round(chance.choice([0.05, 0.3, 0.7, 1.0]), 3),
                chance.randrange(100),
            )
        )
    if count and chance.random() < 0.3:
        drawn += _sequence(chance, max(0.0, chance.choice(requests).at - 1), until)
    yield from sorted(drawn, key=lambda fault: fault.at)


def _sequence(chance: Random, start: float, until: float) -> Iterator[Fault]:
    """Draw faults that are hard to survive one after the other.

    Args:
        chance: the random source of the plan.
        start: when the first of them starts, simulated seconds.
        until: when the last may start, simulated seconds.
    """
    for kind, after in chance.choice(_SEQUENCES):
        least, most = FAULTS[kind]
        yield Fault(
            kind,
            round(min(start + after * chance.uniform(0.7, 1.3), until), 3),
            round(chance.uniform(least, most), 3),
            chance.choice([0.3, 0.7, 1.0]),
            chance.randrange(100),
        )
