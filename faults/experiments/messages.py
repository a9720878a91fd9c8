"""Bytes in the broker that are no messages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from config.settings import PRODUCER_QUEUE, STAGE_QUEUE
from faults.lab import Lab
from faults.registry import experiment

_GARBAGE = (
    b"no json",
    b"\xff\xfe\x00",
    b"",
    b"[]",
    b"7",
    b"{}",
    b'{"body": "!!", "properties": {}}',
    b'{"body": "e30=", "headers": {}, "properties": {"body_encoding": "base64"}}',
)


@contextmanager
def _littering(lab: Lab) -> Iterator[None]:
    """Put garbage into both queues ten times a second."""
    ended = threading.Event()
    client = lab.valkey.client(1)

    def run() -> None:
        while not ended.wait(0.1):
            for queue in (PRODUCER_QUEUE, STAGE_QUEUE):
                client.lpush(queue, *_GARBAGE)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        client.close()


@experiment(
    "garbage in the broker's list",
    "bytes that are no messages, ten times a second",
    jobs=200,
    simulator=("--duration", "1"),
)
def garbage(lab: Lab, jobs: int) -> None:
    """They must not keep a worker from its work."""
    workers = [lab.worker().start() for _ in range(2)]
    with _littering(lab):
        for part in range(10):
            lab.submit(max(1, jobs // 10), prefix=f"part-{part}", delay=part / 2)
        lab.settle(120)
    died = [w.name for w in workers if w.process is None or w.process.poll() is not None]
    lab.expect(not died, f"{died} died of it")
