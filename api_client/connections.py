"""Connections for threads that block: each is lent to one thread at a time, and told its deadline.

httpcore has no way to hand a request's deadline to its network backend, nor does it say whether a
byte of the request was written; both go by a context variable (`Flight`).
"""

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import httpcore

#: Seconds for one operation of a socket that has no limit: no socket takes more than 24 days.
_LONGEST = 1_000_000.0


class Flight:
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
        return min(left, _LONGEST if most is None else most)


#: The request that this thread is busy with. httpcore has no way to hand it to a network backend.
current: ContextVar[Flight] = ContextVar("flight")


class Pool(httpcore.NetworkBackend):
    """Connections, each of which one thread has for itself while it uses it.

    Args:
        tls: for `https`.
        limit: connections at a time.
        idle_limit: seconds.
    """

    def __init__(self, tls: ssl.SSLContext, limit: int, idle_limit: float) -> None:
        self._backend = httpcore.SyncBackend()
        self._tls = tls
        self._limit = limit
        self._idle_limit = idle_limit
        self._places = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[httpcore.HTTPConnection] = []
        self._busy: set[httpcore.HTTPConnection] = set()
        self.closed = False

    @contextmanager
    def connection(
        self, origin: httpcore.Origin, flight: Flight
    ) -> Iterator[httpcore.HTTPConnection]:
        """Lend a connection, which may have to connect yet; wait for a free place if need be."""
        if not self._places.acquire(timeout=flight.left_to_connect(None)):
            raise TimeoutError("no free connection in time")
        try:
            connection = self._take(origin)
            try:
                yield connection
            finally:
                self._put(connection)
        finally:
            self._places.release()

    def _take(self, origin: httpcore.Origin) -> httpcore.HTTPConnection:
        with self._lock:
            self.check_open()
            # Idle for too long, or closed by the server.
            self._drop([c for c in self._idle if c.has_expired()])
            fitting = [c for c in self._idle if c.can_handle_request(origin)]
            if fitting:
                connection = fitting[-1]
                self._idle.remove(connection)
            else:
                self._drop(self._idle[: max(0, self._open() + 1 - self._limit)])
                connection = httpcore.HTTPConnection(
                    origin, self._tls, keepalive_expiry=self._idle_limit, network_backend=self
                )
            self._busy.add(connection)
            return connection

    def _put(self, connection: httpcore.HTTPConnection) -> None:
        with self._lock:
            self._busy.remove(connection)
            if connection.is_available() and not self.closed:
                self._idle.append(connection)
            else:
                connection.close()

    def _open(self) -> int:
        return len(self._idle) + len(self._busy)

    def _drop(self, connections: list[httpcore.HTTPConnection]) -> None:
        for connection in connections:
            self._idle.remove(connection)
            connection.close()

    def check_open(self) -> None:
        if self.closed:
            raise ConnectionError("the transport is closed")

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._drop(list(self._idle))
            for connection in self._busy:
                connection.close()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        flight = current.get()
        # Python's own way to connect gives the whole time to each address.
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        while True:
            share = flight.left_to_connect(timeout) / len(addresses)
            address = str(addresses.pop(0)[4][0])
            try:
                stream = self._backend.connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return _Stream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not addresses:
                    raise


class _Stream(httpcore.NetworkStream):
    """A connection's bytes; keeps to the time of the request, and notes that it is written."""

    def __init__(self, inner: httpcore.NetworkStream, pool: Pool) -> None:
        self._inner = inner
        self._pool = pool

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            left = current.get().left_to_connect(timeout)
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._pool)
        except BaseException:
            self.close()
            raise

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, current.get().left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        flight = current.get()
        self._pool.check_open()  # it may have been closed while this connection was being made
        sock: socket.socket = self._inner.get_extra_info("socket")
        rest = memoryview(buffer)
        while rest:  # httpcore's own loop gives the whole time to each piece
            sock.settimeout(flight.left(timeout))
            flight.begun = True
            try:
                rest = rest[sock.send(rest) :]
            except TimeoutError:
                raise
            except OSError as exc:
                # httpcore goes on to read: the server may have answered before it closed.
                raise httpcore.WriteError(str(exc)) from exc

    def close(self) -> None:
        with suppress(OSError):  # wakes a thread that waits for it, which closing alone does not
            self._inner.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
