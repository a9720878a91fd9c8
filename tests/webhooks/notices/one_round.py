"""A process that tells of an account once, and is killed before it records what it sent."""

import asyncio
import sys
from typing import Any

import redis

from runqueue.store.scripts import ScriptCall
from tests.notices.telling import Teller
from tests.runqueue.lua.clockwork import Clockwork


class StandsStill(Teller):
    """Records nothing that was sent."""

    async def _send(self, call: ScriptCall[Any]) -> Any:
        if call.script.name == "notices_record" and any("sent:" in str(a) for a in call.arguments):
            print("sent", flush=True)
            await asyncio.sleep(3600)
        return await super()._send(call)


async def main(url: str, now_us: str, urls: str) -> None:
    """Look once."""
    clock = Clockwork(redis.Redis.from_url(url))
    clock.now = int(now_us)
    await StandsStill(clock, urls).round()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
