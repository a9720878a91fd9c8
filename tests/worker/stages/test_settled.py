"""What a person decides on an unconfirmed job is carried out by the worker."""

from typing import Any

import pytest
import redis

from runqueue import JobState
from runqueue.operator.decisions import Settled
from tests.simulator.simulating import FakeClock, eventually
from tests.worker.working import ENDLESS, KEYS, Bench, working
from worker.stages.sweep import sweep

LOST: dict[str, Any] = {"close": True}
MADE: dict[str, Any] = {"close": True, "committed": True}


async def lose(bench: Bench, action: dict[str, Any], **options: Any) -> str:
    """Submit a task whose answer is lost, and return its job."""
    await bench.api.fault(action, match={"route": "run_task"}, times=1)
    (job_id,) = bench.enqueue(**options)
    await bench.one_pass("submit")
    assert bench.job(job_id).state is JobState.UNCONFIRMED
    return job_id


async def test_a_run_that_a_person_names_is_followed_to_its_end(
    client: redis.Redis, redis_url: str
) -> None:
    clock = FakeClock()
    async with working(client, redis_url, clock=clock) as bench:
        job_id = await lose(bench, MADE, url="https://shop.test/?sim_seconds=5")
        (run,) = await bench.runs()

        assert bench.queue.adopt(job_id, run["run_id"]) is Settled.DONE
        clock.advance(6)
        await bench.one_pass("poll")

        job = bench.job(job_id)
        assert (job.state, job.run_id, job.attempts) == (JobState.COMPLETED, run["run_id"], 1)
        assert bench.stats().live == 0


async def test_a_run_that_a_person_names_is_canceled_where_that_was_asked_for(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, MADE, url=ENDLESS)
        (run,) = await bench.runs()
        bench.queue.cancel(job_id)

        bench.queue.adopt(job_id, run["run_id"])
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED
        assert [found["status"] for found in await bench.runs()] == ["canceled"]


async def test_a_job_that_a_person_says_has_no_run_is_submitted_with_a_new_marker(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, LOST, on_unconfirmed="park")

        assert bench.queue.resubmit([job_id]) == {job_id: Settled.DONE}
        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.RUNNING
        assert [run["title"] for run in await bench.runs()] == [f"[rq:{job_id}.2]"]


@pytest.mark.parametrize("what", ["resubmit", "fail"])
async def test_a_settled_job_is_not_looked_for_any_more(
    client: redis.Redis, redis_url: str, what: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, MADE)

        getattr(bench.queue, what)([job_id])

        assert bench.score("reconcile", job_id) is None
        assert bench.score("unconfirmed", job_id) is None
        client.zadd(f"{KEYS.prefix}reconcile", {job_id: 0})
        assert not (await bench.account.consumers["reconcile"].take(1, 0)).items


async def test_an_answer_that_comes_after_a_job_was_failed_shows_its_run_as_a_stray(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        queue = bench.queue
        await bench.api.fault({"answer_latency": 1.0}, match={"route": "run_task"}, times=1)
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        (item,) = (await consumer.take(1, 0)).items
        # Its claim is taken over, and a person gives up, while the answer is on its way.
        client.zadd(f"{KEYS.prefix}processes", {bench.account.lease.name: 1_000})
        await sweep(bench.account)
        queue.fail([job_id])

        consumer._start(item)
        await eventually(lambda: consumer.busy == 0)

        (run,) = await bench.runs()
        assert bench.job(job_id).state is JobState.DEAD
        assert [(s.run_id, s.why) for s in queue.strays()] == [(run["run_id"], "job was dead")]


async def test_an_answer_that_comes_while_its_job_waits_to_be_submitted_again_is_adopted(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        (item,) = (await consumer.take(1, 0)).items
        client.zadd(f"{KEYS.prefix}processes", {bench.account.lease.name: 1_000})
        await sweep(bench.account)
        bench.queue.resubmit([job_id])
        assert bench.job(job_id).state is JobState.READY

        consumer._start(item)
        await eventually(lambda: consumer.busy == 0)

        (run,) = await bench.runs()
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == ("running", run["run_id"])
        assert list(bench.queue.strays()) == []
