"""Each row of the contract's table of failed submissions, over a real socket, for all who submit.

`Skyvern` and `AsyncSkyvern` raise and may submit again; `RawClient` classes and never does. What
nobody may say of a request that the server read: that it was not sent.
"""

import asyncio
import ssl
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from api_client import (
    AnswerLostError,
    ApiError,
    AsyncTransport,
    BadRequestError,
    CallKind,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    RawClient,
    RunKind,
    ServerError,
    SkyvernError,
    SubmissionClass,
    UnprocessableEntityError,
)
from tests.api_client.rawserver import (
    Behaviour,
    answering,
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
    who: Who,
    url: str,
    run: RunKind = "task",
    *,
    size: int = 1,
    timeout: float = 30,
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


@dataclass(frozen=True)
class Row:
    status: int
    body: Any
    outcome: SubmissionClass
    error: type[ApiError]
    headers: tuple[tuple[str, str], ...] = ()


ROWS = [
    Row(429, {"detail": "Maximum 5 requests per 60 seconds"}, BUSY, RateLimitError),
    Row(429, b"", BUSY, RateLimitError),
    Row(429, HTML, BUSY, RateLimitError, (("retry-after", "0"),)),
    Row(503, {"detail": "No run was created."}, BUSY, ServerError, (("retry-after", "0"),)),
    Row(503, {"error": "no run WAS created"}, BUSY, ServerError),
    Row(503, b"No run was created", BUSY, ServerError),
    Row(400, {"detail": "Invalid engine"}, REFUSED, BadRequestError),
    Row(404, {"detail": "Workflow wpid_1 not found"}, REFUSED, NotFoundError),
    Row(409, {"detail": "Session is busy"}, REFUSED, ConflictError),
    Row(413, HTML, REFUSED, ApiError),
    Row(422, {"detail": [{"loc": ["body"], "msg": "x"}]}, REFUSED, UnprocessableEntityError),
    Row(401, {"detail": f"Bad key {KEY}"}, ACCOUNT, ApiError),
    Row(402, {"detail": "Payment required"}, ACCOUNT, ApiError),
    Row(403, {"detail": f"Invalid credentials {KEY}"}, ACCOUNT, ForbiddenError),
    Row(404, {"detail": "Not Found"}, ACCOUNT, NotFoundError),
    Row(404, HTML, ACCOUNT, NotFoundError),
    Row(404, b"", UNKNOWN, NotFoundError),
    Row(405, {"detail": "Method Not Allowed"}, ACCOUNT, ApiError),
    Row(301, b"", ACCOUNT, ApiError, (("location", "/elsewhere"),)),
    Row(302, b"", ACCOUNT, ApiError, (("location", "/elsewhere"),)),
    Row(303, b"", ACCOUNT, ApiError, (("location", "/elsewhere"),)),
    Row(304, b"", ACCOUNT, ApiError),
    Row(307, b"", ACCOUNT, ApiError),
    Row(307, b"", ACCOUNT, ApiError, (("location", "http://h:no-port/"),)),
    Row(308, b"", ACCOUNT, ApiError, (("location", "http://user@127.0.0.1/"),)),
    Row(200, b"", UNKNOWN, ApiError),
    Row(200, HTML, UNKNOWN, ApiError),
    Row(200, b'{"run_id": "tsk_1", "sta', UNKNOWN, ApiError),
    Row(200, {"status": "queued"}, UNKNOWN, ApiError),
    Row(200, [], UNKNOWN, ApiError),
    Row(204, b"", UNKNOWN, ApiError),
    Row(299, HTML, UNKNOWN, ApiError),
    Row(408, b"", UNKNOWN, ApiError),
    Row(418, b"", UNKNOWN, ApiError),
    Row(425, b"", UNKNOWN, ApiError),
    Row(500, {"error": "Internal error"}, UNKNOWN, ServerError),
    Row(502, HTML, UNKNOWN, ServerError),
    Row(503, {"detail": "Database temporarily unavailable"}, UNKNOWN, ServerError),
    Row(503, b"Service Unavailable", UNKNOWN, ServerError),
    Row(504, HTML, UNKNOWN, ServerError),
    Row(599, b"", UNKNOWN, ServerError),
]


@everybody
@of_each_kind
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{str(row.body)[:30]}")
async def test_an_answer_means_what_the_contract_says(who: Who, run: RunKind, row: Row) -> None:
    async with serving(answering(row.status, row.body, **dict(row.headers))) as server:
        failure = await fail(who, server.url, run)
        seen = server.exchanges
    assert failure.error is (None if who == "raw" else row.error)
    assert failure.outcome is (row.outcome if who == "raw" else None)
    assert failure.status == row.status
    assert len(seen) == (ATTEMPTS if row.outcome is BUSY and who != "raw" else 1)
    assert len({exchange.body for exchange in seen}) == 1


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
async def test_a_server_that_can_have_seen_the_request_leaves_a_run_in_doubt(
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


@everybody
@pytest.mark.parametrize("speaks_tls", [True, False])
async def test_refused_tls_is_not_sent_and_tried_again(who: Who, speaks_tls: bool) -> None:
    connections = 0
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        seen.extend(await reader.read(100))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    def count() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(__file__).with_name("selfsigned.pem"))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(count, "127.0.0.1", 0, ssl=tls if speaks_tls else None)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert_not_sent(who, await fail(who, f"https://127.0.0.1:{port}"))
    assert KEY.encode() not in seen
    if not speaks_tls:
        assert connections == (1 if who == "raw" else ATTEMPTS)


@both
async def test_an_answer_that_cannot_be_read_does_not_bring_the_query_into_the_error(
    kind: Kind,
) -> None:
    async with serving(sends_garbage) as server, twin(kind, base_url=server.url) as client:
        with pytest.raises(AnswerLostError) as caught:
            await client.submit(additional_query_parameters={"q": PRIVATE})
    assert PRIVATE not in "".join(traceback.format_exception(caught.value))


@both
async def test_a_server_that_echoes_the_request_does_not_bring_the_key_into_the_error(
    kind: Kind,
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if KEY.encode() in line]
        writer.write(b"HTTP/1.1 200 OK\r\n" + lines[0].replace(b":", b"") + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await fail(kind, f"http://127.0.0.1:{port}")
    assert failure.error is AnswerLostError
