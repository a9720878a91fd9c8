"""HTTP for threads, which wait for the answers of an `AsyncTransport` in a loop of its own."""

import os
import ssl
from contextlib import suppress
from typing import Literal
from weakref import WeakSet

import httpx

from api_client.errors import NotSentError
from api_client.http.loop_thread import LOOP_THREAD
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies
from api_client.http.transport import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT,
    IDLE_LIMIT,
    AsyncTransport,
)


class BlockingTransport(httpx.BaseTransport):
    """Send httpx requests from any number of threads over one pool of connections.

    It may be called in a thread whose event loop runs, which it blocks, and at the interpreter's
    exit. A process that was forked has connections of its own.

    Args:
        timeout, connect_timeout, max_connections, idle_limit, max_body_bytes, proxies: as in
            `AsyncTransport`.
        tls: True verifies with the system's certificates; an SSLContext is used as it is.

    Raises (from both ways to send): `NotSentError`, `AnswerLostError`, `BodyTooLargeError`. A
    KeyboardInterrupt is passed on, and the request given up: the server may have seen it.
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
        self._transport = AsyncTransport(
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
            idle_limit=idle_limit,
            max_body_bytes=max_body_bytes,
            tls=tls,
            proxies=proxies,
        )
        _transports.add(self._transport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one of httpx's requests once; its own timeouts are read as the class says."""
        request.read()
        name = f"{request.method} {request.url.path}"
        return LOOP_THREAD.run(self._transport.handle_async_request(request), name)

    def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once and return its answer with the body read whole."""
        return LOOP_THREAD.run(self._transport.exchange(request), request.name)

    def close(self) -> None:
        """Close every connection, those in use as well.

        A request that is under way ends with its error at once; one made later, or still waiting
        for a connection, raises `NotSentError`.
        """
        with suppress(NotSentError):  # at the interpreter's very end they are closed anyway
            LOOP_THREAD.run(self._transport.aclose(), "close")


#: Those that blocking transports of this process send over.
_transports: WeakSet[AsyncTransport] = WeakSet()


def _after_fork() -> None:
    for transport in list(_transports):
        transport.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
