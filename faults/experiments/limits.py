"""What the server allows, and what limits on keys allow: how much of it is used, and never more."""

import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from faults.lab import SEARCHED, Lab, line
from faults.registry import experiment
from faults.workers import Worker
from runqueue.store.budgets import Budget
from runqueue.store.key_limits import KeyLimit

RATE = 20
#: Share of the allowed rate that has to be used.
GOODPUT = 0.9
#: How many may have each key at a time, and seconds that a run with one takes.
KEY_LIMITS, RUN_SECONDS = {"login:a": 1, "login:b": 2, "login:c": 4}, 40.0
#: Share of a key's limit that has to be used while jobs wait for it.
KEY_USED = 0.99
#: Later jobs that may begin before one at a key, in times of its limit.
OVERTAKEN = 10
#: Jobs of one key each, and of both, in their order in the queue.
TWO_KEYS = (("login:a",), ("login:b",)) * 5 + (("login:a", "login:b"),)
#: Seconds after which what waits for its budget is checked again.
CHECK_SECONDS = 5.0
#: Steps of the budgets of two groups, and the most that a run takes.
STEPS, MAX_STEPS = 40, 3
_POLLS = {"RUNQUEUE_POLL_MIN_SECONDS": "0.05", "RUNQUEUE_POLL_MAX_SECONDS": "0.05"}
#: Seconds between two kills.
_BETWEEN = 8.0
_STORM = {
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "200",
    "RUNQUEUE_MAX_BURST_SIZE": "5",
}
_LIMITED = ("--duration", "0.5", "--max-requests-per-second", str(RATE))


def _storm(lab: Lab, jobs: int, *, named: bool) -> None:
    for _ in range(2):
        worker = lab.worker()
        if not named:
            # As long as what it replaces, and no rate that could be read out of it.
            worker.api.down.rewrite = (b"requests per", b"too much for")
        worker.start()
    lab.submit(jobs)
    lab.settle(jobs / RATE * 3 + 60)
    times = sorted(run["created"] for run in lab.simulator.runs())
    # The last second is not full, and the first is the burst that teaches the pace.
    used = len(times) / (times[-1] - times[0]) / RATE
    refused = lab.simulator.summary()["submissions"] - len(times)
    lab.note(f"goodput {used:.0%} of {RATE}/s, {refused} refused")
    lab.expect(refused > 0, "nothing was refused")
    lab.expect(used >= GOODPUT, f"goodput was {used:.1%}")


@experiment(
    "429 storm without Retry-After, the rate named",
    "the plan allows a tenth of what the workers try, and says so in words",
    jobs=1200,
    simulator=_LIMITED,
    settings=_STORM,
)
def named_storm(lab: Lab, jobs: int) -> None:
    """The rate in the message is kept to."""
    _storm(lab, jobs, named=True)


@experiment(
    "429 storm without Retry-After, no rate named",
    "the same, and the message tells no rate",
    jobs=1200,
    simulator=_LIMITED,
    settings=_STORM,
)
def unnamed_storm(lab: Lab, jobs: int) -> None:
    """The pace is found by halving and creeping."""
    _storm(lab, jobs, named=False)


@experiment(
    "kill -9 of workers that contend for keys",
    "three workers, one of which is killed every 8 s; three keys with limits of 1, 2 and 4",
    jobs=42,
    simulator=("--duration", str(RUN_SECONDS)),
    settings=_POLLS,
)
def contended_keys(lab: Lab, jobs: int) -> None:
    """No limit is exceeded, by the server's record, and what it allows is used."""
    in_turn = [key for key, most in KEY_LIMITS.items() for _ in range(most)]
    keys = [(in_turn[number % len(in_turn)],) for number in range(jobs)]
    by_key = _run_with_keys(lab, keys, KEY_LIMITS, kills=12, seconds=jobs * RUN_SECONDS)
    for key, most in KEY_LIMITS.items():
        used = _used(by_key[key], most)
        lab.note(f"{key}: {used:.1%} of {most} used")
        lab.expect(used >= KEY_USED, f"{used:.1%} of {most} was used of {key}")


@experiment(
    "kill -9 of workers while jobs need two keys",
    "the same; every eleventh job needs both of two keys with limits of 1, the others need one",
    jobs=110,
    simulator=("--duration", "0.5"),
    settings=_POLLS,
)
def overtaken_at_keys(lab: Lab, jobs: int) -> None:
    """A job that needs two keys gets them, although others always wait for one."""
    keys = [TWO_KEYS[number % len(TWO_KEYS)] for number in range(jobs)]
    limits = dict.fromkeys(("login:a", "login:b"), 1)
    by_key = _run_with_keys(lab, keys, limits, kills=4, seconds=600)
    most = max(_overtakings(by_key[key]) for key in limits)
    lab.note(f"overtaken at most {most} times")
    lab.expect(most <= OVERTAKEN, f"{most} later jobs overtook one")


