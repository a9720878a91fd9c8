"""Limits how many run at a time, and lets names take turns, so that many of one delay no other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Limits how many run at a time; names that wait are served in rotation.

    Args:
        most: how many run at a time.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        #: Waiters by name; the name whose turn is next comes first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block.

        Args:
            name: in whose name the turn is taken.
        """
        await self._begin(name)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, name: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._end()  # it came, and is not taken
            raise

    def _end(self) -> None:
        while self._waiting:
            name, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[name] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
