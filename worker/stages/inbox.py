"""The inbox: lines that producers pushed to Redis become jobs, by hundreds.

A line is taken (inbox → inbox:taken), enqueued, and only then removed. A worker that dies in
between leaves it taken; after its lease it is given out again under the same number, and so with
the same key: it makes no second job.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from runqueue.producer.inbox import InboxLine, check_lines, inbox_key
from runqueue.records.claim_items import Taken
from runqueue.store.inbox_calls import INBOX, TakenLine, inbox_done, inbox_take
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.stages.consumer import Consumer

#: Lines of one step: about 5 ms of the event loop, which others need, too.
LINES = 200
#: Steps under way at once: one is checked while Redis is at work on another.
MOST_AT_ONCE = 2
#: Seconds after which a line that nobody settled is given out again.
LEASE_SECONDS = 30.0
#: Seconds after which lines that were taken are not enqueued any more: another process may have
#: them by now, and the job that one became may be over and forgotten.
USE_SECONDS = 25.0
#: Seconds before the next step after one that Redis did not take.
PAUSE_SECONDS = 1.0
#: Where lines without a custom_id get one.
NAMESPACE = INBOX


class InboxChunk(NamedTuple):
    """Lines taken together.

    Args:
        until: when, on the monotonic clock, they are not ours any more.
        at_us: the server's time.
    """

    lines: list[TakenLine]
    until: float
    at_us: int


class InboxConsumer(Consumer[InboxChunk]):
    """Takes lines of the inbox and enqueues them."""

    stage = "inbox"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, MOST_AT_ONCE))

    async def take(self, limit: int, tick_us: int) -> Taken[InboxChunk]:
        """Take the lines of one step."""
        until = time.monotonic() + USE_SECONDS
        taken = await self.claim(
            inbox_take,
            LINES if limit else 0,
            tick_us,
            stay_idle=self.busy > 0 or self.stays_idle(),
            lease_us=int(LEASE_SECONDS * 1e6),
        )
        lines = list(taken.items)
        return taken.with_items([InboxChunk(lines, until, taken.now_us)] if lines else [])

    async def handle(self, item: InboxChunk) -> Sequence[Write]:
        """Enqueue a step's lines, and remove them."""
        try:
            await self._settle(item)
        except RedisError as error:
            # The lines are given out again when their lease is over.
            count = len(item.lines)
            self.account.log.warning("lines_left", lines=count, error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
        return ()

    async def _settle(self, step: InboxChunk) -> None:
        name = self.account.name
        checked = check_lines(
            [InboxLine(line, inbox_key(name, number, line)) for number, line in step.lines],
            NAMESPACE,
            [name],
            default=name,
            other_account=f"this is the inbox of {name!r}, and not of",
        )
        for packet in checked.packets:
            if time.monotonic() > step.until:
                self.account.log.warning("lines_late", lines=len(step.lines))
                return
            checked.learn(packet, await self.account.send(packet.call(None)))
        settled = [
            (number, checked.kept(n, step.at_us) if n in checked.refused else b"")
            for n, (number, _) in enumerate(step.lines)
        ]
        await self.account.run(inbox_done, settled)
        if checked.refused:
            self.account.log.warning("lines_refused", lines=len(checked.refused))
