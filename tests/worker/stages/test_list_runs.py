"""Listing: where many runs are live, the list tells which are over; each of these gets one GET."""

from datetime import timedelta
from typing import Any

import pytest
import redis

from runqueue import JobState
from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import FakeClock
from tests.worker.listed import MANY, consumer_of, due_now, in_lists, list_now, listed, lists_are_on
from tests.worker.working import ENDLESS, KEYS, Bench, working

#: A task that takes a minute, and one that goes failed, queued, running, completed meanwhile.
MINUTE = "https://shop.test/?sim_seconds=60"
FLAPS = "https://shop.test/?sim_seconds=60&sim_end=flap"


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def clock() -> FakeClock:
    """The simulator's clock."""
    return FakeClock()


async def states(bench: Bench, job_ids: list[str]) -> list[str]:
    return sorted(bench.job(job_id).state for job_id in job_ids)


async def test_many_live_runs_cost_one_list_call_and_no_get(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_ids = await listed(bench)

        await list_now(bench)

        assert (await bench.calls("list_runs"), await bench.calls("get_run")) == (1, 0)
        assert set(await states(bench, job_ids)) == {JobState.RUNNING}
        assert not (await bench.one_pass("poll")).items


async def test_a_few_live_runs_are_looked_at_one_by_one(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.submitted(9)

        assert len((await bench.one_pass("poll")).items) == 9
        assert not lists_are_on(bench)


async def test_lists_begin_once_for_runs_of_which_few_are_due_at_a_time(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        consumer_of(bench)
        running = await bench.submitted(10)
        later = dict.fromkeys(running[2:], bench.now_us() + 20_000_000)
        client.zadd(f"{KEYS.prefix}poll", later, xx=True)
        begun = 0
        for _ in range(10):
            were_on = lists_are_on(bench)
            await bench.one_pass("poll")
            begun += lists_are_on(bench) and not were_on
            await bench.one_pass("list", want=1)

        assert begun == 1
        assert await bench.calls("get_run") == 0


async def test_runs_submitted_meanwhile_are_left_to_lists_from_the_start(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await listed(bench)

        late = await bench.submitted(3)

        assert set(late) <= set(in_lists(bench))
        assert not (await bench.one_pass("poll")).items


async def test_what_a_list_does_not_show_gets_one_get_and_the_others_none(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        staying = await listed(bench)
        ending = await listed(bench, 3, url=MINUTE)
        clock.advance(61)

        await list_now(bench)
        taken = await bench.one_pass("poll")
        await list_now(bench)

        assert sorted(due.job_id for due, _ in taken.items) == sorted(ending)
        assert await states(bench, ending) == [JobState.COMPLETED] * 3
        assert await states(bench, staying) == [JobState.RUNNING] * MANY
        assert (await bench.calls("list_runs"), await bench.calls("get_run")) == (2, 3)
        assert bench.stats().live == MANY


async def test_runs_that_join_lists_after_a_step_of_the_clock_was_set_right_are_listed_too(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        for job_id in await listed(bench):
            client.zincrby(f"{KEYS.prefix}listed", 3_600_000_000, job_id)
        await list_now(bench)
        for job_id in in_lists(bench):
            client.zincrby(f"{KEYS.prefix}listed", -3_600_000_000, job_id)
        ending = await listed(bench, 3, url=MINUTE)
        clock.advance(61)

        await list_now(bench)
        await bench.one_pass("poll")

        assert await states(bench, ending) == [JobState.COMPLETED] * 3


async def test_a_run_whose_end_was_told_meanwhile_gets_no_get(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        await listed(bench)
        [told] = await listed(bench, 1, url=MINUTE)
        await list_now(bench)
        clock.advance(61)
        run_id = bench.job(told).run_id or ""
        done = Finished(told, 1, run_id, "completed", "completed", "", b"{}")
        assert await bench.account.send(worker_calls.finish("default", [done])) == [1]

        await list_now(bench)

        assert told not in in_lists(bench)
        assert not (await bench.one_pass("poll")).items
        assert await bench.calls("get_run") == 0


async def test_a_failure_that_the_server_tries_again_is_no_end(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        await listed(bench)
        [flaps] = await listed(bench, 1, url=FLAPS)
        seen = []
        for _ in range(3):
            clock.advance(29)
            await list_now(bench)
            await bench.one_pass("poll")
            due_now(bench, flaps)
            await bench.one_pass("poll")  # it joins the lists again
            seen.append((bench.job(flaps).state, bench.job(flaps).run_status))

        assert seen[0] == (JobState.RUNNING, "failed")
        assert seen[-1] == (JobState.COMPLETED, "completed")


async def test_the_status_that_a_list_shows_is_shown_of_the_job(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        first, *_ = await listed(bench, url=MINUTE)
        assert bench.job(first).run_status == "created"
        clock.advance(10)

        await list_now(bench)

        assert bench.job(first).run_status == "running"


async def test_other_people_s_runs_are_passed_over(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        early = [await bench.api.run_task(url=ENDLESS) for _ in range(110)]
        job_ids = await listed(bench)
        late = [await bench.api.run_task(url=ENDLESS) for _ in range(110)]

        await list_now(bench)

        assert await bench.calls("list_runs") == 3
        assert await bench.calls("get_run") == 0
        assert set(await states(bench, job_ids)) == {JobState.RUNNING}
        assert not set(in_lists(bench)) & {*early, *late}


async def test_a_cancel_is_confirmed_by_a_get(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        first, *others = await listed(bench)
        bench.queue.cancel(first)

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(first).state is JobState.CANCELED
        assert await states(bench, others) == [JobState.RUNNING] * (MANY - 1)


async def test_a_job_whose_deadline_passes_is_looked_at_and_canceled(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await listed(bench)
        [late] = await listed(bench, 1, deadline=timedelta(hours=1))
        bench.set(late, "deadline", bench.now_us() - 1)
        bench.client.zadd("runqueue:{default}:deadlines", {late: 1})

        await bench.account.send(worker_calls.sweep("default", "expire_deadlines", 100))
        for kind in ("poll", "cancel", "poll"):
            await bench.one_pass(kind)

        assert (bench.job(late).state, bench.job(late).reason) == (JobState.FAILED, "deadline")


async def test_a_run_that_hangs_is_looked_at_when_its_time_is_up_although_lists_show_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, max_run_seconds=60) as bench:
        await listed(bench)
        [hung] = await listed(bench, 1)
        score = bench.score("poll", hung)
        assert score is not None
        assert (
            0 < (score - bench.now_us()) / 1e6 <= 60
        )  # its GET is due by then, whatever lists say

        bench.set(hung, "started", bench.now_us() - 61_000_000)
        bench.client.zadd("runqueue:{default}:poll", {hung: 0})
        shown = {"run_id": "tsk_1", "status": "running", "started_at": None}
        await bench.api.fault({"status": 200, "body": shown}, match={"route": "get_run"}, times=1)
        for kind in ("poll", "cancel", "poll"):
            await bench.one_pass(kind)

        assert bench.job(hung).state is JobState.FAILED


async def stray(bench: Bench, url: str) -> str:
    """Make a run that no job owns; its first look is far off."""
    run_id = await bench.api.run_task(url=url)
    gone = RunAccepted("aaaaaaaaaaaaaaaaaaaaaaaaaa", 1, run_id, "created", 3_600_000_000)
    assert await bench.account.send(worker_calls.mark_running("default", [gone])) == [2]
    return run_id


async def test_a_stray_that_lists_show_goes_on_and_one_that_is_missing_frees_its_slot(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        await listed(bench)
        stays, ends = await stray(bench, ENDLESS), await stray(bench, MINUTE)
        assert bench.stats().strays_live == 2
        clock.advance(61)

        await list_now(bench)
        await bench.one_pass("poll")

        assert bench.stats().strays_live == 1
        assert bench.score("stray_looks", stays) is not None
        assert bench.score("stray_looks", ends) is None
        assert {run.run_id for run in bench.queue.strays()} == {stays, ends}
        assert await bench.calls("get_run") == 1


async def test_when_few_are_left_they_are_looked_at_one_by_one_again(
    client: redis.Redis, redis_url: str, clock: FakeClock
) -> None:
    async with working(client, redis_url, clock=clock) as bench:
        await listed(bench, url=MINUTE)
        left = await listed(bench, 2)
        clock.advance(61)
        await list_now(bench)
        await bench.one_pass("poll")
        assert lists_are_on(bench)

        await list_now(bench)

        assert not lists_are_on(bench)
        taken = await bench.one_pass("poll")
        assert sorted(due.job_id for due, _ in taken.items) == sorted(left)


async def test_runs_that_take_too_short_a_time_are_looked_at_one_by_one(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, settings={"poll_min_seconds": 1}) as bench:
        bench.client.hset("runqueue:{default}:meta", "run_mean", 1_999_999)
        due_now(bench, *await bench.submitted(MANY))

        assert len((await bench.one_pass("poll")).items) == MANY
        assert not lists_are_on(bench)


async def test_a_list_call_takes_a_permit_of_the_account_s_calls(
    client: redis.Redis, redis_url: str
) -> None:
    limits: dict[str, Any] = {"max_requests_per_second": 0.01, "max_burst_size": 30}
    async with working(client, redis_url, **limits) as bench:
        await listed(bench)
        before = bench.stats().permits["request"]

        await list_now(bench)

        assert bench.stats().permits["request"] == before - 1


async def test_a_server_that_knows_no_paused_runs_is_asked_for_the_others(
    client: redis.Redis, redis_url: str
) -> None:
    """Skyvern 1.0.40 refuses the whole list with 422 for that one word."""
    async with working(client, redis_url, simulator={"version": "1.0.40"}) as bench:
        await listed(bench)

        await list_now(bench)
        assert await bench.calls("list_runs") == 2
        await list_now(bench)

        assert await bench.calls("list_runs") == 3, "the refusal is remembered"
        assert await bench.calls("get_run") == 0
        assert lists_are_on(bench)
