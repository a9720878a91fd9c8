"""The sources of refused requests: each is counted, and logged now and then.

Otherwise a client that is refused again and again would fill the log.
"""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

#: Refusals of one source at once that are logged one by one, and failed tokens that do not wait.
BURST: Final = 10
#: Refusals a second that a source is forgiven.
FORGIVEN: Final = 0.2
#: Seconds between two log lines of a source that has had the burst.
LOG_SECONDS: Final = 10.0
#: Sources that are remembered.
MOST_SOURCES: Final = 10_000
#: Bits of an IPv6 address that one customer has.
_CUSTOMER: Final = 64


@dataclass(slots=True)
class _Source:
    """What is known of one source of refusals."""

    #: Refusals that are not forgiven yet, and when they were counted.
    level: float
    at: float
    #: When one was logged last, and how many were not logged since.
    logged: float = 0.0
    unlogged: int = 0


class SourceCount(NamedTuple):
    """A refusal as counted at its source.

    Args:
        is_over: whether the source has had its burst.
        unlogged: earlier refusals that this one's log line counts, too; None = it is not logged.
    """

    is_over: bool
    unlogged: int | None


class Sources:
    """Counts refusals by their sources, the newest of these.

    Args:
        clock: seconds that only grow.
        most: sources that are remembered.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = MOST_SOURCES
    ) -> None:
        self._clock = clock
        self._most = most
        self._known: dict[str, _Source] = {}

    def __len__(self) -> int:
        return len(self._known)

    def count(self, source: str) -> SourceCount:
        """Count one refusal."""
        now = self._clock()
        one = self._known.pop(source, None) or _Source(0.0, now)
        # The one that was silent for longest is the first.
        self._known[source] = one
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        one.level = max(0.0, one.level - (now - one.at) * FORGIVEN) + 1
        one.at = now
        is_over = one.level > BURST
        if is_over and now - one.logged < LOG_SECONDS:
            one.unlogged += 1
            return SourceCount(is_over, None)
        unlogged, one.unlogged, one.logged = one.unlogged, 0, now
        return SourceCount(is_over, unlogged)


def network_of(address: str) -> str:
    """Return the source of an address: of IPv6 the network that one customer has."""
    try:
        found: Any = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped:
        return address
    return str(ipaddress.ip_network((int(found) >> _CUSTOMER << _CUSTOMER, _CUSTOMER)))
