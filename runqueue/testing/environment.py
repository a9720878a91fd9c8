"""What the tests of one process share: the queue's server, the time, receivers, and Skyvern."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, Self, cast

import redis

from runqueue.connection.client import sync_client
from runqueue.embedded.server import EmbeddedServer
from runqueue.embedded.valkey import EmbeddedServerError
from runqueue.ids import DEFAULT
from runqueue.server_version import INSTALL, SERVER, version_mismatch
from runqueue.store.keys import ACCOUNTS
from runqueue.store.sending import check_format
from runqueue.testing.clock import MovedClock
from runqueue.testing.skyvern import Skyvern

#: What `runqueue-server` offers to tests.
_GROUP = "runqueue.testing"
_URL = "RUNQUEUE_REDIS_URL"
#: Tries to start the server: another process may take the port that it found free.
_STARTS = 3
#: Seconds by which a drain's thread may be late.
_LATE_SECONDS = 5.0


class NotDrained(AssertionError):  # noqa: N818 - what it says is in its name
    """A drain took too long; the message says what is left, and why."""


class Drain(Protocol):
    """Works as a worker until nothing is left to do; `launcher/testing.py`."""

    def __call__(self, environment: Environment, seconds: float) -> Awaitable[None]:
        """Work for so many seconds at most."""


class Environment:
    """A queue's server, the time of this process' queues, and a simulated Skyvern.

    Until it ends, RUNQUEUE_REDIS_URL names its server: a `RunQueue()` made meanwhile is on it.

    Args:
        directory: where the server keeps its data; None = in a folder that is removed at the end.
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        self.skyvern = Skyvern()
        self.clock = MovedClock()
        #: What receives webhooks, by the beginning of their URLs.
        self.receivers: dict[str, Any] = {}
        self._temporary = tempfile.TemporaryDirectory() if directory is None else None
        self._server = EmbeddedServer(directory or cast(Any, self._temporary).name)
        self._client: redis.Redis
        self._url_before: str | None = None

    @property
    def url(self) -> str:
        """The queue's Redis."""
        return self._server.url

    def __enter__(self) -> Self:
        for left in reversed(range(_STARTS)):
            try:
                self._server.start()
                break
            except EmbeddedServerError:
                if not left:
                    raise
        self._client = sync_client(self.url)
        self._url_before = os.environ.get(_URL)
        os.environ[_URL] = self.url
        self.clock.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.uninstall()
        if self._url_before is None:
            del os.environ[_URL]
        else:
            os.environ[_URL] = self._url_before
        self._client.close()
        self._server.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def clean(self) -> None:
        """Forget all jobs, scripts, receivers and runs, and show the true time."""
        self._client.flushall()
        check_format(self._client)
        self._client.sadd(ACCOUNTS, DEFAULT)
        self.clock.reset()
        self.skyvern.reset()
        self.receivers.clear()

    async def drain(self, seconds: float) -> None:
        """Work on this event loop; see `QueueForTests.drain`."""
        await _drain()(self, seconds)

    def drain_in_thread(self, seconds: float) -> None:
        """Work in a thread with an event loop of its own; see `QueueForTests.drain`."""
        drain, errors = _drain(), list[BaseException]()

        def work() -> None:
            try:
                asyncio.run(cast(Any, drain(self, seconds)))
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        thread = threading.Thread(target=work, name="runqueue-drain", daemon=True)
        thread.start()
        thread.join(seconds + _LATE_SECONDS)
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - its only name
            where = "".join(traceback.format_stack(frame)[-3:])
            raise NotDrained(f"the drain is blocked for over {seconds:g} s:\n{where}")
        if errors:
            raise errors[0]


def _drain() -> Drain:
    """Return what works as a worker.

    Raises:
        RuntimeError: `runqueue-server` is not installed, or cannot be imported.
    """
    if mismatch := version_mismatch():
        raise RuntimeError(mismatch)
    found: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if "drain" not in found:
        raise RuntimeError(f"drain() needs {SERVER}, which is not installed: {INSTALL}")
    try:
        loaded: Callable[..., Any] = found["drain"].load()
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"drain() cannot import {SERVER} ({error}): a module of the service may have the name"
            " of one of its own: api_client, config, gateway, launcher, simulator, webhooks or"
            " worker"
        ) from error
    return cast(Drain, loaded)
