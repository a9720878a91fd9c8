"""What the server allows, and what limits on keys allow: how much of it is used, and never more."""

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from faults.lab import SEARCHED, Lab
from faults.registry import experiment
from runqueue.store.key_limits import KeyLimit

RATE = 20
#: Share of the allowed rate that has to be used.
GOODPUT = 0.9
#: How many may have each key at a time, and seconds that a run with one takes.
KEY_LIMITS, RUN_SECONDS = {"login:a": 1, "login:b": 2, "login:c": 4}, 12.0
#: Share of a key's limit that has to be used while jobs wait for it.
KEY_USED = 0.99
#: Later jobs that may begin before one at a key, in times of its limit.
OVERTAKEN = 10
_KILLS, _BETWEEN = 12, 8.0
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
    jobs=84,
    simulator=("--duration", str(RUN_SECONDS)),
    settings={"RUNQUEUE_POLL_MIN_SECONDS": "0.05", "RUNQUEUE_POLL_MAX_SECONDS": "0.05"},
)
def contended_keys(lab: Lab, jobs: int) -> None:
    """No limit is exceeded, by the server's record, and what it allows is used."""
    for key, most in KEY_LIMITS.items():
        lab.queue.set_key_limit(key, KeyLimit(most))
    workers = [lab.worker().start() for _ in range(3)]
    in_all = sum(KEY_LIMITS.values())
    for key, most in KEY_LIMITS.items():
        lab.submit(jobs * most // in_all, SEARCHED[:1], prefix=key, keys=[key])
    for _ in range(_KILLS):
        lab.until(lambda: lab.count("running") > 0, 60, "runs to go on")
        time.sleep(_BETWEEN)
        worker = random.choice(workers)
        worker.kill()
        worker.launch()
    lab.mend()
    lab.settle(jobs / in_all * RUN_SECONDS * 3 + 120)
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in lab.simulator.runs():
        by_key[run["prompt"].rpartition("-")[0]].append(run)
    for key, most in KEY_LIMITS.items():
        live, used, passed = _judged(by_key[key], most)
        lab.note(f"{key}: {live} at a time, {used:.1%} of {most} used")
        lab.expect(live <= most, f"{live} runs had {key} at a time, {most} may")
        lab.expect(used >= KEY_USED, f"{used:.1%} of {most} was used of {key}")
        lab.expect(passed <= OVERTAKEN * most, f"{passed} later jobs overtook one at {key}")


def _judged(runs: Sequence[dict[str, Any]], most: int) -> tuple[int, float, int]:
    """Return how many went on at a time, the share of the limit used, and the most overtakings.

    The share is that of the time from the first begin to the last: until then jobs wait.
    """
    runs = sorted(runs, key=_created)
    first, last = _created(runs[0]), _created(runs[-1])
    live = max(sum(_created(one) <= _created(run) < one["ended"] for one in runs) for run in runs)
    busy = sum(max(0.0, min(run["ended"], last) - _created(run)) for run in runs)
    numbers = [int(run["prompt"].rpartition("-")[2]) for run in runs]
    passed = max(sum(later > one for later in numbers[:at]) for at, one in enumerate(numbers))
    return live, busy / ((last - first) * most), passed


def _created(run: dict[str, Any]) -> float:
    return float(run["created"])
