"""Callbacks: batches that are over, or far enough, are reported to the URL they were opened with.

At least once: what a worker that died had taken comes again when its lease is over, under the same
`webhook-id`. A batch's record stays until each of its callbacks was delivered or abandoned.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from runqueue.connection.urls import endpoint_of
from runqueue.records.claim_items import Taken
from runqueue.request.time_range import from_microseconds
from runqueue.store.delivery_calls import CallbackOutcome, DueCallback, callback_claim
from webhooks.signing import webhook_headers
from worker.delivery.relay import RELAY_SECONDS, verdict, words_of
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.stages.consumer import Consumer

log = structlog.get_logger()

#: Seconds after which a callback that nobody recorded comes again; a try takes less.
LEASE_SECONDS = 60.0
#: Seconds after which one that was cut off comes again.
SOON_SECONDS = 2.0
#: Callbacks under way at once, fewer than the connections that one receiver gets: none waits for
#: one, and its time with it.
MOST_AT_ONCE = 20


class CallbackConsumer(Consumer[DueCallback]):
    """Claims callbacks that are due, and sends them."""

    stage = "callbacks"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, MOST_AT_ONCE))

    async def take(self, limit: int, tick_us: int) -> Taken[DueCallback]:
        """Claim callbacks that are due."""
        lease_us = int(LEASE_SECONDS * 1e6)
        return await self.claim(
            callback_claim, limit, tick_us, stay_idle=self.stays_idle(), lease_us=lease_us
        )

    def about(self, item: DueCallback) -> dict[str, Any]:
        """Return the batch's id, what happened to it, and the receiver."""
        receiver = endpoint_of(item.url)
        return {"batch": item.batch.id, "happened": item.what, "receiver": receiver}

    async def handle(self, item: DueCallback) -> Sequence[Write]:
        """Send one callback."""
        try:
            return await self._sent(item)
        except asyncio.CancelledError:
            # A receiver that has it all the same knows it by its id.
            wait = SOON_SECONDS * (1 + random.random())
            cut = _outcome(item, "again", "the worker was stopped", wait, was_tried=False)
            return [(self.account.writers.callbacks, cut)]

    async def _sent(self, due: DueCallback) -> Sequence[Write]:
        account, body = self.account, body_of(due)
        headers = webhook_headers(
            body,
            webhook_id=due.name,
            key=account.settings.keys[0],
            secrets=account.settings.signing_secrets,
        )
        posted = await account.outbound.post(due.url, body, headers, RELAY_SECONDS)
        said, wait = verdict(
            due.tries, posted, account.worker_settings.webhook_retry_seconds, random.random()
        )
        why = words_of(posted)
        if said != "delivered":
            details = {"verdict": said, "status": posted.status, "why": why}
            self.warn(due, "callback_not_delivered", **details)
        return [(account.writers.callbacks, _outcome(due, said, why, wait))]


def body_of(due: DueCallback) -> bytes:
    """Return what is sent: what happened, when, and how the batch stands now."""
    share = {} if due.share is None else {"share": due.share}
    at = from_microseconds(due.at_us)
    return orjson.dumps(
        {
            "type": f"batch.{due.what}",
            "timestamp": at.isoformat(),
            **share,
            "data": due.batch.as_dict(),
        }
    )


def _outcome(
    due: DueCallback, said: str, error: str, wait: float, *, was_tried: bool = True
) -> CallbackOutcome:
    wait_us = int(wait * 1e6)
    return CallbackOutcome(due.batch.id, due.event, due.tries, said, was_tried, error, wait_us)
