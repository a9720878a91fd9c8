"""Callbacks: batches that are over, or far enough, tell the URL that they were opened with.

At least once: what a worker that died had taken comes again when its lease is over, under the same
`webhook-id`. A batch's record stays until each of its callbacks was delivered or given up.
"""

import asyncio
import random
from datetime import UTC, datetime

import orjson
import structlog

from runqueue.connection.endpoints import endpoint_of
from runqueue.records.claim_items import Taken
from runqueue.store.callback_calls import CallbackOutcome, DueCallback, callback_claim
from webhooks.sender import Posted
from webhooks.signing import webhook_headers
from worker.delivery.sender import RELAY_SECONDS, verdict, words_of
from worker.process.account import AccountLink
from worker.stages.consumer import Pump

log = structlog.get_logger()

#: Seconds after which a callback that nobody recorded comes again; a try takes less.
LEASE_SECONDS = 60.0
#: Seconds after which one that was cut off comes again.
SOON_SECONDS = 2.0
#: Callbacks under way at once, fewer than the connections that one receiver gets: none waits for
#: one, and its time with it.
MOST_AT_ONCE = 20


class CallbackPump(Pump):
    """Claims callbacks that are due, and sends them."""

    kind = "callbacks"

    def __init__(self, account: AccountLink, places: int) -> None:
        super().__init__(account, min(places, MOST_AT_ONCE))

    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim callbacks that are due."""
        account = self.account
        lease_us = int(LEASE_SECONDS * 1e6)
        return await account.send(
            callback_claim(
                account.name,
                account.lease.name,
                want,
                tick_us,
                linger=self.lingers(),
                lease_us=lease_us,
            )
        )

    async def handle(self, due: DueCallback) -> None:
        """Send one callback, and have recorded what came of it."""
        try:
            told = await self._told(due)
        except asyncio.CancelledError:
            # A receiver that has it all the same knows it by its id.
            wait = SOON_SECONDS * (1 + random.random())
            told = _made(due, "again", "the worker was stopped", wait, was_tried=False)
        self.account.callbacks.put(told, self.free_place)

    async def _told(self, due: DueCallback) -> CallbackOutcome:
        account, body = self.account, body_of(due)
        headers = webhook_headers(
            body,
            webhook_id=due.name,
            key=account.settings.keys[0],
            secrets=account.webhook_secrets,
        )
        posted = await account.outbound.post(due.url, body, headers, RELAY_SECONDS)
        said, wait = verdict(due.tries, posted, account.webhook_schedule, random.random())
        if said != "delivered":
            self._warn(due, said, posted)
        return _made(due, said, words_of(posted), wait)

    def _warn(self, due: DueCallback, said: str, posted: Posted) -> None:
        log.warning(
            "callback_not_delivered",
            account=self.account.name,
            batch=due.batch.id,
            happened=due.what,
            receiver=endpoint_of(due.url),
            verdict=said,
            status=posted.status,
            why=words_of(posted),
        )


def body_of(due: DueCallback) -> bytes:
    """Return what is sent: what happened, when, and how the batch stands now."""
    share = {} if due.share is None else {"share": due.share}
    at = datetime.fromtimestamp(due.at_us / 1e6, tz=UTC)
    return orjson.dumps(
        {
            "type": f"batch.{due.what}",
            "timestamp": at.isoformat(),
            **share,
            "data": due.batch.as_dict(),
        }
    )


def _made(
    due: DueCallback, said: str, error: str, wait: float, *, was_tried: bool = True
) -> CallbackOutcome:
    wait_us = int(wait * 1e6)
    return CallbackOutcome(due.batch.id, due.event, due.tries, said, was_tried, error, wait_us)
