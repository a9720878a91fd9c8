"""Jobs submitted by a Celery message or the inbox: once each, whatever dies in between."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery

from lab.gateways import Gateway
from lab.valkeys import start_valkey
from lab.waiting import until
from runqueue import AsyncRunQueue, JobState, TaskRunRequest, ids
from runqueue.producer.listing import Filter
from runqueue.store.keys import Keys
from tests.acceptance.factory import Factory, factory

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

#: As many as take a worker some seconds: it takes a second or two to end.
LINES = int(os.environ.get("RUNQUEUE_TEST_LINES", "30000"))
INBOX = f"{Keys('default').prefix}inbox"
ROOT = Path(__file__).parents[2]
QUICK = "tests.acceptance.quick_redelivery"
#: Nothing is submitted: what counts here is what is in the queue.
IDLE = {"RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0.001", "RUNQUEUE_MAX_BURST_SIZE": "1"}


def lines() -> list[dict[str, Any]]:
    """Half of them without a custom_id."""
    found = []
    for n in range(LINES):
        line: dict[str, Any] = {"kind": "task", "body": {"prompt": f"Read page {n}."}}
        found.append({**line, "custom_id": f"order-{n}"} if n % 2 else line)
    return found


@contextmanager
def producer(parts: Factory) -> Iterator[Celery]:
    """A Celery application that knows the broker and nothing of ours."""
    with Celery(
        "shop", broker=parts.redis_url.removesuffix("0") + "1", set_as_current=False
    ) as app:
        app.conf.task_ignore_result = True
        yield app


def enqueued(parts: Factory) -> int:
    return parts.queue.stats()["default"].totals.get("enqueued", 0)


def is_settled(parts: Factory) -> bool:
    """Whether every message was acknowledged; the workers' own come and go."""
    with redis.Redis(port=parts.server.port, db=1) as broker:
        with broker.pipeline(transaction=True) as both:
            waiting, taken = both.lrange("runqueue", 0, -1).hvals("unacked").execute()
        messages = [*waiting, *taken]
        return not any(b"runqueue.enqueue" in message for message in messages)


def test_a_worker_that_is_killed_in_the_middle_of_a_message_leaves_every_job_once(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, (), **IDLE) as parts, producer(parts) as app:
        worker = parts.start_worker(QUICK)
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        app.send_task("runqueue.enqueue", args=[lines()], queue="runqueue")
        until(lambda: enqueued(parts) > 0, 60, "the first jobs")
        worker.kill()
        worker.wait()
        some = enqueued(parts)
        assert 0 < some < LINES, "it ended in the middle"
        assert not is_settled(parts)

        parts.start_worker(QUICK)
        until(lambda: enqueued(parts) >= LINES, 200, "every job")
        until(lambda: is_settled(parts), 120, "the message's acknowledgement")

        print(f"{some} of {LINES} jobs at the worker's end")
        assert enqueued(parts) == LINES


@pytest.mark.slow
def test_a_restart_of_redis_in_the_middle_of_a_message_leaves_every_job_once(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, (), **IDLE) as parts, producer(parts) as app:
        parts.start_worker(QUICK)
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        app.send_task("runqueue.enqueue", args=[lines()], queue="runqueue")
        until(lambda: enqueued(parts) > 0, 60, "the first jobs")
        parts.restart_redis()

        until(lambda: enqueued(parts) >= LINES, 120, "every job")
        until(lambda: is_settled(parts), 120, "the message's acknowledgement")
        assert enqueued(parts) == LINES


def test_a_message_waits_without_haste_while_the_queue_s_redis_is_away(tmp_path: Path) -> None:
    other = start_valkey(tmp_path / "broker")
    broker = f"redis://127.0.0.1:{other.port}/0"
    log = tmp_path / "worker-1.log"
    with factory(tmp_path, (), **IDLE, RUNQUEUE_BROKER_URL=broker) as parts:
        parts.start_worker(QUICK)
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        parts.server.stop()
        begun = time.monotonic()
        with Celery("shop", broker=broker, set_as_current=False) as app:
            line = {"kind": "task", "body": {"prompt": "Read it."}}
            app.send_task("runqueue.enqueue", args=[[line]], queue="runqueue", ignore_result=True)
        until(lambda: log.read_text().count("reject requeue=True") >= 2, 60, "two returns")
        seconds = time.monotonic() - begun
        assert log.read_text().count("message_waits") <= 2 * seconds + 4

        parts.server.start()
        until(lambda: enqueued(parts) == 1, 60, "the job")
    other.stop()


@pytest.mark.slow
def test_a_worker_killed_over_the_inbox_leaves_every_line_one_job(tmp_path: Path) -> None:
    with factory(tmp_path, (), **IDLE) as parts, redis.Redis(port=parts.server.port) as client:
        worker = parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        texts = [json.dumps(line) for line in lines()]
        for start in range(0, LINES, 1000):
            client.rpush(INBOX, *texts[start : start + 1000])
        until(lambda: enqueued(parts) > LINES / 10, 60, "the first jobs")
        worker.kill()
        worker.wait()
        some = enqueued(parts)
        assert some < LINES, "it was killed in the middle"

        parts.start_worker()
        until(lambda: not client.exists(INBOX, f"{INBOX}:taken"), 120, "every line to be settled")

        print(f"{some} of {LINES} jobs at the kill")
        assert enqueued(parts) == LINES
        assert not client.exists(f"{INBOX}:invalid")


