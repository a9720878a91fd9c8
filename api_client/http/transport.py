"""HTTP over connections of our own; an httpx transport as well, for clients of your own.

Why not httpx's own transport, or aiohttp: a pair of a POST and a GET costs them several times and
twice the CPU, and neither says what a submission needs to know, whether the server can
have seen it. Here that question has two answers, `NotSentError` and `AnswerLostError`, and the
first is given for what fails before writing begins, and for a proxy's 407, which passed nothing on.

Nothing happens behind the caller's back: no redirect is followed, no cookie kept, no proxy taken
from the environment (those to use are named), no request sent twice.
"""

import asyncio
import math
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from multidict import CIMultiDict

from api_client.elapsed import elapsed
from api_client.errors import AnswerLostError, NotSentError, SkyvernError
from api_client.http.connect import CREDENTIALS_WANTED, Dialer, refusal
from api_client.http.connection import Connection
from api_client.http.error_text import cause, described, not_connected
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies, ProxyServer

#: Seconds a request may take in all, when it names no limit of its own.
DEFAULT_TIMEOUT = 60.0

#: Seconds to get a connection: look up the name, connect, TLS.
DEFAULT_CONNECT_TIMEOUT = 10.0

#: Seconds. A server closes an idle connection when *it* likes (uvicorn: after 5 s), and a POST
#: that meets the closing is unconfirmed. A connection idle for longer than this is not used
#: again. One limit for reads and submissions: under load connections are never idle for so long,
#: and without load a connection more costs nothing that matters.
IDLE_LIMIT = 2.0

#: Bytes. An answer larger than this is not read to its end.
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024

#: Seconds. A limit from here on ends at the next whole second of the loop's clock.
COARSE = 5.0

#: Turns of the loop in which it reads what lies in a socket: one to see it, one to read it, and
#: some for what comes meanwhile.
_TURNS = 8

#: Seconds. A loop's clock may say a moment less than the time that a timer was set to.
_EARLY = 0.01

#: Seconds. A limit of 0 or less is read as this.
_LEAST = 0.001

_ENCODING = "content-encoding"
_LENGTH = "content-length"
#: A body that httpx would have streamed is sent whole.
_STREAMED = "transfer-encoding"


class AsyncPool:
    """The connections of one event loop: lends each to one request at a time.

    One timer looks after all of them, once a second: a timer for each request costs a tenth of its
    CPU (uvloop makes, starts and closes a handle of libuv's for it), and nearly none ever goes off.

    Args:
        dialer: opens them.
        loop: whose they are.
        idle_limit: seconds; a connection idle for longer is never used again.
    """

    def __init__(self, dialer: Dialer, loop: asyncio.AbstractEventLoop, idle_limit: float) -> None:
        self._dialer = dialer
        self._loop = loop
        self._idle_limit = idle_limit
        self._idle: dict[str, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._is_checking = False
        self._is_closed = False

    def take(self, origin: str) -> Connection | None:
        """Return a connection that can be had at once, or None: then `lend` is to be awaited."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        connection = idle[-1]  # the last one used: those before it have been idle longer
        if not self._may_be_used(connection) or connection.has_unread:
            return None
        return self._used(idle.pop())

    async def lend(self, origin: str, seconds: float | None) -> Connection:
        """Return a connection, and connect if need be.

        Args:
            origin: scheme, host and port.
            seconds: for all of it; None = no limit.

        Raises:
            OSError: there is no connection, or none in time; the pool was closed meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                until = math.inf if seconds is None else elapsed() + seconds
                return await self._connected(origin, until)
        except TimeoutError as exc:
            raise TimeoutError("no connection in time") from exc

    def limit(self, connection: Connection, seconds: float) -> asyncio.TimerHandle | None:
        """Give up a connection's next request after so many seconds.

        Returns:
            A timer that is to be canceled when the answer is there; None where there is none.
        """
        due = self._loop.time() + seconds
        if seconds < COARSE:
            return self._loop.call_at(due, connection.end, TimeoutError())
        connection.due = math.ceil(due)
        if not self._is_checking:
            self._check_again()
        return None

    def put(self, connection: Connection) -> None:
        """Take back a connection, to be used again if it can be."""
        self._busy.discard(connection)
        if connection.is_usable:
            connection.due = math.inf
            connection.idle_since = elapsed()
            self._idle.setdefault(connection.origin, []).append(connection)
            if not self._is_checking:
                self._check_again()
        else:
            connection.end()

    def drop(self) -> None:
        """Close the connections that wait, and those in use as soon as they are answered."""
        for connection in self._busy:
            connection.retire()
        for idle in self._idle.values():
            for connection in idle:
                connection.end()
        self._idle.clear()

    def close(self) -> None:
        """Close every connection, those in use as well; none is lent any more."""
        self._is_closed = True
        self._dialer.close()
        for connection in self._all():
            # One of a loop that has ended cannot be closed by anybody but the collector.
            with suppress(RuntimeError):
                connection.end()
        self._busy.clear()
        self._idle.clear()

    def _all(self) -> list[Connection]:
        return [*self._busy, *(one for idle in self._idle.values() for one in idle)]

    def _may_be_used(self, connection: Connection) -> bool:
        return connection.is_usable and elapsed() - connection.idle_since <= self._idle_limit

    async def _connected(self, origin: str, until: float) -> Connection:
        connection = await self._kept(origin) or await self._dialed(origin)
        # The loop's clock stops while the machine is suspended: what was to be sent may be
        # another's by now.
        if elapsed() > until:
            self._busy.discard(connection)
            connection.end()
            raise TimeoutError
        return connection

    async def _kept(self, origin: str) -> Connection | None:
        while idle := self._idle.get(origin):
            connection = idle.pop()
            if self._may_be_used(connection) and await self._is_quiet(connection):
                return self._used(connection)
            connection.end()
        return None

    async def _dialed(self, origin: str) -> Connection:
        self._check_open()  # it may have waited for one to be quiet
        connection = await self._dialer.dial(origin)
        # A server may close, or send something, before the request. What is written to such a
        # connection gets no answer: its end has been reported already.
        if not await self._is_quiet(connection):
            connection.end()
            self._check_open()
            raise ConnectionResetError("closed before the request")
        return self._used(connection)

    async def _is_quiet(self, connection: Connection) -> bool:
        """Say whether a connection is open, with nothing unexpected in it.

        The loop may have been busy since it came: it would be read as the answer
        to the next request, or that would be lost where it was never sent.
        """
        try:
            for _ in range(_TURNS):
                if self._is_closed or not connection.is_usable:
                    return False
                if not connection.has_unread:
                    return True
                await asyncio.sleep(0)
        except BaseException:
            connection.end()
            raise
        return False

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionAbortedError("the transport is closed")

    def _used(self, connection: Connection) -> Connection:
        connection.due = math.inf
        self._busy.add(connection)
        return connection

    def _check_again(self) -> None:
        self._is_checking = True
        self._loop.call_at(math.floor(self._loop.time()) + 1, self._check)

    def _check(self) -> None:
        now = self._loop.time() + _EARLY
        for connection in [one for one in self._busy if one.due <= now]:
            connection.end(TimeoutError())
        oldest = elapsed() - self._idle_limit
        for origin, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since < oldest or not connection.is_usable:
                    connection.end()
            left = [one for one in idle if one.is_usable]
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]
        self._is_checking = False
        if self._busy or self._idle:
            self._check_again()


