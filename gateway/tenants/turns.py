"""Limits how many run at a time; names take turns, so that many of one delay no other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.tenants.shares import Shares


class Turns:
    """Like `Shares`, but a holder waits instead of being refused; waiting names rotate.

    Args:
        most: how many run at a time; a name as many as it leaves free (see `Shares`).
    """

    def __init__(self, most: int) -> None:
        self._shares = Shares(most)
        #: Waiters by name; the name whose turn is next comes first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, name: str, patience: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block.

        Args:
            name: the holder.
            patience: seconds to wait for it; None = as long as it takes.

        Raises:
            TimeoutError: it did not come in time.
        """
        async with asyncio.timeout(patience):
            await self._begin(name)
        try:
            yield
        finally:
            self._end(name)

    async def _begin(self, name: str) -> None:
        if self._shares.take(name):
            return  # then nobody of this name waits
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._end(name)  # it came, and is not taken
            raise

    def _end(self, name: str) -> None:
        self._shares.give_back(name)
        while self._pass_on():
            pass

    def _pass_on(self) -> bool:
        """Give a turn to the next name that may have one; say whether there was any."""
        for name, turns in list(self._waiting.items()):
            while turns and turns[0].done():  # given up
                turns.popleft()
            if not turns:
                del self._waiting[name]
            elif self._shares.take(name):
                turns.popleft().set_result(None)
                self._waiting.move_to_end(name)  # left empty, it goes at the next end
                return True
        return False
