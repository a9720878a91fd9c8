"""What the server's own clock shows, as far as the dates of its answers say."""

from typing import Final

from api_client.elapsed import elapsed

#: Seconds by which an answer may seem old and be fresh: `Date` has whole seconds, and the servers
#: behind one address have clocks of their own.
_TOLERANCE: Final = 5.0
#: Seconds by which a date confirms what is known, and for which that is believed unconfirmed: the
#: server's clock may have been set back.
_CONFIRMS: Final = 2.0
_BELIEVED: Final = 600.0


class ServerClock:
    """Knows what the server's clock shows, at least, whatever becomes of our clocks.

    A run that was made after an answer has a later date than that answer. An answer that is dated
    before its own request was sent came from a cache (RFC 9111). A cache that says so sends `Age`,
    too; some do not.
    """

    def __init__(self) -> None:
        #: The newest answer's date, and by how many seconds it was ahead of `elapsed`.
        self._date: float | None = None
        self._ahead = 0.0
        #: The same of the latest date that is believed.
        self._latest_ahead = float("-inf")
        self._confirmed = float("-inf")

    def learn(self, date: float | None) -> None:
        """Learn from the date of an answer that was just read (unix seconds; None = it has none).

        Of those with one date the first says the most: dates are in whole seconds.
        """
        if date is None or date == self._date:
            return
        now = elapsed()
        self._date, self._ahead = date, date - now
        if now - self._confirmed > _BELIEVED:
            self._latest_ahead = self._ahead
        if self._ahead >= self._latest_ahead - _CONFIRMS:
            self._latest_ahead = max(self._latest_ahead, self._ahead)
            self._confirmed = now

    def now_us(self) -> int | None:
        """Return what the server's clock shows at least, microseconds; None = not known.

        It may show more: dates are in whole seconds, and a machine that stood still counts none.
        """
        return None if self._date is None else int((elapsed() + self._ahead) * 1e6)

    def age(self, date: float | None, sent: float) -> float:
        """Return for how many seconds an answer was in a cache, at least; 0 = it was not.

        Args:
            date: the answer's date (unix seconds); None = it has none.
            sent: when its request was sent (`elapsed`).
        """
        behind = 0.0 if date is None else self._latest_ahead + sent - date
        return behind if behind > _TOLERANCE else 0.0