@dataclass(frozen=True, slots=True)
class _Opened:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    pool: AsyncPool


class AsyncTransport(httpx.AsyncBaseTransport):
    """Send httpx requests over connections that belong to the running event loop.

    Args:
        timeout: seconds a request may take in all; a request's own `extensions["timeout"]["read"]`
            goes before it (httpx knows no total, so its read limit bounds the whole request here).
            From 5 s on it is rounded up to the next whole second of the loop's clock.
        connect_timeout: seconds to get a connection, at most half of the total, so that a failure
            to connect is known as one; a request's own `extensions["timeout"]["connect"]` goes
            before it.
        idle_limit: seconds; a connection idle for longer is never used again.
        max_body_bytes: the largest body to accept, counted after decompression.
        tls: True verifies with the system's certificates; an SSLContext is used as it is.
        proxies: lead to the servers; without, all are spoken to directly.

    Raises (from both ways to send): `NotSentError`, `AnswerLostError`, `BodyTooLargeError`;
    cancellation is passed on. No other error leaves this class.
    """

    def __init__(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        idle_limit: float = IDLE_LIMIT,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        tls: bool | ssl.SSLContext = True,
        proxies: Proxies = Proxies(),  # noqa: B008 - it is never changed
    ) -> None:
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._idle_limit = idle_limit
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._proxies = proxies
        self._opened: _Opened | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one of httpx's requests once; its own timeouts are read as the class says."""
        limits = request.extensions.get("timeout") or {}
        total: float | None = limits.get("read", self._timeout)
        headers = CIMultiDict(request.headers.multi_items())
        content = await request.aread()
        if headers.popall(_STREAMED, None) or _LENGTH in headers:
            # The body's own, whatever a caller set: what is beyond it would be another request.
            headers[_LENGTH] = str(len(content))
        url = request.url.copy_with(username=None, password=None, fragment=None)
        own = Request(request.method, str(url), headers, content)
        answer = await self._exchange(own, total, limits.get("connect", self._connect_timeout))
        return httpx.Response(
            answer.status,
            # The body is decompressed; httpx would try to do so again.
            headers=[pair for pair in answer.headers.items() if pair[0].lower() != _ENCODING],
            # A stream saves httpx the decoding of a body that is whole already.
            stream=httpx.ByteStream(answer.body),
            request=request,
        )

    def exchange(self, request: Request) -> Coroutine[Any, Any, HttpAnswer]:
        """Send a request once and return its answer with the body read whole."""
        total = self._timeout if request.timeout is None else request.timeout
        return self._exchange(request, total, self._connect_timeout)

    async def _exchange(
        self, request: Request, total: float | None, connect: float | None
    ) -> HttpAnswer:
        total = None if total is None or total == math.inf else max(_LEAST, total)
        opened = self._opened
        if opened is None or opened.loop is not asyncio.get_running_loop():
            opened = self._begin(request)
        pool = opened.pool
        origin, target = _parts(request.url)
        proxy = None if self._proxies.http is None else self._proxies.reader(origin)
        head = _head(request, target) if proxy is None else _head_for(proxy, request, target)
        connection = pool.take(origin)
        if connection is None:
            start = opened.loop.time()
            seconds = _connect_seconds(total, connect)
            connection = await self._connection(pool, request, origin, seconds)
            if total is not None:
                total = max(total - (opened.loop.time() - start), _LEAST)
        timer = None if total is None else pool.limit(connection, total)
        try:
            answer = await connection.ask(request, head)
        except SkyvernError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the request may have been read
            raise AnswerLostError(described(request.name, exc)) from cause(exc)
        finally:
            if timer is not None:
                timer.cancel()
            pool.put(connection)
        if proxy is not None and answer.status == CREDENTIALS_WANTED:  # of no server's
            raise NotSentError(f"{request.name}: the proxy {proxy} {refusal(answer.status)}")
        return answer

    async def _connection(
        self, pool: AsyncPool, request: Request, origin: str, seconds: float | None
    ) -> Connection:
        try:
            return await pool.lend(origin, seconds)
        except Exception as exc:  # noqa: BLE001 - nothing of the request was written yet
            raise NotSentError(not_connected(request, exc, self._proxies)) from cause(exc)

    def _begin(self, request: Request) -> _Opened:
        """Begin in the running loop; what belongs to one that has ended is abandoned."""
        if self._closed:
            raise NotSentError(f"{request.name}: the transport is closed")
        left = self._opened
        if left is not None and not left.loop.is_closed():
            raise NotSentError(f"{request.name}: this client belongs to another event loop")
        loop = asyncio.get_running_loop()
        dialer = Dialer(loop, self._tls, self._max_body_bytes, self._proxies)
        pool = AsyncPool(dialer, loop, self._idle_limit)
        opened = self._opened = _Opened(loop, pool)
        if left is not None:
            left.pool.close()
        return opened

    def drop_connections(self) -> None:
        """Use no connection again that there is now; requests under way are answered over theirs.

        For a caller that was given another request's answer: the next one over that connection
        may be another's as well.
        """
        if self._opened is not None:
            self._opened.pool.drop()

    async def aclose(self) -> None:
        """Close every connection; a request made afterwards raises `NotSentError`."""
        self._closed = True
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.pool.close()


