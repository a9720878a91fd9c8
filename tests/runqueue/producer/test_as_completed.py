"""Waiting for many jobs: they come as they end, and it costs no more than waiting for one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
import redis

from runqueue import AsyncRunQueue, Job, JobNotFound, JobState, RunQueue
from runqueue.producer import waiters
from runqueue.store import job_calls
from runqueue.store.sending import run
from tests.runqueue.lua.clockwork import Clockwork
from tests.runqueue.producer.test_waiters import end, listeners, new_job, until


class Both:
    """A queue of either kind; what it yields is asked for one by one."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.looks: list[int] = []
        self.looked = 0
        self.error: Exception | None = None
        states = queue.states

        def look(job_ids: list[str]) -> Any:
            self.looks.append(len(job_ids))
            if self.error is not None:
                raise self.error
            return states(job_ids)

        def look_now(job_ids: list[str]) -> Any:
            found = look(job_ids)
            self.looked += 1
            return found

        async def look_async(job_ids: list[str]) -> Any:
            found = await look(job_ids)
            self.looked += 1
            return found

        queue.states = look_async if isinstance(queue, AsyncRunQueue) else look_now

    @property
    def is_quiet(self) -> bool:
        """Whether it listens, and no look is under way or due."""
        ends = self.queue._ends
        return ends._is_listening and not ends._to_check and self.looked == len(self.looks)

    def as_completed(self, job_ids: Iterable[str], timeout: float | None = 30) -> Callable[[], Any]:
        """Begin; returns what gives the next job, None at the end."""
        if isinstance(self.queue, AsyncRunQueue):
            later: AsyncIterator[Job] = self.queue.as_completed(job_ids, timeout)
            return lambda: anext(later, None)
        now: Iterator[Job] = self.queue.as_completed(job_ids, timeout)
        return lambda: asyncio.to_thread(next, now, None)

    async def all(self, job_ids: Iterable[str], timeout: float | None = 30) -> list[Job]:
        """Everything it yields."""
        step = self.as_completed(job_ids, timeout)
        found: list[Job] = []
        while job := await step():
            found.append(job)
        return found

    async def close(self) -> None:
        closing = self.queue.close()
        if closing is not None:
            await closing


@pytest.fixture(params=[RunQueue, AsyncRunQueue], ids=["sync", "async"])
async def both(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Both]:
    one = Both(request.param(redis_url))
    yield one
    await one.close()


@pytest.fixture(autouse=True)
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 60.0)


async def test_jobs_come_as_they_end(both: Both, client: redis.Redis) -> None:
    first, second, third = new_job(client, 3)
    end(client, second)
    step = both.as_completed([first, second, third])

    assert (await step()).id == second
    for job_id in (third, first):
        waiting = asyncio.ensure_future(step())
        await until(lambda: both.queue._ends._is_listening)
        end(client, job_id)
        assert (await waiting).id == job_id
    assert await step() is None


async def test_what_ends_while_nobody_asks_is_not_missed(both: Both, client: redis.Redis) -> None:
    first, second, third = new_job(client, 3)
    end(client, first)
    step = both.as_completed([first, second, third])
    assert (await step()).id == first
    await until(lambda: both.queue._ends._is_listening)
    end(client, second, third)
    assert {(await step()).id, (await step()).id} == {second, third}


async def test_a_job_that_is_named_twice_comes_once(both: Both, client: redis.Redis) -> None:
    (job_id,) = new_job(client)
    end(client, job_id)
    assert [job.id for job in await both.all([job_id, job_id])] == [job_id]


async def test_no_jobs_are_done_at_once(both: Both, client: redis.Redis) -> None:
    assert await both.all([]) == []
    assert listeners(client) == []


async def test_an_id_that_is_no_job_s_is_an_error(both: Both, client: redis.Redis) -> None:
    (job_id,) = new_job(client)
    with pytest.raises(JobNotFound, match="nonsense"):
        await both.all([job_id, "nonsense"])


async def test_time_that_is_up_is_told_after_what_has_ended(
    both: Both, client: redis.Redis
) -> None:
    first, second = new_job(client, 2)
    end(client, first)
    step = both.as_completed([first, second], timeout=0.2)
    assert (await step()).id == first
    with pytest.raises(TimeoutError, match=r"1 of 2 jobs have not ended after 0\.2 s"):
        await step()
    assert both.queue._ends._waiting == {}


