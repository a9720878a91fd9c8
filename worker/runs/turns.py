"""Turns of the event loop, for work that takes long without waiting for anything."""

import asyncio
import time

#: Seconds of comparing after which the event loop gets its turn: large requests take milliseconds.
TURN_SECONDS = 0.01


class LoopTurns:
    """Gives the event loop its turn when work has had its own."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def take(self) -> None:
        """Go on, or first let others run."""
        if time.monotonic() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.monotonic()
