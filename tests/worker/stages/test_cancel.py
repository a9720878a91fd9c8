"""Canceling: asked until a GET has seen the end, or given up and shown."""

import time
from typing import Any

import pytest

from runqueue import JobState
from runqueue.records.claim_items import Lost, RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import FakeClock, eventually
from tests.worker.working import KEYS, Bench, Work, start

MINUTE = 60_000_000
#: Between two tries.
LEASE = 15_000_000
#: Then a poll that comes at once is the cancel's.
RARE_POLLS = {"poll_min_seconds": 60}


def due(bench: Bench, job_id: str) -> None:
    bench.client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us()})


async def test_a_cancel_that_was_asked_for_ends_the_run_and_a_get_confirms_it(work: Work) -> None:
    async with work(settings={"poll_min_seconds": 60}) as bench:
        bench.account.worker_settings.poll_max_seconds = 60.0
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
    work: Work, logged: list[Any]
) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
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
    work: Work, action: dict[str, Any], logged: list[Any]
) -> None:
    async with work() as bench:
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


async def test_a_cancel_tried_for_ten_minutes_fails_the_job_and_shows_its_run_as_an_orphan(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
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
        assert bench.client.hget(f"{KEYS.prefix}orphans", job.run_id or "")
        assert (bench.stats().orphans, bench.stats().live) == (1, 0)
        assert "cancel_abandoned" in [event["event"] for event in logged]


async def test_time_in_which_no_worker_tried_counts_for_nothing_and_the_cancel_is_sent(
    work: Work,
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted()
        await bench.api.fault({"status": 503}, match={"route": "cancel_run"}, times=1)
        bench.queue.cancel(job_id)
        await bench.one_pass("cancel")
        # No worker for eleven minutes: what was due then is due since.
        bench.set(job_id, "cancel_since", bench.now_us() - 11 * MINUTE)
        bench.client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us() - 11 * MINUTE + LEASE})

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED
        assert await bench.calls("cancel_run") == 2
        assert bench.stats().orphans == 0


async def test_the_ten_minutes_begin_with_the_first_try_not_with_the_wish(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
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
        assert bench.stats().orphans == 0


async def test_a_cancel_cut_off_by_a_stop_is_tried_again(work: Work) -> None:
    async with work() as bench:
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


async def canceling(bench: Bench, n: int) -> list[str]:
    """Have so many runs that are to be canceled and not polled for a minute; returns their jobs."""
    assert bench.account.worker_settings.poll_min_seconds > 30
    job_ids = await bench.submitted(n)
    for job_id in job_ids:
        bench.queue.cancel(job_id)
    return job_ids


def polled_now(bench: Bench, job_ids: list[str]) -> int:
    """How many of the jobs are to be polled at once, as after a cancel."""
    scores = [bench.score("poll", job_id) for job_id in job_ids]
    return sum(score is not None and score <= bench.now_us() for score in scores)


async def no_bulk(bench: Bench, run_ids: list[str]) -> None:
    """Have a server without a bulk call."""
    assert run_ids
    missing = {"status": 404, "body": {"detail": "Not Found"}}
    await bench.api.fault(missing, match={"route": "cancel_runs"})


async def bulk_of_all_but_one(bench: Bench, run_ids: list[str]) -> None:
    """Have a bulk call that leaves one run to be canceled by itself."""
    answer = {"status": 200, "body": {"cancelled": run_ids[1:], "failed": run_ids[:1]}}
    await bench.api.fault(answer, match={"route": "cancel_runs"})


SERVERS = pytest.mark.parametrize("server", [no_bulk, bulk_of_all_but_one])


async def begin_with_a_slow_one(bench: Bench, server: Any, n: int) -> list[str]:
    """Begin so many cancels as one item, one of which takes a minute; returns the jobs."""
    job_ids = await canceling(bench, n)
    await server(bench, [bench.job(job_id).run_id for job_id in job_ids])
    await bench.api.fault({"latency": 60}, match={"route": "cancel_run"}, times=1)
    consumer = bench.account.consumers["cancel"]
    start(consumer, *(await consumer.take(n, 0)).items)
    assert consumer.busy == 1
    return job_ids


@SERVERS
async def test_a_slow_cancel_holds_back_the_record_of_no_other_run(work: Work, server: Any) -> None:
    async with work(settings=RARE_POLLS) as bench:
        job_ids = await begin_with_a_slow_one(bench, server, 6)

        await eventually(lambda: polled_now(bench, job_ids) == 5)

        assert bench.account.consumers["cancel"].busy == 1


@pytest.mark.parametrize("n", [1, 6])
async def test_a_stop_during_a_slow_cancel_records_what_is_known_of_each_run(
    work: Work, n: int
) -> None:
    async with work(settings=RARE_POLLS) as bench:
        job_ids = await begin_with_a_slow_one(bench, no_bulk, n)

        async def are_all_sent() -> bool:
            return await bench.calls("cancel_run") == n

        await eventually(are_all_sent)

        await bench.account.stop(0.05)

        assert polled_now(bench, job_ids) == n
        assert bench.account.consumers["cancel"].busy == 0


async def test_a_bug_with_one_run_costs_the_record_of_no_other(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    async with work(settings=RARE_POLLS) as bench:
        job_ids = await canceling(bench, 6)
        await no_bulk(bench, job_ids)
        broken, real = bench.job(job_ids[0]).run_id, bench.account.client.cancel_run

        async def buggy(run_id: str, seconds: float) -> Any:
            if run_id == broken:
                raise AttributeError(run_id)
            return await real(run_id, seconds)

        monkeypatch.setattr(bench.account.client, "cancel_run", buggy)
        await bench.one_pass("cancel")

        await eventually(lambda: polled_now(bench, job_ids) == 5)
        assert polled_now(bench, job_ids[:1]) == 0
        await eventually(lambda: "item_failed" in [event["event"] for event in logged])
