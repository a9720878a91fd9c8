"""What a failed submission shows, over a real socket: of each row of the contract's table for all
who submit, and of each way to fail, on both loops, what the server can have seen of the request.

`Skyvern` and `AsyncSkyvern` raise and may submit again; `RawClient` classes and never does. What
nobody may say of a request that the server read: that it was not sent.
"""

import asyncio
import ssl
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from api_client import (
    AnswerLostError,
    AsyncTransport,
    CallKind,
    NotSentError,
    RawClient,
    RunKind,
    SkyvernError,
    SubmissionClass,
)
from tests.api_client.loops import Run, both_loops
from tests.api_client.misbehaving import drips_the_body, drips_the_head, listening, reads_slowly
from tests.api_client.rawserver import (
    Behaviour,
    cuts_the_answer,
    cuts_the_head,
    cuts_the_upload,
    hangs,
    hangs_within_the_answer,
    port_nobody_listens_on,
    port_with_a_full_backlog,
    reads_then_closes,
    reads_then_resets,
    resets_before_reading,
    sends_a_bad_status_line,
    sends_garbage,
    serving,
)
from tests.api_client.twins import KEY, Kind, both, twin

_, NOT_SENT, BUSY, REFUSED, ACCOUNT, UNKNOWN = SubmissionClass
HTML = b"<html><h1>Sorry</h1></html>"
#: Larger than the sockets' buffers on loopback.
LARGE = 16_000_000
PRIVATE = "a-private-word"
#: A client's attempts at what it may submit again.
ATTEMPTS = 3

Who = Kind | Literal["raw"]
everybody = pytest.mark.parametrize("who", ["async", "blocking", "raw"])
of_each_kind = pytest.mark.parametrize("run", ["task", "workflow"])


class Counter:
    """A limiter that lets everything through and counts it."""

    attempts = 0

    def reserve(self, kind: CallKind, at_most: float) -> float:  # noqa: ARG002 - Limiter's names
        self.attempts += 1
        return 0.0

    def hold(self, seconds: float) -> None:
        """Hold nothing."""


@dataclass(frozen=True)
class Failure:
    """What a submission came to, in the words of whoever made it."""

    error: type[SkyvernError] | None
    outcome: SubmissionClass | None
    attempts: int
    status: int | None

    @property
    def is_not_sent(self) -> bool:
        return self.error is NotSentError or self.outcome is NOT_SENT


async def fail(
    who: Who, url: str, run: RunKind = "task", *, size: int = 1, timeout: float = 30
) -> Failure:
    """Submit a run of which nothing good can come."""
    if who == "raw":
        async with AsyncTransport() as sender:
            content = b'{"prompt": "%s"}' % (b"x" * size)
            outcome = await RawClient(url, KEY, sender).submit(run, content, timeout=timeout)
        assert KEY not in repr(outcome)
        return Failure(None, outcome.outcome, 1, outcome.status_code)
    counter = Counter()
    options: dict[str, Any] = {"base_url": url, "limiter": counter}
    arguments = {"prompt": "x" * size} if run == "task" else {"workflow_id": "x" * size}
    async with twin(who, timeout=timeout, **options) as client:
        with pytest.raises(SkyvernError) as caught:
            await client.call(f"run_{run}", **arguments)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    status = getattr(caught.value, "status_code", None)
    return Failure(type(caught.value), None, counter.attempts, status)


@everybody
@of_each_kind
@pytest.mark.parametrize(
    ("behaviour", "size"),
    [
        (resets_before_reading, 1),
        (resets_before_reading, LARGE),
        (cuts_the_upload, LARGE),
        (reads_then_closes, 1),
        (reads_then_resets, 1),
        (sends_garbage, 1),
        (sends_a_bad_status_line, 1),
        (cuts_the_head, 1),
        (cuts_the_answer, 1),
        (hangs, 1),
        (hangs_within_the_answer, 1),
    ],
)
async def test_if_a_server_can_have_seen_the_request_a_run_may_exist(
    who: Who, run: RunKind, behaviour: Behaviour, size: int
) -> None:
    async with serving(behaviour) as server:
        timeout = 1 if behaviour in {hangs, hangs_within_the_answer} else 30
        failure = await fail(who, server.url, run, size=size, timeout=timeout)
        assert len(server.exchanges) == 1
    assert not failure.is_not_sent
    assert failure.error is (None if who == "raw" else AnswerLostError)
    assert failure.outcome is (UNKNOWN if who == "raw" else None)


def assert_not_sent(who: Who, failure: Failure) -> None:
    assert failure.is_not_sent
    assert failure.attempts == (1 if who == "raw" else ATTEMPTS)


