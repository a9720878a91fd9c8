"""Canceling many runs at once, and runs that no job owns."""

from typing import Any

import pytest

from runqueue import JobState, ids
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import eventually
from tests.worker.working import ENDLESS, INSTANT, KEYS, Bench, Work


def due(bench: Bench, member: str) -> None:
    bench.client.zadd(f"{KEYS.prefix}cancels", {member: bench.now_us()})


async def running(bench: Bench, n: int) -> list[str]:
    """Have so many runs that are to be canceled; returns their jobs."""
    job_ids = await bench.submitted(n)
    for job_id in job_ids:
        bench.queue.cancel(job_id)
    return job_ids


async def test_more_than_a_hundred_runs_take_a_call_for_each_hundred(work: Work) -> None:
    async with work() as bench:
        job_ids = [*await running(bench, 100), *await running(bench, 20)]

        first = await bench.one_pass("cancel", want=500)
        assert first.next_us == first.now_us  # more are due at once
        await bench.one_pass("cancel", want=500)
        for _ in range(2):
            await bench.one_pass("poll")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.CANCELED}
        assert (await bench.calls("cancel_runs"), await bench.calls("cancel_run")) == (2, 0)


async def test_a_server_without_a_bulk_call_is_remembered_and_asked_run_by_run(work: Work) -> None:
    async with work() as bench:
        missing = {"status": 404, "body": {"detail": "Not Found"}}
        await bench.api.fault(missing, match={"route": "cancel_runs"})
        job_ids = await running(bench, 6)
        await bench.one_pass("cancel")
        job_ids += await running(bench, 7)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.CANCELED}
        assert (await bench.calls("cancel_runs"), await bench.calls("cancel_run")) == (1, 13)


async def test_a_bulk_call_that_failed_is_made_again_after_its_lease(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        await bench.api.fault({"status": 500}, match={"route": "cancel_runs"}, times=1)
        job_ids = await running(bench, 6)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.RUNNING}
        assert "cancel_failed" in [event["event"] for event in logged]

        for job_id in job_ids:
            due(bench, job_id)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.CANCELED}
        assert await bench.calls("cancel_run") == 0


async def orphan(bench: Bench, run_id: str = "") -> str:
    """Have a run that no job owns, of the server's or only by name; returns its id."""
    run_id = run_id or await bench.api.run_task(url=ENDLESS)
    found = RunAccepted(ids.new_id("default"), 1, run_id, "running", 0)
    assert await bench.account.send(worker_calls.mark_running("default", [found])) == [2]
    return run_id


@pytest.mark.parametrize("n", [1, 6], ids=["one by one", "in bulk"])
async def test_an_orphan_is_canceled_once_a_person_asks_for_it_and_then_forgotten(
    work: Work, n: int
) -> None:
    async with work() as bench:
        queue = bench.queue
        for _ in range(n):
            await orphan(bench)
        kept = await orphan(bench)
        await bench.one_pass("cancel")
        assert {run["status"] for run in await bench.runs()} & {"canceled"} == set()

        asked = [one for one in queue.orphans() if one.run_id != kept]
        assert queue.cancel_orphans(asked) == n
        await bench.one_pass("cancel")
        await eventually(lambda: bench.stats().orphans == 1)

        assert [one.run_id for one in queue.orphans()] == [kept]
        statuses = {run["run_id"]: run["status"] for run in await bench.runs()}
        assert statuses.pop(kept) != "canceled"
        assert set(statuses.values()) == {"canceled"}
        assert bench.client.zcard(f"{KEYS.prefix}cancels") == 0


@pytest.mark.parametrize("n", [1, 5], ids=["one by one", "in bulk"])
async def test_an_orphan_that_the_server_does_not_know_is_forgotten(work: Work, n: int) -> None:
    async with work() as bench:
        queue = bench.queue
        for number in range(n):
            await orphan(bench, f"tsk_{number}")

        assert queue.cancel_orphans(queue.orphans()) == n
        await bench.one_pass("cancel")

        await eventually(lambda: bench.stats().orphans == 0)
        assert list(queue.orphans()) == []


async def test_an_orphan_that_ends_by_itself_gives_its_slot_back_and_stays_shown(
    work: Work,
) -> None:
    async with work() as bench:
        ended = await orphan(bench, await bench.api.run_task(url=INSTANT))
        goes_on = await orphan(bench)
        new = await orphan(bench, "tsk_of_another_server")
        gone = await orphan(bench, "tsk_that_nobody_knows")
        told = bench.client.hget(f"{KEYS.prefix}orphans", gone)
        job_id, _, _, rest = str(told.decode() if isinstance(told, bytes) else told).split(" ", 3)
        since = bench.now_us() - 61_000_000
        bench.client.hset(f"{KEYS.prefix}orphans", gone, f"{job_id} 1 {since} {rest}")

        await bench.one_pass("poll")
        await eventually(lambda: bench.stats().orphans_live == 2)

        assert bench.score("orphan_polls", ended) is None
        assert (bench.score("orphan_polls", goes_on) or 0) > bench.now_us()
        assert (bench.score("orphan_polls", new) or 0) > bench.now_us(), "it may come yet"
        assert bench.score("orphan_polls", gone) is None
        shown = {one.run_id for one in bench.queue.orphans()}
        assert shown == {ended, goes_on, new, gone}


async def test_an_orphan_whose_cancel_failed_stays_and_is_tried_again(work: Work) -> None:
    async with work() as bench:
        queue = bench.queue
        run_id = await orphan(bench)
        await bench.api.fault({"status": 500}, match={"route": "cancel_run"}, times=1)
        queue.cancel_orphans(queue.orphans())
        await bench.one_pass("cancel")
        assert [one.run_id for one in queue.orphans()] == [run_id]

        due(bench, f"orphan {run_id}")
        await bench.one_pass("cancel")

        await eventually(lambda: bench.stats().orphans == 0)
        assert [run["status"] for run in await bench.runs()] == ["canceled"]


async def test_an_orphan_that_a_bulk_call_did_not_cancel_is_not_forgotten(work: Work) -> None:
    async with work() as bench:
        queue = bench.queue
        runs = {await orphan(bench) for _ in range(5)}
        answer = {"status": 200, "body": {"cancelled": [], "failed": sorted(runs)}}
        await bench.api.fault(answer, match={"route": "cancel_runs"})
        await bench.api.fault({"status": 500}, match={"route": "cancel_run"})
        queue.cancel_orphans(queue.orphans())

        await bench.one_pass("cancel")

        assert {one.run_id for one in queue.orphans()} == runs
