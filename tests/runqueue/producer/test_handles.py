"""What `enqueue` returns: an answer that can be waited for."""

import asyncio
import copy
import pickle

import pytest

from runqueue import AsyncRunQueue, Enqueued, JobState, TaskRunRequest
from tests.either import Ask, answer_of

ASK = TaskRunRequest(prompt="Read the price.")


async def test_a_job_that_was_submitted_reads_waits_for_and_cancels_itself(ask: Ask) -> None:
    job = await ask("enqueue", ASK)
    assert (await answer_of(job.get)).state is JobState.READY
    with pytest.raises(TimeoutError, match=job.job_id):
        await answer_of(job.wait, timeout=0.01)

    done, _ = await asyncio.gather(answer_of(job.wait, timeout=30), answer_of(job.cancel))

    assert (done.id, done.state) == (job.job_id, JobState.CANCELED)


async def test_awaiting_a_job_that_was_submitted_gives_its_end(redis_url: str) -> None:
    async with AsyncRunQueue(redis_url) as queue:
        job = await queue.enqueue(ASK)

        done, _ = await asyncio.gather(job, job.cancel())

    assert (done.id, done.state) == (job.job_id, JobState.CANCELED)


async def test_it_is_copied_pickled_and_compared_as_the_answer_that_it_is(ask: Ask) -> None:
    job = await ask("enqueue", ASK)
    kept: Enqueued = pickle.loads(pickle.dumps(job))
    assert type(kept) is Enqueued
    assert kept == job == copy.deepcopy(job)


async def test_a_handle_that_was_changed_keeps_its_queue(ask: Ask) -> None:
    job = await ask("enqueue", ASK)
    changed = job._replace(custom_id="another")
    assert changed.custom_id == "another"
    assert (await answer_of(changed.get)).id == job.job_id
