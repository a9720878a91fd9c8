"""Real workers on a real Redis Cluster: without trouble, while a slot moves, when a node dies."""

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
LIMITS = {"DISPATCHES_PER_SECOND": 40, "CONCURRENT_RUNS": 30, "REQUESTS_PER_SECOND": 0}


@contextmanager
def plant(folder: Path, *, replicas: bool = False) -> Iterator[tuple[Factory, Cluster]]:
    """A cluster for the queue, a plain Valkey for the broker, a simulator, and two accounts."""
    with (
        cluster(folder / "cluster", replicas=replicas) as nodes,
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


def hand_in(made: Factory, count: int) -> None:
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


def test_the_jobs_of_two_accounts_on_two_nodes_are_done(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, nodes):
        assert nodes.owner(SHOPS[0]) is not nodes.owner(SHOPS[1])
        made.start_worker()
        hand_in(made, 25)
        until(lambda: states(made)["completed"] == 50, 90, "50 jobs to be done")

        assert_each_ran_once(made, 50)


def test_a_slot_that_moves_while_jobs_run_loses_and_doubles_none(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, nodes):
        made.start_worker()
        made.start_worker()
        hand_in(made, 150)
        until(lambda: states(made)["completed"] > 60, 60, "some jobs to be done")
        home, away = nodes.owner(SHOPS[0]), nodes.owner(SHOPS[1])
        nodes.move(SHOPS[0], away)
        moved = time.monotonic()
        until(lambda: submits(made, SHOPS[0]), 180, "the account to go on at the other node")
        print(f"the account submitted again {time.monotonic() - moved:.1f} s after its slot moved")
        until(lambda: states(made)["completed"] == 300, 240, "all jobs to be done")

        assert nodes.owner(SHOPS[0]) is away is not home
        assert_each_ran_once(made, 300)


def test_a_node_that_dies_is_taken_over_and_no_job_is_lost_or_doubled(tmp_path: Path) -> None:
    with plant(tmp_path, replicas=True) as (made, nodes):
        made.start_worker()
        made.start_worker()
        hand_in(made, 300)
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
