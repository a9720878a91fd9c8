"""The time that this process passes to scripts, as the simulation does: in their first argument."""

import time
from typing import Any
from unittest.mock import patch

from redis.commands.core import FunctionCommands

from runqueue.store.scripts import FAMILY


class MovedClock:
    """Python's clock, moved ahead; every queue of this process goes by it."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def now_us(self) -> int:
        """Return the time, microseconds since 1970."""
        return time.time_ns() // 1000 + self.ahead_us

    def advance(self, seconds: float) -> None:
        """Move it ahead.

        Raises:
            ValueError: by less than 0 seconds.
        """
        if seconds < 0:
            raise ValueError(f"expected a time of 0 or more seconds, got {seconds:g}")
        self.ahead_us += int(seconds * 1e6)

    def passed_on(self) -> Any:
        """Return a context in which all clients of this process pass it to the scripts."""
        fcall: Any = FunctionCommands.fcall

        def moved(client: Any, function: str, numkeys: int, *rest: Any) -> Any:
            # The keys, then the clock: 0 = the server's own.
            if function.startswith(FAMILY) and rest[numkeys] == 0:
                rest = (*rest[:numkeys], self.now_us(), *rest[numkeys + 1 :])
            return fcall(client, function, numkeys, *rest)

        return patch.object(FunctionCommands, "fcall", moved)
