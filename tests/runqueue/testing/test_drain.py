"""A drain: what it does by itself, what it leaves, how it ends, and where webhooks go."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
import pytest
import time_machine
from starlette.requests import Request
from starlette.responses import Response

from api_client import verify_webhook
from runqueue import AsyncRunQueue, RunQueue, TaskRunRequest, server_version, testing
from runqueue.testing import (
    AsyncQueueForTests,
    Environment,
    NotDrained,
    QueueForTests,
    ScriptedSkyvern,
)
from runqueue.testing import environment as environments
from tests.simulator.simulating import receiving

URL = "https://crm.example"
HOOKED = TaskRunRequest(prompt="Read it.", webhook_url=f"{URL}/hook")


def enqueue(queue: RunQueue, request: TaskRunRequest | None = None, **options: Any) -> str:
    return queue.enqueue(request or TaskRunRequest(prompt="Read it."), **options).job_id


class App:
    """An ASGI app that takes webhooks, or raises."""

    def __init__(self, error: Exception | None = None, answer: Response | None = None) -> None:
        self.error = error
        self.answer = answer or Response()
        self.taken: list[tuple[bytes, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.taken.append((await request.body(), dict(request.headers)))
        if self.error is not None:
            raise self.error
        await self.answer(scope, receive, send)


async def hang(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that never answers."""
    await asyncio.sleep(3600)


@pytest.mark.parametrize("seconds", [0, 3600])
def test_every_queue_of_the_process_goes_by_the_moved_time(
    queue: QueueForTests, seconds: int
) -> None:
    queue.advance(seconds=seconds)
    with RunQueue() as another:  # by RUNQUEUE_REDIS_URL
        created = another.get(enqueue(another, delay=10)).created_at

    assert abs(created.timestamp() - time.time() - seconds) < 60
    assert queue.enqueued()[0].job.state == "scheduled"
    queue.advance(seconds=11)
    queue.drain()
    assert queue.enqueued()[0].job.state == "completed"


async def test_coroutines_go_by_it_too(async_queue: AsyncQueueForTests) -> None:
    async_queue.advance(days=1)
    async with AsyncRunQueue() as another:
        await another.enqueue(HOOKED, delay=10)
    async_queue.advance(minutes=1)
    async_queue.mount(URL, app := App())
    await async_queue.drain()

    assert len(app.taken) == 1


@pytest.mark.parametrize("ticks", [True, False])
def test_a_clock_of_the_test_is_the_queues_too(queue: QueueForTests, ticks: bool) -> None:
    with time_machine.travel(datetime(2020, 1, 1, tzinfo=UTC), tick=ticks):
        job_id = enqueue(queue, delay=10)
        queue.advance(seconds=11)
        queue.drain()
        job = queue.get(job_id)

    assert (job.created_at.year, job.state) == (2020, "completed")


def test_time_goes_ahead_only(queue: QueueForTests) -> None:
    with pytest.raises(ValueError, match="0 or more seconds"):
        queue.advance(hours=-1)


def test_a_test_begins_without_what_others_left(
    queue: QueueForTests, runqueue_environment: Environment
) -> None:
    runqueue_environment.skyvern.on().fails()
    queue.mount(URL, App())
    enqueue(queue)
    queue.advance(days=1)
    queue.drain()
    runqueue_environment.clean()

    assert queue.enqueued() == []
    assert runqueue_environment.skyvern.submissions == []
    assert runqueue_environment.receivers == {}
    job_id = enqueue(queue)
    assert abs(queue.get(job_id).created_at.timestamp() - time.time()) < 60
    queue.drain()
    assert queue.get(job_id).state == "completed"


def test_a_long_pause_stays_for_the_test(queue: QueueForTests, skyvern: ScriptedSkyvern) -> None:
    skyvern.on().refuses(429, retry_after=1800).completes()
    job_id = enqueue(queue)
    queue.drain()
    assert queue.get(job_id).state == "ready"
    queue.advance(hours=1)
    queue.drain()
    assert queue.get(job_id).state == "completed"


def test_what_takes_too_long_ends_with_what_is_left(
    queue: QueueForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "_LATE_SECONDS", 0.5)
    enqueue(queue, group="slow", delay=60)
    with pytest.raises(NotDrained, match=r"(?s)1 jobs are left.*'slow': scheduled"):
        queue.drain(seconds=0)

    done = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        done.wait(20)

    queue.mount(URL, app)
    enqueue(queue, HOOKED)
    with pytest.raises(NotDrained, match="blocks the drain"):
        queue.drain(seconds=1)
    done.set()
    for thread in threading.enumerate():
        if thread.name == "runqueue-drain":
            thread.join(20)


