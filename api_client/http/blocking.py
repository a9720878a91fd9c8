"""HTTP for threads, over httpcore's connections: the blocking twin of `AsyncTransport`.

What the server can have seen is known exactly: every byte of a request goes through a stream of
ours, which notes that writing begins before it writes. `NotSentError` means that it never began;
after anything else the answer is lost.

The pool is ours as well. httpcore's looks at connections while other threads use them, and closes
some under a request: six threads over four connections lost up to 2 % of their answers so.

Nothing happens behind the caller's back: no redirect is followed, no cookie kept, no proxy taken
from the environment (those to use are named), no request sent twice.
"""

import ssl
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Literal
from urllib.parse import urlsplit

import httpcore
import httpx
from multidict import CIMultiDict

from api_client.errors import AnswerLostError, NotSentError, SkyvernError
from api_client.http.blocking_network import InFlight, current
from api_client.http.blocking_pool import BlockingPool
from api_client.http.body import body
from api_client.http.error_text import cause, described, not_connected
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies, ProxyServer
from api_client.http.transport import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT,
    IDLE_LIMIT,
)
from api_client.http.tunnels import CREDENTIALS_WANTED, refusal

_ENCODING = "content-encoding"


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
        proxies: lead to the servers; without, all are spoken to directly.

    Raises (from both ways to send): `NotSentError`, `AnswerLostError`, `BodyTooLargeError`;
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
        proxies: Proxies = Proxies(),  # noqa: B008 - it is never changed
    ) -> None:
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_body_bytes = max_body_bytes
        tls = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()
        self._proxies = proxies
        self._pool = BlockingPool(tls, max_connections or sys.maxsize, idle_limit, proxies)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one of httpx's requests once; its own timeouts are read as the class says."""
        asked = request.extensions.get("timeout") or {}
        total: float | None = asked.get("read", self._timeout)
        own = Request(
            request.method,
            str(request.url),
            _decoded(request.headers.raw),
            request.read(),
        )
        answer = self._exchange(own, total, asked.get("connect", self._connect_timeout))
        headers = [pair for pair in answer.headers.items() if pair[0].lower() != _ENCODING]
        return httpx.Response(
            answer.status,
            # The body is decompressed; httpx would try to do so again.
            headers=_encoded(headers),
            stream=httpx.ByteStream(answer.body),
            request=request,
        )

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once and return its answer with the body read whole."""
        total = self._timeout if request.timeout is None else request.timeout
        return self._exchange(request, total, self._connect_timeout)

    def _exchange(self, request: Request, total: float | None, connect: float | None) -> HttpAnswer:
        in_flight = InFlight(total, connect)
        here = current.set(in_flight)
        try:
            return self._send(request, in_flight)
        except SkyvernError:
            raise
        except Exception as exc:  # noqa: BLE001 - none of httpcore's leaves this class
            if in_flight.begun:
                raise AnswerLostError(described(request.name, exc)) from cause(exc)
            raise NotSentError(not_connected(request, exc, self._proxies)) from cause(exc)
        finally:
            current.reset(here)

    def _send(self, request: Request, in_flight: InFlight) -> HttpAnswer:
        proxy = None
        if request.url.startswith("http:"):  # it is handed to the proxy itself
            proxy = self._proxies.find_for(request.origin)
        onward = httpcore.Request(
            request.method,
            _url(request, proxy),
            headers=_encoded(_headers(request, proxy)),
            content=request.content,
        )
        with self._pool.connection(onward.url.origin, in_flight) as connection:
            with closing(connection.handle_request(onward)) as coming:
                headers = _decoded(coming.headers)
                encoding = ",".join(headers.getall(_ENCODING, ()))
                content = body(request, coming.status, encoding, self._max_body_bytes)
                for chunk in coming.iter_stream():
                    content.add(chunk)
            if coming.status >= 500:
                # Skyvern was seen to close kept-alive connections right after a 500; a submission
                # that meets the closing would be in doubt.
                connection.close()
        if proxy is not None and coming.status == CREDENTIALS_WANTED:  # of no server's
            raise NotSentError(f"{request.name}: the proxy {proxy} {refusal(coming.status)}")
        return HttpAnswer(coming.status, headers, content.whole())

    def close(self) -> None:
        """Close every connection, those in use as well.

        A request that is under way ends with its error at once; one made later, or still waiting
        for a connection, raises `NotSentError`.
        """
        self._pool.close()


def _url(request: Request, proxy: ProxyServer | None) -> httpcore.URL:
    """Return a URL as httpcore wants it; httpcore's own reading loses what follows a semicolon."""
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if proxy is not None:
        target = request.origin + target
    return httpcore.URL(
        scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target
    )


def _headers(request: Request, proxy: ProxyServer | None) -> Iterable[tuple[str, str]]:
    """Return what is sent, with what the proxy itself wants to know."""
    if proxy is None or proxy.authorization is None:
        return request.headers.items()
    headers = CIMultiDict(request.headers)
    headers["proxy-authorization"] = proxy.authorization
    return headers.items()


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
