"""Celery's messages, late, doubled, unknown and broken; and a job that is canceled as it ends."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import redis
from celery import Celery

from faults.lab import Lab
from faults.registry import experiment

_KINDS = ("submit", "poll", "cancel", "reconcile", "sweep")
_QUEUE = "runqueue"
_RUNS = ("--duration", "1")


@contextmanager
def _meddling(lab: Lab, meddle: "Meddler") -> Iterator[None]:
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


class Meddler(Protocol):
    """Does something to the broker; called again and again."""

    def __call__(self, app: Celery, client: redis.Redis) -> None:
        """Do it once."""


def _work(lab: Lab, jobs: int, meddle: Meddler) -> None:
    workers = [lab.worker().start() for _ in range(2)]
    with _meddling(lab, meddle):
        for part in range(10):
            lab.hand_in(max(1, jobs // 10), prefix=f"part-{part}", delay=part / 2)
        lab.settle(120)
    died = [
        worker.name for worker in workers if worker.process and worker.process.poll() is not None
    ]
    lab.expect(not died, f"{died} died of it")


def _send(app: Celery, name: str, *args: object) -> None:
    app.send_task(f"runqueue.{name}", args=list(args), queue=_QUEUE)


class _Five(Meddler):
    def __call__(self, app: Celery, client: redis.Redis) -> None:
        del client
        now = int(time.time() * 1e6)
        for kind in _KINDS:
            for _ in range(5):
                _send(app, kind, "default", now)


@experiment(
    "every Celery message five times", "ten times a second, of all kinds", jobs=200, simulator=_RUNS
)
def five_times(lab: Lab, jobs: int) -> None:
    """A message only means that there may be work."""
    _work(lab, jobs, _Five())


class _Shuffled(Meddler):
    def __call__(self, app: Celery, client: redis.Redis) -> None:
        now = int(time.time() * 1e6)
        for kind in _KINDS:
            for late in (-3_600, 3, 0, 60, 1):
                _send(app, kind, "default", now - int(late * 1e6))
        # What waits is put in another order.
        waiting = client.lrange(_QUEUE, 0, -1)
        for message in waiting[::2]:
            if client.lrem(_QUEUE, 1, message):  # type: ignore[arg-type]
                client.lpush(_QUEUE, message)


@experiment(
    "Celery messages reordered and late",
    "from an hour ahead to a minute late, shuffled",
    jobs=200,
    simulator=_RUNS,
)
def reordered(lab: Lab, jobs: int) -> None:
    """Old ones start nothing, and no order is assumed."""
    _work(lab, jobs, _Shuffled())


class _Lost(Meddler):
    def __call__(self, app: Celery, client: redis.Redis) -> None:
        del app
        client.delete(_QUEUE)


@experiment(
    "Celery messages lost",
    "the broker's list is emptied ten times a second",
    jobs=200,
    simulator=_RUNS,
)
def lost(lab: Lab, jobs: int) -> None:
    """The next tick sends others."""
    _work(lab, jobs, _Lost())


class _Foreign(Meddler):
    def __call__(self, app: Celery, client: redis.Redis) -> None:
        del client
        _send(app, "no_such_task", "default", 0)
        _send(app, "submit", "no-such-account", 0)
        _send(app, "submit")
        _send(app, "submit", {"not": "a name"}, "not a number")


@experiment(
    "unknown Celery tasks and wrong arguments", "ten times a second", jobs=200, simulator=_RUNS
)
def unknown_task(lab: Lab, jobs: int) -> None:
    """They are refused, and nothing else happens."""
    _work(lab, jobs, _Foreign())


class _Garbage(Meddler):
    def __call__(self, app: Celery, client: redis.Redis) -> None:
        del app
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
            client.lpush(_QUEUE, raw)


@experiment(
    "garbage in the broker's list",
    "bytes that are no messages, ten times a second",
    jobs=200,
    simulator=_RUNS,
)
def garbage(lab: Lab, jobs: int) -> None:
    """They must not keep a worker from its work."""
    _work(lab, jobs, _Garbage())
