"""What one token sends takes no more than its share: others are answered, and memory is bounded."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import socket
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.trees import cpu_seconds, peak_of, tree
from gateway.checks.processes import MAX_CHECKS
from tests.gateway.test_process import process, url_of
from tests.gateway.uploads import KIND
from tests.simulator.simulating import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEBIBYTE = 1024 * 1024
#: Megabytes that the gateway may take, whatever is sent.
MOST = 300
_SECRETS = {"greedy": "sesame-greedy", "neighbour": "sesame-neighbour"}
_LINE = b'{"kind": "task", "body": {"prompt": "Read it."}}'
_JSON = {"content-type": "application/json"}
_PACKED = {**KIND, "content-encoding": "gzip"}


@dataclass
class RunningGateway:
    """A gateway process, and a client of it."""

    url: str
    pid: int
    session: aiohttp.ClientSession
    #: CPU seconds when `rests` last saw work, and when that was, by `time.monotonic`.
    spent: float = 0.0
    since: float = 0.0

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
        assert (await self.send("neighbour", "/v1/jobs", one, _JSON))[0] == 202
        assert (await self.send("neighbour", "/v1/jobs:bulk", many, _JSON))[0] == 202
        assert (await self.send("neighbour", "/v1/batches", one + b"\n", KIND))[0] == 201

    @property
    def checks(self) -> int:
        """The check processes that live: all but the gateway, and what makes them."""
        return len(tree(self.pid)) - 2

    def rests(self) -> bool:
        """Say whether the process and all that it started did next to nothing for half a second."""
        spent, now = cpu_seconds(self.pid), time.monotonic()
        if abs(spent - self.spent) > 0.1:
            self.spent, self.since = spent, now
        return now - self.since > 0.5


@asynccontextmanager
async def running_gateway(folder: Path, redis_url: str) -> AsyncIterator[RunningGateway]:
    """Run a gateway with two tokens, each for an account of its own."""
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in _SECRETS.items()}
    tokens = ",".join(f"{name}:enqueue@{name}:{digest}" for name, digest in digests.items())
    keys = {f"RUNQUEUE_ACCOUNTS__{name.upper()}__API_KEY": f"key-{name}-01" for name in _SECRETS}
    with process(
        folder, RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_API_TOKENS=tokens, **keys
    ) as started:
        url = await asyncio.to_thread(url_of, started)
        async with aiohttp.ClientSession() as session:
            found = RunningGateway(url, started.pid, session)
            await found.neighbour()  # what is loaded late
            yield found


def many(unit: bytes, size: int, first: bytes = b"[") -> bytes:
    """An array of about so many bytes."""
    return first + unit * ((size - len(first) - 2) // len(unit)) + b"1]"


def packed(unit: bytes, count: int) -> bytes:
    """So many lines, packed."""
    packer = zlib.compressobj(9, wbits=31)
    some = unit * 10_000
    return b"".join([*(packer.compress(some) for _ in range(count // 10_000)), packer.flush()])


_LARGEST = 4 * MEBIBYTE - 64
_LONG = b"[12345678901234567890,"  # one number that has to be read with care


def bad_headers() -> bytes:
    """A job with very many headers, none of which is valid."""
    headers = b",".join(b'"h %d":"v\\n"' % number for number in range(200_000))
    return b'{"kind":"task","body":{"prompt":"x","extra_http_headers":{%s}}}' % headers


@pytest.mark.parametrize(
    ("path", "make_body", "times"),
    [
        pytest.param("/v1/jobs:bulk", partial(many, b"[],", _LARGEST), 1, marks=pytest.mark.slow),
        ("/v1/jobs:bulk", partial(many, b'{"a":[[[]]]},', _LARGEST), 1),
        ("/v1/jobs:bulk", partial(many, b'{"a":[[[]]]},', _LARGEST, _LONG), 2),
        pytest.param(
            *("/v1/jobs:bulk", partial(many, b'"",', _LARGEST, b"[["), 1), marks=pytest.mark.slow
        ),
        pytest.param(
            *("/v1/jobs", partial(many, b'{"a":[[[]]]},', 8 * MEBIBYTE - 64), 6),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "/v1/jobs",
            partial(many, b'{"a":[[[]]]},', MEBIBYTE, b'{"kind":"task","body":{"x":['),
            6,
            marks=pytest.mark.slow,
        ),
        ("/v1/jobs", partial(many, b"0,", 8 * MEBIBYTE - 64, _LONG), 6),
        ("/v1/jobs", bad_headers, 4),
    ],
    ids=[
        *("lists", "nested", "a long number", "texts"),
        *("six jobs", "six smaller", "six of numbers", "four of bad headers"),
    ],
)
async def test_a_body_of_small_values_takes_little_memory_and_keeps_nobody_waiting(
    tmp_path: Path, redis_url: str, path: str, make_body: Callable[[], bytes], times: int
) -> None:
    body = make_body()
    async with (
        running_gateway(tmp_path, redis_url) as gateway,
        peak_of(gateway.pid, every=0.05) as peak,
    ):
        sending = [
            asyncio.create_task(gateway.send("greedy", path, body, _JSON)) for _ in range(times)
        ]
        both = asyncio.gather(*sending)
        while not both.done():
            await gateway.neighbour()
        found = await both

    assert {status for status, _ in found} <= {413, 422, 503}, found
    assert 413 in {status for status, _ in found} or 422 in {status for status, _ in found}
    assert peak.mb <= MOST


async def test_many_small_arrays_at_once_have_few_processes_and_all_are_accepted(
    tmp_path: Path, redis_url: str
) -> None:
    body = b"[" + _LINE + b"]"
    most = 0
    async with (
        running_gateway(tmp_path, redis_url) as gateway,
        peak_of(gateway.pid, every=0.05) as peak,
    ):
        sending = [
            asyncio.create_task(gateway.send("greedy", "/v1/jobs:bulk", body, _JSON))
            for _ in range(90)
        ]
        together = asyncio.gather(*sending)
        while not together.done():
            most = max(most, await asyncio.to_thread(lambda: gateway.checks))
            assert (await gateway.send("neighbour", "/v1/jobs:bulk", body, _JSON))[0] == 202
        found = await together

    assert {status for status, _ in found} == {202}
    assert 0 < most <= 2 * MAX_CHECKS  # those that are over may take a moment to end
    assert peak.mb <= MOST


def bad_lines() -> bytes:
    """Ten million lines that are no jobs, packed."""
    return packed(b"x\n", 10_000_000)


_KEYED = b'{"custom_id":"a",' + _LINE[1:] + b"\n"


@pytest.mark.slow
@pytest.mark.timeout(300)  # a busy machine has little time for them
@pytest.mark.parametrize(
    ("make_body", "query", "times"),
    [
        pytest.param(bad_lines, "?skip_invalid=true", 2, id="bad"),
        pytest.param(partial(packed, _KEYED, 2_000_000), "", 1, id="repeated"),
    ],
)
async def test_a_small_upload_of_many_lines_is_refused_and_others_go_on_meanwhile(
    tmp_path: Path, redis_url: str, make_body: Callable[[], bytes], query: str, times: int
) -> None:
    bomb = make_body()
    async with (
        running_gateway(tmp_path, redis_url) as gateway,
        peak_of(gateway.pid, every=0.05) as peak,
    ):
        bombs = [
            asyncio.create_task(gateway.send("greedy", f"/v1/batches{query}", bomb, _PACKED))
            for _ in range(times)
        ]
        await eventually(lambda: gateway.checks == times)  # they are being checked
        await gateway.neighbour()
        assert not any(one.done() for one in bombs)
        found = await asyncio.gather(*bombs)

    assert [status for status, _ in found] == [413] * times
    assert "takes too much time for its size" in found[0][1]["detail"]
    assert peak.mb <= MOST


@pytest.mark.parametrize("is_whole", [True, False], ids=["all of it sent", "cut in the middle"])
async def test_work_for_a_sender_that_has_gone_stops(
    tmp_path: Path, redis_url: str, is_whole: bool
) -> None:
    bad = bad_lines()
    length = len(bad) + (0 if is_whole else 10 * MEBIBYTE)
    head = f"POST /v1/batches?skip_invalid=true HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n"
    head += f"authorization: Bearer {_SECRETS['greedy']}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in _PACKED.items())

    async with running_gateway(tmp_path, redis_url) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            # Enough of it for a check to begin, however the body is cut into parts.
            writer.write(head.encode() + b"\r\n" + bad + b"\0" * (0 if is_whole else MEBIBYTE))
            await writer.drain()
            await eventually(lambda: gateway.checks == 1)
            if not is_whole:  # its end would come after bytes that the gateway does not read yet
                opened = writer.get_extra_info("socket")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await eventually(lambda: gateway.checks == 0)
        await eventually(gateway.rests)


async def test_no_check_outlives_a_gateway_that_is_killed(tmp_path: Path, redis_url: str) -> None:
    bad = bad_lines()
    async with running_gateway(tmp_path, redis_url) as gateway:
        bomb = asyncio.create_task(
            gateway.send("greedy", "/v1/batches?skip_invalid=true", bad, _PACKED)
        )
        await eventually(lambda: gateway.checks == 1)
        everyone = tree(gateway.pid)
        os.kill(gateway.pid, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await bomb
        # The gateway itself is dead, and waits for the test to take note of it.
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone[1:]))


async def test_an_upload_is_finished_although_its_group_is_told_to_end(
    tmp_path: Path, redis_url: str
) -> None:
    head = f"authorization: Bearer {_SECRETS['greedy']}\r\ncontent-type: application/x-ndjson\r\n"

    async with running_gateway(tmp_path, redis_url) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        start = "POST /v1/batches HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n"
        large = (_LINE + b"\n") * 8_000  # more than a part, so that its check begins
        writer.write(f"{start}{head}\r\n{len(large):x}\r\n".encode() + large + b"\r\n")
        await eventually(lambda: gateway.checks == 1)
        for pid in tree(gateway.pid):
            os.kill(pid, signal.SIGTERM)
        writer.write(b"%x\r\n%s\n\r\n0\r\n\r\n" % (len(_LINE) + 1, _LINE))
        said = await reader.readline()
        writer.close()

    assert said.startswith(b"HTTP/1.1 201 ")
