"""What the sweep packs, and what the worker then makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue import JobState, TaskRunRequest
from runqueue.store.scripts import ScriptCall
from tests.packed import is_packed, pack_all
from tests.worker.working import INSTANT, KEYS, Bench, Send, Work, wrap_send
from worker.stages import packing
from worker.stages.packing import pack_ended
from worker.stages.sweep import sweep

#: The run is made, and the answer that tells so is lost.
MADE: dict[str, Any] = {"close": True, "committed": True}
FAILED = "https://shop.test/?sim_seconds=0&sim_end=failed"


async def over(bench: Bench, n: int = 1, url: str = INSTANT) -> list[str]:
    """Jobs whose runs are over."""
    job_ids = await bench.submitted(n, url=url)
    await bench.one_pass("poll")
    assert all(bench.job(job_id).is_over for job_id in job_ids)
    return job_ids


async def test_the_sweep_packs_what_ended_a_while_ago(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await over(bench)
        assert (await sweep(bench.account))["pack"] == 0, "it is too fresh"

        bench.set(job_id, "ended", bench.now_us() - packing.AFTER_SECONDS * 1_000_000)
        before = bench.job(job_id)
        assert (await sweep(bench.account))["pack"] == 1

        assert is_packed(bench.client, job_id)
        assert bench.job(job_id) == before
        assert before.result is not None


async def test_a_pass_is_bounded_and_the_next_one_goes_on(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIMIT", 2)
    monkeypatch.setattr(packing, "ROUNDS", 3)
    async with work() as bench:
        job_ids = await over(bench, 8)

        assert [await pack_ended(bench.account, 0) for _ in range(3)] == [6, 2, 0]

        assert all(is_packed(bench.client, job_id) for job_id in job_ids)


async def test_a_worker_that_dies_while_it_packs_leaves_what_the_next_one_packs(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (job_id,) = await over(bench)

        async def dies(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "pack":
                raise ConnectionError
            return await send(call)

        with monkeypatch.context() as dying:
            wrap_send(dying, bench.account, dies)
            with pytest.raises(ConnectionError):
                await pack_ended(bench.account, 0)
        assert not is_packed(bench.client, job_id)

        assert await pack_ended(bench.account, 0) == 1
        assert is_packed(bench.client, job_id)


async def test_a_packed_request_whose_answer_is_lost_is_found_by_it(work: Work) -> None:
    async with work() as bench:
        request = TaskRunRequest(prompt="Read the price.", url=FAILED)  # whose marker gets lost
        job_id = bench.queue.enqueue(request).job_id
        for kind in ("submit", "poll"):
            await bench.one_pass(kind)
        pack_all(bench.client)
        bench.queue.replay([job_id])
        await bench.api.fault(MADE, match={"method": "POST"}, times=1)
        await bench.one_pass("submit")
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert is_packed(bench.client, job_id)

        bench.client.zadd(f"{KEYS.prefix}reconcile", {job_id: 0})
        await bench.one_pass("reconcile")

        _, run = await bench.runs()
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == ("running", run["run_id"])
