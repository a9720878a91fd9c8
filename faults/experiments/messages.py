"""Celery messages that no worker knows, and bytes that are none."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from celery import Celery

from config.settings import PRODUCER_QUEUE, STAGE_QUEUE
from faults.lab import Lab
from faults.registry import experiment

_RUNS = ("--duration", "1")


#: Does something to the broker once.
Meddle = Callable[[Celery, redis.Redis], None]


@contextmanager
def _meddling(lab: Lab, meddle: Meddle) -> Iterator[None]:
    """Have something done to the broker ten times a second."""
    ended = threading.Event()
    client = lab.valkey.client(1)
    app = Celery("meddler", broker=f"{lab.valkey.url}/1")

    def run() -> None:
        while not ended.wait(0.1):
            meddle(app, client)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        app.close()
        client.close()


def _work(lab: Lab, jobs: int, meddle: Meddle) -> None:
    workers = [lab.worker().start() for _ in range(2)]
    with _meddling(lab, meddle):
        for part in range(10):
            lab.submit(max(1, jobs // 10), prefix=f"part-{part}", delay=part / 2)
        lab.settle(120)
    died = [
        worker.name for worker in workers if worker.process and worker.process.poll() is not None
    ]
    lab.expect(not died, f"{died} died of it")


def _send(app: Celery, name: str, *args: object) -> None:
    app.send_task(f"runqueue.{name}", args=list(args), queue=STAGE_QUEUE)


def _foreign(app: Celery, _: redis.Redis) -> None:
    _send(app, "no_such_task", "default", 0)
    _send(app, "submit", "no-such-account", 0)
    _send(app, "submit")
    _send(app, "submit", {"not": "a name"}, "not a number")


@experiment(
    "unknown Celery tasks and wrong arguments", "ten times a second", jobs=200, simulator=_RUNS
)
def unknown_task(lab: Lab, jobs: int) -> None:
    """They are refused, and nothing else happens."""
    _work(lab, jobs, _foreign)


def _garbage(_: Celery, client: redis.Redis) -> None:
    for raw in (
        b"no json",
        b"\xff\xfe\x00",
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"body": "!!", "properties": {}}',
        b'{"body": "e30=", "headers": {}, "properties": {"body_encoding": "base64"}}',
    ):
        for queue in (PRODUCER_QUEUE, STAGE_QUEUE):
            client.lpush(queue, raw)


@experiment(
    "garbage in the broker's list",
    "bytes that are no messages, ten times a second",
    jobs=200,
    simulator=_RUNS,
)
def garbage(lab: Lab, jobs: int) -> None:
    """They must not keep a worker from its work."""
    _work(lab, jobs, _garbage)
