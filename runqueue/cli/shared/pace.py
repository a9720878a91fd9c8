"""The rate at which a count grows, for progress bars and their ETA."""

import time
from collections import deque

#: Seconds over which the rate is measured.
_RATE_SECONDS = 15.0


class Pace:
    """How fast jobs end, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float | None = None) -> None:
        """Note how many are done by now (seconds on any monotonic clock)."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """Jobs a second; 0 while unknown."""
        if len(self._seen) < 2:
            return 0.0
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def seconds_for(self, left: int) -> float | None:
        """Return how long the rest takes at this pace; None while it is unknown."""
        rate = self.per_second
        return left / rate if rate > 0 else None
