"""Producers send more messages than workers take: the stages that move jobs go on all the same."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from lab.valkeys import start_valkey
from lab.waiting import until
from runqueue import JobState
from tests.acceptance.factory import Factory, factory, task

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

#: The queue that producers send to (docs/enqueue.md), and how many messages wait there.
PRODUCERS, WAITING = "runqueue", 3000
UNLIMITED = {"RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0", "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0"}


@contextmanager
def flooded(broker_url: str) -> Iterator[redis.Redis]:
    """Keep the producers' queue full of messages that hand in one and the same line."""
    with redis.Redis.from_url(broker_url) as broker:
        with Celery("shop", broker=broker_url, set_as_current=False) as app:
            app.send_task(
                "runqueue.enqueue", args=[[task("flood")]], queue="pattern", ignore_result=True
            )
        message = json.loads(broker.lpop("pattern"))
        message["properties"]["delivery_info"]["routing_key"] = PRODUCERS
        ended = threading.Event()

        def fill() -> None:
            while not ended.wait(0.02):
                missing = WAITING - broker.llen(PRODUCERS)
                copies = []
                for _ in range(missing):
                    message["properties"]["delivery_tag"] = uuid.uuid4().hex
                    copies.append(json.dumps(message))
                if copies:
                    broker.lpush(PRODUCERS, *copies)

        filling = threading.Thread(target=fill)
        filling.start()
        try:
            until(lambda: broker.llen(PRODUCERS) >= WAITING, 60, "the flood")
            yield broker
        finally:
            ended.set()
            filling.join()
            broker.delete(PRODUCERS)


def is_completed(parts: Factory, job_id: str) -> bool:
    return parts.queue.get(job_id).state is JobState.COMPLETED


def test_a_job_runs_to_its_end_while_thousands_of_messages_of_producers_wait(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, ("--duration", "1"), **UNLIMITED) as parts:
        (job,) = parts.queue.enqueue_many([task("ours")])
        with flooded(f"{parts.redis_url.removesuffix('0')}1") as broker:
            parts.start_worker(flags=("-Q", PRODUCERS))
            until(lambda: is_completed(parts, job.job_id), 60, "the job's end")

            assert broker.llen(PRODUCERS) > WAITING / 2
        log = (tmp_path / "worker-1.log").read_text()
        assert "queues_ignored" in log


def test_a_run_is_followed_to_its_end_while_no_message_of_a_producer_can_be_accepted(
    tmp_path: Path,
) -> None:
    other = start_valkey(tmp_path / "broker")
    broker_url = f"redis://127.0.0.1:{other.port}/0"
    # The run is looked at once, long after the messages have begun to wait.
    settings = {"RUNQUEUE_POLL_MIN_SECONDS": "5", "RUNQUEUE_BROKER_URL": broker_url}
    with factory(tmp_path, ("--duration", "1"), **UNLIMITED, **settings) as parts:
        (job,) = parts.queue.enqueue_many([task("ours")])
        parts.start_worker()
        until(lambda: parts.queue.get(job.job_id).state is JobState.RUNNING, 60, "the run")
        with redis.Redis(port=parts.server.port) as client:
            client.config_set("maxmemory", "1")
        log = tmp_path / "worker-1.log"

        with flooded(broker_url):
            until(lambda: "message_waits" in log.read_text(), 60, "messages that wait")
            assert parts.queue.get(job.job_id).state is JobState.RUNNING
            until(lambda: is_completed(parts, job.job_id), 60, "the job's end")
    other.stop()
