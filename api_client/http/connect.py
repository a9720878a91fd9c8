"""How a connection is made: the name of a server, its addresses, the proxy before it, TLS.

Whatever fails here fails before the first byte of a request is written, so it is surely not sent.
"""

import asyncio
import ipaddress
import math
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

from api_client.http.connection import Connection
from api_client.http.proxies import Proxies, ProxyServer, is_sendable

#: Seconds after which bytes that the server's system has not acknowledged are not sent again. A
#: worker sends up to 14 s after its last heartbeat; the second search, which may have a submission
#: made again, is no sooner than 45 s after that heartbeat (worker/process/lease.py,
#: lua/record/record_search.lua).
UNACKNOWLEDGED_SECONDS = 20.0
#: Linux has it; elsewhere the system's own patience is what counts.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

#: Names that are looked up at once.
THREADS = 64

_PORTS = {"http": 80, "https": 443}

#: Seconds after which a server's next address is tried beside the one before it (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25

#: Bytes. A proxy whose answer is longer is not listened to any more.
MAX_ANSWER_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
#: The status of a proxy that wants a user and a password, or others.
CREDENTIALS_WANTED = 407

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


class TunnelError(ConnectionError):
    """A proxy gave no tunnel to a server; of its own words none is reported.

    Args:
        proxy: the proxy.
        why: what it did, in words.

    Attributes:
        why: as it was given; it does not say where the proxy is.
    """

    def __init__(self, proxy: ProxyServer, why: str) -> None:
        super().__init__(f"the proxy {proxy} {why}")
        self.why = why


class HostNames:
    """Looks names up, in threads of its own.

    The system's look-up blocks, for ten seconds and more where a name's server never answers. In
    the loop's own threads it would stop whatever else runs there.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "look-up")

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            OSError: it has none.
        """
        loop = asyncio.get_running_loop()
        try:
            found = loop.run_in_executor(self._threads, addresses_of, host, port)
        except RuntimeError:  # the interpreter is ending, and gives threads nothing to do any more
            return addresses_of(host, port)
        return await found

    def close(self) -> None:
        """Look nothing up any more; what is being looked up is not waited for."""
        self._threads.shutdown(wait=False)


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


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
        proxy, reader = self._proxies.find(origin), self._proxies.reader(origin)
        if reader is not None:  # it is sent the requests themselves
            host, port, proxy = reader.host, reader.port, None
        connection = Connection(self._loop, self._max_body_bytes)
        await connect(
            *(lambda: connection, self._names, host, port),
            proxy=proxy,
            tls=self._context() if is_tls else None,
            # No certificate names the dot that ends an absolute name.
            server_hostname=host.rstrip(".") if is_tls else None,
        )
        connection.origin = origin
        return connection

    def _context(self) -> ssl.SSLContext:
        return self._tls if isinstance(self._tls, ssl.SSLContext) else _system_context(self._tls)

    def close(self) -> None:
        """Look no name up any more."""
        self._names.close()


async def connect(
    factory: Callable[[], _Protocol],
    names: HostNames,
    host: str,
    port: int,
    *,
    proxy: ProxyServer | None,
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
) -> tuple[asyncio.Transport, _Protocol]:
    """Connect a protocol to a server, within the running loop.

    Args:
        factory: makes the protocol.
        names: looks up the host's name, or the proxy's.
        host, port: the server's; IPv6 without brackets.
        proxy: opens a tunnel to it; None = none is needed.
        tls: None = in plain text.
        server_hostname: whose certificate is expected.

    Raises:
        OSError: the name is not found; no host answers; TLS is refused, or its certificate;
            `TunnelError` if the proxy gives no tunnel.
    """
    if proxy is not None and not is_sendable(host):
        raise TunnelError(proxy, "cannot be sent the server's name")
    hop = (host, port) if proxy is None else (proxy.host, proxy.port)
    sock = await _reach(names, *hop)
    try:
        if proxy is not None:
            await _open_tunnel(sock, proxy, host, port)
        return await asyncio.get_running_loop().create_connection(
            factory, sock=sock, ssl=tls, server_hostname=server_hostname
        )
    except BaseException:
        sock.close()
        raise


async def _reach(names: HostNames, host: str, port: int) -> socket.socket:
    """Connect to a host, by every address of its name."""
    found = [host] if _is_address(host) else await names.look_up(host, port)
    infos = [aiohappyeyeballs.addr_to_addr_infos((address, port)) or [] for address in found]
    return await aiohappyeyeballs.start_connection(
        [info for each in infos for info in each],
        happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
        interleave=1,
        socket_factory=_socket,
    )


async def _open_tunnel(sock: socket.socket, proxy: ProxyServer, host: str, port: int) -> None:
    """Have a proxy, which a socket is connected to, pass on to a server what follows."""
    if proxy.scheme == "http":
        await _open_http_tunnel(sock, proxy, host, port)
        return
    at = proxy.host, proxy.port, proxy.user, proxy.password
    # Connected by us: its own way looks names up in the loop's threads, and tries one address.
    tunnel = Proxy(ProxyType.SOCKS5, *at, forward=_Connected(sock))  # type: ignore[arg-type]
    try:
        await tunnel.connect(host, port, timeout=math.inf)
    except ProxyError as error:  # in words of the library, not of the proxy
        raise TunnelError(proxy, f"gives no tunnel: {error}") from None
    except ValueError:  # they have to be ASCII, and of 255 characters at most
        raise TunnelError(proxy, "cannot be sent the server's name, or this user") from None


class _Connected:
    """What python-socks asks for a connection to the proxy."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, **_: object) -> socket.socket:
        return self._sock


async def _open_http_tunnel(sock: socket.socket, proxy: ProxyServer, host: str, port: int) -> None:
    """Ask for a tunnel by CONNECT.

    Not by python-socks, which takes the first piece of an answer for all of it (what followed would
    be read as the server's), and whose errors quote the proxy.
    """
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", "user-agent: runqueue"]
    if proxy.authorization is not None:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)  # what follows the answer is the server's
        if not byte:
            raise TunnelError(proxy, "closed before it answered")
        if len(answer) == MAX_ANSWER_BYTES:
            raise TunnelError(proxy, "does not end its answer")
        answer += byte
    found = _STATUS.match(answer)
    if found is None:
        raise TunnelError(proxy, "does not answer as an HTTP proxy does")
    if not 200 <= int(found[1]) < 300:
        raise TunnelError(proxy, refusal(int(found[1])))


def refusal(status: int) -> str:
    """Return in words what a proxy answered that opens no tunnel."""
    if status == CREDENTIALS_WANTED:
        return "answered 407: it wants another user or password"
    return f"answered {status}: it gives no way to the server"


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


def _socket(address: AddrInfoType) -> socket.socket:
    """Make a socket whose bytes arrive soon or never.

    The system goes on sending what was not acknowledged for minutes, also once the connection is
    closed: after a cut of the network a submission would arrive that was abandoned long ago, looked
    for in vain, and made again.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if _USER_TIMEOUT is not None:
        made.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(UNACKNOWLEDGED_SECONDS * 1000))
    return made
