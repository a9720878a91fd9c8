"""What several ask for at a time is done once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Has something done; all who ask while it is under way get the same answer.

    Args:
        do: does it.
    """

    def __init__(self, do: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._do = do
        self._doing: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """Wait for what is under way, or have it done.

        Raises:
            Exception: what it raised.
        """
        if self._doing is None:
            self._doing = asyncio.create_task(self._do())
            self._doing.add_done_callback(self._done)
        return await asyncio.shield(self._doing)

    def _done(self, _: asyncio.Task[T]) -> None:
        self._doing = None