def _connect_seconds(total: float | None, connect: float | None) -> float | None:
    """Return the seconds to connect in: a wait that outlasts the total would say nothing."""
    if total is None:
        return connect if connect is None else max(connect, _LEAST)
    return max(total / 2 if connect is None else min(connect, total / 2), _LEAST / 2)


def _parts(url: str) -> tuple[str, str]:
    """Return scheme, host and port; and the rest."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if slash and "?" not in host:
        return f"{scheme}://{host}", "/" + path
    host, question, query = rest.partition("?")
    return f"{scheme}://{host}", f"/{question}{query}"


def _head_for(proxy: ProxyServer, request: Request, target: str) -> bytes:
    """Write out what is handed to a proxy: it reads from the whole URL where to pass it on to."""
    headers = CIMultiDict(request.headers)
    headers.popall("proxy-authorization", None)
    if proxy.authorization is not None:
        headers["proxy-authorization"] = proxy.authorization
    onward = Request(request.method, request.url, headers, request.content)
    return _head(onward, request.origin + target)


def _head(request: Request, target: str) -> bytes:
    """Write the request line and the headers out.

    Raises:
        NotSentError: they would be read as something else.
    """
    headers, content = request.headers, request.content
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if "host" not in headers:
        lines.append(f"host: {request.origin.partition('://')[2]}")
    if content and "content-length" not in headers:
        lines.append(f"content-length: {len(content)}")
    text = f"{request.method} {target} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    ends = len(lines) + 2
    if text.count("\n") != ends or text.count("\r") != ends or " " in target or "\0" in text:
        raise NotSentError(f"{request.name}: a header or the URL holds what it cannot")
    try:
        return text.encode()
    except UnicodeEncodeError:  # it carries the headers, and the key with them
        raise NotSentError(f"{request.name}: a header or the URL is no text") from None
