"""The webhook receiver: what it takes, and how soon a waiter is woken."""

import asyncio
import hashlib
import hmac
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

from bench.stack import Stack, cpu_seconds, running
from lab.gateways import Gateway
from lab.waiting import until
from runqueue import RunQueue, TaskRunRequest
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from webhooks.receiver_address import address

KEY = "simulator-key"
#: Open connections of the load; Skyvern's own sender has a few.
AT_ONCE = 32
_HOUR_US = 3_600_000_000
#: About what a task's webhook holds (31 keys).
_FILLER = "x" * 1500


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one gateway process took.

    Args:
        a_core: webhooks a second of its CPU time.
        a_second: webhooks a second of the clock, the load on the same machine.
        p50, p99: milliseconds from sending a webhook to its answer.
    """

    a_core: float
    a_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Woken:
    """Milliseconds from sending a webhook to the return of a `RunQueue.wait`."""

    p50: float
    p99: float
    samples: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """A genuine one."""

    job_id: str
    url: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """As Skyvern makes them."""
        signature = hmac.new(KEY.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "x-skyvern-signature": signature,
            "x-skyvern-timestamp": str(int(time.time())),
        }


def throughput(count: int = 10_000) -> Throughput:
    """Send genuine webhooks of running jobs as fast as they are answered."""
    with _gateway() as (stack, gateway), RunQueue(stack.redis_url) as queue:
        webhooks = _webhooks(queue, gateway, count)
        assert gateway.process is not None
        asyncio.run(_send_all(webhooks[:500]))  # the first ones pay for what is loaded late
        cpu, start = cpu_seconds(gateway.process.pid), time.monotonic()
        times = asyncio.run(_send_all(webhooks[500:]))
        took = time.monotonic() - start
        used = cpu_seconds(gateway.process.pid) - cpu
    return Throughput(len(times) / used, len(times) / took, *_shares(times))


def woken(count: int = 300) -> Woken:
    """Send one webhook at a time while a thread waits for its job."""
    waits: list[float] = []
    with _gateway() as (stack, gateway), RunQueue(stack.redis_url) as queue:
        webhooks = _webhooks(queue, gateway, count)

        async def run() -> None:
            async with aiohttp.ClientSession() as session:
                waits.extend([await _one_wait(queue, session, one) for one in webhooks])

        asyncio.run(run())
    return Woken(*_shares(waits), len(waits))


async def _one_wait(queue: RunQueue, session: aiohttp.ClientSession, webhook: Webhook) -> float:
    waiting, ended = threading.Event(), 0.0

    def wait() -> float:
        waiting.set()
        queue.wait(webhook.job_id, timeout=30)
        return time.perf_counter()

    waiter = asyncio.get_running_loop().run_in_executor(None, wait)
    await asyncio.to_thread(waiting.wait)
    await asyncio.sleep(0.02)  # it has looked once by now, and listens
    start = time.perf_counter()
    await _send(session, webhook)
    ended = await waiter
    return 1000 * (ended - start)


async def _send_all(webhooks: Sequence[Webhook]) -> list[float]:
    """Send webhooks, `AT_ONCE`, and return how many milliseconds each took."""
    times: list[float] = []
    todo = iter(webhooks)

    async def sender(session: aiohttp.ClientSession) -> None:
        for webhook in todo:
            start = time.perf_counter()
            await _send(session, webhook)
            times.append(1000 * (time.perf_counter() - start))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(sender(session) for _ in range(AT_ONCE)))
    return times


async def _send(session: aiohttp.ClientSession, webhook: Webhook) -> None:
    async with session.post(webhook.url, data=webhook.body, headers=webhook.headers) as answer:
        await answer.read()
        assert answer.status == 200, (answer.status, webhook.url)


@contextmanager
def _gateway() -> Iterator[tuple[Stack, Gateway]]:
    with running() as stack:
        environ = stack.environment(RUNQUEUE_REDIS_URL=stack.redis_url)
        gateway = Gateway(environ, stack.folder / "gateway.log").start()
        try:
            yield stack, gateway
        finally:
            gateway.kill()


def _webhooks(queue: RunQueue, gateway: Gateway, count: int) -> list[Webhook]:
    """Make running jobs, and the webhook that ends each."""
    until(lambda: "default" in queue.accounts(), 10, "the account")
    queue.send(worker_calls.heartbeat("default", "bench", _HOUR_US, -1, 0, first=True))
    request = TaskRunRequest(prompt="Read it.", webhook_url="https://consumer.test/hook")
    queue.enqueue_many(iter([request] * count))
    made: list[Webhook] = []
    while len(made) < count:
        claim = worker_calls.claim("default", "bench", f"c{len(made)}", 500, 0, receives=True)
        jobs = queue.send(claim).items
        accepted = [
            RunAccepted(job.job_id, job.attempt, f"tsk_{job.job_id}", "created", _HOUR_US)
            for job in jobs
        ]
        queue.send(worker_calls.mark_running("default", accepted))
        for item in accepted:
            url = address(gateway.url, "default", item.job_id, item.attempt, KEY)
            body = (
                f'{{"run_id":"{item.run_id}","status":"completed","output":{{"a":"{_FILLER}"}},'
                f'"failure_reason":null}}'
            )
            made.append(Webhook(item.job_id, url, body.encode()))
    return made


def _shares(times: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]
