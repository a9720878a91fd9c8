"""HTTP over one aiohttp session; an httpx transport as well, for clients of your own.

Why not httpx's own transport: a pair of a POST and a GET costs it several times the CPU. Why not
the httpx-aiohttp package: it reports a server that read the whole body and then closed the
connection as a failure to connect, and the one thing a submission needs to know is whether the
server can have seen it. Here that question has two answers, `NotSentError` and `AnswerLostError`,
and the first is given for the short list of exceptions that prove it.

Nothing happens behind the caller's back: no redirect is followed, no cookie kept, no proxy taken
from the environment, no request sent twice.
"""

import asyncio
import io
import math
import ssl
from collections.abc import Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx
import yarl
from multidict import CIMultiDict

from api_client.causes import cause, described
from api_client.deadlines import Deadlines
from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError, SkyvernError
from api_client.messages import Answer, Request
from api_client.session import open_session

#: Seconds a request may take in all, when it names no limit of its own.
DEFAULT_TIMEOUT = 60.0

#: Seconds to get a connection: wait for a free one, look up the name, connect, TLS.
DEFAULT_CONNECT_TIMEOUT = 10.0

#: Seconds. A server closes an idle connection when *it* likes (uvicorn: after 5 s), and a POST
#: that meets the closing is lost in doubt. A connection idle for longer than this is not used
#: again. One limit for reads and submissions: under load connections are never idle for so long,
#: and without load a connection more costs nothing that matters.
IDLE_LIMIT = 2.0

#: Bytes. An answer larger than this is not read to its end.
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024

#: Seconds. A limit of 0 or less is read as this.
_LEAST = 0.001

#: Seconds. A limit from here on ends at a whole second of the loop's clock, as aiohttp has it, too.
_COARSE = 5.0

#: Bytes. aiohttp warns of a larger body that is bytes, because it writes them at one go.
_LARGE_BODY = 1024 * 1024

_NO_DEADLINE = nullcontext()
_NO_TYPE = {"POST": ("content-type",)}
_ENCODING = "content-encoding"

