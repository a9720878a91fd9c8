"""Waiting for a job: who waits is told of its end by Redis, and looks seldom of itself."""

import asyncio
import inspect
import multiprocessing
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import redis

from lab.proxy import Network, Proxy
from runqueue import AsyncRunQueue, Job, JobState, QueueUnavailable, RunQueue
from runqueue.producer import waiters
from runqueue.store import job_calls
from runqueue.store.sending import load_library, run
from tests.runqueue.lua.clockwork import Clockwork

NEVER = 60.0
#: Called with the number of a look at the job's state, before and after it.
OnLook = Callable[[int], None]


def _nothing(look: int) -> None:
    pass


class Either:
    """A queue of either kind whose `wait` is awaited."""

    def __init__(self, queue: Any, threads: ThreadPoolExecutor) -> None:
        self.queue = queue
        self.looks = self.looked = 0
        self.before: OnLook = _nothing
        self.after: OnLook = _nothing
        self._threads = threads
        self._states = queue.states
        is_async = isinstance(queue, AsyncRunQueue)
        queue.states = self._look_async if is_async else self._look

    def wait(self, job_id: str, timeout: float | None = 30) -> "asyncio.Future[Job]":
        """Begin to wait."""
        loop = asyncio.get_running_loop()
        if isinstance(self.queue, AsyncRunQueue):
            return loop.create_task(self.queue.wait(job_id, timeout))
        return loop.run_in_executor(self._threads, self.queue.wait, job_id, timeout)

    async def waiting(self, job_id: str, timeout: float | None = 30) -> "asyncio.Future[Job]":
        """Begin to wait; returns once it was looked at by one who would be told of its end."""
        before = self.looked
        looks = 1 if self.queue._ends._is_listening else 2
        waiting = self.wait(job_id, timeout)
        await until(lambda: self.looked >= before + looks and self.watched == 1)
        return waiting

    @property
    def watched(self) -> int:
        """For how many jobs the listener listens."""
        return len(self.queue._ends._waiting)

    @property
    def pausing(self) -> int:
        """How many wait just now."""
        return len(self.queue._ends._pausing)

    async def close(self) -> None:
        closing = self.queue.close()
        if inspect.isawaitable(closing):
            await closing

    def _begin(self) -> int:
        self.looks += 1
        self.before(self.looks)
        return self.looks

    def _end(self, look: int) -> None:
        self.after(look)
        self.looked += 1

    def _look(self, job_ids: list[str]) -> Any:
        look = self._begin()
        found = self._states(job_ids)
        self._end(look)
        return found

    async def _look_async(self, job_ids: list[str]) -> Any:
        look = self._begin()
        found = await self._states(job_ids)
        self._end(look)
        return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, inspect.getsource(condition)
        await asyncio.sleep(0.005)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(200) as some:
        yield some


@pytest.fixture(params=["sync", "async"])
async def either(
    request: pytest.FixtureRequest,
    redis_url: str,
    client: redis.Redis,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Either]:
    """A queue of either kind."""
    kind = RunQueue if request.param == "sync" else AsyncRunQueue
    monkeypatch.setattr(waiters, "TICK", 0.02)
    one = Either(kind(redis_url), threads)
    yield one
    await one.close()
    await until(lambda: not listeners(client))


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    """The network between a queue and its Redis."""
    with Network() as network:
        yield network.proxy("127.0.0.1", int(redis_url.rpartition(":")[2].partition("/")[0]))


@pytest.fixture
async def far(either: Either, proxy: Proxy, threads: ThreadPoolExecutor) -> AsyncIterator[Either]:
    """A queue of either kind whose Redis is behind the proxy."""
    one = Either(type(either.queue)(f"redis://127.0.0.1:{proxy.port}/0"), threads)
    yield one
    await one.close()


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits does not look by itself while a test runs."""
    monkeypatch.setattr(waiters, "CHECK_EVERY", NEVER)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener ends as soon as it is not wanted any more."""
    monkeypatch.setattr(waiters, "STAY_IDLE_SECONDS", 0.0)


def new_job(client: redis.Redis, n: int = 1) -> list[str]:
    return Clockwork(client).enqueue(n)


def end(client: redis.Redis, *job_ids: str) -> None:
    """End ready jobs in one script."""
    assert run(client, job_calls.cancel("default", job_ids)) == [1] * len(job_ids)


def listeners(client: redis.Redis) -> list[Any]:
    return list(client.client_list(_type="pubsub"))