async def test_who_takes_its_time_between_two_jobs_keeps_nobody_from_being_told(
    both: Both, client: redis.Redis
) -> None:
    first, second, other = new_job(client, 3)
    end(client, first)
    step = both.as_completed([first, second])
    assert (await step()).id == first  # and now it is busy

    waiting = asyncio.ensure_future(both.as_completed([other])())
    await until(lambda: len(both.queue._ends._pausing) == 1 and both.queue._ends._is_listening)
    end(client, other)

    assert (await waiting).id == other
    end(client, second)
    assert (await step()).id == second


async def test_thousands_of_jobs_cost_a_few_looks(both: Both, clock: Clockwork) -> None:
    jobs = [job_id for _ in range(5) for job_id in clock.enqueue(1_000)]
    waiting = asyncio.ensure_future(both.all(jobs))
    await until(lambda: both.queue._ends._is_listening)
    for start in range(0, 5_000, 1_000):
        run(clock.client, job_calls.cancel("default", jobs[start : start + 1_000]))

    done = await asyncio.wait_for(waiting, 60)

    assert {job.id for job in done} == set(jobs)
    assert {job.state for job in done} == {JobState.CANCELED}
    print(f"{len(both.looks)} looks at {sum(both.looks)} jobs")
    assert max(both.looks) == 1_000
    assert len(both.looks) <= 20, "five at first, five once it listened, and those it was told of"


async def test_thousands_of_coroutines_that_wait_take_no_more_than_a_few_connections(
    redis_url: str, clock: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 0.5)
    jobs = [job_id for _ in range(5) for job_id in clock.enqueue(1_000)]
    others = len(clock.client.client_list())
    async with AsyncRunQueue(redis_url) as queue:
        looks = Both(queue).looks
        waiting = [asyncio.ensure_future(queue.wait(job_id, 60)) for job_id in jobs]
        await until(lambda: queue._ends._is_listening and sum(looks) >= 10_000)
        before = len(looks)
        await until(lambda: len(looks) >= before + 10)
        connected = len(clock.client.client_list()) - others
        for start in range(0, 5_000, 1_000):
            run(clock.client, job_calls.cancel("default", jobs[start : start + 1_000]))
        done = await asyncio.gather(*waiting)
    print(f"{len(looks)} looks, {connected} connections")
    assert [job.id for job in done] == jobs
    assert connected <= 10


async def test_a_leader_that_is_canceled_in_the_middle_of_a_look_hands_over(
    redis_url: str, client: redis.Redis
) -> None:
    first, second = new_job(client, 2)
    end(client, second)
    async with AsyncRunQueue(redis_url) as queue:
        states, looking = queue.states, asyncio.Event()

        async def stuck(job_ids: Any) -> Any:
            if looking.is_set():
                return await states(job_ids)
            looking.set()
            return await asyncio.sleep(60)

        queue.states = stuck  # type: ignore[method-assign]
        leader = asyncio.ensure_future(queue.wait(first, 30))
        await looking.wait()
        other = asyncio.ensure_future(queue.wait(second, 30))
        await until(lambda: len(queue._ends._pausing) == 2)
        leader.cancel()

        assert (await asyncio.wait_for(other, 10)).id == second
        assert leader.cancelled()


async def test_an_error_of_the_one_look_is_told_to_all_whom_it_concerns(
    both: Both, client: redis.Redis
) -> None:
    jobs = new_job(client, 3)
    waiting = [asyncio.ensure_future(both.as_completed([job_id])()) for job_id in jobs]
    await until(lambda: len(both.queue._ends._pausing) == 3 and both.is_quiet)
    both.error = ConnectionError("no")

    end(client, *jobs)

    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in found] == [ConnectionError] * 3
    assert both.queue._ends._waiting == {}


def test_what_enqueue_many_returned_is_no_job_id_and_is_told_so(queue: RunQueue) -> None:
    answers = queue.enqueue_many([{"kind": "task", "body": {"prompt": "Read it."}}])

    with pytest.raises(TypeError, match=r"expected job ids, got Enqueued; .*job_id"):
        list(queue.as_completed(answers))  # type: ignore[arg-type]
