"""What one token sends takes no more than its share: others are answered, and memory is bounded."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import os
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import redis

from runqueue import RunQueue
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from tests.gateway.gating import hanging
from tests.gateway.test_process import process, url_of
from tests.gateway.uploads import KIND
from tests.simulator.simulating import eventually
from webhooks.receiver_address import address

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEBIBYTE = 1024 * 1024
#: Mebibytes that the gateway may take, whatever is sent.
MOST = 250
_SECRETS = {"greedy": "sesame-greedy", "neighbour": "sesame-neighbour"}
_LINE = b'{"kind": "task", "body": {"prompt": "Read it."}}'
_JSON = {"content-type": "application/json"}
_PACKED = {**KIND, "content-encoding": "gzip"}
_HOUR_US = 3_600_000_000


def key_of(account: str) -> str:
    """Return the API key of an account of the gateway."""
    return f"key-{account}-01"


def environment_of(tokens: dict[str, str]) -> dict[str, str]:
    """Return the settings of a gateway with some tokens, each for an account of its name."""
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()}
    keys = {f"RUNQUEUE_ACCOUNTS__{name.upper()}__API_KEY": key_of(name) for name in tokens}
    listed = (f"{name}:enqueue+read@{name}:{digest}" for name, digest in digests.items())
    return {"RUNQUEUE_API_TOKENS": ",".join(listed), **keys}


def array(unit: bytes, size: int, first: bytes = b"[") -> bytes:
    """Return an array of about so many bytes."""
    return first + unit * ((size - len(first) - 2) // len(unit)) + b"1]"


def compressed(line: bytes, lines: int) -> bytes:
    """Return so many lines, compressed."""
    packer = zlib.compressobj(9, wbits=31)
    some = (line + b"\n") * 10_000
    return b"".join([*(packer.compress(some) for _ in range(lines // 10_000)), packer.flush()])


def large_answer(queue: RunQueue, url: str, account: str) -> str:
    """Have a job end with a result of 7 MiB; returns the path of its answer, which has 14."""
    queue.enqueue_many([{"account": account, "kind": "task", "body": {"prompt": "Read it."}}])
    queue.send(worker_calls.heartbeat(account, "lab", _HOUR_US, -1, 0, first=True))
    (job,) = queue.send(worker_calls.claim(account, "lab", "c", 1, 0, receives=True)).items
    run_id = f"tsk_{job.job_id}"
    accepted = RunAccepted(job.job_id, job.attempt, run_id, "created", _HOUR_US)
    queue.send(worker_calls.mark_running(account, [accepted]))
    output = b"x" * 7 * MEBIBYTE
    body = b'{"run_id":"%s","status":"completed","output":"%s"}' % (run_id.encode(), output)
    key = key_of(account)
    signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    hook = address(url, account, job.job_id, job.attempt, key)
    httpx.post(hook, content=body, headers={"x-skyvern-signature": signature}).raise_for_status()
    return f"/v1/jobs/{job.job_id}"


def peak_mib(pid: int) -> float:
    """Return the most memory that a process ever had, in mebibytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


