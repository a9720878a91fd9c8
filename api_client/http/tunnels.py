"""A tunnel through a proxy to a server: requested by CONNECT; the proxy passes on what follows.

Nothing of a request is sent before the tunnel is open, so whatever fails here is surely not sent.
"""

import asyncio
import re
import socket
import ssl
from typing import cast

from api_client.http.proxies import ProxyServer

#: Bytes. A proxy whose answer has a longer head is not listened to any more.
MAX_ANSWER_BYTES = 64 * 1024

_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r)")
#: The status of a proxy that wants a user and a password, or others.
CREDENTIALS_WANTED = 407


class TunnelError(ConnectionError):
    """A proxy gave no tunnel to a server; of its answer only the status is reported.

    Args:
        proxy: the proxy.
        why: what it did, in words.

    Attributes:
        why: as it was given; it does not say where the proxy is.
    """

    def __init__(self, proxy: ProxyServer, why: str) -> None:
        super().__init__(f"the proxy {proxy} {why}")
        self.why = why


def connect_head(proxy: ProxyServer, host: str, port: int) -> bytes:
    """Return the request for a tunnel to a server.

    Args:
        proxy: the proxy.
        host, port: the server; IPv6 without brackets.

    Raises:
        TunnelError: the host has no form that a request can name.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not target.isascii() or not target.isprintable() or " " in target:
        raise TunnelError(proxy, "cannot be sent the server's name")
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", "user-agent: runqueue"]
    if proxy.authorization is not None:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    return "\r\n".join(lines).encode() + _END


def is_open(proxy: ProxyServer, answer: bytes) -> bool:
    """Read what a proxy has answered so far: whether the tunnel is open, or more is to be read.

    Raises:
        TunnelError: there is no tunnel, or it begins with unexpected bytes.
    """
    while True:
        head, end, rest = answer.partition(_END)
        if not end:
            if len(answer) > MAX_ANSWER_BYTES:
                raise TunnelError(proxy, "does not end its answer")
            return False
        found = _STATUS.match(head + b"\r")
        if found is None:
            raise TunnelError(proxy, "does not answer as an HTTP proxy does")
        status = int(found[1])
        if status >= 200:
            break
        answer = rest  # its answer is yet to come
    if status >= 300:
        raise TunnelError(proxy, refusal(status))
    if rest:
        raise TunnelError(proxy, "sent more than its answer")
    return True


def refusal(status: int) -> str:
    """Return in words what a proxy answered that opens no tunnel."""
    if status == CREDENTIALS_WANTED:
        return "answered 407: it wants another user or password"
    return f"answered {status}: it gives no way to the server"


async def open_tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: ProxyServer, head: bytes
) -> asyncio.Transport:
    """Have a proxy open a tunnel to a server.

    Args:
        loop: the loop of the tunnel.
        sock: connected to the proxy; the tunnel owns it from now on.
        proxy: the proxy.
        head: the request for it (`connect_head`).

    Returns:
        The tunnel, for `go_on`.

    Raises:
        OSError: there is none; `TunnelError` if the proxy says so.
    """
    opened: asyncio.Future[None] = loop.create_future()
    transport: asyncio.Transport | None = None
    try:
        transport, _ = await loop.create_connection(
            lambda: _TunnelRequest(proxy, head, opened), sock=sock
        )
        await opened
    except BaseException:
        if transport is None:
            sock.close()
        else:
            transport.abort()
        raise
    return transport


async def go_on(
    loop: asyncio.AbstractEventLoop,
    tunnel: asyncio.Transport,
    protocol: asyncio.Protocol,
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
) -> asyncio.Transport:
    """Connect a tunnel that was just opened to a protocol.

    Args:
        loop: the loop of both.
        tunnel: the tunnel.
        protocol: its `connection_made` is called.
        tls: None = in plain text.
        server_hostname: whose certificate is expected.

    Raises:
        OSError: TLS is refused, or its certificate; the tunnel has ended.
    """
    onward: asyncio.Transport | None = tunnel
    try:
        if tls is None:
            tunnel.set_protocol(protocol)
        else:
            onward = await loop.start_tls(tunnel, protocol, tls, server_hostname=server_hostname)
        onward = _open(onward)
        protocol.connection_made(onward)
    except BaseException:
        tunnel.abort()
        raise
    return onward


def _open(transport: asyncio.Transport | None) -> asyncio.Transport:
    if transport is None or transport.is_closing():
        raise ConnectionResetError("closed before the request")
    return transport


class _TunnelRequest(asyncio.Protocol):
    """Requests a tunnel, and reads the proxy's answer."""

    def __init__(self, proxy: ProxyServer, head: bytes, opened: "asyncio.Future[None]") -> None:
        self._proxy = proxy
        self._head = head
        self._opened = opened
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._head)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        try:
            if is_open(self._proxy, self._answer) and not self._opened.done():
                self._opened.set_result(None)
        except TunnelError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or TunnelError(self._proxy, "closed before it answered"))

    def _fail(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
