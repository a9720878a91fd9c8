"""The plan of a simulation, drawn from its seed: processes, limits, requests and faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from simulation.addresses import USER_URL
from simulator.model.releases import DEFAULT_VERSION, RELEASES

#: The share of the simulated time in which faults start; the rest is quiet.
FAULT_SHARE = 0.6


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
        has_url: whether a task names an address; else a model finds one first.
        ends: how its run ends: `never`, `flap` (it fails and is tried again) or `unreadable`
            (never, and it cannot be read); '' = as the plan draws it.
        like: the number of the job whose request it has; 0 = one of its own.
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
    has_url: bool = True
    ends: str = ""
    like: int = 0

    @property
    def body(self) -> int:
        """The number in its request, which jobs with equal requests share."""
        return self.like or self.number

    def __str__(self) -> str:
        rules = {
            "delay": f"{self.delay:g} s" if self.delay else "",
            "deadline": f"{self.deadline:g} s" if self.deadline else "",
            "webhook": "yes" if self.has_webhook else "",
            "end": self.ends,
            "url": "" if self.has_url else "none",
            "request of job": f"{self.like}" if self.like else "",
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
        max_concurrent_runs, max_dispatches_per_second, max_requests_per_second: of the account.
        max_run_seconds: the time limit of a run.
        run_seconds: the average time of a run.
        bad_run_share: the share of runs that fail or time out.
        requests: the jobs to enqueue.
        batch_rules: the rules of each batch, by its number.
        faults: faults and operators' actions, in their order.
        version: the release of Skyvern.
        correlation, run_tags, drain_seconds, max_burst_size: as the settings have them.
        has_damaged_account: whether the workers serve another account, whose keys are damaged.
        refuses_cancels: whether Skyvern answers every cancel with a 500, without an effect.
    """

    seed: int
    minutes: float
    workers: int
    gateways: int
    max_concurrent_runs: int
    max_dispatches_per_second: float
    max_requests_per_second: float
    max_run_seconds: float
    run_seconds: float
    bad_run_share: float
    requests: tuple[PlannedJob, ...]
    batch_rules: dict[int, dict[str, Any]]
    faults: tuple[Fault, ...]
    version: str = DEFAULT_VERSION
    correlation: bool = True
    run_tags: bool = True
    drain_seconds: float = 25
    max_burst_size: int = 5
    has_damaged_account: bool = False
    refuses_cancels: bool = False

    def with_faults(self, faults: tuple[Fault, ...]) -> SimulationPlan:
        """Return the same plan with other faults."""
        return replace(self, faults=faults)

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
    "the key is refused": (1, 30),
    "the server is slow": (5, 60),
    "the server begins late": (5, 60),
    "the model is slow": (5, 60),
    "another answer comes instead": (1, 40),
    "answers are mixed up": (1, 60),
    "runs cannot be read": (20, 200),
    "lists fail": (1, 90),
    "lists have short pages": (5, 120),
    "lists stand still": (5, 120),
    "lists come from a cache": (5, 120),
    "redis loses calls": (1, 30),
    "redis loses answers": (1, 30),
    "redis is slow": (2, 30),
    "redis is not reached": (0.5, 40),
    "redis restarts": (0.2, 20),
    "redis fails over": (0.2, 20),
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
    "webhooks are dropped": (1, 90),
    "webhooks come twice": (1, 90),
    "webhooks are forged": (1, 60),
    "a receiver fails": (1, 90),
    "a receiver's answers are lost": (1, 60),
    "a receiver is slow": (5, 60),
    "a person pauses the account": (1, 40),
    "a person resumes the account": (0, 0),
    "a person cancels a job": (0, 0),
    "a person replays dead jobs": (0, 0),
    "a person changes the limits": (10, 60),
    "a person cancels a batch": (0, 0),
    "a person pauses a batch": (1, 40),
    "a person caps a group": (5, 60),
    "a person pauses a group": (5, 60),
    "a person cancels orphans": (0, 0),
    "a person settles what is in doubt": (0, 0),
    "others run what a job asks for": (0, 0),
    "others run much": (0, 0),
}


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


#: Kinds that are drawn together, since each alone is survived in many ways; and whether they need
#: runs that show no marker.
_THEMES: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("answers are lost", "others run what a job asks for"), True),
    (("answers are lost", "others run much", "lists fail"), True),
    (("answers are lost", "lists have short pages"), True),
    (("answers are lost", "calls are lost", "the server is slow"), True),
    (("answers are mixed up",), True),
    (("redis fails over", "a worker is killed"), True),
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

#: A list that stands still hides the runs that come after it: no search can tell then. So a run
#: comes late, or the list stands still, but not both.
_STILL, _LATE = (
    "lists stand still",
    {
        *("effects come late", "the server begins late", "the model is slow"),
        "a worker is frozen at a claim",
    },
)


