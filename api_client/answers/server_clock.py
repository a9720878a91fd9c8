"""The server's clock, by which an old answer from a cache is recognised."""

from time import monotonic
from typing import Final

#: Seconds by which an answer may seem old and be fresh: `Date` has whole seconds, and the servers
#: behind one address have clocks of their own.
_TOLERANCE: Final = 5.0
#: Seconds by which a date confirms what is known, and for which that is believed unconfirmed: the
#: server's clock may have been set back.
_CONFIRMS: Final = 2.0
_BELIEVED: Final = 600.0


class ServerClock:
    """Knows how late it is at the server, at least.

    An answer that is dated before its own request was sent came from a cache (RFC 9111). A
    cache that says so sends `Age`, too; some do not.
    """

    def __init__(self) -> None:
        #: By how many seconds the server's clock is ahead of `monotonic`, at least.
        self._ahead = float("-inf")
        self._confirmed = float("-inf")

    def learn(self, date: float | None) -> None:
        """Take note of the date of an answer that was just read; None = it has none."""
        if date is None:
            return
        now = monotonic()
        ahead = date - now
        if now - self._confirmed > _BELIEVED:
            self._ahead = ahead
        if ahead >= self._ahead - _CONFIRMS:
            self._ahead = max(self._ahead, ahead)
            self._confirmed = now

    def age(self, date: float | None, sent: float) -> float:
        """Return for how many seconds an answer was in a cache, at least; 0 = it was not.

        Args:
            date: the answer's date (unix seconds); None = it has none.
            sent: when its request was sent (`monotonic` seconds).
        """
        behind = 0.0 if date is None else self._ahead + sent - date
        return behind if behind > _TOLERANCE else 0.0