@pytest.mark.parametrize("protocol", [2, 1])
def test_messages_with_a_countdown_hold_up_no_other_and_their_jobs_wait_for_that_time(
    tmp_path: Path, protocol: int
) -> None:
    with factory(tmp_path, (), **IDLE) as parts, producer(parts) as app:
        app.conf.task_protocol = protocol
        parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        line = {"kind": "task", "body": {"prompt": "Read it."}}
        begun = datetime.now(UTC)
        for n in range(5):  # one more than a worker takes at once
            later = {**line, "custom_id": f"later-{n}"}
            app.send_task("runqueue.enqueue", args=[[later]], queue="runqueue", countdown=3600)
        app.send_task("runqueue.enqueue", args=[[line]], queue="runqueue")
        until(lambda: enqueued(parts) == 6, 60, "every job")
        until(lambda: is_settled(parts), 60, "the messages' acknowledgement")

        for n in range(5):
            job = parts.queue.get(ids.job_id_for("default", "", f"later-{n}"))
            assert job.state is JobState.SCHEDULED
            assert job.run_at is not None
            assert job.run_at >= begun + timedelta(seconds=3600)


def test_what_producers_put_into_messages_stays_out_of_the_log(tmp_path: Path) -> None:
    secret = "hunter2"
    line = {"kind": "task", "body": {"prompt": secret}}
    with factory(tmp_path, (), **IDLE) as parts, producer(parts) as app:
        worker = parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        app.send_task("runqueue.enqueu", args=[[line]], queue="runqueue")
        app.send_task("runqueue.sweep", args=[secret, secret, secret], queue="runqueue")
        app.send_task("runqueue.enqueue", args=[[{**line, "no": secret}]], queue="runqueue")
        app.send_task("runqueue.enqueue", args=[[line]], queue="runqueue", serializer="pickle")
        with redis.Redis(port=parts.server.port, db=1) as broker:
            broker.lpush("runqueue", json.dumps({"body": secret}))
        app.send_task("runqueue.enqueue", args=[[line]], queue="runqueue")
        until(lambda: enqueued(parts) == 1, 60, "the good message")
        worker.terminate()
        worker.wait(timeout=60)
        said = (tmp_path / "worker-1.log").read_text()

    assert "a message was dropped (on_unknown_task)" in said
    assert "lines_refused" in said
    assert secret not in said


def test_one_key_through_every_way_is_one_job(tmp_path: Path) -> None:
    body = {"prompt": "Read the price.", "url": "https://shop.example/order-17"}
    line = {"custom_id": "order-17", "kind": "task", "body": body}
    text = json.dumps(line)
    with factory(tmp_path, (), **IDLE) as parts, producer(parts) as app:
        parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")

        def by_celery() -> None:
            app.send_task("runqueue.enqueue", args=[[line, text]], queue="runqueue")
            until(lambda: is_settled(parts), 60, "the message's acknowledgement")

        def by_inbox() -> None:
            with redis.Redis(port=parts.server.port) as client:
                client.rpush(INBOX, text, text)
                until(lambda: not client.exists(INBOX, f"{INBOX}:taken"), 60, "the lines")

        def by_command() -> None:
            subprocess.run(
                [sys.executable, "-m", "runqueue.cli", "submit", "-"],
                env={**os.environ, "RUNQUEUE_REDIS_URL": parts.redis_url},
                input=text.encode(),
                check=True,
                timeout=60,
            )

        async def by_coroutine() -> None:
            async with AsyncRunQueue(parts.redis_url) as queue:
                request = TaskRunRequest.model_validate(body)
                await queue.enqueue(request, idempotency_key="order-17")

        by_inbox()
        until(lambda: enqueued(parts) == 1, 60, "the job")
        (known,) = parts.queue.list_jobs(Filter(custom_id="order-17")).jobs
        for way in (by_celery, by_inbox, by_command, lambda: asyncio.run(by_coroutine())):
            way()
            assert parts.queue.enqueue_many([line])[0].job_id == known.id
        with gateway(parts, tmp_path) as door:
            assert {by_http(door, line), by_batch(door, text)} == {known.id}
        assert enqueued(parts) == 1
        assert "invalid_lines" not in parts.queue.stats()["default"].totals
        assert known.id == ids.job_id_for("default", "", "order-17")


@contextmanager
def gateway(parts: Factory, folder: Path) -> Iterator[Gateway]:
    """The gateway of the factory's queue."""
    environ = {**os.environ, "RUNQUEUE_REDIS_URL": parts.redis_url, "SKYVERN_API_KEY": "a-key"}
    door = Gateway(environ, folder / "gateway.log").start()
    try:
        yield door
    finally:
        door.kill()


def by_http(door: Gateway, line: dict[str, Any]) -> str:
    """Hand a line in with one call; returns the job."""
    told = httpx.post(f"{door.url}/v1/jobs", json=line, headers=door.headers, timeout=30).json()
    assert told["status"] == "known"
    return str(told["job_id"])


def by_batch(door: Gateway, text: str) -> str:
    """Hand a line in as a batch of its own, and as one of many; returns the job."""
    kind = {"Content-Type": "application/x-ndjson", **door.headers}
    batch = httpx.post(f"{door.url}/v1/batches", content=text, headers=kind, timeout=30).json()
    assert batch["counts"] == {"new": 0, "known": 1, "invalid": 0, "conflicts": 0}
    bulk = f"{door.url}/v1/jobs:bulk"
    lines = [json.loads(text)]
    (told,) = httpx.post(bulk, json=lines, headers=door.headers, timeout=30).json()["jobs"]
    return str(told["job_id"])


def test_a_line_in_the_inbox_of_an_idle_worker_is_a_job_soon(tmp_path: Path) -> None:
    with factory(tmp_path, (), **IDLE) as parts, redis.Redis(port=parts.server.port) as client:
        parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        for n in range(2):
            client.rpush(INBOX, json.dumps({"kind": "task", "body": {"prompt": f"Read {n}."}}))
            until(lambda n=n: enqueued(parts) == n + 1, 10, "the job")  # type: ignore[misc]
