"""HTTP for threads, by httpx over connections that are kept."""

import os
import socket
import ssl
from collections import deque
from contextlib import suppress
from functools import cache
from typing import Any, cast

import httpx

from api_client.elapsed import elapsed
from api_client.errors import NotSentError
from api_client.http.connect import CREDENTIALS_WANTED, UNACKNOWLEDGED_SECONDS, refusal
from api_client.http.httpx_adapter import OwnClient, TransportClient
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies, ProxyServer
from api_client.http.transport import DEFAULT_MAX_BODY_BYTES, IDLE_LIMIT

#: As of `AsyncTransport`'s connections, see `connect.py`; Linux has it.
_SOON_OR_NEVER = [
    (socket.IPPROTO_TCP, option, int(UNACKNOWLEDGED_SECONDS * 1000))
    for option in [getattr(socket, "TCP_USER_TIMEOUT", None)]
    if option is not None
]


class KeptConnections:
    """Sends requests from any number of threads, each over a connection of its own meanwhile.

    httpx's pool does not do for threads: it looks at connections while others use them, and closes
    some under a request. A process that was forked has connections of its own; its id says so,
    since uWSGI forks without Python's hooks.

    Args:
        timeout: seconds a request may take in all, if it names no limit of its own.
        proxies: lead to the servers.

    Raises:
        ValueError: a proxy that is no `http` proxy: httpcore would wait for SOCKS for ever.
        NotSentError, AnswerLostError, BodyTooLargeError: (from `exchange`) as `OwnClient`.
    """

    def __init__(self, timeout: float, proxies: Proxies) -> None:
        for proxy in (proxies.http, proxies.https):
            if proxy is not None and proxy.scheme != "http":
                words = f"expected an http proxy, got {proxy}: AsyncSkyvern goes through SOCKS"
                raise ValueError(f"proxy: {words}")
        self._timeout = timeout
        self._proxies = proxies
        self._is_closed = False
        #: Those that wait to be used again, by process and origin; the last one used comes last.
        self._idle: dict[tuple[int, str], deque[_Connection]] = {}

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once and return its answer with the body read whole."""
        key = os.getpid(), request.origin
        if key not in self._idle:
            self._leave_to_parent(key[0])
        idle = self._idle.setdefault(key, deque())
        try:
            connection = idle.pop()
        except IndexError:
            connection = _Connection(self._timeout, self._proxies.find(request.origin))
        try:
            return connection.exchange(request)
        finally:
            self._put(idle, connection)

    def _put(self, idle: "deque[_Connection]", connection: "_Connection") -> None:
        idle.append(connection)
        with suppress(IndexError):  # there is none, or another thread has taken it
            while self._is_closed or not idle[0].is_fresh:
                idle.popleft().close()

    def _leave_to_parent(self, process: int) -> None:
        """Close this process's copies of its parent's connections, which go on there."""
        for key in [key for key in list(self._idle) if key[0] != process]:
            for connection in self._idle.pop(key, ()):
                connection.close()

    def close(self) -> None:
        """Close the connections; those in use once they are answered."""
        self._is_closed = True
        for idle in list(self._idle.values()):
            with suppress(IndexError):
                while True:
                    idle.popleft().close()


class _Connection:
    """One connection, and the httpx client that opens it, and again when it has ended."""

    def __init__(self, timeout: float, proxy: ProxyServer | None) -> None:
        self._idle_since = 0.0
        self._proxy = proxy
        self._transport = httpx.HTTPTransport(
            verify=_tls(),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
            proxy=None if proxy is None else _as_httpx(proxy),
            socket_options=_SOON_OR_NEVER,
            trust_env=False,
        )
        client = TransportClient(self._transport)
        self._client = OwnClient(client, timeout, DEFAULT_MAX_BODY_BYTES, keeps=True)

    @property
    def is_fresh(self) -> bool:
        """Say whether it is so young that the server has not closed it for being idle."""
        return elapsed() - self._idle_since <= IDLE_LIMIT

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once, and close the connection unless it may be used again."""
        if not self.is_fresh:
            self.close()
        keeps = False
        try:
            answer = self._client.exchange(request)
            # Skyvern was seen to close kept-alive connections right after a 500; a submission that
            # meets the closing would be unconfirmed.
            keeps = answer.status < 500 and not self._has_surplus()
        finally:
            self._idle_since = elapsed()
            if not keeps:
                self.close()
        if answer.status == CREDENTIALS_WANTED and request.url.startswith("http:") and self._proxy:
            # Of no server's: the proxy passed nothing on.
            raise NotSentError(f"{request.name}: the proxy {self._proxy} {refusal(answer.status)}")
        return answer

    def _has_surplus(self) -> bool:
        """Say whether more was read than the answer: it would be taken for the next one's.

        There is no public way to see it. What a version of httpcore hides counts as surplus.
        """
        try:
            (found,) = cast("list[Any]", self._transport._pool.connections)  # noqa: SLF001
            while hasattr(found, "_connection"):
                found = found._connection  # noqa: SLF001
            return bool(found._h11_state.trailing_data[0])  # noqa: SLF001
        except (AttributeError, ValueError):
            return True

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._transport.close()


@cache  # reading the system's certificates takes some 20 ms
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _as_httpx(proxy: ProxyServer) -> httpx.Proxy:
    own = None if proxy.user is None else (proxy.user, proxy.password or "")
    return httpx.Proxy(str(proxy), auth=own)