@dataclass
class RunningGateway:
    """A gateway process, and a client of it."""

    url: str
    pid: int
    session: aiohttp.ClientSession
    #: Seconds that a neighbour waited, all three answers together.
    waits: list[float] = field(default_factory=list)

    async def send(
        self, token: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, Any]:
        """Send a body; returns the status and the answer."""
        bearer = {"authorization": f"Bearer {_SECRETS[token]}", **headers}
        data = io.BytesIO(body)
        async with self.session.post(self.url + path, data=data, headers=bearer) as answer:
            return answer.status, await answer.json()

    async def neighbour(self) -> None:
        """Do what a neighbour does all day: each is answered well."""
        one, many = _LINE, b"[" + _LINE + b"]"
        start = time.monotonic()
        assert (await self.send("neighbour", "/v1/jobs", one, _JSON))[0] == 202
        assert (await self.send("neighbour", "/v1/jobs:bulk", many, _JSON))[0] == 202
        assert (await self.send("neighbour", "/v1/batches", one + b"\n", KIND))[0] == 201
        self.waits.append(time.monotonic() - start)

    @asynccontextmanager
    async def unread(self, path: str) -> AsyncIterator[None]:
        """Ask for something, and read nothing of the answer."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        head = f"GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {_SECRETS['greedy']}\r\n"
        writer.write(f"{head}\r\n".encode())
        await reader.read(1)  # it has begun
        yield
        writer.close()


@asynccontextmanager
async def running_gateway(folder: Path, redis_url: str) -> AsyncIterator[RunningGateway]:
    """Run a gateway with two tokens, each for an account of its own."""
    environ = {"RUNQUEUE_REDIS_URL": redis_url, **environment_of(_SECRETS)}
    with process(folder, **environ) as started:
        url = await asyncio.to_thread(url_of, started)
        async with aiohttp.ClientSession() as session:
            found = RunningGateway(url, started.pid, session)
            await found.neighbour()  # what is loaded late
            yield found


_LARGEST = 4 * MEBIBYTE - 64
_LONG = b"[12345678901234567890,"  # one number that has to be read with care


def bad_headers() -> bytes:
    """A job with very many headers, none of which is valid."""
    headers = b",".join(b'"h %d":"v\\n"' % number for number in range(200_000))
    return b'{"kind":"task","body":{"prompt":"x","extra_http_headers":{%s}}}' % headers


def workflow() -> bytes:
    """A job that is accepted, and whose parameters are very many values."""
    values = array(b"[],", MEBIBYTE - 200)
    return b'{"kind":"workflow","body":{"workflow_id":"w","parameters":{"x":%s}}}' % values


async def test_bodies_of_small_values_take_little_memory_and_keep_nobody_waiting(
    tmp_path: Path, client: redis.Redis, redis_url: str
) -> None:
    bodies = [
        ("/v1/jobs:bulk", array(b"[],", _LARGEST)),
        ("/v1/jobs:bulk", array(b'{"a":[[[]]]},', _LARGEST, _LONG)),
        ("/v1/jobs:bulk", array(b'"",', _LARGEST, b"[[")),
        ("/v1/jobs", array(b"0,", 8 * MEBIBYTE - 64, _LONG)),
        ("/v1/jobs", bad_headers()),
        ("/v1/jobs", workflow()),
    ]
    async with running_gateway(tmp_path, redis_url) as gateway:
        for path, body in bodies:
            sends = [gateway.send("greedy", path, body, _JSON) for _ in range(8)]
            sending = asyncio.gather(*sends)
            while not sending.done():
                await gateway.neighbour()
            statuses = {status for status, _ in await sending}
            assert statuses <= {202, 413, 422, 429}
            assert statuses & {202, 413, 422}
            assert peak_mib(gateway.pid) <= MOST, body[:60]
        with hanging(client):  # what is checked waits to be stored
            sends = [gateway.send("greedy", path, body, _JSON) for _ in range(24)]
            assert {503} <= {status for status, _ in await asyncio.gather(*sends)} <= {429, 503}
        assert peak_mib(gateway.pid) <= MOST


_KEYED = b'{"custom_id":"a",' + _LINE[1:]


@pytest.mark.parametrize(
    ("line", "query", "status"), [(b"x", "?skip_invalid=true", 422), (_KEYED, "", 201)]
)
async def test_others_go_on_beside_small_uploads_that_unpack_to_many_lines(
    tmp_path: Path, redis_url: str, line: bytes, query: str, status: int
) -> None:
    async with running_gateway(tmp_path, redis_url) as gateway:
        bomb = compressed(line, 200_000)
        assert len(bomb) < 64 * 1024
        bombs = [
            asyncio.create_task(gateway.send("greedy", f"/v1/batches{query}", bomb, _PACKED))
            for _ in range(2)
        ]
        await gateway.neighbour()
        assert not any(one.done() for one in bombs)
        found = await asyncio.gather(*bombs)
        assert [one for one, _ in found].count(status) >= 1, found
        assert peak_mib(gateway.pid) <= MOST


async def test_a_token_at_its_limits_that_reads_no_answer_takes_little_memory(
    tmp_path: Path, queue: RunQueue, redis_url: str
) -> None:
    body = array(b'{"a":[[[]]]},', _LARGEST, _LONG)
    async with running_gateway(tmp_path, redis_url) as gateway, AsyncExitStack() as stack:
        path = await asyncio.to_thread(large_answer, queue, gateway.url, "greedy")
        for _ in range(4):
            await stack.enter_async_context(gateway.unread(path))
        sending = [
            asyncio.create_task(gateway.send("greedy", path, body, _JSON))
            for path in ("/v1/jobs:bulk", "/v1/jobs")
            for _ in range(8)
        ]
        sent = asyncio.gather(*sending)
        while not sent.done():
            await gateway.neighbour()
        found = await sent
        peak = peak_mib(gateway.pid)

    assert 429 in {status for status, _ in found}
    assert peak <= MOST


async def test_an_upload_is_finished_although_the_gateway_is_told_to_end(
    tmp_path: Path, queue: RunQueue, redis_url: str
) -> None:
    head = f"authorization: Bearer {_SECRETS['greedy']}\r\ncontent-type: application/x-ndjson\r\n"

    async with running_gateway(tmp_path, redis_url) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        start = "POST /v1/batches HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n"
        large = (_LINE + b"\n") * 8_000  # more than a part, so that its check begins
        writer.write(f"{start}{head}\r\n{len(large):x}\r\n".encode() + large + b"\r\n")
        await eventually(lambda: queue.stats()["greedy"].totals.get("enqueued", 0) > 0)
        os.kill(gateway.pid, signal.SIGTERM)
        writer.write(b"%x\r\n%s\n\r\n0\r\n\r\n" % (len(_LINE) + 1, _LINE))
        said = await reader.readline()
        writer.close()

    assert said.startswith(b"HTTP/1.1 201 ")
