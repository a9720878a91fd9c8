"""Whether Skyvern answers reads, as far as one process asked: only then are runs followed.

A submission that fails is noticed at once; where all slots are taken nothing is submitted, and runs
that nobody can read keep theirs. So each heartbeat says how the process's reads fare.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

#: Seconds since the last failure after which nothing is said of it: nothing was asked since.
_FORGET = 60.0


class Told(NamedTuple):
    """How the reads of a process fare.

    Args:
        answered_us: how long ago one was answered, in microseconds; -1 = none was.
        failing_us: since when all of them fail, likewise; -1 = they do not.
        why: what they fail with: an HTTP status, or that no answer came.
    """

    answered_us: int = -1
    failing_us: int = -1
    why: str = ""


class Reads:
    """Counts how the reads of one account in one process fare.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered: float | None = None
        self._failing: float | None = None
        self._failed = 0.0
        self._why = ""

    def answered(self) -> None:
        """Take note of a read that was answered, if only with "no such run"."""
        self._answered, self._failing = self._clock(), None

    def failed(self, status: int | None) -> None:
        """Take note of a read from which nothing was learned; None = no answer came."""
        self._failed = self._clock()
        self._why = "no answer" if status is None else f"HTTP {status}"
        if self._failing is None:
            self._failing = self._failed

    def told(self) -> Told:
        """Return what the next heartbeat says."""
        now = self._clock()
        answered = -1 if self._answered is None else int((now - self._answered) * 1e6)
        if self._failing is None or now - self._failed > _FORGET:
            return Told(answered)
        return Told(answered, int((now - self._failing) * 1e6), self._why)
