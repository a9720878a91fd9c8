"""Hearing that jobs have ended, whichever they are: what wakes those who listen to events."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runqueue.producer.async_listener import AsyncEnds
from runqueue.producer.concurrency import AsyncBackground

#: Stands for every job: it is no id.
_ANY = "*"


class Bell(AsyncEnds):
    """Tells coroutines that some job has ended, or may have; see `AsyncEnds`.

    Args:
        url: the queue's Redis.
    """

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Give an event: it is set whenever a job may have ended."""
        with self.watch([_ANY]) as watch:
            if self._listener is None:  # nobody looks at a job here, which would start it
                self._listener = self._start()
            yield watch.news

    def _take(self, listener: AsyncBackground, message: dict[str, Any] | None) -> None:
        super()._take(listener, message)
        if message and message["type"] in {"pmessage", "psubscribe"}:
            for watch in tuple(self._waiting.get(_ANY, ())):
                watch.news.set()
