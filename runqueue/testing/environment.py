"""What the tests of one process share: the queue's server, the time, receivers, and Skyvern."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import redis

from runqueue.connection.client import sync_client
from runqueue.embedded.server import EmbeddedServer
from runqueue.embedded.valkey import EmbeddedServerError
from runqueue.ids import DEFAULT
from runqueue.server_version import server_part
from runqueue.store.keys import ACCOUNTS
from runqueue.testing.clock import MovedClock
from runqueue.testing.jobs import fits

#: Seconds by which a drain's thread may be late.
_LATE_SECONDS = 5.0


class NotDrained(AssertionError):  # noqa: N818 - what it says is in its name
    """A drain took too long; the message says what is left, and why."""


class Environment:
    """A queue's server, the time of this process' queues, and a simulated Skyvern.

    Until it ends, RUNQUEUE_REDIS_URL names its server: a `RunQueue()` made meanwhile is on it.
    """

    def __init__(self) -> None:
        self.clock = MovedClock()
        #: What receives webhooks, by the beginning of their URLs.
        self.receivers: dict[str, Any] = {}
        self.url = ""
        self._skyvern: Any = None
        self._client: redis.Redis
        self._ends: ExitStack

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="runqueue-"))
            server = EmbeddedServer(Path(folder))
            with suppress(EmbeddedServerError):  # another process may have been faster at the port
                server.start()
            if not server.is_running():
                server.start()
            ends.callback(server.stop)
            self.url = server.url
            self._client = ends.enter_context(sync_client(self.url))
            ends.enter_context(patch.dict(os.environ, RUNQUEUE_REDIS_URL=self.url))
            ends.enter_context(self.clock.passed_on())
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def skyvern(self) -> Any:
        """The simulated account; `simulator/scripted.py`.

        Raises:
            RuntimeError: `runqueue-server` is not installed here.
        """
        if self._skyvern is None:
            skyvern_class = server_part("runqueue.testing", "ScriptedSkyvern")
            self._skyvern = skyvern_class(lambda: self.clock.now_us() / 1e6, fits)
        return self._skyvern

    def clean(self) -> None:
        """Forget all jobs, scripts, runs and receivers, and show the true time."""
        self._client.flushall()
        self._client.sadd(ACCOUNTS, DEFAULT)
        self.clock.ahead_us = 0
        self._skyvern = None
        self.receivers.clear()

    async def drain(self, seconds: float) -> None:
        """Work on this event loop; see `QueueForTests.drain`."""
        await server_part("runqueue.testing", "drain")(self, seconds)

    def drain_in_thread(self, seconds: float) -> None:
        """Work in a thread with an event loop of its own; see `QueueForTests.drain`."""
        errors = list[BaseException]()

        def work() -> None:
            try:
                asyncio.run(self.drain(seconds))
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        thread = threading.Thread(target=work, name="runqueue-drain", daemon=True)
        thread.start()
        thread.join(seconds + _LATE_SECONDS)
        if thread.is_alive():
            raise NotDrained(f"for over {seconds:g} s a receiver of webhooks blocks the drain")
        if errors:
            raise errors[0]
