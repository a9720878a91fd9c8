"""The history of a simulation: what happened when in which process, and its digest."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TextIO


class EventHistory:
    """Records events in their order.

    Args:
        loop: gives the time of each event.
        out: receives each event as a line; None = only the digest is kept.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, out: TextIO | None = None) -> None:
        self._loop = loop
        self._out = out
        self._digest = sha256()
        self.events = 0
        #: Whether its lines are written to a file.
        self.is_written = out is not None

    def record(self, process: str, event: str) -> None:
        """Record an event of a process."""
        line = self._line(process, event)
        self._digest.update(line.encode())
        self.events += 1
        if self._out is not None:
            self._out.write(line)

    def explain(self, process: str, event: str) -> None:
        """Write a line that explains the events; it is no part of the digest."""
        if self._out is not None:
            self._out.write(self._line(process, event))

    def _line(self, process: str, event: str) -> str:
        return f"{self._loop.time():11.6f} {process} {event}\n"

    @property
    def digest(self) -> str:
        """The digest of all lines so far."""
        return self._digest.hexdigest()[:32]
