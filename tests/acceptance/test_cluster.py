"""Real workers on a real Redis Cluster, a node of which dies."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.clusters import Cluster, accounts_on_each, cluster, line
from lab.waiting import until
from runqueue import RunQueue
from runqueue.errors import QueueUnavailable
from tests.acceptance.factory import Factory, factory

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900)]

#: Two accounts, on two nodes.
SHOPS = accounts_on_each()[:2]
LIMITS = {"SUBMISSIONS_PER_SECOND": 40, "CONCURRENT_RUNS": 30, "REQUESTS_PER_SECOND": 0}


@contextmanager
def plant(folder: Path) -> Iterator[tuple[Factory, Cluster]]:
    """A cluster for the queue, a plain Valkey for the broker, a simulator, and two accounts."""
    with (
        cluster(folder / "cluster", replicas=True) as nodes,
        factory(folder, ("--duration", "1")) as made,
        RunQueue(nodes.url) as queue,
    ):
        made.queue.close()
        made.queue, made.redis_url = queue, nodes.url
        made.settings["RUNQUEUE_BROKER_URL"] = f"redis://127.0.0.1:{made.server.port}/0"
        for shop in SHOPS:
            own = f"RUNQUEUE_ACCOUNTS__{shop.upper()}__"
            made.settings[f"{own}API_KEY"] = "simulator-key"
            made.settings[f"{own}BASE_URL"] = made.base_url
            made.settings |= {f"{own}MAX_{name}": str(value) for name, value in LIMITS.items()}
        yield made, nodes


def enqueue_jobs(made: Factory, count: int) -> None:
    """Hand in so many jobs of each account, once the workers have made them known."""
    until(lambda: set(SHOPS) <= set(reading(made)), 60, "the workers to make accounts known")
    made.queue.enqueue_many([line(shop, f"job-{n}") for shop in SHOPS for n in range(count)])


def reading(made: Factory) -> dict[str, Any]:
    """Return the figures of every account; none while Redis is away."""
    try:
        return made.queue.stats()
    except QueueUnavailable:
        return {}


def states(made: Factory) -> Counter[str]:
    """Return how many jobs stand in each state, of both accounts."""
    found = Counter[str]()
    for shop, stats in reading(made).items():
        if shop in SHOPS:
            found.update({state.value: n for state, n in stats.states.items() if n})
    return found


def assert_each_ran_once(made: Factory, count: int) -> None:
    """Every job is completed, and has one run."""
    assert states(made) == {"completed": count}
    assert Counter(made.simulator.runs_per_job().values()) == {1: count}


def test_a_node_that_dies_is_taken_over_and_no_job_is_lost_or_doubled(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, nodes):
        made.start_worker()
        made.start_worker()
        enqueue_jobs(made, 300)
        until(lambda: states(made)["completed"] > 60, 60, "some jobs to be done")
        dead = nodes.owner(SHOPS[0])
        dead.kill()
        died = time.monotonic()
        until(lambda: reading(made), 120, "a replica to take over")
        print(f"the queue answered again after {time.monotonic() - died:.1f} s")
        until(lambda: nodes.owner(SHOPS[0]) is not dead, 60, "every node to know of the replica")
        until(lambda: submits(made, SHOPS[0]), 300, "the account to go on at the replica")
        print(f"the account submitted again after {time.monotonic() - died:.1f} s")
        until(lambda: states(made)["completed"] == 600, 300, "all jobs to be done")

        assert_each_ran_once(made, 600)


def submits(made: Factory, shop: str) -> bool:
    """Whether nothing holds the account."""
    found = reading(made).get(shop)
    return found is not None and not found.hold_reason