#: Raised before the first byte of a request is written, and only then: name not found, connection,
#: TLS or certificate refused, no connection in time. After any other the server may have seen it.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    deadlines: Deadlines


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Send httpx requests over one aiohttp session that belongs to the running event loop.

    Args:
        timeout: seconds a request may take in all; a request's own `extensions["timeout"]["read"]`
            goes before it (httpx knows no total, so its read limit bounds the whole request here).
            From 5 s on it is rounded up to the next whole second of the loop's clock.
        connect_timeout: seconds to get a connection, at most half of the total, so that a failure
            to connect is known as one; a request's own `extensions["timeout"]["connect"]` goes
            before it.
        max_connections: connections at a time; 0 = no limit. A request beyond it waits, and the
            wait counts as connecting.
        idle_limit: seconds; a connection idle for longer is never used again.
        max_body_bytes: the largest body to accept, counted after decompression.
        tls: True verifies with the system's certificates; an SSLContext is used as it is.

    Raises (from both ways to send): `NotSentError`, `AnswerLostError`, `BodyTooLargeError`;
    cancellation is passed on. No error of aiohttp's leaves this class.
    """

    def __init__(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        max_connections: int = 0,
        idle_limit: float = IDLE_LIMIT,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        tls: bool | ssl.SSLContext = True,
    ) -> None:
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_connections = max_connections
        self._idle_limit = idle_limit
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._opened: _Opened | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one of httpx's requests once; its own timeouts are read as the class says."""
        asked = request.extensions.get("timeout") or {}
        total: float | None = asked.get("read", self._timeout)
        own = Request(
            request.method,
            str(request.url),
            CIMultiDict(request.headers.multi_items()),
            await request.aread(),
        )
        answer = await self._exchange(own, total, asked.get("connect", self._connect_timeout))
        return httpx.Response(
            answer.status,
            # aiohttp has decompressed the body; httpx would try to do so again.
            headers=[pair for pair in answer.headers.items() if pair[0].lower() != _ENCODING],
            # A stream spares httpx its own decoding of a body that is whole already.
            stream=httpx.ByteStream(answer.body),
            request=request,
        )

    def exchange(self, request: Request) -> Coroutine[Any, Any, Answer]:
        """Send a request once and return its answer with the body read whole."""
        total = self._timeout if request.timeout is None else request.timeout
        return self._exchange(request, total, self._connect_timeout)

    async def _exchange(
        self, request: Request, total: float | None, connect: float | None
    ) -> Answer:
        if self._closed:
            raise NotSentError(f"{request.name}: the transport is closed")
        try:
            return await self._send(request, *_limits(total, connect))
        except SkyvernError:
            raise
        except _NOT_SENT as exc:
            words = described(request.name, exc)
            raise NotSentError(f"{words} ({request.origin})") from cause(exc)
        except Exception as exc:  # noqa: BLE001 - no error of aiohttp's leaves this class
            raise AnswerLostError(described(request.name, exc)) from cause(exc)

    async def _send(
        self, request: Request, limits: aiohttp.ClientTimeout, seconds: float | None
    ) -> Answer:
        opened = self._opened
        if opened is None or opened.loop is not asyncio.get_running_loop():
            opened = await self._begin(request)
        body = request.content
        with _NO_DEADLINE if seconds is None else opened.deadlines.within(seconds):
            answer = await opened.session.request(
                request.method,
                yarl.URL(request.url, encoded=True),
                data=(body if len(body) <= _LARGE_BODY else io.BytesIO(body)) or None,
                headers=request.headers,
                # Else aiohttp gives a POST without a body the type of one.
                skip_auto_headers=None if body else _NO_TYPE.get(request.method),
                timeout=limits,
                allow_redirects=False,
            )
            try:
                content = answer.content
                if content.is_eof():  # it came with the headers, as nearly all do
                    whole = content.read_nowait()
                    self._check_size(request, answer, len(whole))
                else:
                    whole = await self._read(request, answer)
            except BaseException:
                answer.close()  # what is left of the answer must not meet the next request
                raise
        return Answer(answer.status, answer.headers, whole)

    async def _read(self, request: Request, answer: aiohttp.ClientResponse) -> bytes:
        """Read the body whole, and stop at the first byte over the limit."""
        content, chunks, size = answer.content, [], 0
        while chunk := await content.readany():
            chunks.append(chunk)
            size += len(chunk)
            self._check_size(request, answer, size)
        return b"".join(chunks)

    def _check_size(self, request: Request, answer: aiohttp.ClientResponse, size: int) -> None:
        if size > self._max_body_bytes:
            raise BodyTooLargeError(
                f"{request.name}: status {answer.status} and a body of more than "
                f"{self._max_body_bytes:,} bytes"
            )

    async def _begin(self, request: Request) -> _Opened:
        """Open a session for the running loop; one of a loop that has ended is given up."""
        left = self._opened
        if left is not None and not left.loop.is_closed():
            raise NotSentError(f"{request.name}: this client belongs to another event loop")
        loop = asyncio.get_running_loop()
        session = open_session(self._max_connections, self._idle_limit, self._tls)
        opened = self._opened = _Opened(loop, session, Deadlines(loop))
        if left is not None:
            await left.session.close()
        return opened

    async def aclose(self) -> None:
        """Close every connection; a request made afterwards raises `NotSentError`."""
        self._closed = True
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


@lru_cache(maxsize=256)  # nearly all calls have one of a few limits
def _limits(
    total: float | None, connect: float | None
) -> tuple[aiohttp.ClientTimeout, float | None]:
    """Return the limits that aiohttp looks after, and the seconds that `Deadlines` does."""
    # To aiohttp 0 is no limit; to whoever computed what is left of a deadline it is the least.
    if total == math.inf:  # aiohttp cannot count to it
        total = None
    if total is not None:
        total = max(total, _LEAST)
        # A wait for a connection that outlasts `total` says nothing of what was sent.
        connect = total / 2 if connect is None else min(connect, total / 2)
    if connect is not None:
        connect = max(connect, _LEAST / 2)
    if total is None or total < _COARSE:
        return aiohttp.ClientTimeout(total=total, connect=connect), None
    return aiohttp.ClientTimeout(total=None, connect=connect), total
