"""What a job that is over costs: bytes of Redis as it came and packed, and what packing takes."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import redis

from api_client.elapsed import elapsed_us
from bench import texts
from bench.intake import BODY_BYTES, used
from bench.stack import running
from runqueue import RunQueue
from runqueue.connection.client import async_client
from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.records.delivery import Delivered
from runqueue.store import worker_calls
from runqueue.store.async_sending import run_async
from runqueue.store.delivery_calls import record_delivery
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, load
from runqueue.store.sending import run
from worker.process.account import AccountRuntime
from worker.stages.packing import ROUNDS, pack_ended

T = TypeVar("T")

#: Bytes of a run's output, as JSON.
OUTPUT_BYTES = 1_000
_ACCOUNT, _PROCESS, _AT_ONCE, _LEASE_US = "default", "bench", 500, 3_600_000_000
_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Cost:
    """What a finished job costs.

    Args:
        result_bytes: of the API's answer, on average.
        plain, packed: bytes of Redis a job, as it came and as it is kept.
        parts_plain, parts_packed: what they are made of.
        cpu_us: of the worker, a job that is packed.
        step_ms: of Redis a script call, the median and the 99th percentile.
    """

    result_bytes: float
    plain: float
    packed: float
    parts_plain: dict[str, float]
    parts_packed: dict[str, float]
    cpu_us: float
    step_ms: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Link:
    """The account, as far as packing needs it."""

    name: str
    client: Any

    async def send(self, call: ScriptCall[T]) -> T:
        return await run_async(self.client, call)

    async def run(self, script: Callable[..., ScriptCall[T]], *args: Any) -> T:
        return await self.send(script(self.name, *args))


def measure(count: int = 60_000, *, whole: bool = True) -> Cost:
    """Have jobs end, their webhooks delivered, and pack them.

    Args:
        count: how many.
        whole: whether answers have all fields, the request among them, or hardly more than output.
    """
    with running() as stack, RunQueue(stack.redis_url) as queue:
        plain = redis.Redis.from_url(stack.redis_url)
        queue.check_server()
        run(plain, _heartbeat(first=True))
        before = used(plain)
        sizes = [
            size
            for first in range(0, count, _AT_ONCE)
            for size in _finished(queue, plain, first, whole=whole)
        ]
        as_it_came, parts = (used(plain) - before) / count, _parts(plain, count)
        cpu_us, steps = asyncio.run(_pack(stack.redis_url, plain, count))
        return Cost(
            result_bytes=statistics.mean(sizes),
            plain=as_it_came,
            packed=(used(plain) - before) / count,
            parts_plain=parts,
            parts_packed=_parts(plain, count),
            cpu_us=cpu_us,
            step_ms=(statistics.median(steps), statistics.quantiles(steps, n=100)[98]),
        )


def _heartbeat(*, first: bool = False) -> ScriptCall[int]:
    return worker_calls.heartbeat(_ACCOUNT, _PROCESS, _LEASE_US, 0, elapsed_us(), first=first)


def _finished(queue: RunQueue, plain: redis.Redis, first: int, *, whole: bool) -> Iterator[int]:
    """Have some jobs end; yields the bytes of their results."""
    bodies = [texts.body(number, BODY_BYTES) for number in range(first, first + _AT_ONCE)]
    answers = queue.enqueue_many(
        {"custom_id": f"row-{first + n}", "kind": "task", "body": body}
        for n, body in enumerate(bodies)
    )
    numbers = {answer.job_id: first + n for n, answer in enumerate(answers)}
    run(plain, _heartbeat())  # else the clock is not trusted, and nothing is claimed
    claim = worker_calls.claim(_ACCOUNT, _PROCESS, f"claim-{first}", _AT_ONCE, 0)
    taken = run(plain, claim).items
    accepted = [
        RunAccepted(job.job_id, job.attempt, texts.run_of(numbers[job.job_id]), "created", 10**6)
        for job in taken
    ]
    run(plain, worker_calls.mark_running(_ACCOUNT, accepted))
    ends = []
    for job in taken:
        number = numbers[job.job_id]
        result = texts.answer(number, bodies[number - first], OUTPUT_BYTES, whole=whole)
        run_id = texts.run_of(number)
        ends.append(Finished(job.job_id, job.attempt, run_id, "completed", "completed", "", result))
        yield len(result)
    run(plain, worker_calls.finish(_ACCOUNT, ends))
    delivered = [Delivered(job.job_id, job.attempt, "delivered", was_tried=False) for job in taken]
    run(plain, record_delivery(_ACCOUNT, delivered))
    plain.delete(f"{Keys(_ACCOUNT).prefix}claim:claim-{first}")  # it goes by itself, later


async def _pack(url: str, plain: redis.Redis, count: int) -> tuple[float, list[float]]:
    """Pack all; returns the CPU of a job in µs, and the ms of each script call."""
    link = _Link(_ACCOUNT, async_client(url))
    scripts = [load(name).function.encode() for name in ("unpacked", "pack")]
    plain.config_set("slowlog-max-len", 1_000_000)
    plain.config_set("slowlog-log-slower-than", 0)
    begun, packed = time.process_time(), 0
    while packed < count:
        await link.send(_heartbeat())
        some = await pack_ended(cast(AccountRuntime, link), after_us=0)
        assert some, "packing stands still"
        packed += some
    cpu = time.process_time() - begun
    plain.config_set("slowlog-log-slower-than", -1)
    log = plain.slowlog_get(4 * ROUNDS * count)
    plain.slowlog_reset()
    plain.config_set("slowlog-max-len", 128)
    await link.client.aclose()
    return cpu / count * 1e6, [
        entry["duration"] / 1e3 for entry in log if any(sha in entry["command"] for sha in scripts)
    ]


def _parts(plain: redis.Redis, count: int) -> dict[str, float]:
    """Return what MEMORY USAGE says of a job's keys, and of its share of the others."""
    prefix, sums = Keys(_ACCOUNT).prefix, dict.fromkeys(("job", "body", "result"), 0.0)
    ids: list[bytes] = []
    shared = {"runs": 0.0, "ended": 0.0}
    for key in plain.scan_iter(f"{prefix}*", count=10_000):
        kind = key[len(prefix) :].decode().split(":")[0]
        if kind in shared:
            shared[kind] += cast(Any, plain.memory_usage(key, samples=0)) / count
        elif kind == "job" and len(ids) < _SAMPLES:
            ids.append(key.rpartition(b":")[2])
    for kind in sums:
        for job_id in ids:
            size = plain.memory_usage(f"{prefix}{kind}:{job_id.decode()}", samples=0)
            sums[kind] += (size or 0) / len(ids)
    return sums | shared
