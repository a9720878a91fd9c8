"""deploy/nginx.conf, run by a real nginx before a real gateway."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from gateway.http import results
from runqueue import JobState, RunQueue
from runqueue.errors import QueueUnavailable
from tests.bare import logged, no_settings
from tests.gateway.conftest import desk
from tests.gateway.gating import Desk, Door, address, gating, signed, token, told
from tests.gateway.tenants.test_in_flight import ACME, head
from tests.gateway.uploads import KIND, PATH, accepted, begin, lines, send, text
from tests.simulator.simulating import eventually
from tests.worker.working import closed_port

__all__ = ["desk", "logged", "no_settings"]

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"
MEBIBYTE = 1024 * 1024
TOKENS = (token("acme", "a", "enqueue", "read", "operate"),)

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light"),
    pytest.mark.usefixtures("no_settings"),
]


def config(folder: Path, port: int, gateway: str) -> Path:
    """Write the configuration for other ports, and with its files in a folder."""
    written = CONFIG.read_text()
    for shipped, here in (
        ("server gateway:8080;", f"server {gateway};"),
        ("listen 8000;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        ("worker_processes 2;", "worker_processes 1;"),
    ):
        assert shipped in written
        written = written.replace(shipped, here)
    file = folder / "nginx.conf"
    file.write_text(written)
    return file


@contextmanager
def nginx(folder: Path, gateway: str) -> Iterator[str]:
    """Run nginx before a gateway; yields its URL."""
    port = closed_port()
    # Others may not look into the folders of tests.
    main = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
    command = [str(NGINX), "-c", str(config(folder, port, gateway)), "-g", main]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as started:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            started.send_signal(signal.SIGTERM)


@asynccontextmanager
async def proxied(
    folder: Path, redis_url: str, **settings: Any
) -> AsyncIterator[tuple[Door, Door]]:
    """Serve a gateway, and nginx before it: what is asked through nginx, and without it."""
    chosen = {"api_tokens": TOKENS, "gateway_proxies": "127.0.0.1", **settings}
    async with gating(redis_url, **chosen) as inner:
        with nginx(folder, inner.url.removeprefix("http://")) as url:
            outer = Door(url, inner.session, inner.server)

            async def serves() -> bool:
                try:
                    return (await outer.ask("GET", "/healthz")).status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(serves)
            yield outer, inner


@asynccontextmanager
async def sending(door: Door, raw: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes as they are; next to nothing of the answer is read by itself."""
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(raw)
    await writer.drain()
    yield reader
    writer.transport.abort()


def connections(door: Door) -> int:
    """How many connections the gateway has."""
    return len(door.server.server_state.connections)


