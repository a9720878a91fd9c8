"""Sockets for threads that block: they keep to the time of a request, and note that it is written.

httpcore has no way to hand a request's deadline to its network backend, nor does it say whether a
byte of the request was written; both go by a context variable, `current`.
"""

import math
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import httpcore

from api_client.http.proxies import ProxyServer
from api_client.http.tunnels import TunnelError, connect_head, is_open

#: Seconds for one operation of a socket that has no limit: no socket takes more than 24 days.
LONGEST = 1_000_000.0


class InFlight:
    """One request on its way.

    Args:
        total: seconds for all of it; None = no limit.
        connect: seconds until it has a connection, at most half of the total; None = that half.

    Attributes:
        begun: whether writing has begun, so that the server may have seen it.
    """

    def __init__(self, total: float | None, connect: float | None) -> None:
        self._total = math.inf if total is None else total
        now = time.monotonic()
        self._end = now + self._total
        self._connect_end = now + min(math.inf if connect is None else connect, self._total / 2)
        self.begun = False

    def left(self, most: float | None) -> float:
        """Return the seconds the next operation may take; raises TimeoutError if there are none."""
        return self._until(self._end, most, f"no whole answer within {self._total:g} s")

    def left_to_connect(self, most: float | None) -> float:
        """Return the seconds the next step to a connection may take; raises as `left` does."""
        return self._until(self._connect_end, most, "no connection in time")

    @staticmethod
    def _until(end: float, most: float | None, words: str) -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(words)
        return min(left, LONGEST if most is None else most)


#: The request that this thread is busy with.
current: ContextVar[InFlight] = ContextVar("in_flight")


class Backend(httpcore.NetworkBackend):
    """Connects to one address of a host after the other, which share the time.

    Args:
        check_open: raises if nothing may be sent any more; asked before each writing.
        proxy: connected to instead; None = none.
        has_tunnel: whether the proxy is asked for a way to the host.
    """

    def __init__(
        self,
        check_open: Callable[[], None],
        proxy: ProxyServer | None = None,
        *,
        has_tunnel: bool = False,
    ) -> None:
        self._backend = httpcore.SyncBackend()
        self._check_open = check_open
        self._proxy = proxy
        self._has_tunnel = has_tunnel

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        proxy = self._proxy
        if proxy is None:
            stream = self._reach(host, port, timeout, local_address, socket_options)
        else:
            head = connect_head(proxy, host, port)
            stream = self._reach(proxy.host, proxy.port, timeout, local_address, socket_options)
            if self._has_tunnel:
                _ask_for_way(stream, proxy, head)
        return Stream(stream, self._check_open)

    def _reach(
        self,
        host: str,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.NetworkStream:
        in_flight = current.get()
        # Python's own way to connect gives the whole time to each address.
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        while True:
            share = in_flight.left_to_connect(timeout) / len(addresses)
            address = str(addresses.pop(0)[4][0])
            try:
                return self._backend.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not addresses:
                    raise


def _ask_for_way(stream: httpcore.NetworkStream, proxy: ProxyServer, head: bytes) -> None:
    """Have a proxy make a way to a server; nothing of the request is written meanwhile."""
    in_flight, answer = current.get(), b""
    try:
        stream.write(head, in_flight.left_to_connect(None))
        while not is_open(proxy, answer):
            answer += _some(stream, proxy, in_flight.left_to_connect(None))
    except BaseException:
        stream.close()
        raise


def _some(stream: httpcore.NetworkStream, proxy: ProxyServer, seconds: float) -> bytes:
    read = stream.read(65536, seconds)
    if not read:
        raise TunnelError(proxy, "closed before it answered")
    return read


class Stream(httpcore.NetworkStream):
    """A connection's bytes.

    Args:
        inner: what reads and writes.
        check_open: as in `Backend`.
    """

    def __init__(self, inner: httpcore.NetworkStream, check_open: Callable[[], None]) -> None:
        self._inner = inner
        self._check_open = check_open
        self._process = os.getpid()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            left = current.get().left_to_connect(timeout)
            inner = self._inner.start_tls(ssl_context, server_hostname, left)
            return Stream(inner, self._check_open)
        except BaseException:
            self.close()
            raise

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, current.get().left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        in_flight = current.get()
        self._check_open()  # it may have been closed while this connection was being made
        sock: socket.socket = self._inner.get_extra_info("socket")
        # Once more, as near to the writing as can be: it may have come since this was lent.
        if not in_flight.begun and not is_quiet(sock):
            raise ConnectionResetError("closed before it was asked")
        rest = memoryview(buffer)
        while rest:  # httpcore's own loop gives the whole time to each piece
            sock.settimeout(in_flight.left(timeout))
            in_flight.begun = True
            try:
                rest = rest[sock.send(rest) :]
            except TimeoutError:
                raise
            except OSError as exc:
                # httpcore goes on to read: the server may have answered before it closed.
                raise httpcore.WriteError(str(exc)) from exc

    def close(self) -> None:
        """Close; a connection of the process this one was forked from goes on there."""
        if self._process == os.getpid():
            with suppress(OSError):  # wakes a thread that waits, which closing alone does not
                self._inner.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def is_quiet(sock: socket.socket) -> bool:
    """Say whether a connection is open, with nothing in it that was not asked for.

    It is looked into through TLS, whose own words (session tickets) are read by that. One that is
    not quiet is not to be used: a byte of it may be gone.
    """
    sock.settimeout(0)
    try:
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False