@everybody
async def test_a_refused_connection_is_not_sent_and_tried_again(who: Who) -> None:
    with port_nobody_listens_on() as port:
        assert_not_sent(who, await fail(who, f"http://127.0.0.1:{port}"))


@everybody
async def test_a_name_that_does_not_resolve_is_not_sent_and_tried_again(who: Who) -> None:
    assert_not_sent(who, await fail(who, "http://no-such-host.invalid"))


@everybody
async def test_a_connection_that_takes_too_long_is_not_sent_and_tried_again(who: Who) -> None:
    with port_with_a_full_backlog() as port:
        assert_not_sent(who, await fail(who, f"http://127.0.0.1:{port}", timeout=0.2))


@both
async def test_an_answer_that_cannot_be_read_does_not_bring_the_query_into_the_error(
    kind: Kind,
) -> None:
    async with serving(sends_garbage) as server, twin(kind, base_url=server.url) as client:
        with pytest.raises(AnswerLostError) as caught:
            await client.submit(additional_query_parameters={"q": PRIVATE})
    assert PRIVATE not in "".join(traceback.format_exception(caught.value))


# What of a request the server can have seen.

#: These answer by a limit of time alone.
SLOW = {hangs, hangs_within_the_answer, drips_the_head, drips_the_body, reads_slowly}
LARGE_BODY = b"x" * LARGE


async def post(url: str, content: bytes = b"{}", **options: Any) -> httpx.Response:
    async with AsyncTransport(**options) as transport:
        request = httpx.Request("POST", f"{url}/v1/run/tasks", content=content)
        return await transport.handle_async_request(request)


@both_loops
@pytest.mark.parametrize(
    ("behaviour", "content"),
    [
        (resets_before_reading, b"{}"),
        (resets_before_reading, LARGE_BODY),
        (cuts_the_upload, LARGE_BODY),
        (reads_slowly, LARGE_BODY),
        (reads_then_closes, b"{}"),
        (reads_then_resets, b"{}"),
        (sends_garbage, b"{}"),
        (sends_a_bad_status_line, b"{}"),
        (cuts_the_head, b"{}"),
        (cuts_the_answer, b"{}"),
        (hangs, b"{}"),
        (hangs_within_the_answer, b"{}"),
        (drips_the_head, b"{}"),
        (drips_the_body, b"{}"),
    ],
)
def test_a_server_that_can_have_seen_the_request_leaves_the_answer_lost(
    run: Run, behaviour: Behaviour, content: bytes
) -> None:
    async def check() -> None:
        async with serving(behaviour) as server:
            with pytest.raises(AnswerLostError, match="POST /v1/run/tasks"):
                await post(server.url, content, timeout=1 if behaviour in SLOW else 60)
            assert len(server.exchanges) == 1

    run(check())


@both_loops
def test_a_refused_connection_is_not_sent(run: Run) -> None:
    async def check(port: int) -> None:
        with pytest.raises(NotSentError, match=rf"\(http://127\.0\.0\.1:{port}\)$"):
            await post(f"http://127.0.0.1:{port}")

    with port_nobody_listens_on() as port:
        run(check(port))


@both_loops
def test_a_name_that_does_not_resolve_is_not_sent(run: Run) -> None:
    async def check() -> None:
        with pytest.raises(NotSentError, match=r"\(http://no-such-host\.invalid\)$"):
            await post("http://no-such-host.invalid")

    run(check())


@both_loops
def test_a_connection_that_takes_too_long_is_not_sent(run: Run) -> None:
    async def check(port: int) -> None:
        with pytest.raises(NotSentError):
            await post(f"http://127.0.0.1:{port}", connect_timeout=0.1)

    with port_with_a_full_backlog() as port:
        run(check(port))


@both_loops
def test_tls_to_a_server_that_speaks_none_is_not_sent(run: Run) -> None:
    async def check() -> None:
        async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
        async with server:
            with pytest.raises(NotSentError):
                await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    run(check())


@both_loops
def test_a_certificate_nobody_vouches_for_is_not_sent(run: Run) -> None:
    async def check() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(Path(__file__).with_name("selfsigned.pem"))
        seen = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.extend(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        async with server:
            with pytest.raises(NotSentError, match="certificate verify failed"):
                await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert not seen

    run(check())


@both_loops
def test_cancellation_is_passed_on(run: Run) -> None:
    async def check() -> None:
        async with serving(hangs) as server:
            call = asyncio.create_task(post(server.url))
            await server.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(check())


async def test_a_tls_handshake_that_hangs_is_not_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as host:
        with pytest.raises(NotSentError, match="no connection in time"):
            await post(f"https://{host}", connect_timeout=0.2)
