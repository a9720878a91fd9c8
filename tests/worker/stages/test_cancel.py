"""Canceling: asked until a GET has seen the end, or given up and shown."""

import time
from typing import Any

import pytest
import redis

from runqueue import JobState
from runqueue.records.claim_items import Lost, RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import FakeClock
from tests.worker.working import KEYS, Bench, working

MINUTE = 60_000_000
#: Between two tries.
LEASE = 15_000_000


def due(bench: Bench, job_id: str) -> None:
    bench.client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us()})


async def test_a_cancel_that_was_asked_for_ends_the_run_and_a_get_confirms_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, settings={"poll_min_seconds": 60}) as bench:
        bench.account.poll_bounds = (60.0, 60.0)
        (job_id,) = await bench.submitted()
        assert bench.queue.cancel(job_id) is JobState.RUNNING

        await bench.one_pass("cancel")
        assert bench.job(job_id).state is JobState.RUNNING  # not before a GET has seen it
        await bench.one_pass("poll")  # due at once, whatever the spacing

        job, (run,) = bench.job(job_id), await bench.runs()
        assert (job.state, job.run_status, run["status"]) == (JobState.CANCELED, *["canceled"] * 2)
        assert bench.score("cancels", job_id) is None
        assert bench.stats().live == 0


async def test_a_cancel_refused_because_the_run_is_over_is_settled_by_the_get(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    clock = FakeClock()
    async with working(client, redis_url, clock=clock) as bench:
        (job_id,) = await bench.submitted(url="https://shop.test/?sim_seconds=5")
        bench.queue.cancel(job_id)
        clock.advance(6)

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.COMPLETED
        assert "cancel_failed" not in [event["event"] for event in logged]


@pytest.mark.parametrize(
    "action",
    [{"status": 500, "committed": True}, {"reset": "after_body"}, {"status": 403}],
    ids=str,
)
async def test_a_cancel_that_failed_is_tried_again_until_the_end_is_seen(
    client: redis.Redis, redis_url: str, action: dict[str, Any], logged: list[Any]
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = await bench.submitted()
        await bench.api.fault(action, match={"route": "cancel_run"}, times=1)
        bench.queue.cancel(job_id)

        await bench.one_pass("cancel")
        await bench.one_pass("poll")
        assert "cancel_failed" in [event["event"] for event in logged]
        if bench.job(job_id).state is JobState.RUNNING:  # the server did nothing
            score = bench.score("cancels", job_id)
            assert score is not None
            assert 10 < (score - bench.now_us()) / 1e6 <= 15
            due(bench, job_id)
            await bench.one_pass("cancel")
            await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED


async def test_a_cancel_tried_for_ten_minutes_fails_the_job_and_shows_its_run_as_a_stray(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = await bench.submitted()
        await bench.api.fault({"status": 500}, match={"route": "cancel_run"})
        bench.queue.cancel(job_id)
        await bench.one_pass("cancel")
        bench.set(job_id, "cancel_since", bench.now_us() - 10 * MINUTE + 5_000_000)
        due(bench, job_id)
        await bench.one_pass("cancel")
        assert bench.job(job_id).state is JobState.RUNNING

        bench.set(job_id, "cancel_since", bench.now_us() - 10 * MINUTE - 1)
        due(bench, job_id)
        await bench.one_pass("cancel")

        job = bench.job(job_id)
        assert job.state is JobState.FAILED
        assert job.reason == "asked (the cancel was never confirmed)"
        assert client.hget(f"{KEYS.prefix}strays", job.run_id or "")
        assert (bench.stats().strays, bench.stats().live) == (1, 0)
        assert "cancel_given_up" in [event["event"] for event in logged]


async def test_time_in_which_no_worker_tried_counts_for_nothing_and_the_cancel_is_sent(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = await bench.submitted()
        await bench.api.fault({"status": 503}, match={"route": "cancel_run"}, times=1)
        bench.queue.cancel(job_id)
        await bench.one_pass("cancel")
        # No worker for eleven minutes: what was due then is due since.
        bench.set(job_id, "cancel_since", bench.now_us() - 11 * MINUTE)
        client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us() - 11 * MINUTE + LEASE})

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED
        assert await bench.calls("cancel_run") == 2
        assert bench.stats().strays == 0


async def test_the_ten_minutes_begin_with_the_first_try_not_with_the_wish(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = bench.enqueue()
        ((job, *_),) = (await bench.account.consumers["submit"].take(1, 0)).items
        await bench.account.send(
            worker_calls.mark_unconfirmed("default", [Lost(job_id, 1, "cut off")])
        )
        bench.queue.cancel(job_id)
        assert bench.job(job_id).cancel_requested
        # An hour later its run is found.
        run_id = await bench.api.run_task(url="https://shop.test/?sim_end=never")
        found = RunAccepted(job_id, job.attempt, run_id, "running", 0)
        bench.client.hset(f"{KEYS.prefix}job:{job_id}", "created", bench.now_us() - 60 * MINUTE)
        assert not bench.client.hexists(f"{KEYS.prefix}job:{job_id}", "cancel_since")
        await bench.account.send(worker_calls.mark_running("default", [found]))

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED
        assert bench.stats().strays == 0


async def test_a_cancel_cut_off_by_a_stop_is_tried_again(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = await bench.submitted()
        await bench.api.fault({"latency": 60}, match={"route": "cancel_run"}, times=1)
        bench.queue.cancel(job_id)
        consumer = bench.account.consumers["cancel"]
        consumer._start((await consumer.take(1, 0)).items[0])
        begun = time.monotonic()

        await bench.account.stop(0.05)

        assert time.monotonic() - begun < 5
        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.score("cancels", job_id) is not None


async def test_a_job_that_waits_is_canceled_at_once_and_never_submitted(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = bench.enqueue()

        assert bench.queue.cancel(job_id) is JobState.CANCELED
        await bench.one_pass("submit")

        assert await bench.submissions() == 0
        assert bench.job(job_id).state is JobState.CANCELED


async def test_a_job_canceled_while_its_submission_makes_no_run_is_canceled_not_ready(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault({"unavailable": "no_run"}, match={"route": "run_task"})
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        items = (await consumer.take(1, 0)).items
        bench.queue.cancel(job_id)
        consumer._start(items[0])
        await bench.account.stop(5)

        assert bench.job(job_id).state is JobState.CANCELED
