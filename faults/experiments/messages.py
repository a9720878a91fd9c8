"""Celery's messages, late, doubled, unknown and broken; and a job that is canceled as it ends."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import redis
from celery import Celery

from faults.lab import Lab
from faults.registry import experiment

_KINDS = ("submit", "poll", "cancel", "reconcile", "webhooks", "inbox", "list", "sweep")
_QUEUE = "runqueue"
_RUNS = ("--duration", "1")
_THIEVES = 2


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


def _work(lab: Lab, jobs: int, meddling: AbstractContextManager[object]) -> None:
    workers = [lab.worker().start() for _ in range(2)]
    with meddling:
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
    _work(lab, jobs, _meddling(lab, _Five()))


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
    _work(lab, jobs, _meddling(lab, _Shuffled()))


@contextmanager
def _stealing(lab: Lab, stolen: list[bytes]) -> Iterator[None]:
    """Have messages taken by others, who wait for them as the workers do."""
    ended = threading.Event()

    def steal() -> None:
        with lab.valkey.client(1) as client:
            while not ended.is_set():
                if taken := client.brpop([_QUEUE], timeout=1):
                    stolen.append(taken[1])

    threads = [threading.Thread(target=steal) for _ in range(_THIEVES)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@experiment(
    "Celery messages lost",
    "two others take them from the broker's list as often as the two workers, and do nothing",
    jobs=200,
    simulator=_RUNS,
)
def lost(lab: Lab, jobs: int) -> None:
    """The next tick sends others."""
    stolen: list[bytes] = []
    _work(lab, jobs, _stealing(lab, stolen))
    lab.note(f"{len(stolen)} lost")
    lab.expect(bool(stolen), "no message was lost")


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
    _work(lab, jobs, _meddling(lab, _Foreign()))


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
    _work(lab, jobs, _meddling(lab, _Garbage()))
