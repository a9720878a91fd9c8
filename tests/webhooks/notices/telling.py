"""Receivers of notifications, and processes that send to them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from aiohttp import web
from pydantic import SecretStr

from config.settings import Account
from runqueue.store.scripts import ScriptCall
from tests.killing import run_and_kill
from tests.runqueue.lua.clockwork import Clockwork
from webhooks.notices.notifier import NOTIFICATIONS, Notifier

#: What a URL holds that nobody may see.
SECRET = "s3cr3t-of-the-receiver"


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


def records(call: ScriptCall[Any]) -> bool:
    """Whether a call records what was sent."""
    return call.script.name == "notices" and len(call.arguments) > 4


class Teller:
    """A process that sends notifications of the clock's account.

    Args:
        clock: the account.
        urls: as `RUNQUEUE_NOTIFY_URLS` has them.
    """

    def __init__(self, clock: Clockwork, urls: str) -> None:
        self.clock = clock
        self.calls: list[ScriptCall[Any]] = []
        values = {"api_key": SecretStr("key"), "notify_urls": urls, "notify_failure_jobs": 4}
        account = Account.model_validate(values)
        self.notifier = Notifier("default", account, "https://queue.test", self._send)

    async def _send(self, call: ScriptCall[Any]) -> Any:
        self.calls.append(call)
        return self.clock.run(call)

    @property
    def under_way(self) -> list[asyncio.Task[None]]:
        """What is being sent."""
        return [*self.notifier._sending]

    async def round(self, after: float = 0.0, *, waits: bool = True) -> None:
        """Look once, and have all sent that is due.

        Args:
            after: seconds that pass before.
            waits: whether to wait for that.
        """
        self.clock.wait(after)
        await self.notifier.round()
        if waits and self.under_way:
            await asyncio.wait(self.under_way)

    async def rounds(self, seconds: float, *, waits: bool = True) -> None:
        """Look every 15 s, for so many seconds."""
        for _ in range(round(seconds / 15)):
            await self.round(15, waits=waits)


def counted(event: str, url: int, result: str) -> float:
    """How many notifications the metric has."""
    value: float = NOTIFICATIONS.labels("default", event, url, result)._value.get()
    return value


class Dying(Teller):
    """Stands still before it records what it sent."""

    async def _send(self, call: ScriptCall[Any]) -> Any:
        if records(call):
            print("sent", flush=True)
            await asyncio.sleep(3600)
        return await super()._send(call)


async def send_and_be_killed(clock: Clockwork, redis_url: str, urls: str) -> None:
    """Have a process send, and kill it by -9 before it records that."""
    await run_and_kill(__name__, [redis_url, str(clock.now), urls], "sent")


if __name__ == "__main__":
    its_clock = Clockwork(redis.Redis.from_url(sys.argv[1]))
    its_clock.now = int(sys.argv[2])
    asyncio.run(Dying(its_clock, sys.argv[3]).rounds(60))
