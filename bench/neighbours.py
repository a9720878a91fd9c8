"""What one token at its limits costs another: a neighbour's p99 meanwhile, and the memory."""

import asyncio
import http.client
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

import aiohttp

from bench.stack import Stack, running
from lab.gateways import Gateway
from lab.large_requests import array, compressed, environment_of, large_answer, peak_mib
from lab.waiting import until
from runqueue import RunQueue

_TOKENS = {"greedy": "sesame-greedy", "neighbour": "sesame-neighbour"}
_JOB = b'{"kind": "task", "body": {"prompt": "Read the price."}}'
_LINES = "application/x-ndjson"
_MIB = 2**20
#: Seconds that each figure is measured for, and between two requests of the neighbour's.
_SECONDS, _PAUSE = 10.0, 0.005
#: Seconds for which a sender who was refused waits.
_REFUSED = 0.05


def _honest() -> bytes:
    line = b'{"custom_id": "%s-%%d", ' % secrets.token_hex(4).encode() + _JOB[1:]
    return b"\n".join(line % number for number in range(100_000))


@dataclass(frozen=True, slots=True)
class Attack:
    """A request that is sent again and again.

    Args:
        path: where to; '' = the large answer.
        body: makes its body; None = it is a GET.
        at_once: by how many at a time.
        kind: its Content-Type.
        encoding: its Content-Encoding.
        is_read: whether its answer is.
    """

    path: str
    body: Callable[[], bytes] | None
    at_once: int
    kind: str = "application/json"
    encoding: str = "identity"
    is_read: bool = True


ATTACKS = {
    "4 MiB of small values in bulk": Attack(
        "/v1/jobs:bulk", lambda: array(b'{"a":[[[]]]},', 4 * _MIB - 64), 8
    ),
    "jobs of 8 MiB": Attack("/v1/jobs", lambda: array(b'{"a":[[[]]]},', 8 * _MIB - 64), 6),
    "jobs of 8 KiB of small values": Attack(
        "/v1/jobs",
        lambda: (
            b'{"kind":"workflow","body":{"workflow_id":"w","parameters":{"x":%s}}}'
            % array(b"[],", 8_000)
        ),
        256,
    ),
    "20 KiB of gzip, 10 M bad lines": Attack(
        "/v1/batches?skip_invalid=true", lambda: compressed(b"x", 10_000_000), 4, _LINES, "gzip"
    ),
    "honest uploads of 100,000 lines": Attack("/v1/batches", _honest, 4, _LINES),
    "lists of 1,000 jobs": Attack("/v1/jobs?limit=1000", None, 64),
    "answers of 14 MiB that nobody reads": Attack("", None, 8, is_read=False),
}
_ALL = "all of these at once"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a neighbour saw of an attack.

    Args:
        kind: the attack.
        p50, p99: milliseconds of a `POST /v1/jobs` meanwhile.
        alone: its p99 before the attack.
        most_mib: the most memory that the gateway had.
    """

    kind: str
    p50: float
    p99: float
    alone: float
    most_mib: float


def measure() -> Iterator[Neighbour]:
    """Yield what a neighbour sees of each attack, on a gateway of its own."""
    for kind in (*ATTACKS, _ALL):
        with running() as stack, _gateway(stack) as gateway:
            yield asyncio.run(_seen(stack, gateway, kind))


@contextmanager
def _gateway(stack: Stack) -> Iterator[Gateway]:
    environ = stack.environment(**environment_of(_TOKENS))
    gateway = Gateway(environ, stack.folder / "gateway.log").start()
    try:
        yield gateway
    finally:
        gateway.kill()


async def _seen(stack: Stack, gateway: Gateway, kind: str) -> Neighbour:
    assert gateway.process is not None
    with RunQueue(stack.redis_url) as queue:
        until(lambda: {*_TOKENS} <= {*queue.accounts()}, 10, "the accounts")
        rows = [{"account": "greedy", "kind": "task", "body": {"prompt": "x"}}] * 1_000
        path = await asyncio.to_thread(large_answer, queue, gateway.url, "greedy")
        queue.enqueue_many(rows)
    headers = {
        "authorization": f"Bearer {_TOKENS['neighbour']}",
        "content-type": "application/json",
    }
    async with aiohttp.ClientSession(gateway.url, headers=headers) as session:
        await _ask(session, 1.0)  # what is loaded late
        _, alone = await _ask(session, _SECONDS)
        attacker = ("bench.neighbours", gateway.url, kind, path)
        with stack.process("greedy", *attacker, env=stack.environment()):
            answers = stack.folder / "greedy.log"
            until(lambda: bool(answers.read_text()), 300, "the attack to begin")
            p50, p99 = await _ask(session, _SECONDS)
    return Neighbour(kind, p50, p99, alone, peak_mib(gateway.process.pid))


async def _ask(session: aiohttp.ClientSession, seconds: float) -> tuple[float, float]:
    """Submit jobs one by one; returns the p50 and p99 of the answers, in milliseconds."""
    took: list[float] = []
    give_up = time.perf_counter() + seconds
    while (began := time.perf_counter()) < give_up:
        async with session.post("/v1/jobs", data=_JOB) as answer:
            assert answer.status == 202, await answer.text()
        took.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(_PAUSE)
    took.sort()
    return took[len(took) // 2], took[int(0.99 * (len(took) - 1))]


def attack(url: str, kind: str, path: str) -> None:
    """Attack a gateway until this process is ended; writes a line for each request."""
    senders = []
    for found in ATTACKS.values() if kind == _ALL else (ATTACKS[kind],):
        # All but honest lines are the same each time.
        same = found.body() if found.body and found.body is not _honest else b""
        senders += [
            threading.Thread(target=_send, args=(urlsplit(url).netloc, found, same, path))
            for _ in range(found.at_once)
        ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def _send(host: str, found: Attack, same: bytes, path: str) -> None:
    for _ in count():
        connection = http.client.HTTPConnection(host, timeout=120)
        with suppress(OSError, http.client.HTTPException):
            if not found.is_read:
                connection.connect()
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            body = same or (found.body() if found.body else None)
            method = "GET" if body is None else "POST"
            headers = {"authorization": f"Bearer {_TOKENS['greedy']}"}
            if body is not None:
                headers |= {"content-type": found.kind, "content-encoding": found.encoding}
            connection.request(method, found.path or path, body, headers)
            sys.stdout.write("sent\n")
            sys.stdout.flush()
            answer = connection.getresponse()
            if answer.status == 429:
                time.sleep(_REFUSED)
            elif not found.is_read:
                time.sleep(3600)
            answer.read()
        connection.close()


if __name__ == "__main__":
    attack(*sys.argv[1:])
