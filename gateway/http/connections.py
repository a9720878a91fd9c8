"""The connections of a process: above the limit, the one idle for longest is closed first."""

import resource
from asyncio import Transport
from collections import OrderedDict
from typing import Final

import structlog

from gateway.tenants.sources import Sources, network_of

log = structlog.get_logger()

#: Connections at a time.
MOST: Final = 2_000
#: File descriptors that a process needs besides: for Redis, checks, webhooks that it sends.
_OTHER_FILES: Final = 400
#: Bytes of large bodies that nobody wants which are read a second, on all connections together: at
#: full speed, their senders would take most of the event loop's time.
UNWANTED_RATE: Final = 64 * 1024 * 1024
#: Seconds for which a connection is not read at most, however many others share that rate.
LONGEST_PAUSE: Final = 1.0


class Connections:
    """The open connections, and which of them are idle (have no request under way).

    Args:
        most: how many may be open.
    """

    def __init__(self, most: int) -> None:
        self.open: set[Transport] = set()
        self._most = most
        #: Idle ones, the one that is idle for longest first.
        self._idle: OrderedDict[Transport, None] = OrderedDict()
        self._sources = Sources()
        #: How many are not read for a while, since they brought what nobody wants.
        self._paused = 0

    def add(self, transport: Transport) -> bool:
        """Add a new one; at the limit it replaces the one that is idle for longest.

        Returns whether it may stay: False if none is idle.
        """
        if len(self.open) >= self._most:
            if not self._idle:
                return False
            longest, _ = self._idle.popitem(last=False)
            self.open.discard(longest)
            longest.abort()
        self.open.add(transport)
        self._idle[transport] = None
        return True

    def begin(self, transport: Transport) -> None:
        """Note that a request of it is under way."""
        self._idle.pop(transport, None)

    def rest(self, transport: Transport) -> None:
        """Note that none is any more."""
        if transport in self.open:
            self._idle[transport] = None

    def remove(self, transport: Transport) -> None:
        """Forget one that is closed."""
        self.open.discard(transport)
        self._idle.pop(transport, None)

    def begin_pause(self, size: int) -> float:
        """Return the seconds for which a connection is not read that brought what nobody wants.

        It pays for what it brought itself, at its share of the rate.

        Args:
            size: bytes that it brought.
        """
        self._paused += 1
        return min(size * self._paused / UNWANTED_RATE, LONGEST_PAUSE)

    def end_pause(self) -> None:
        """Note that one of them is read again, or has ended."""
        self._paused -= 1

    def report(self, address: str, status: int) -> None:
        """Log input that was no request, each of the first ones of a source.

        Args:
            address: where it came from.
            status: how it is answered, if it is.
        """
        more = self._sources.count(network_of(address)).unlogged
        if more is not None:
            log.warning("no_request", address=address, status=status, more=more)


def connection_limit() -> int:
    """Return how many connections may be open, by the files that the process may open.

    Raises the soft limit of files as far as the hard one allows and it is needed.
    """
    most = MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = most + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < limit:
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < limit:
            most = max(soft - _OTHER_FILES, soft // 2)
            log.warning("few_files", allowed=soft, wanted=limit, connections=most)
    return most
