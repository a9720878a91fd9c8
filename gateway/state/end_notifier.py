"""Notifications that some job has ended: they wake the listeners to events."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runqueue.producer.async_listener import AsyncEndListener

#: Means every job: it is no id.
_ANY = "*"


class EndNotifier(AsyncEndListener):
    """Notifies coroutines that some job has ended, or may have; see `AsyncEndListener`.

    Args:
        url: the queue's Redis.
    """

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever a job may have ended."""
        with self.watch([_ANY]) as watch:
            if self._listener is None:  # no job is read here, which would start it
                self._listener = self._start()
            yield watch.news

    def _take(self, listener: asyncio.Task[None], message: dict[str, Any] | None) -> None:
        super()._take(listener, message)
        if message and message["type"] in {"pmessage", "psubscribe"}:
            for watch in tuple(self._waiting.get(_ANY, ())):
                watch.news.set()