def test_receivers_that_hang_end_with_the_drain(queue: QueueForTests) -> None:
    queue.mount(URL, hang)
    for _ in range(2):
        enqueue(queue, HOOKED)
    with pytest.raises(NotDrained, match=r"2 jobs are left:(\n.* webhook pending;.*){2}"):
        queue.drain(seconds=1)
    assert "runqueue-drain" not in {thread.name for thread in threading.enumerate()}


async def test_a_drain_can_be_canceled(async_queue: AsyncQueueForTests) -> None:
    async_queue.mount(URL, hang)
    await async_queue.enqueue(HOOKED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(async_queue.drain(), 1)


def test_an_error_of_a_stage_is_raised(
    queue: QueueForTests, skyvern: ScriptedSkyvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(skyvern, "answer", broken)
    enqueue(queue)
    with pytest.raises(LookupError, match="a bug"):
        queue.drain()


def test_a_webhook_reaches_an_app_signed_by_skyvern(queue: QueueForTests) -> None:
    queue.mount(URL, app := App())
    job_id = enqueue(queue, HOOKED)
    queue.drain()

    ((body, headers),) = app.taken
    assert verify_webhook(body, headers["x-skyvern-signature"], [ScriptedSkyvern.api_key])
    assert headers["runqueue-job-id"] == job_id
    assert headers["webhook-signature"].startswith("v1,")
    assert queue.get(job_id).webhook.state == "delivered"


async def test_a_webhook_reaches_a_url_with_its_path(async_queue: AsyncQueueForTests) -> None:
    async with receiving(503, 200) as receiver:
        async_queue.mount(f"{URL}/hook", receiver.url)
        job = await async_queue.enqueue(HOOKED)
        await async_queue.drain()
        assert len(receiver.bodies) == 1
        async_queue.advance(seconds=10)
        await async_queue.drain()

    assert receiver.bodies[0] == receiver.bodies[1]
    assert (await async_queue.get(job.job_id)).webhook.state == "delivered"


def test_a_webhook_goes_nowhere_else(queue: QueueForTests) -> None:
    queue.mount("https://other.example", App())
    job_id = enqueue(queue, HOOKED)
    queue.drain()

    webhook = queue.get(job_id).webhook
    assert webhook.state == "abandoned"
    assert "queue.mount" in str(webhook.error)


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_an_error_of_an_app_is_raised(queue: QueueForTests, error: type[Exception]) -> None:
    queue.mount(URL, App(error("of the app")))
    enqueue(queue, HOOKED)
    with pytest.raises(error, match="of the app"):
        queue.drain()


@pytest.mark.parametrize("is_client", [True, False])
def test_a_redirect_is_no_delivery_and_retry_after_counts(
    queue: QueueForTests, is_client: bool
) -> None:
    later = {"location": f"{URL}/elsewhere", "retry-after": "3600"}
    transport = httpx.MockTransport(lambda _: httpx.Response(307, headers=later))
    client = httpx.Client(transport=transport, follow_redirects=True)
    app = App(answer=Response(status_code=307, headers=later))
    queue.mount(URL, client if is_client else app)
    job_id = enqueue(queue, HOOKED)
    queue.drain()

    webhook = queue.get(job_id).webhook
    assert (webhook.state, webhook.status) == ("pending", 307)
    assert webhook.next_try_at is not None
    assert webhook.next_try_at.timestamp() > time.time() + 3000


def test_settings_of_the_machine_change_nothing(
    queue: QueueForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNQUEUE_WEBHOOK_SECRETS", "a secret, which no error may show")
    monkeypatch.setenv("RUNQUEUE_CORRELATION", "false")
    job_id = enqueue(queue)
    queue.drain()
    assert queue.get(job_id).state == "completed"


@pytest.mark.parametrize(
    ("entries", "words"),
    [([], "which is not installed"), (["no_such_module:drain"], "cannot be imported")],
)
def test_what_the_server_brings_says_without_it_what_to_install(
    queue: QueueForTests, monkeypatch: pytest.MonkeyPatch, entries: list[str], words: str
) -> None:
    found = [EntryPoint("any", value, "runqueue.testing") for value in entries]
    monkeypatch.setattr(server_version, "entry_points", lambda **_: found)
    with pytest.raises(RuntimeError, match=f"`drain` .*{words}"):
        queue.drain()
    with pytest.raises(RuntimeError, match=f"`ScriptedSkyvern` .*{words}"):
        testing.ScriptedSkyvern  # noqa: B018 - imported when it is asked for
    assert not hasattr(testing, "Nothing")


def test_an_environment_gives_back_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", "redis://before")
    with Environment() as environment:
        assert os.environ["RUNQUEUE_REDIS_URL"] == environment.url != ""
    assert os.environ["RUNQUEUE_REDIS_URL"] == "redis://before"


def test_an_environment_that_cannot_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environments, "sync_client", broken)
    with pytest.raises(LookupError), Environment():
        pass
    assert list(tmp_path.iterdir()) == []
