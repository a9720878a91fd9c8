"""Whether Skyvern answers reads, as far as one process sent any: only then are runs followed.

A submission that fails is noticed at once; where all slots are taken nothing is submitted, and runs
that nobody can read keep theirs. So each heartbeat says how the process's reads fare.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

#: Seconds since the last failure after which it is not reported: nothing was read since.
_FORGET = 60.0
#: Seconds for which a server that answered no read is not tried again.
_CONTROL_SECONDS = 30.0


class ReadReport(NamedTuple):
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
        self._control = asyncio.Lock()
        self._silent = float("-inf")

    async def are_answered_now(self, read: Callable[[], Awaitable[None]]) -> bool:
        """Say whether a read is answered from now on.

        Args:
            read: makes a read, and takes note here of what came of it.
        """
        since = self._clock()
        async with self._control:  # a hundred reads that failed at once ask once
            if self._is_answered_since(since):
                return True
            if self._clock() - self._silent < _CONTROL_SECONDS:
                return False
            await read()
            if self._is_answered_since(since):
                return True
            self._silent = self._clock()
            return False

    def _is_answered_since(self, since: float) -> bool:
        return self._answered is not None and self._answered >= since

    def answered(self) -> None:
        """Take note of a read that was answered, if only with "no such run"."""
        self._answered, self._failing = self._clock(), None

    def failed(self, status: int | None) -> None:
        """Take note of a read from which nothing was learned; None = no answer came."""
        self._failed = self._clock()
        self._why = "no answer" if status is None else f"HTTP {status}"
        if self._failing is None:
            self._failing = self._failed

    def report(self) -> ReadReport:
        """Return what the next heartbeat says."""
        now = self._clock()
        answered = -1 if self._answered is None else int((now - self._answered) * 1e6)
        if self._failing is None or now - self._failed > _FORGET:
            return ReadReport(answered)
        return ReadReport(answered, int((now - self._failing) * 1e6), self._why)
