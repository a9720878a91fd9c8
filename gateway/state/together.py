"""Calls that several callers make at a time run once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Runs a coroutine once; all who call while it is under way get the same result.

    Args:
        do: makes the coroutine.
    """

    def __init__(self, do: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._do = do
        self._doing: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """Wait for the run under way, or start one.

        Raises:
            Exception: what it raised.
        """
        if self._doing is None:
            self._doing = asyncio.create_task(self._do())
            self._doing.add_done_callback(self._done)
        return await asyncio.shield(self._doing)

    def _done(self, _: asyncio.Task[T]) -> None:
        self._doing = None
