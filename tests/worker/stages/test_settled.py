"""What a person decides on an unconfirmed job is carried out by the worker."""

from typing import Any

from runqueue import JobState
from tests.simulator.simulating import eventually
from tests.worker.working import KEYS, Bench, Work
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


async def test_an_answer_that_comes_after_a_job_was_failed_shows_its_run_as_an_orphan(
    work: Work,
) -> None:
    async with work() as bench:
        queue = bench.queue
        await bench.api.fault({"answer_latency": 1.0}, match={"route": "run_task"}, times=1)
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        (item,) = (await consumer.take(1, 0)).items
        # Its claim is taken over, and a person gives up, while the answer is on its way.
        bench.client.zadd(f"{KEYS.prefix}processes", {bench.account.lease.name: 1_000})
        await sweep(bench.account)
        queue.fail([job_id])

        consumer._start(item)
        await eventually(lambda: consumer.busy == 0)

        (run,) = await bench.runs()
        assert bench.job(job_id).state is JobState.DEAD
        assert [(s.run_id, s.why) for s in queue.orphans()] == [(run["run_id"], "job was dead")]


async def test_an_answer_that_comes_while_its_job_waits_to_be_submitted_again_is_adopted(
    work: Work,
) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        (item,) = (await consumer.take(1, 0)).items
        bench.client.zadd(f"{KEYS.prefix}processes", {bench.account.lease.name: 1_000})
        await sweep(bench.account)
        bench.queue.resubmit([job_id])
        assert bench.job(job_id).state is JobState.READY

        consumer._start(item)
        await eventually(lambda: consumer.busy == 0)

        (run,) = await bench.runs()
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == ("running", run["run_id"])
        assert list(bench.queue.orphans()) == []
