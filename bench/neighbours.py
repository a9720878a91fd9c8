"""What one sender costs another: a neighbour's p99 beside an attack, to that alone."""

import asyncio
import hashlib
import http.client
import resource
import secrets
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Never
from urllib.parse import urlsplit

import aiohttp

from bench.stack import Stack, running, until
from bench.trees import memory_mb
from faults.receivers import Gateway
from runqueue import RunQueue

_TOKENS = {"greedy": "sesame-greedy", "neighbour": "sesame-neighbour"}
_JOB = b'{"kind": "task", "body": {"prompt": "Read the price."}}'
_MIB = 2**20
#: Seconds that each figure is measured for, and between two requests of the neighbour's.
_SECONDS, _PAUSE = 10.0, 0.005
#: Seconds between two bytes of an upload that trickles.
_TRICKLE = 0.05


def _array(unit: bytes, size: int) -> bytes:
    return b"[" + unit * (size // len(unit)) + b"1]"


def _packed(line: bytes, count: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    some = (line + b"\n") * 10_000
    return b"".join([*(packer.compress(some) for _ in range(count // 10_000)), packer.flush()])


def _honest() -> bytes:
    line = b'{"custom_id": "%s-%%d", ' % secrets.token_hex(4).encode() + _JOB[1:]
    return b"\n".join(line % number for number in range(100_000))


def _whole(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send a body, and read the answer."""
    connection.send(body)
    _say(connection.getresponse().status)


def _stalling(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send a body but for its last byte, and wait for what is said to that."""
    connection.send(body[:-1])
    _say("stalls")
    _say(connection.getresponse().status)


def _trickling(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send a body of hundreds of bytes one by one, as chunks."""
    for start in range(len(body)):
        connection.send(b"1\r\n%c\r\n" % body[start])
        _say("trickles")
        time.sleep(_TRICKLE)
    connection.send(b"0\r\n\r\n")
    _say(connection.getresponse().status)


def _say(word: str | int) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Attack:
    """A body that is sent again and again; without a path, connections that bring nothing.

    Args:
        path: where to.
        body: makes it.
        at_once: by how many at a time.
        kind: its Content-Type.
        packing: its Content-Encoding.
        is_made_anew: whether each body is another one.
        send: how it is sent.
    """

    path: str
    body: Callable[[], bytes]
    at_once: int
    kind: str = "application/json"
    packing: str = "identity"
    is_made_anew: bool = False
    send: Callable[[http.client.HTTPConnection, bytes], None] = _whole

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of a request."""
        is_chunked = self.send is _trickling
        length = {"transfer-encoding": "chunked"} if is_chunked else {"content-length": len(body)}
        return {
            "authorization": f"Bearer {_TOKENS['greedy']}",
            "content-type": self.kind,
            "content-encoding": self.packing,
            **{name: str(value) for name, value in length.items()},
        }


_LINES = "application/x-ndjson"
ATTACKS = {
    "4 MiB of small values in bulk": Attack(
        "/v1/jobs:bulk", lambda: _array(b'{"a":[[[]]]},', 4 * _MIB - 64), 2
    ),
    "six jobs of 8 MiB": Attack("/v1/jobs", lambda: _array(b'{"a":[[[]]]},', 8 * _MIB - 64), 6),
    "20 KiB of gzip, 10 M bad lines": Attack(
        "/v1/batches?skip_invalid=true", lambda: _packed(b"x", 10_000_000), 4, _LINES, "gzip"
    ),
    "a gzip of one line, 2 M times": Attack(
        "/v1/batches",
        lambda: _packed(b'{"custom_id":"a",' + _JOB[1:], 2_000_000),
        4,
        _LINES,
        "gzip",
    ),
    "honest uploads of 100,000 lines": Attack("/v1/batches", _honest, 2, _LINES, is_made_anew=True),
    "eight bodies of 4 MiB that stall": Attack(
        "/v1/jobs:bulk", lambda: _array(_JOB + b",", 4 * _MIB - 64), 8, send=_stalling
    ),
    "16 uploads, a byte in 50 ms": Attack(
        "/v1/batches", lambda: (_JOB + b"\n") * 50, 16, _LINES, send=_trickling
    ),
    "2,000 idle connections": Attack("", bytes, 2_000),
}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a neighbour saw of an attack.

    Args:
        kind: the attack.
        p50, p99: milliseconds of a `POST /v1/jobs` meanwhile.
        alone: its p99 before the attack.
        most_mb: the most memory of the gateway and all that it started.
    """

    kind: str
    p50: float
    p99: float
    alone: float
    most_mb: float

    @property
    def ratio(self) -> float:
        """How much longer the slowest hundredth took than it takes alone."""
        return self.p99 / self.alone


def measure() -> Iterator[Neighbour]:
    """Yield what a neighbour sees of each attack, on a gateway of its own."""
    for kind in ATTACKS:
        with running() as stack, _gateway(stack) as gateway:
            yield asyncio.run(_seen(stack, gateway, kind))


@contextmanager
def _gateway(stack: Stack) -> Iterator[Gateway]:
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in _TOKENS.items()}
    tokens = ",".join(f"{name}:enqueue@{name}:{digest}" for name, digest in digests.items())
    keys = {f"RUNQUEUE_ACCOUNTS__{name.upper()}__API_KEY": f"key-{name}-01" for name in _TOKENS}
    environ = stack.environment(RUNQUEUE_API_TOKENS=tokens, **keys)
    gateway = Gateway(environ, stack.folder / "gateway.log").start()
    try:
        with RunQueue(stack.redis_url) as queue:
            until(lambda: "neighbour" in queue.accounts(), 10, "the account")
        yield gateway
    finally:
        gateway.kill()


async def _seen(stack: Stack, gateway: Gateway, kind: str) -> Neighbour:
    assert gateway.process is not None
    pid = gateway.process.pid
    headers = {
        "authorization": f"Bearer {_TOKENS['neighbour']}",
        "content-type": "application/json",
    }
    async with aiohttp.ClientSession(gateway.url, headers=headers) as session:
        await _ask(session, 1.0)  # what is loaded late
        _, alone = await _ask(session, _SECONDS)
        sizes = [memory_mb(pid)]
        with stack.process(
            "greedy", "bench.neighbours", gateway.url, kind, env=stack.environment()
        ):
            answers = stack.folder / "greedy.log"
            until(lambda: bool(answers.read_text()), 300, "the first answer to the attack")
            p50, p99 = await _ask(session, _SECONDS)
            # Afterwards: to count a process's pages holds it up.
            await _watch(pid, sizes)
    return Neighbour(kind, p50, p99, alone, max(sizes))


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


async def _watch(pid: int, sizes: list[float]) -> None:
    give_up = time.perf_counter() + _SECONDS
    while time.perf_counter() < give_up:
        sizes.append(await asyncio.to_thread(memory_mb, pid))
        await asyncio.sleep(0.02)


def attack(url: str, kind: str) -> None:
    """Attack a gateway until this process is ended; writes what is said to it, or done."""
    found, address = ATTACKS[kind], urlsplit(url).netloc
    if not found.path:
        _idle(address, found.at_once)
    same = b"" if found.is_made_anew else found.body()

    def send(_: int) -> None:
        while True:
            body = same or found.body()
            connection = http.client.HTTPConnection(address, timeout=120)
            with suppress(OSError, http.client.HTTPException):
                connection.putrequest("POST", found.path)
                for name, value in found.headers(body).items():
                    connection.putheader(name, value)
                connection.endheaders()
                found.send(connection, body)
            connection.close()

    with ThreadPoolExecutor(found.at_once) as senders:
        list(senders.map(send, range(found.at_once)))


def _idle(address: str, count: int) -> Never:
    """Hold so many connections, and open them again once the gateway closes them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, _, port = address.partition(":")
    while True:
        with ExitStack() as stack, suppress(OSError):
            for _ in range(count):
                last = stack.enter_context(socket.create_connection((host, int(port))))
            _say("open")
            last.recv(1)


if __name__ == "__main__":
    attack(*sys.argv[1:])
