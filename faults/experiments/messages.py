"""Celery's messages, late, doubled, unknown and broken; and a job that is canceled as it ends."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast
from uuid import uuid4

import orjson
import redis
from celery import Celery

from config.settings import PRODUCER_QUEUE, STAGE_QUEUE
from faults.lab import Lab, line
from faults.registry import experiment

_KINDS = ("submit", "poll", "cancel", "reconcile", "webhooks", "inbox", "list", "sweep")
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
            lab.submit(max(1, jobs // 10), prefix=f"part-{part}", delay=part / 2)
        lab.settle(120)
    died = [
        worker.name for worker in workers if worker.process and worker.process.poll() is not None
    ]
    lab.expect(not died, f"{died} died of it")


def _send(app: Celery, name: str, *args: object) -> None:
    app.send_task(f"runqueue.{name}", args=list(args), queue=STAGE_QUEUE)


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
        waiting = client.lrange(STAGE_QUEUE, 0, -1)
        for message in waiting[::2]:
            if client.lrem(STAGE_QUEUE, 1, message):  # type: ignore[arg-type]
                client.lpush(STAGE_QUEUE, message)


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
                if taken := client.brpop([STAGE_QUEUE], timeout=1):
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


#: Messages of a producer that wait all the time.
_FLOOD = 10_000


class _Flood(Meddler):
    """Keeps the producers' queue full; every message submits the same line."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._args = [[known]]
        self._message: dict[str, Any] = {}
        self.least = _FLOOD

    def __call__(self, app: Celery, client: redis.Redis) -> None:
        if not self._message:
            app.send_task("runqueue.enqueue", args=self._args, queue="pattern", ignore_result=True)
            self._message = orjson.loads(cast(bytes, client.lpop("pattern")))
            self._message["properties"]["delivery_info"]["routing_key"] = PRODUCER_QUEUE
        waiting = client.llen(PRODUCER_QUEUE)
        copies = []
        for _ in range(_FLOOD - waiting):
            self._message["properties"]["delivery_tag"] = uuid4().hex
            copies.append(orjson.dumps(self._message))
        if len(copies) < _FLOOD:
            self.least = min(self.least, waiting)
        if copies:
            client.lpush(PRODUCER_QUEUE, *copies)


@experiment(
    "a flood of a producer's messages",
    f"{_FLOOD:,} `runqueue.enqueue` wait in the broker all the time",
    jobs=200,
    simulator=_RUNS,
)
def flood(lab: Lab, jobs: int) -> None:
    """What starts the stages does not wait behind them."""
    known = line("flood")
    lab.take([known])
    flooding = _Flood(known)
    _work(lab, jobs, _meddling(lab, flooding))
    lab.note(f"never fewer than {flooding.least:,} waited")
    lab.expect(flooding.least > 0, "the flood ran dry")


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
    _work(lab, jobs, _meddling(lab, _Garbage()))
