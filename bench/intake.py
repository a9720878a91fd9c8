"""What submitting costs: jobs a second from one process, and bytes of Redis a job."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from bench.stack import running
from runqueue import RunQueue

#: Bytes of a request body, as JSON.
BODY_BYTES = 660


@dataclass(frozen=True, slots=True)
class Intake:
    """Jobs a second into a Redis with AOF, and what one of them takes there."""

    enqueue_many: float
    bytes_per_job: float


def lines(count: int) -> list[dict[str, Any]]:
    """Return lines of a batch file whose bodies have `BODY_BYTES`."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        body: dict[str, Any] = {
            "prompt": "",
            "url": f"https://shop.test/item/{number}",
            "engine": "skyvern-2.0",
            "title": f"Item {number}",
            "max_steps": 25,
            "webhook_url": "https://hooks.test/skyvern",
        }
        body["prompt"] = "x" * (BODY_BYTES - len(orjson.dumps(body)))
        made.append({"custom_id": f"row-{number}", "kind": "task", "body": body})
    return made


def measure(count: int = 60_000, rounds: int = 5) -> Intake:
    """Measure with one producer; the median of the rounds."""
    handed = lines(count)
    with running() as stack, RunQueue(stack.redis_url) as queue:
        plain = redis.Redis.from_url(stack.redis_url)
        queue.check_server()
        rates, sizes = [], []
        for _ in range(rounds):
            plain.flushall()
            before = used(plain)
            start = time.perf_counter()
            queue.enqueue_many(handed)
            rates.append(count / (time.perf_counter() - start))
            sizes.append((used(plain) - before) / count)
        return Intake(statistics.median(rates), max(sizes))


def used(plain: redis.Redis) -> int:
    """Return the bytes that Redis holds."""
    return int(plain.info("memory")["used_memory"])
