"""Lists that are wrong, cut, refused, or too long."""

import asyncio
from typing import Any

import pytest

from runqueue import JobState
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import FakeClock
from tests.worker.listed import MANY, due_now, in_lists, list_now, listed, lists_are_on, off_for
from tests.worker.working import ENDLESS, Send, Work, wrap_send
from worker.stages import list_runs

pytestmark = pytest.mark.usefixtures("at_once")

LISTS: dict[str, Any] = {"route": "list_runs"}
MINUTE = "https://shop.test/?sim_seconds=60"


async def test_a_list_that_says_that_nothing_is_live_costs_a_few_gets_and_ends_nothing(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        job_ids = await listed(bench, 60)
        await bench.api.fault({"status": 200, "body": []}, match=LISTS)

        await list_now(bench)

        assert await bench.calls("get_run") == list_runs.SAMPLE
        assert bench.all_run(job_ids)
        assert "list_of_live_runs_failed" in [event["event"] for event in logged]
        # Looked at one by one from now on, and lists are not believed again for a while.
        assert not lists_are_on(bench)
        assert 50 < off_for(bench) <= 60
        while await bench.polled():
            pass
        # More on a slow machine, where the first is due again before the last was looked at.
        assert await bench.calls("get_run") >= list_runs.SAMPLE + 60
        assert bench.all_run(job_ids)
        due_now(bench, *job_ids)
        assert await bench.polled() == 60
        assert not lists_are_on(bench)
        assert await bench.calls("list_runs") == 1


async def test_few_runs_that_a_wrong_list_does_not_show_get_one_get_each(work: Work) -> None:
    async with work() as bench:
        job_ids = await listed(bench)
        await bench.api.fault({"status": 200, "body": []}, match=LISTS)

        await list_now(bench)
        await bench.polled()
        await list_now(bench)
        await bench.polled()

        assert await bench.calls("get_run") == MANY
        assert bench.all_run(job_ids)


async def test_when_all_runs_end_at_once_a_list_is_believed_after_a_few_gets(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        job_ids = await listed(bench, 60, url=MINUTE)
        clock.advance(61)

        await list_now(bench)
        await bench.polled()

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.COMPLETED}
        assert await bench.calls("get_run") == 60 + list_runs.SAMPLE


@pytest.mark.parametrize(
    "action",
    [
        {"status": 404, "body": {"detail": "Not Found"}},
        {"status": 405, "body": {"detail": "Method Not Allowed"}},
        {"status": 200, "body": {"runs": []}},
        {"status": 200, "body": [{"id": "x"}]},
    ],
    ids=str,
)
async def test_a_server_without_the_list_is_remembered_and_runs_are_looked_at_one_by_one(
    work: Work, action: dict[str, Any]
) -> None:
    async with work() as bench:
        job_ids = await listed(bench)
        await bench.api.fault(action, match=LISTS)

        await list_now(bench)

        assert off_for(bench) > 3_000
        assert await bench.polled() == MANY
        due_now(bench, *job_ids)
        assert await bench.polled() == MANY
        assert await bench.calls("list_runs") == 1
        assert bench.all_run(job_ids)


@pytest.mark.parametrize(
    "action",
    [
        *({"status": 500}, {"status": 429}, {"reset": "after_body"}, {"close": True}),
        *({"truncate": "json"}, {"html200": True}),
    ],
    ids=str,
)
async def test_a_list_that_fails_ends_nothing_and_after_three_the_runs_are_looked_at(
    work: Work, action: dict[str, Any]
) -> None:
    async with work() as bench:
        job_ids = await listed(bench)
        await bench.api.fault(action, match=LISTS)

        for _ in range(3):
            assert await bench.polled() == 0
            await list_now(bench)

        assert not lists_are_on(bench)
        assert await bench.polled() == MANY
        assert bench.all_run(job_ids)


async def test_a_server_that_asks_to_be_left_alone_is(work: Work) -> None:
    async with work() as bench:
        await listed(bench)
        action = {"status": 429, "headers": {"Retry-After": "9"}}
        await bench.api.fault(action, match=LISTS, times=1)

        await list_now(bench)

        raw: Any = bench.client.hget("runqueue:{default}:meta", "list_at")
        assert 5 < (int(raw) - bench.now_us()) / 1e6 <= 9


async def test_a_list_full_of_other_people_s_runs_is_read_no_further_than_it_is_worth(
    work: Work,
) -> None:
    async with work() as bench:
        job_ids = await listed(bench)
        await asyncio.gather(*(bench.api.run_task(url=ENDLESS) for _ in range(610)))

        await list_now(bench)

        assert await bench.calls("list_runs") == MANY // 2
        assert off_for(bench) > 250
        assert await bench.polled() == MANY
        assert bench.all_run(job_ids)


async def test_a_process_that_lost_its_lease_while_it_read_says_nothing(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        await listed(bench, url=MINUTE)
        clock.advance(61)

        async def be_taken_over() -> None:
            bench.client.hset("runqueue:{default}:meta", "list_by", "another")

        async def around(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "lists_permit":
                await be_taken_over()
            return await send(call)

        wrap_send(monkeypatch, bench.account, around)
        await list_now(bench)

        assert await bench.polled() == 0
        assert len(in_lists(bench)) == MANY
        assert bench.client.hget("runqueue:{default}:meta", "list_by") == b"another"
