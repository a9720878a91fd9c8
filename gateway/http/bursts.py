"""What strangers may cause as often as they like: logged and answered at once only so often."""

import time
from collections.abc import Callable
from typing import Final

#: Events at once that are logged one by one.
BURST: Final = 10
#: Events a second that are forgiven.
FORGIVEN: Final = 0.2
#: Seconds between two log lines once there was a burst.
LOG_SECONDS: Final = 10.0


class Burst:
    """Counts events of one kind.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Events that are not forgiven yet, and when they were counted.
        self._level, self._at = 0.0, clock()
        #: When one was logged last, and how many were not logged since.
        self._logged, self._unlogged = 0.0, 0

    @property
    def is_over(self) -> bool:
        """Whether there were more than the burst, with what was forgiven until the last one."""
        return self._level > BURST

    def count(self) -> int | None:
        """Count an event; returns how many were not logged before it; None = nor is this one."""
        now = self._clock()
        self._level = max(0.0, self._level - (now - self._at) * FORGIVEN) + 1
        self._at = now
        if self.is_over and now - self._logged < LOG_SECONDS:
            self._unlogged += 1
            return None
        unlogged, self._unlogged, self._logged = self._unlogged, 0, now
        return unlogged
