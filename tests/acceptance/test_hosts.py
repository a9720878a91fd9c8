"""Workers on two hosts share an account's limits while one of them is cut off."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lab.waiting import until
from tests.acceptance.factory import Factory, factory, settled_by_newer_jobs, task
from tests.acceptance.hosts import OTHER, Network, network, refusal, within
from tests.acceptance.test_limits import ARRIVALS, CAP, LIMITS

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(480),
    pytest.mark.skipif(
        "RUNQUEUE_TEST_JOBS" not in os.environ, reason="takes three minutes: make acceptance"
    ),
]


@pytest.fixture
def net() -> Iterator[Network]:
    """A hub, which the test is on, and two hosts."""
    if said := refusal():
        pytest.skip(said)
    with network(2) as made, within(made.hub):
        yield made


def start(parts: Factory, net: Network) -> None:
    """Start a worker on each host."""
    for host in net.hosts:
        parts.start_worker(prefix=host.prefix)
    until(lambda: parts.queue.stats()["default"].processes == 2, 60, "two workers")


def judge(parts: Factory, jobs: int) -> None:
    """Hold the ledger to the limits."""
    seen = parts.simulator.summary()
    most, live = seen["max_submissions_in_window"], seen["max_live"]
    print(f"{most} arrivals at most in 1 s, {live} live at most")
    assert most <= ARRIVALS
    assert live <= CAP
    assert seen["runs"] == jobs
    assert set(parts.simulator.runs_per_job().values()) == {1}


def test_a_submission_that_got_lost_on_its_way_does_not_arrive_after_it_was_given_up(
    net: Network, tmp_path: Path
) -> None:
    # TCP sends what was not acknowledged again, 102 s after the first time, say; by then two
    # searches have found no run of it, and the other host has submitted the job.
    simulator = ("--duration", "0.3", "--host", "0.0.0.0")
    with factory(tmp_path, simulator, host=net.hub.address, **LIMITS) as parts:
        port = parts.base_url.rpartition(":")[2]
        parts.settings["SKYVERN_BASE_URL"] = f"http://{OTHER}:{port}"
        cut_off(parts, net, jobs=600, seconds=60)

        totals = parts.queue.stats()["default"].totals
        print({name: n for name, n in totals.items() if "take" in name or "adopted" in name})
        assert totals["claims_taken_over"] > 0


def oldest_claim(parts: Factory) -> float:
    """Return for how many seconds the oldest submission has been under way: 0.2 is usual."""
    with redis.Redis.from_url(parts.redis_url) as client:
        keys = client.scan_iter("runqueue:{default}:claims:*")
        first = [score for key in keys for _, score in client.zrange(key, 0, 0, withscores=True)]
    return time.time() - min(first) / 1e6 if first else 0.0


def cut_off(parts: Factory, net: Network, *, jobs: int, seconds: float) -> None:
    """Cut a host off once some of its submissions got lost, and judge what comes of it.

    Args:
        parts: what runs.
        net: the network.
        jobs: how many there are to do.
        seconds: how long the host is away.
    """
    # So that the cut meets submissions on the wire.
    parts.simulator.faults({"match": {"route": "run_task"}, "action": {"answer_latency": 0.2}})
    start(parts, net)
    away = net.hosts[0]
    # Each asks for something else: a run whose answer was lost may be taken for an equal job's.
    parts.queue.enqueue_many([task(f"job-{i}", f"https://shop.test/{i}") for i in range(jobs)])
    until(lambda: parts.states().get("completed", 0) > jobs // 6, 60, "some jobs")
    net.lose(away)
    until(lambda: oldest_claim(parts) > 2, 60, "some to get lost")
    net.cut(away)
    cut, before = time.monotonic(), len(parts.simulator.runs())
    until(lambda: parts.queue.stats()["default"].processes == 1, 30, "the lease to end")
    until(lambda: time.monotonic() > cut + seconds, 60, "the cut to end")
    meanwhile = (len(parts.simulator.runs()) - before) / (time.monotonic() - cut)
    print(f"{meanwhile:.1f} a second during the cut")
    net.find(away)
    net.heal(away)
    until(lambda: parts.queue.stats()["default"].processes == 2, 60, "the host to be back")
    later = settled_by_newer_jobs(parts, jobs)

    judge(parts, jobs + len(later))
    assert parts.states() == {"completed": jobs + len(later)}
