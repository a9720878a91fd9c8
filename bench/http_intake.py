"""Uploading a batch to the gateway: lines a second, its memory, and how it answers meanwhile."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from bench.intake import BODY_BYTES
from bench.stack import running, until
from faults.receivers import Gateway
from runqueue import RunQueue

#: Lines that are sent in one piece.
_PIECE = 500
_KIND = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class HttpIntake:
    """What one upload came to.

    Args:
        lines: how many it had.
        a_second: lines a second, from the first byte to the answer.
        before_mb, most_mb: the gateway's resident memory before it, and the most while it lasted.
        p50, p99: milliseconds of a health check meanwhile.
    """

    lines: int
    a_second: float
    before_mb: float
    most_mb: float
    p50: float
    p99: float


def measure(count: int = 200_000) -> HttpIntake:
    """Upload lines while the gateway is asked for its health."""
    with running() as stack, RunQueue(stack.redis_url) as queue:
        environ = stack.environment(RUNQUEUE_REDIS_URL=stack.redis_url)
        gateway = Gateway(environ, stack.folder / "gateway.log").start()
        try:
            until(lambda: "default" in queue.accounts(), 10, "the account")
            assert gateway.process is not None
            return asyncio.run(_measure(gateway, gateway.process.pid, count))
        finally:
            gateway.kill()


async def _measure(gateway: Gateway, pid: int, count: int) -> HttpIntake:
    url, timeout = gateway.url, aiohttp.ClientTimeout(600)
    async with aiohttp.ClientSession(timeout=timeout, headers=gateway.headers) as session:
        await _upload(session, url, "warm", 20_000)  # what is loaded late
        before = _resident_mb(pid)
        looks: list[float] = []
        sizes = [before]
        looking = asyncio.create_task(_look(session, url, pid, looks, sizes))
        start = time.perf_counter()
        await _upload(session, url, "row", count)
        took = time.perf_counter() - start
        looking.cancel()
    looks.sort()
    p50, p99 = (1000 * looks[int(share * (len(looks) - 1))] for share in (0.5, 0.99))
    return HttpIntake(count, count / took, before, max(sizes), p50, p99)


async def _upload(session: aiohttp.ClientSession, url: str, prefix: str, count: int) -> None:
    headers = {"content-type": _KIND}
    parts = _parts(prefix, count)
    async with session.post(f"{url}/v1/batches", data=parts, headers=headers) as answer:
        told = await answer.json()
    assert answer.status == 201, told
    assert told["counts"]["new"] == count, told


async def _parts(prefix: str, count: int) -> AsyncIterator[bytes]:
    """Yield lines whose bodies have `BODY_BYTES`: all alike but for the id."""
    body = {"prompt": "", "url": "https://shop.test/item", "engine": "skyvern-2.0", "max_steps": 25}
    body["prompt"] = "x" * (BODY_BYTES - len(orjson.dumps(body)))
    rest = b'","kind":"task","body":' + orjson.dumps(body) + b"}\n"
    for start in range(0, count, _PIECE):
        numbers = range(start, min(start + _PIECE, count))
        yield b"".join(b'{"custom_id":"%s-%d' % (prefix.encode(), n) + rest for n in numbers)


async def _look(
    session: aiohttp.ClientSession, url: str, pid: int, looks: list[float], sizes: list[float]
) -> None:
    while True:
        start = time.perf_counter()
        async with session.get(f"{url}/healthz") as answer:
            await answer.read()
        looks.append(time.perf_counter() - start)
        sizes.append(_resident_mb(pid))
        await asyncio.sleep(0.05)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
