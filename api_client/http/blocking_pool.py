"""Connections that are used again, each lent to one thread at a time."""

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import httpcore

from api_client.http.blocking_network import Backend, InFlight
from api_client.http.proxies import Proxies


class BlockingPool:
    """Connections, each of which one thread has for itself while it uses it.

    Args:
        tls: for `https`.
        limit: connections at a time.
        idle_limit: seconds.
        proxies: lead to the servers.
    """

    def __init__(
        self, tls: ssl.SSLContext, limit: int, idle_limit: float, proxies: Proxies
    ) -> None:
        self._proxies = proxies
        self._tls = tls
        self._limit = limit
        self._idle_limit = idle_limit
        self._idle: list[httpcore.HTTPConnection] = []
        self._busy: set[httpcore.HTTPConnection] = set()
        self._make_locks()
        self._closed = False
        _pools.add(self)

    def _make_locks(self) -> None:
        self._places = threading.Semaphore(self._limit)
        self._lock = threading.Lock()

    @contextmanager
    def connection(
        self, origin: httpcore.Origin, in_flight: InFlight
    ) -> Iterator[httpcore.HTTPConnection]:
        """Lend a connection, which may have to connect yet; wait for a free place if need be."""
        if not self._places.acquire(timeout=in_flight.left_to_connect(None)):
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
            self._check_open()
            # Idle for too long, closed by the server, or something came that was not asked for.
            self._drop([c for c in self._idle if c.has_expired()])
            fitting = [c for c in self._idle if c.can_handle_request(origin)]
            if fitting:
                connection = fitting[-1]
                self._idle.remove(connection)
            else:
                self._drop(self._idle[: max(0, self._open() + 1 - self._limit)])
                connection = httpcore.HTTPConnection(
                    origin,
                    self._tls,
                    keepalive_expiry=self._idle_limit,
                    network_backend=self._backend_for(origin),
                )
            self._busy.add(connection)
            return connection

    def _backend_for(self, origin: httpcore.Origin) -> Backend:
        scheme = origin.scheme.decode()
        proxy = self._proxies.find(scheme, origin.host.decode(), origin.port)
        return Backend(self._check_open, proxy, has_tunnel=scheme == "https")

    def _put(self, connection: httpcore.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if connection.is_available() and not self._closed and not _has_leftovers(connection):
                self._idle.append(connection)
            else:
                connection.close()

    def _open(self) -> int:
        return len(self._idle) + len(self._busy)

    def _drop(self, connections: list[httpcore.HTTPConnection]) -> None:
        for connection in connections:
            self._idle.remove(connection)
            connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionError("the transport is closed")

    def close(self) -> None:
        """Close every connection, those in use as well; what is asked for later is refused."""
        with self._lock:
            self._closed = True
            self._drop(list(self._idle))
            for connection in self._busy:
                connection.close()

    def forget(self) -> None:
        """Begin anew in a process that was just forked; the connections go on in its parent."""
        self._make_locks()  # a thread of the parent's may have held them
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()
        self._busy.clear()


def _has_leftovers(connection: httpcore.HTTPConnection) -> bool:
    """Say whether more than the answer was read: the next request would be answered with it.

    There is no public way to see it; tests over real sockets guard this one.
    """
    http = connection._connection  # noqa: SLF001
    return bool(http._h11_state.trailing_data[0])  # type: ignore[union-attr]  # noqa: SLF001


#: Those of this process.
_pools: WeakSet[BlockingPool] = WeakSet()


def forget_all() -> None:
    """Do what a forked process has to do first."""
    for pool in list(_pools):
        pool.forget()


os.register_at_fork(after_in_child=forget_all)
