"""Connecting to a server: its name, its addresses, the proxy before it, TLS.

Whatever fails here fails before the first byte of a request is written.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from functools import cache
from urllib.parse import urlsplit

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from api_client.http.connection import Connection
from api_client.http.proxies import Proxies
from api_client.http.resolver import HostNames
from api_client.http.tunnels import connect_head, go_on, open_tunnel

#: Seconds after which bytes that the server's system has not acknowledged are not sent again. A
#: worker sends up to 14 s after its last heartbeat; the second search, which may have a submission
#: made again, is no sooner than 45 s after that heartbeat (worker/process/lease.py,
#: lua/record/record_search.lua).
UNACKNOWLEDGED_SECONDS = 20.0
#: Linux has it; elsewhere the system's own patience is what counts.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

_PORTS = {"http": 80, "https": 443}

#: Seconds after which a server's next address is tried beside the one before it (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25


class Dialer:
    """Opens connections that belong to one event loop.

    Args:
        loop: the event loop.
        tls: True verifies with the system's certificates; an SSLContext is used as it is.
        max_body_bytes: of the connections' answers.
        proxies: lead to the servers; the system looks a server's name up only where none does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: bool | ssl.SSLContext,
        max_body_bytes: int,
        proxies: Proxies,
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._max_body_bytes = max_body_bytes
        self._proxies = proxies
        self._names = HostNames()

    async def dial(self, origin: str) -> Connection:
        """Open a connection.

        Args:
            origin: scheme, host and port.

        Raises:
            OSError: the name is not found; no host answers; TLS is refused, or its certificate;
                a proxy gives no tunnel.
            ValueError: the origin is none, or neither of http nor of https.
        """
        parts = urlsplit(origin)
        host = parts.hostname or ""
        if parts.scheme not in _PORTS:  # whatever it is, the key does not go there in plain text
            raise ValueError("neither http nor https")
        is_tls = parts.scheme == "https"
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        proxy = self._proxies.find(parts.scheme, host, port)
        connection = Connection(self._loop, self._max_body_bytes)
        tls = self._context() if is_tls else None
        # No certificate names the dot that ends an absolute name.
        name = host.rstrip(".") if is_tls else None
        if proxy is None or not is_tls:  # such a proxy is sent the requests themselves
            hop = (host, port) if proxy is None else (proxy.host, proxy.port)
            await self._connect(connection, await reach(self._loop, self._names, *hop), tls, name)
        else:
            head = connect_head(proxy, host, port)
            sock = await reach(self._loop, self._names, proxy.host, proxy.port)
            tunnel = await open_tunnel(self._loop, sock, proxy, head)
            await go_on(self._loop, tunnel, connection, tls, name)
        connection.origin = origin
        return connection

    async def _connect(
        self,
        connection: Connection,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> None:
        try:
            await self._loop.create_connection(
                lambda: connection, sock=sock, ssl=tls, server_hostname=server_hostname
            )
        except BaseException:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext:
        return self._tls if isinstance(self._tls, ssl.SSLContext) else _system_context(self._tls)

    def close(self) -> None:
        """Look no name up any more."""
        self._names.close()


async def reach(
    loop: asyncio.AbstractEventLoop, names: HostNames, host: str, port: int
) -> socket.socket:
    """Connect to a host, by every address of its name.

    Raises:
        OSError: the name is not found; no host answers.
    """
    found = [host] if _is_address(host) else await names.look_up(host, port)
    return await aiohappyeyeballs.start_connection(
        _addresses(found, port),
        happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
        interleave=1,
        loop=loop,
        socket_factory=_socket,
    )


@cache  # reading the system's certificates takes some 20 ms
def _system_context(verifies: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(found: Sequence[str], port: int) -> list[AddrInfoType]:
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            socket.IPPROTO_TCP,
            "",
            (address, port),
        )
        for address in found
    ]


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