@pytest.fixture
def heard(client: redis.Redis) -> Iterator[Callable[[], list[bytes]]]:
    """What was published since the last call."""
    with cast(Any, client).pubsub() as pubsub:
        pubsub.psubscribe(waiters.CHANNELS)
        assert pubsub.get_message(timeout=5)["type"] == "psubscribe"

        def messages() -> list[bytes]:
            client.publish("runqueue:{the end}:ended", "that is all")
            return list(iter(lambda: pubsub.get_message(timeout=5)["data"], b"that is all"))

        yield messages


@pytest.mark.usefixtures("seldom")
async def test_who_waits_is_woken_by_the_end_and_does_not_look_meanwhile(
    either: Either, client: redis.Redis
) -> None:
    (job_id,) = new_job(client)
    waiting = await either.waiting(job_id)

    end(client, job_id)

    assert (await waiting).state is JobState.CANCELED
    assert either.looks == 3, "one at first, one once it listened, one when it was told"


@pytest.mark.usefixtures("seldom")
async def test_a_job_that_is_over_is_returned_at_once_and_nobody_listens(
    either: Either, client: redis.Redis
) -> None:
    (job_id,) = new_job(client)
    end(client, job_id)

    assert (await either.wait(job_id)).state is JobState.CANCELED

    assert (either.looks, listeners(client)) == (1, [])


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize(("when", "look"), [("after", 1), ("before", 2), ("after", 2)])
async def test_an_end_at_any_moment_of_the_beginning_is_not_missed(
    either: Either, client: redis.Redis, when: str, look: int
) -> None:
    (job_id,) = new_job(client)
    setattr(either, when, lambda number: end(client, job_id) if number == look else None)

    assert (await either.wait(job_id)).state is JobState.CANCELED


@pytest.mark.usefixtures("seldom")
async def test_200_that_wait_use_one_connection_to_listen_and_look_together(
    either: Either, client: redis.Redis
) -> None:
    jobs = new_job(client, 100)
    waiting = [either.wait(job_id) for job_id in jobs * 2]
    await until(lambda: either.pausing == 200 and either.queue._ends._is_listening)
    assert len(listeners(client)) == 1

    end(client, *jobs)

    done = await asyncio.gather(*waiting)
    assert [job.id for job in done] == jobs * 2
    assert {job.state for job in done} == {JobState.CANCELED}
    assert either.looks < 300, "a look each at first, and a few for all"


@pytest.mark.usefixtures("seldom")
async def test_who_looks_for_all_hands_over_when_its_own_job_has_ended_or_its_time_is_up(
    either: Either, client: redis.Redis
) -> None:
    first, second, third = new_job(client, 3)
    one = await either.waiting(first, timeout=0.5)
    two, three = either.wait(second), either.wait(third)
    await until(lambda: either.pausing == 3)

    with pytest.raises(TimeoutError):
        await one
    end(client, second)
    assert (await two).id == second
    end(client, third)

    assert (await three).id == third


@pytest.mark.usefixtures("seldom")
async def test_who_waits_looks_again_once_a_lost_connection_is_there_again(
    either: Either, client: redis.Redis
) -> None:
    (job_id,) = new_job(client)
    waiting = await either.waiting(job_id)
    with client.pipeline(transaction=True) as together:
        together.client_kill_filter(_type="pubsub")
        together.fcall(*call_that_cancels(client, job_id))
        together.execute()

    assert (await waiting).state is JobState.CANCELED
    await until(lambda: len(listeners(client)) == 1)


def call_that_cancels(client: redis.Redis, job_id: str) -> tuple[Any, ...]:
    call = job_calls.cancel("default", [job_id])
    load_library(client, "runqueue:{default}:meta")
    return call.script.function, 1, "runqueue:{default}:meta", 0, *call.arguments