def test_nginx_understands_the_configuration(tmp_path: Path) -> None:
    checked = subprocess.run(
        [str(NGINX), "-t", "-c", str(config(tmp_path, 8000, "127.0.0.1:8080"))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def many_files() -> Iterator[None]:
    """A thousand connections are two thousand files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_half_requests_and_unread_answers_cost_the_gateway_no_connection(
    desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    job, other = desk.running(2)
    hook = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{{".encode()
    half = (b"GET /healthz HTTP/1.1\r\nhost:", hook, b"GET /login HTTP/1.1\r\nhost: g\r\n\r\n")

    async with proxied(tmp_path, redis_url) as (outer, inner), AsyncExitStack() as stack:
        for n in range(1_000):
            await stack.enter_async_context(sending(outer, half[n % len(half)]))
        await eventually(lambda: connections(inner) <= 40)  # those that nginx keeps

        assert (await outer.ask("GET", "/v1/stats", headers=ACME)).status == 200
        assert (await outer.webhook(other, told(other))).verdict == "ended"
        assert connections(inner) <= 40


async def test_answers_that_nobody_reads_are_over_for_the_gateway(
    desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    (job,) = desk.running()

    async with proxied(tmp_path, redis_url) as (outer, inner), AsyncExitStack() as stack:
        await inner.webhook(job, told(job, output="x" * 7 * MEBIBYTE))
        acme = inner.in_flight("acme")
        for _ in range(8):  # four times what the token may have in flight
            raw = head(f"GET /v1/jobs/{job.job_id}")
            reader = await stack.enter_async_context(sending(outer, raw))
            assert (await reader.readexactly(12)).endswith(b"200")
            await eventually(lambda: acme.requests == 0)


async def test_one_address_holds_so_many_webhooks_and_others_get_theirs_through(
    desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    job, other = desk.running(2)
    half = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n"
    half += "x-forwarded-for: 203.0.113.7\r\n\r\n{"

    async with proxied(tmp_path, redis_url) as (outer, _), AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(sending(outer, half.encode())) for _ in range(501)
        ]
        said = [asyncio.create_task(one.readexactly(12)) for one in readers]
        done, waiting = await asyncio.wait(said, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

        assert {task.result() for task in done} == {b"HTTP/1.1 503"}
        assert (await outer.webhook(other, told(other))).verdict == "ended"


async def test_webhooks_pass_byte_by_byte(desk: Desk, redis_url: str, tmp_path: Path) -> None:
    async def chunks(raw: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 1_000_000):
            yield raw[start : start + 1_000_000]

    jobs = desk.running(4)
    ways = [(size, is_chunked) for size in (0, 8 * MEBIBYTE) for is_chunked in (True, False)]
    async with proxied(tmp_path, redis_url) as (outer, _):
        for job, (size, is_chunked) in zip(jobs, ways, strict=True):
            raw = json.dumps(told(job, note="schön \u0000"), indent=3, ensure_ascii=False).encode()
            raw = b"\r\n\t " + raw + b" " * max(0, size - len(raw) - 4)
            data = chunks(raw) if is_chunked else io.BytesIO(raw)
            path = outer.url + address(job)
            async with outer.session.post(path, data=data, headers=signed(raw)) as answer:
                assert answer.status == 200
            assert desk.job(job).state is JobState.COMPLETED


async def test_a_webhook_over_8_mib_is_refused_by_the_gateway(
    desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    (job,) = desk.running()

    async with proxied(tmp_path, redis_url) as (outer, _):
        answer = await outer.webhook(job, b" " * (8 * MEBIBYTE + 1))

    assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")


async def test_an_upload_passes_while_it_is_sent(
    queue: RunQueue, desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    async with proxied(tmp_path, redis_url, api_tokens=()) as (outer, _):
        writer = await begin(outer.url, text(lines(2_500)))
        await eventually(lambda: desk.batches() and queue.get_batch(desk.batches()[0]).total)
        writer.write(b"0\r\n\r\n")
        await eventually(lambda: queue.get_batch(desk.batches()[0]).sealed)
        writer.close()

    assert accepted(queue, desk.batches()[0]) == 2_500


async def test_an_upload_larger_than_any_other_body_passes(
    queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    spaces = b" " * 1_000_000 + b"\n"

    async def parts() -> AsyncIterator[bytes]:
        yield text(lines(30))
        for _ in range(20):
            yield spaces

    async with (
        proxied(tmp_path, redis_url) as (outer, _),
        outer.session.post(outer.url + PATH, data=parts(), headers={**KIND, **ACME}) as answer,
    ):
        batch = (await answer.json())["batch_id"]

    assert accepted(queue, batch) == 30


async def test_who_sends_all_of_an_upload_that_is_refused_at_its_beginning_is_told_why(
    redis_url: str, tmp_path: Path
) -> None:
    good = text(lines(10_000))

    def rows() -> Iterator[bytes]:
        yield b"{}\n" * 200
        for _ in range(20):
            yield good

    def sent(url: str) -> httpx.Response:
        return httpx.post(url + PATH, content=rows(), headers={**KIND, **ACME}, timeout=60)

    async with proxied(tmp_path, redis_url) as (outer, _):
        answer = await asyncio.to_thread(sent, outer.url)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "line 1: kind"


async def test_an_upload_without_a_token_is_refused_before_it_is_sent(
    redis_url: str, tmp_path: Path
) -> None:
    raw = f"POST {PATH} HTTP/1.1\r\nhost: g\r\ncontent-length: 1000000\r\n".encode()
    raw += b"content-type: application/x-ndjson\r\n\r\n{"

    async with proxied(tmp_path, redis_url) as (outer, _), sending(outer, raw) as reader:
        assert (await reader.readexactly(12)).endswith(b"401")


async def test_events_pass_as_they_come(queue: RunQueue, redis_url: str, tmp_path: Path) -> None:
    (job,) = queue.enqueue_many(lines(1))

    async with (
        proxied(tmp_path, redis_url) as (outer, _),
        outer.session.get(f"{outer.url}/v1/events", headers=ACME) as stream,
    ):
        assert await stream.content.readline() == b"retry: 2000\n"
        queue.cancel(job.job_id)
        async with asyncio.timeout(10):
            while b"ended" not in await stream.content.readline():
                pass


async def test_an_answer_that_is_cut_is_cut_for_its_reader(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> bytes:
        raise QueueUnavailable(redis_url)

    async with proxied(tmp_path, redis_url) as (outer, inner):
        batch = (await send(inner, lines(3), **ACME)).body["batch_id"]
        assert (await inner.ask("POST", f"/v1/batches/{batch}/cancel", headers=ACME)).status == 200
        monkeypatch.setattr(results, "_csv", broken)
        path = f"{outer.url}/v1/batches/{batch}/results?format=csv"
        async with outer.session.get(path, headers=ACME) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("", "203.0.113.7", "127.0.0.1"),
    ],
    ids=["client", "load balancer", "several", "not believed"],
)
async def test_the_address_is_the_client_s_where_the_gateway_believes_nginx(
    redis_url: str, tmp_path: Path, logged: list[Any], *, proxies: str, forwarded: str, seen: str
) -> None:
    headers = {"x-forwarded-for": forwarded} if forwarded else {}

    async with proxied(tmp_path, redis_url, gateway_proxies=proxies) as (outer, _):
        await outer.ask("POST", "/v1/webhooks/skyvern/a/b/1/c", b"{}", headers)

    (event,) = [event for event in logged if event["event"] == "webhook"]
    assert event["address"] == seen


async def test_the_scheme_is_the_one_that_a_load_balancer_was_reached_by(
    redis_url: str, tmp_path: Path
) -> None:
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7"}
    cases: list[tuple[dict[str, str], bool]] = [
        ({}, False),
        ({"x-forwarded-proto": "https"}, False),
        (forwarded, True),
    ]

    async with proxied(tmp_path, redis_url) as (outer, _):
        for headers, is_secure in cases:
            form = {"token": "a", "next": "/"}
            own = {**headers, "sec-fetch-site": "same-origin"}
            async with outer.session.post(
                f"{outer.url}/login", data=form, headers=own, allow_redirects=False
            ) as answer:
                assert answer.status == 303
                assert ("Secure" in answer.headers["set-cookie"]) is is_secure


async def test_a_request_that_offers_another_protocol_is_read_without_the_offer(
    queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    body = json.dumps({"kind": "task", "body": {"prompt": "Read it."}}).encode()
    # What Java's HTTP client sends unless it is told otherwise.
    offer = ("connection: Upgrade, HTTP2-Settings", "http2-settings: AAEAAEAA", "upgrade: h2c")
    kind = ("content-type: application/json", f"content-length: {len(body)}")

    async with (
        proxied(tmp_path, redis_url) as (outer, _),
        sending(outer, head("POST /v1/jobs", *offer, *kind) + body) as reader,
    ):
        assert (await reader.readexactly(12)).endswith(b"202")

    assert sum(queue.stats()["default"].states.values()) == 1
