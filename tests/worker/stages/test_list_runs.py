"""Listing: where many runs are live, the list tells which are over; each of these gets one GET."""

import pytest

from runqueue import JobState
from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import FakeClock
from tests.worker.listed import MANY, in_lists, list_now, listed, lists_are_on
from tests.worker.working import ENDLESS, KEYS, Bench, Work

#: A task that takes a minute, and one that goes failed, queued, running, completed meanwhile.
MINUTE = "https://shop.test/?sim_seconds=60"


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def clock() -> FakeClock:
    """The simulator's clock."""
    return FakeClock()


async def states(bench: Bench, job_ids: list[str]) -> list[str]:
    return sorted(bench.job(job_id).state for job_id in job_ids)


async def test_many_live_runs_cost_one_list_call_and_no_get(work: Work) -> None:
    async with work() as bench:
        job_ids = await listed(bench)

        await list_now(bench)

        assert (await bench.calls("list_runs"), await bench.calls("get_run")) == (1, 0)
        assert set(await states(bench, job_ids)) == {JobState.RUNNING}
        assert not (await bench.one_pass("poll")).items


async def test_what_a_list_does_not_show_gets_one_get_and_the_others_none(
    work: Work, clock: FakeClock
) -> None:
    async with work(clock=clock) as bench:
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
    work: Work, clock: FakeClock
) -> None:
    async with work(clock=clock) as bench:
        for job_id in await listed(bench):
            bench.client.zincrby(f"{KEYS.prefix}listed", 3_600_000_000, job_id)
        await list_now(bench)
        for job_id in in_lists(bench):
            bench.client.zincrby(f"{KEYS.prefix}listed", -3_600_000_000, job_id)
        ending = await listed(bench, 3, url=MINUTE)
        clock.advance(61)

        await list_now(bench)
        await bench.one_pass("poll")

        assert await states(bench, ending) == [JobState.COMPLETED] * 3


async def test_a_run_whose_end_was_told_meanwhile_gets_no_get(work: Work, clock: FakeClock) -> None:
    async with work(clock=clock) as bench:
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


async def test_other_people_s_runs_are_passed_over(work: Work) -> None:
    async with work() as bench:
        early = [await bench.api.run_task(url=ENDLESS) for _ in range(110)]
        job_ids = await listed(bench)
        late = [await bench.api.run_task(url=ENDLESS) for _ in range(110)]

        await list_now(bench)

        assert await bench.calls("list_runs") == 3
        assert await bench.calls("get_run") == 0
        assert set(await states(bench, job_ids)) == {JobState.RUNNING}
        assert not set(in_lists(bench)) & {*early, *late}


async def test_a_run_that_hangs_is_looked_at_when_its_time_is_up_although_lists_show_it(
    work: Work,
) -> None:
    async with work(max_run_seconds=60) as bench:
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


async def orphan(bench: Bench, url: str) -> str:
    """Make a run that no job owns; its first look is far off."""
    run_id = await bench.api.run_task(url=url)
    gone = RunAccepted("aaaaaaaaaaaaaaaaaaaaaaaaaa", 1, run_id, "created", 3_600_000_000)
    assert await bench.account.send(worker_calls.mark_running("default", [gone])) == [2]
    return run_id


async def test_an_orphan_that_lists_show_goes_on_and_one_that_is_missing_frees_its_slot(
    work: Work, clock: FakeClock
) -> None:
    async with work(clock=clock) as bench:
        await listed(bench)
        stays, ends = await orphan(bench, ENDLESS), await orphan(bench, MINUTE)
        assert bench.stats().orphans_live == 2
        clock.advance(61)

        await list_now(bench)
        await bench.one_pass("poll")

        assert bench.stats().orphans_live == 1
        assert bench.score("orphan_polls", stays) is not None
        assert bench.score("orphan_polls", ends) is None
        assert {run.run_id for run in bench.queue.orphans()} == {stays, ends}
        assert await bench.calls("get_run") == 1


async def test_when_few_are_left_they_are_looked_at_one_by_one_again(
    work: Work, clock: FakeClock
) -> None:
    async with work(clock=clock) as bench:
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


async def test_a_server_that_knows_no_paused_runs_is_asked_for_the_others(work: Work) -> None:
    """Skyvern 1.0.40 refuses the whole list with 422 for that one word."""
    async with work(simulator={"version": "1.0.40"}) as bench:
        await listed(bench)

        await list_now(bench)
        assert await bench.calls("list_runs") == 2
        await list_now(bench)

        assert await bench.calls("list_runs") == 3, "the refusal is remembered"
        assert await bench.calls("get_run") == 0
        assert lists_are_on(bench)