async def test_a_message_that_is_lost_costs_only_time(
    either: Either, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(waiters, "CHANNELS", "nobody:speaks:here")
    (job_id,) = new_job(client)
    waiting = await either.waiting(job_id)

    end(client, job_id)

    assert (await asyncio.wait_for(waiting, 15)).state is JobState.CANCELED


@pytest.mark.usefixtures("seldom", "hurried")
async def test_the_listener_ends_after_the_last_who_waits_and_begins_with_the_next(
    either: Either, client: redis.Redis
) -> None:
    for job_id in new_job(client, 2):
        waiting = await either.waiting(job_id)
        assert len(listeners(client)) == 1
        end(client, job_id)
        await waiting
        await until(lambda: not listeners(client))
    assert "runqueue-ends" not in {thread.name for thread in threading.enumerate()}


async def test_the_listener_stays_for_a_while_and_ends_with_the_queue(
    either: Either, client: redis.Redis
) -> None:
    first, second = new_job(client, 2)
    waiting = await either.waiting(first)
    end(client, first)
    await waiting
    (one,) = listeners(client)

    waiting = await either.waiting(second)
    end(client, second)
    await waiting
    assert [other["id"] for other in listeners(client)] == [one["id"]]

    await either.close()
    await until(lambda: not listeners(client))


async def test_who_waits_when_the_queue_is_closed_goes_on(
    either: Either, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 0.1)
    (job_id,) = new_job(client)
    waiting = await either.waiting(job_id)
    await either.close()
    await until(lambda: not listeners(client))

    end(client, job_id)

    assert (await asyncio.wait_for(waiting, 15)).state is JobState.CANCELED


@pytest.mark.usefixtures("seldom")
async def test_time_that_is_up_is_told_and_nobody_waits_any_more(
    either: Either, client: redis.Redis
) -> None:
    (job_id,) = new_job(client)
    with pytest.raises(TimeoutError, match=f"{job_id} is still ready after 0.1 s"):
        await either.wait(job_id, timeout=0.1)
    assert either.watched == 0


async def test_no_time_at_all_is_one_look(either: Either, client: redis.Redis) -> None:
    (job_id,) = new_job(client)
    with pytest.raises(TimeoutError):
        await either.wait(job_id, timeout=0)
    assert either.looks == 1


@pytest.mark.usefixtures("seldom", "hurried")
async def test_a_connection_that_answers_when_it_is_asked_is_kept(
    either: Either, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "QUIET", 0.2)
    (job_id,) = new_job(client)
    waiting = await either.waiting(job_id)
    (before,) = listeners(client)

    await until(lambda: int(listeners(client)[0]["tot-cmds"]) >= int(before["tot-cmds"]) + 4)

    assert listeners(client)[0]["id"] == before["id"]
    end(client, job_id)
    assert (await waiting).state is JobState.CANCELED


@pytest.mark.usefixtures("seldom", "hurried")
async def test_a_connection_that_says_nothing_is_abandoned_for_another(
    far: Either, proxy: Proxy, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "QUIET", 0.1)
    (job_id,) = new_job(client)
    waiting = await far.waiting(job_id)
    proxy.up.swallow = proxy.down.swallow = True

    await until(lambda: not far.queue._ends._is_listening)

    proxy.heal()
    end(client, job_id)
    assert (await waiting).state is JobState.CANCELED


async def test_who_waits_is_told_that_redis_is_gone(
    far: Either, proxy: Proxy, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 0.1)
    (job_id,) = new_job(client)
    waiting = await far.waiting(job_id)

    proxy.refuse()
    proxy.cut()

    with pytest.raises(QueueUnavailable):
        await waiting


@pytest.mark.usefixtures("seldom")
def test_a_fork_listens_for_itself(queue: RunQueue, client: redis.Redis) -> None:
    first, second = new_job(client, 2)
    threading.Timer(0.05, end, (client, first)).start()
    queue.wait(first, 30)
    with queue._ends._lock:
        child = multiprocessing.get_context("fork").Process(target=queue.wait, args=(second, 30))
        child.start()
    give_up = time.monotonic() + 20
    while len(listeners(client)) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    end(client, second)
    child.join(20)
    assert child.exitcode == 0


def test_a_script_that_ends_jobs_publishes_one_message(
    client: redis.Redis, heard: Callable[[], list[bytes]]
) -> None:
    jobs = new_job(client, 3)
    assert heard() == []
    end(client, *jobs)
    assert heard() == [" ".join(jobs).encode()]


def test_more_than_a_thousand_ids_are_two_messages(
    clock: Clockwork, heard: Callable[[], list[bytes]]
) -> None:
    jobs = [*clock.enqueue(1_000, deadline=clock.now + 1), *clock.enqueue(1)]
    run(clock.client, job_calls.cancel("default", jobs), now_us=clock.now)
    assert [len(message.split()) for message in heard()] == [1_000, 1]


def test_an_orphan_is_not_published(clock: Clockwork, heard: Callable[[], list[bytes]]) -> None:
    assert clock.found(clock.new_id("k"), 1, "run1") == 2
    assert clock.client.exists(clock.key("orphans"))
    assert heard() == []


def test_a_user_who_may_not_publish_ends_jobs_all_the_same(
    client: redis.Redis, redis_url: str
) -> None:
    (job_id,) = new_job(client)
    client.acl_setuser(
        "mute", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True
    )
    try:
        with RunQueue(redis_url.replace("//", "//mute:any@")) as mute:
            assert mute.cancel(job_id) is JobState.CANCELED
    finally:
        client.acl_deluser("mute")
