"""HTTP for threads, over httpcore's connections: the blocking twin of `AiohttpTransport`.

What the server can have seen is known exactly: every byte of a request goes through a stream of
ours, which notes that writing begins before it writes. `NotSentError` means that it never began;
after anything else the answer is lost.

The pool is ours as well. httpcore's looks at connections while other threads use them, and closes
some under a request: six threads over four connections lost up to 2 % of their answers so.

Nothing happens behind the caller's back: no redirect is followed, no cookie kept, no proxy taken
from the environment, no request sent twice.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Literal

import httpcore
import httpx

from api_client.connections import Flight, Pool, current
from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError, SkyvernError
from api_client.transport import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT,
    IDLE_LIMIT,
)

#: How h11 begins to quote a line of the answer.
_QUOTE = "bytearray("

#: What these say quotes a header or a whole URL.
_QUOTING = (
    httpcore.LocalProtocolError,
    httpx.LocalProtocolError,
    httpx.HTTPStatusError,
    httpx.InvalidURL,
)


class BlockingTransport(httpx.BaseTransport):
    """Send httpx requests from any number of threads over one pool of connections.

    Args:
        timeout: seconds a request may take in all; a request's own `extensions["timeout"]["read"]`
            goes before it. Looking up a name is the one thing that cannot be interrupted: the
            system's resolver has limits of its own.
        connect_timeout: seconds to get a connection, at most half of the total, so that a failure
            to connect is known as one; a request's own `extensions["timeout"]["connect"]` goes
            before it. The addresses of a host are tried in turn and share the time.
        max_connections: connections at a time; 0 = no limit. A request beyond it waits, and the
            wait counts as connecting.
        idle_limit: seconds; a connection idle for longer is never used again.
        max_body_bytes: the largest body to accept, counted after decompression.
        tls: True verifies with the system's certificates; an SSLContext is used as it is, but for
            its ALPN protocols, which httpcore sets to HTTP/1.1.

    Raises (from `handle_request`): `NotSentError`, `AnswerLostError`, `BodyTooLargeError`;
    KeyboardInterrupt is passed on. No error of httpcore's leaves this class.
    """

    def __init__(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        max_connections: int = 0,
        idle_limit: float = IDLE_LIMIT,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        tls: Literal[True] | ssl.SSLContext = True,
    ) -> None:
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_body_bytes = max_body_bytes
        tls = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()
        self._pool = Pool(tls, max_connections or sys.maxsize, idle_limit)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request once and return its answer with the body read whole."""
        body = request.read()
        asked = request.extensions.get("timeout") or {}
        flight = Flight(
            asked.get("read", self._timeout), asked.get("connect", self._connect_timeout)
        )
        here = current.set(flight)
        try:
            return self._send(request, body, flight)
        except SkyvernError:
            raise
        except Exception as exc:  # noqa: BLE001 - none of httpcore's leaves this class
            kind = AnswerLostError if flight.begun else NotSentError
            # h11 quotes what the server sent, which may echo the request.
            quotes = isinstance(exc, httpcore.RemoteProtocolError) and _QUOTE in str(exc)
            raise kind(describe(request, exc)) from (None if quotes else exc)
        finally:
            current.reset(here)

    def _send(self, request: httpx.Request, body: bytes, flight: Flight) -> httpx.Response:
        url = request.url
        onward = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=body,
        )
        with self._pool.connection(onward.url.origin, flight) as connection:
            stream = _Content(connection.handle_request(onward))
            with closing(stream):
                coming = httpx.Response(stream.status, headers=stream.headers, stream=stream)
                whole = WholeAnswer(request, coming, self._max_body_bytes)
                for chunk in coming.iter_bytes():
                    whole.add(chunk)
            if stream.status >= 500:
                # Skyvern was seen to close kept-alive connections right after a 500; a submission
                # that meets the closing would be in doubt.
                connection.close()
        return whole.response()

    def close(self) -> None:
        """Close every connection, those in use as well.

        A request that is under way ends with its error at once; one made later, or still waiting
        for a connection, raises `NotSentError`.
        """
        self._pool.close()


class WholeAnswer:
    """An answer whose body is put together, chunk by chunk, up to a limit.

    Args:
        request: the request as our caller made it.
        coming: the answer as far as it is known; httpx decompresses its chunks.
        limit: bytes after decompression.
    """

    def __init__(self, request: httpx.Request, coming: httpx.Response, limit: int) -> None:
        self._request = request
        self._coming = coming
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next chunk; raises `BodyTooLargeError` when there are too many bytes."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            raise BodyTooLargeError(
                f"{self._request.method} {self._request.url.path}: status "
                f"{self._coming.status_code} and a body of more than {self._limit:,} bytes"
            )

    def response(self) -> httpx.Response:
        """Return the whole answer."""
        return httpx.Response(
            self._coming.status_code,
            # The body is decompressed; httpx would try to do so again.
            headers=[p for p in self._coming.headers.raw if p[0].lower() != b"content-encoding"],
            stream=httpx.ByteStream(b"".join(self._chunks)),
            request=self._request,
        )


def describe(request: httpx.Request, exc: Exception) -> str:
    """Say what happened to a request: method, path, the error; no query, no header."""
    words = "" if isinstance(exc, _QUOTING) else str(exc)[:300].partition(_QUOTE)[0]
    name = type(exc).__name__
    return f"{request.method} {request.url.path}: {name}{': ' if words else ''}{words}"


class _Content(httpx.SyncByteStream):
    """httpcore's stream of an answer's body, as httpx wants it."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