@experiment(
    "kill -9 of workers that run up to budgets",
    "three workers, one of which is killed every 8 s; 40 steps for a group, strict for another;"
    " ten runs at a time of 1 to 3 steps",
    jobs=80,
    settings=_POLLS | {"RUNQUEUE_MAX_CONCURRENT_RUNS": "10"},
)
def budgets(lab: Lab, jobs: int) -> None:
    """A strict budget is never exceeded, by the server's record; another by what live runs took."""
    lab.queue.set_budget("group:forecast", Budget(STEPS, expected=2))
    lab.queue.set_budget("group:strict", Budget(STEPS, is_strict=True))
    groups = ("forecast", "strict")
    workers = [lab.worker().start() for _ in range(3)]
    lines = []
    for number in range(jobs):
        group = groups[number % 2]
        seconds = random.choice([1, 11, 21])
        one = line(f"{group}-{number}", SEARCHED[0], {"sim_seconds": seconds}, group=group)
        one["body"]["max_steps"] = MAX_STEPS
        lines.append(one)
    lab.take(lines)
    _kill(lab, workers, kills=4)
    _until_nothing_begins(lab)
    uses = {use.scope: use for use in lab.queue.list_budgets()}
    runs = {
        group: [run for run in lab.simulator.runs() if run["prompt"].startswith(group)]
        for group in groups
    }
    for group in groups:
        lab.queue.set_budget(f"group:{group}", None)
    lab.mend()
    lab.settle(600)
    for group, made in runs.items():
        seen, spent = uses[f"group:{group}"].spent, sum(run["steps"] for run in made)
        lab.note(f"{group}: {seen} of {STEPS} steps spent")
        lab.expect(seen == spent, f"{seen} steps of {group} were counted, {spent} were taken")
        lab.expect(len(made) < jobs / 2, f"every job of {group} had a run")
    last = max(runs["forecast"], key=_created)
    beyond = sum(run["steps"] - 1 for run in runs["forecast"] if run["ended"] > _created(last))
    spent = uses["group:forecast"].spent
    lab.expect(spent <= STEPS + beyond, f"{spent} steps of {STEPS}, live runs took {beyond} more")
    for run in runs["strict"]:
        at = _created(run)
        before = [one for one in runs["strict"] if _created(one) <= at]
        committed = sum(one["steps"] if one["ended"] <= at else MAX_STEPS for one in before)
        lab.expect(committed <= STEPS, f"{committed} steps were committed of {STEPS}, strict")


def _until_nothing_begins(lab: Lab) -> None:
    """Wait until no job has been live for longer than what waits for a budget is checked."""
    live_at = time.monotonic()

    def is_quiet() -> bool:
        nonlocal live_at
        if lab.count("running", "submitting", "unconfirmed"):
            live_at = time.monotonic()
        return time.monotonic() - live_at > 3 * CHECK_SECONDS

    lab.until(is_quiet, 300, "the budgets to be used")


def _run_with_keys(
    lab: Lab,
    keys: Sequence[tuple[str, ...]],
    limits: Mapping[str, int],
    kills: int,
    seconds: float,
) -> dict[str, list[dict[str, Any]]]:
    """Run a job for each of these keys while workers are killed; return the runs by key, in order.

    Args:
        keys: what each job names, in the order of the queue.
        limits: how many may have each key at a time.
        kills: how often one of three workers is killed and started again.
        seconds: for all jobs to end.
    """
    for key, most in limits.items():
        lab.queue.set_key_limit(key, KeyLimit(most))
    names = [f"{'+'.join(named)}-{number}" for number, named in enumerate(keys)]
    workers = [lab.worker().start() for _ in range(3)]
    lab.take([line(name, SEARCHED[0], keys=named) for name, named in zip(names, keys, strict=True)])
    _kill(lab, workers, kills)
    lab.mend()
    lab.settle(seconds)
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in sorted(lab.simulator.runs(), key=_created):
        for key in run["prompt"].rpartition("-")[0].split("+"):
            by_key[key].append(run)
    for key, most in limits.items():
        runs = by_key[key]
        at_once = [
            sum(_created(one) <= _created(run) < one["ended"] for one in runs) for run in runs
        ]
        lab.expect(max(at_once) <= most, f"{max(at_once)} runs had {key} at a time, {most} may")
    return by_key


def _kill(lab: Lab, workers: Sequence[Worker], kills: int) -> None:
    """Kill one of the workers so many times, and start it again."""
    for _ in range(kills):
        lab.until(lambda: lab.count("running") > 0, 120, "runs to go on")
        time.sleep(_BETWEEN)
        worker = random.choice(workers)
        worker.kill()
        worker.launch()


def _used(runs: Sequence[dict[str, Any]], most: int) -> float:
    """Return the share of a limit that is used from the first begin to the last: jobs wait."""
    first, last = _created(runs[0]), _created(runs[-1])
    busy = sum(max(0.0, min(run["ended"], last) - _created(run)) for run in runs)
    return float(busy / ((last - first) * most))


def _overtakings(runs: Sequence[dict[str, Any]]) -> int:
    """Return how many later jobs began before one, at most."""
    numbers = [int(run["prompt"].rpartition("-")[2]) for run in runs]
    return max(sum(later > one for later in numbers[:at]) for at, one in enumerate(numbers))


def _created(run: dict[str, Any]) -> float:
    return float(run["created"])
