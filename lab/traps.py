"""Traps: what a proxy does when certain bytes pass."""

import asyncio
import threading
from collections.abc import Callable
from typing import Literal

#: `up` goes from the client to the server.
Direction = Literal["up", "down"]


class Trap:
    """Waits for a pattern to pass, holds its connection there, and says so.

    Args:
        direction: where the pattern is looked for.
        pattern: bytes.
        reply: hold not the pattern but what comes back after it.
        times: after so many catches it is spent; 0 = never.
    """

    def __init__(self, direction: Direction, pattern: bytes, *, reply: bool, times: int) -> None:
        self.direction, self.pattern = direction, pattern
        self.reply, self.times = reply, times
        #: Called with each catch, on the network's thread; must be quick.
        self.act: Callable[[], object] = lambda: None
        self.caught = threading.Event()
        #: How often it caught something.
        self.count = 0
        self._over = False
        self._verdicts: list[asyncio.Future[bool]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, seconds: float) -> None:
        """Wait until something is caught.

        Raises:
            TimeoutError: nothing was, in time.
        """
        if not self.caught.wait(seconds):
            raise TimeoutError(f"{self.pattern!r} did not pass within {seconds:g} s")

    def release(self) -> None:
        """Let what is held pass, and catch no more."""
        self._decide(passes=True)

    def drop(self) -> None:
        """Cut the connections that are held, their bytes unsent, and catch no more."""
        self._decide(passes=False)

    def _decide(self, *, passes: bool) -> None:
        self.times, self._over = -1, True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, passes)

    def _settle(self, passes: bool) -> None:
        for verdict in self._verdicts:
            if not verdict.done():
                verdict.set_result(passes)
        self._verdicts.clear()

    async def catch(self) -> bool:
        """Hold the caller until it is decided; True = its bytes may pass."""
        if self._over:
            return True
        self.count += 1
        if self.times > 0 and self.count >= self.times:
            self.times = -1
        self.act()
        self._loop = asyncio.get_running_loop()
        verdict: asyncio.Future[bool] = self._loop.create_future()
        self._verdicts.append(verdict)
        self.caught.set()
        return await verdict
