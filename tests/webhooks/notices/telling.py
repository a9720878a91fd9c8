"""Receivers of notifications, and processes that send to them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web
from pydantic import SecretStr

from config.settings import Account
from notices.notifier import Notifier
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import SECOND, Clockwork

#: What a URL holds that nobody may see.
SECRET = "s3cr3t-of-the-receiver"
ROOT = Path(__file__).parents[2]
Counted = tuple[str, int, bool]


@dataclass
class Receiver:
    """A server that takes what is sent to Apprise's json:// URLs.

    Args:
        url: of it.
    """

    url: str
    titles: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    status: int = 200
    #: Cleared, no answer comes.
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    #: How many came, answered or not.
    came: int = 0

    async def take(self, request: web.Request) -> web.Response:
        """Take a message."""
        told: Any = await request.json()
        self.came += 1
        await self.answers.wait()
        if self.status == 200:
            self.titles.append(told["title"].removeprefix("runqueue (default): "))
            self.bodies.append(told["message"])
        return web.Response(status=self.status)

    def taken(self) -> list[str]:
        """The titles that came since the last call."""
        titles, self.titles = self.titles, []
        return titles


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    app = web.Application()
    receiver = Receiver("")
    app.router.add_post("/{tail:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"json://{host}:{port}/{SECRET}"
    receiver.answers.set()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        await runner.cleanup()


def account(urls: str, **settings: Any) -> Account:
    """An account with these URLs."""
    few = {"notify_failure_jobs": 4}
    values = {"api_key": SecretStr("key"), "notify_urls": urls, **few, **settings}
    return Account.model_validate(values)


class Teller:
    """A process that tells of the clock's account, one round after the other.

    Args:
        clock: the account.
        urls: as `RUNQUEUE_NOTIFY_URLS` has them.
        role: of a worker, or a gateway.
    """

    def __init__(
        self,
        clock: Clockwork,
        urls: str,
        role: Literal["worker", "gateway"] = "worker",
        **settings: Any,
    ) -> None:
        self.clock = clock
        self.counted: list[Counted] = []
        self.calls: list[str] = []
        self.notifier = Notifier(
            *("default", role, account(urls, **settings)),
            public_url="https://queue.test",
            send=self._send,
            count=lambda *counted: self.counted.append(counted),
        )

    async def _send(self, call: ScriptCall[Any]) -> Any:
        self.calls.append(call.script.name)
        return self.clock.run(call)

    @property
    def under_way(self) -> Sequence[asyncio.Task[None]]:
        """What is being sent."""
        return list(self.notifier._sending.values())

    async def round(self, after: float = 0.0) -> None:
        """Look once, and have all sent that is due.

        Args:
            after: seconds that pass before.
        """
        self.clock.wait(after)
        await self.notifier.round()
        if self.under_way:
            await asyncio.wait(self.under_way)

    async def rounds(self, seconds: float) -> None:
        """Look every 15 s, for so many seconds."""
        for _ in range(round(seconds / 15)):
            await self.round(15)


@asynccontextmanager
async def dying(
    clock: Clockwork, redis_url: str, urls: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that sends, and then stands still before it records; killed by -9 at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.notices.one_round", redis_url, str(clock.now), urls),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def in_the_past(clock: Clockwork, seconds: float) -> int:
    """A time, microseconds."""
    return clock.now - round(seconds * SECOND)
