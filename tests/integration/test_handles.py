"""What `enqueue` returns: an answer that can be waited for."""

import asyncio
import copy
import pickle
import threading

import pytest

from runqueue import AsyncRunQueue, Enqueued, JobState, RunQueue, TaskRunRequest

ASK = TaskRunRequest(prompt="Read the price.")


def test_a_job_that_was_handed_in_reads_waits_for_and_cancels_itself(queue: RunQueue) -> None:
    job = queue.enqueue(ASK)
    assert job.get().state is JobState.READY
    with pytest.raises(TimeoutError, match=job.job_id):
        job.wait(timeout=0.01)

    canceling = threading.Thread(target=job.cancel)
    canceling.start()
    done = job.wait(timeout=30)
    canceling.join()

    assert (done.id, done.state) == (job.job_id, JobState.CANCELED)


async def test_awaiting_a_job_that_was_handed_in_gives_its_end(
    queue: RunQueue, redis_url: str
) -> None:
    async with AsyncRunQueue(redis_url) as service:
        job = await service.enqueue(ASK)
        assert (await job.get()).state is JobState.READY
        with pytest.raises(TimeoutError, match=job.job_id):
            await job.wait(timeout=0.01)

        done, _ = await asyncio.gather(job, job.cancel())

    assert (done.id, done.state) == (job.job_id, JobState.CANCELED)


async def test_it_is_copied_pickled_and_compared_as_the_answer_that_it_is(
    queue: RunQueue, redis_url: str
) -> None:
    async with AsyncRunQueue(redis_url) as service:
        for job in (queue.enqueue(ASK), await service.enqueue(ASK)):
            kept: Enqueued = pickle.loads(pickle.dumps(job))
            assert type(kept) is Enqueued
            assert kept == job == copy.deepcopy(job)


def test_a_handle_that_was_changed_keeps_its_queue(queue: RunQueue) -> None:
    job = queue.enqueue(ASK)
    changed = job._replace(custom_id="another")
    assert (changed.custom_id, changed.get().id) == ("another", job.job_id)