def draw(seed: int, minutes: float) -> SimulationPlan:
    """Draw the plan of a seed.

    Args:
        seed: any number.
        minutes: simulated minutes.
    """
    chance = Random(f"plan {seed}")
    seconds = minutes * 60
    first = sorted(FAULTS)[seed % len(FAULTS)]
    requests = tuple(_requests(chance, seconds * FAULT_SHARE))
    at_once = chance.choice([1, 2, 4, 8, 20])
    # All of them must fit into the simulated time.
    fits = seconds / 2 * at_once / len(requests)
    plan = SimulationPlan(
        seed=seed,
        minutes=minutes,
        workers=chance.choice([1, 2, 2, 3, 3]),
        gateways=chance.choice([0, 1, 2, 2]),
        max_concurrent_runs=at_once,
        max_dispatches_per_second=chance.choice([0, 0, 1, 2, 5]),
        max_requests_per_second=chance.choice([0, 10, 10, 20]),
        max_run_seconds=chance.choice([60, 120, 600]),
        run_seconds=min(fits, chance.choice([1, 4, 10, 30])),
        bad_run_share=chance.choice([0, 0.1, 0.4]),
        requests=requests,
        batch_rules={one.batch: _batch_rules(chance) for one in requests},
        faults=tuple(_faults(chance, first, requests, seconds * FAULT_SHARE)),
    )
    odd = Random(f"oddities {seed}")
    if odd.random() < 0.4:
        plan = _with_theme(plan, odd, first, seconds * FAULT_SHARE)
    return _with_oddities(plan, odd)


def _with_theme(plan: SimulationPlan, chance: Random, first: str, until: float) -> SimulationPlan:
    """Draw faults that go together, and one of the kind that the plan has in any case."""
    kinds, is_unmarked = chance.choice(_THEMES)
    if not (_STILL in kinds and first in _LATE) and not (_LATE & {*kinds} and first == _STILL):
        kinds = (first, *kinds)
    count = chance.choice([4, 8, 12])
    faults = _drawn(chance, kinds, plan.requests, until, count, first=kinds)
    if is_unmarked:
        plan = replace(plan, gateways=0, run_tags=False)
    return plan.with_faults(tuple(sorted(faults, key=lambda fault: fault.at)))


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
    are_alike, share = chance.random() < 0.1, chance.choice([0.0] * 6 + [0.05, 0.2])
    if any(fault.kind == "the model is slow" for fault in plan.faults):
        share = 0.3
    firsts: dict[tuple[int, str], int] = {}
    requests = []
    for request in plan.requests:
        if are_alike and request.route != "inbox":
            first = firsts.setdefault((request.batch, request.kind), request.number)
            like = first if first < request.number else 0
            requests.append(replace(request, like=like, has_webhook=False))
        else:
            requests.append(_odd(plan, request, chance) if chance.random() < share else request)
    if plan.refuses_cancels:
        requests[0] = replace(requests[0], kind="task", ends="never", deadline=60.0, like=0)
    return plan.with_requests(tuple(requests))


def _odd(plan: SimulationPlan, request: PlannedJob, chance: Random) -> PlannedJob:
    """Give a request an odd run; one that never ends by itself is canceled."""
    if request.kind == "task":
        # A lost answer to a task without an address is searched for a quarter of an hour.
        if any(fault.kind == "the model is slow" for fault in plan.faults):
            return replace(request, has_url=False)
        return replace(request, ends="never", deadline=60.0)
    if request.kind == "workflow":
        if chance.random() < 0.7 and plan.version == DEFAULT_VERSION:
            return replace(request, ends="flap")
        return replace(request, ends="unreadable")
    return request


def _requests(chance: Random, until: float) -> Iterator[PlannedJob]:
    number, at, batch = 0, 0.0, 0
    count = chance.choice([6, 15, 30, 60, 120])
    sizes = chance.choice([[1], [1, 1, 2, 5], [1, 12], [5, 30]])
    while number < count:
        size = min(chance.choice(sizes), count - number)
        at = min(until, at + chance.expovariate(count / size / until))
        batch += 1
        route = chance.choices(["alone", "batch", "inbox"], [5, 4 if size > 1 else 0, 1])[0]
        group = chance.choice(["default", "default", "a", "b", "own"])
        for _ in range(size):
            number += 1
            yield PlannedJob(
                number=number,
                at=at,
                kind=chance.choices(["task", "workflow", "login"], [6, 3, 1])[0],
                route=route,
                batch=batch,
                priority=chance.choice([2, 2, 2, 0, 1, 3]),
                group=group if group != "own" else f"g{number}",
                delay=chance.choice([0, 0, 0, 0, 5, 30]),
                deadline=chance.choice([None] * 9 + [60.0]),
                on_unconfirmed=chance.choice(["auto"] * 6 + ["park", "resubmit"]),
                runs=chance.choice([1, 1, 1, 2, 3]),
                has_webhook=chance.random() < 0.3,
            )


def _batch_rules(chance: Random) -> dict[str, Any]:
    """Draw the rules of a batch."""
    rules: dict[str, Any] = {}
    if chance.random() < 0.3:
        rules["callback_url"] = f"{USER_URL}/batch"
    if chance.random() < 0.2:
        rules |= {"abort_at_failure_ratio": 0.3, "abort_after": 4}
    if chance.random() < 0.2:
        rules["canary"] = 2
    if chance.random() < 0.1:
        rules["expires_after"] = 40
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
    yield from sorted(drawn, key=lambda fault: fault.at)
