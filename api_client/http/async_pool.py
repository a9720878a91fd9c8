"""The connections of one event loop: those in use, and those that wait to be used again.

One timer looks after all of them, once a second: a timer for each request costs a tenth of its CPU
(uvloop makes, starts and closes a handle of libuv's for it), and nearly none ever goes off.
"""

import asyncio
import math
from contextlib import suppress

from api_client.elapsed import elapsed
from api_client.http.connect import Dialer
from api_client.http.connection import Connection

#: Seconds. A limit from here on ends at the next whole second of the loop's clock.
COARSE = 5.0

#: Turns of the loop in which it reads what lies in a socket: one to see it, one to read it, and
#: some for what comes meanwhile.
_TURNS = 8

#: Seconds. A loop's clock may say a moment less than the time that a timer was set to.
_EARLY = 0.01


class AsyncPool:
    """Lends connections, each to one request at a time.

    Args:
        dialer: opens them.
        loop: whose they are.
        limit: connections in use at a time; 0 = no limit.
        idle_limit: seconds; a connection idle for longer is never used again.
    """

    def __init__(
        self, dialer: Dialer, loop: asyncio.AbstractEventLoop, limit: int, idle_limit: float
    ) -> None:
        self._dialer = dialer
        self._loop = loop
        self._places = asyncio.Semaphore(limit) if limit else None
        self._idle_limit = idle_limit
        self._idle: dict[str, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._is_checking = False
        self._is_closed = False

    def take(self, origin: str) -> Connection | None:
        """Return a connection that can be had at once, or None: then `lend` is to be awaited."""
        idle = self._idle.get(origin)
        if not idle or self._places is not None:
            return None
        connection = idle[-1]  # the last one used: those before it have been idle longer
        if not self._may_be_used(connection) or connection.has_unread:
            return None
        return self._used(idle.pop())

    async def lend(self, origin: str, seconds: float | None) -> Connection:
        """Wait for free capacity, and connect if need be.

        Args:
            origin: scheme, host and port.
            seconds: for all of it; None = no limit.

        Raises:
            OSError: there is no connection, or none in time; the pool was closed meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                until = math.inf if seconds is None else elapsed() + seconds
                if self._places is None:
                    return await self._connected(origin, until)
                await self._places.acquire()
                try:
                    return await self._connected(origin, until)
                except BaseException:
                    self._places.release()
                    raise
        except TimeoutError as exc:
            raise TimeoutError("no connection in time") from exc

    def limit(self, connection: Connection, seconds: float) -> asyncio.TimerHandle | None:
        """Give up a connection's next request after so many seconds.

        Returns:
            A timer that is to be canceled when the answer is there; None where there is none.
        """
        due = self._loop.time() + seconds
        if seconds < COARSE:
            return self._loop.call_at(due, connection.end, TimeoutError())
        connection.due = math.ceil(due)
        if not self._is_checking:
            self._check_again()
        return None

    def put(self, connection: Connection) -> None:
        """Take back a connection, to be used again if it can be."""
        self._busy.discard(connection)
        if self._places is not None:
            self._places.release()
        if connection.is_usable:
            connection.due = math.inf
            connection.idle_since = elapsed()
            self._idle.setdefault(connection.origin, []).append(connection)
            if not self._is_checking:
                self._check_again()
        else:
            connection.end()

    def drop(self) -> None:
        """Close the connections that wait, and those in use as soon as they are answered."""
        for connection in self._busy:
            connection.retire()
        for idle in self._idle.values():
            for connection in idle:
                connection.end()
        self._idle.clear()

    def close(self) -> None:
        """Close every connection, those in use as well; none is lent any more."""
        self._is_closed = True
        self._dialer.close()
        for connection in self._all():
            # One of a loop that has ended cannot be closed by anybody but the collector.
            with suppress(RuntimeError):
                connection.end()
        self._busy.clear()
        self._idle.clear()

    def _all(self) -> list[Connection]:
        return [*self._busy, *(one for idle in self._idle.values() for one in idle)]

    def _may_be_used(self, connection: Connection) -> bool:
        return connection.is_usable and elapsed() - connection.idle_since <= self._idle_limit

    async def _connected(self, origin: str, until: float) -> Connection:
        connection = await self._kept(origin) or await self._dialed(origin)
        # The loop's clock stops while the machine is suspended: what was to be sent may be
        # another's by now.
        if elapsed() > until:
            self._busy.discard(connection)
            connection.end()
            raise TimeoutError
        return connection

    async def _kept(self, origin: str) -> Connection | None:
        while idle := self._idle.get(origin):
            connection = idle.pop()
            if self._may_be_used(connection) and await self._is_quiet(connection):
                return self._used(connection)
            connection.end()
        return None

    async def _dialed(self, origin: str) -> Connection:
        self._check_open()  # it may have waited for capacity
        connection = await self._dialer.dial(origin)
        # A server may close, or send something, before the request. What is written to such a
        # connection gets no answer: its end has been reported already.
        if not await self._is_quiet(connection):
            connection.end()
            self._check_open()
            raise ConnectionResetError("closed before the request")
        return self._used(connection)

    async def _is_quiet(self, connection: Connection) -> bool:
        """Say whether a connection is open, with nothing unexpected in it.

        The loop may have been busy since it came: it would be read as the answer
        to the next request, or that would be lost where it was never sent.
        """
        try:
            for _ in range(_TURNS):
                if self._is_closed or not connection.is_usable:
                    return False
                if not connection.has_unread:
                    return True
                await asyncio.sleep(0)
        except BaseException:
            connection.end()
            raise
        return False

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionAbortedError("the transport is closed")

    def _used(self, connection: Connection) -> Connection:
        connection.due = math.inf
        self._busy.add(connection)
        return connection

    def _check_again(self) -> None:
        self._is_checking = True
        self._loop.call_at(math.floor(self._loop.time()) + 1, self._check)

    def _check(self) -> None:
        now = self._loop.time() + _EARLY
        for connection in [one for one in self._busy if one.due <= now]:
            connection.end(TimeoutError())
        oldest = elapsed() - self._idle_limit
        for origin, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since < oldest or not connection.is_usable:
                    connection.end()
            left = [one for one in idle if one.is_usable]
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]
        self._is_checking = False
        if self._busy or self._idle:
            self._check_again()
