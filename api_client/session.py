"""aiohttp's session, changed where it does things by itself, or costs more than it needs to.

There is no public way to most of it; tests over real sockets guard what must not be lost.
"""

import socket
import ssl
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

#: Seconds after which bytes that the server's system has not acknowledged are not sent again. A
#: worker sends up to 14 s after its last heartbeat; the second search, which may have a submission
#: made again, is no sooner than 45 s after that heartbeat (worker/lease.py, lua/record_search.lua).
UNACKNOWLEDGED_SECONDS = 20.0
#: Linux has it; elsewhere the system's own patience is what counts.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def open_session(
    max_connections: int, idle_limit: float, tls: bool | ssl.SSLContext
) -> aiohttp.ClientSession:
    """Open a session inside the running loop, which it will belong to.

    Args:
        max_connections: at a time; 0 = no limit.
        idle_limit: seconds; a connection idle for longer is not used again.
        tls: as aiohttp's `ssl`.
    """
    session = aiohttp.ClientSession(
        connector=_Connector(limit=max_connections, keepalive_timeout=idle_limit, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_Request,
    )
    # Else aiohttp sends a GET that failed on a kept-alive connection again by itself, past the
    # rate limiter.
    session._retry_connection = False  # noqa: SLF001
    return session


class _Request(aiohttp.ClientRequest):
    """A request that takes the session's copy of its headers, which aiohttp copies once more.

    Header by header, that is: it costs a request a 25th of its CPU.
    """

    def update_headers(self, headers: Any) -> None:
        if headers and "host" in headers:
            self.headers = headers
        else:
            super().update_headers(headers)


class _Connection(ResponseHandler):
    """A connection that is not used again after bytes that answer nothing, nor after a 5xx.

    aiohttp asks a connection of its pool no more than whether it is connected, and would read what
    came late, a second answer say, as the answer to the next request.

    Skyvern was seen to close kept-alive connections right after a 500; a submission that meets the
    closing would be in doubt.
    """

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code >= 500:
            self.force_close()
        super().feed_data(data, size)


def _socket(address: AddrInfoType) -> socket.socket:
    """Make a socket whose bytes arrive soon or never.

    The system goes on sending what was not acknowledged for minutes, also once the connection is
    closed: after a cut of the network a submission would arrive that was given up long ago, looked
    for in vain, and made again.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if _USER_TIMEOUT is not None:
        made.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(UNACKNOWLEDGED_SECONDS * 1000))
    return made


class _Connector(aiohttp.TCPConnector):
    """Makes such connections."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(socket_factory=_socket, **settings)
        self._factory: Any = partial(_Connection, loop=self._loop)
