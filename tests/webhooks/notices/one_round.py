"""A process that sends notifications, and is killed before it records what it sent."""

import asyncio
import sys
from typing import Any

import redis

from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import Clockwork
from tests.webhooks.notices.telling import Teller, records


class StandsStill(Teller):
    """Records nothing that was sent."""

    async def _send(self, call: ScriptCall[Any]) -> Any:
        if records(call):
            print("sent", flush=True)
            await asyncio.sleep(3600)
        return await super()._send(call)


async def main(url: str, now_us: str, urls: str) -> None:
    """Look for long enough."""
    clock = Clockwork(redis.Redis.from_url(url))
    clock.now = int(now_us)
    await StandsStill(clock, urls).rounds(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
