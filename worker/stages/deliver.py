"""Webhooks of runs that are over: pending → delivered | abandoned | unknown.

Each is sent by us (`relay.py`) or by Skyvern (`watcher.py`). One receiver gets a part of the
capacity that others leave, which the claim sees to: one that hangs must not keep another's webhooks
waiting.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from redis.exceptions import RedisError

from runqueue.connection.urls import endpoint_of
from runqueue.records.claim_items import Taken
from runqueue.records.delivery import Delivered, DueDelivery
from runqueue.records.retention import SURELY_RETAINED_SECONDS
from runqueue.store import codec, delivery_calls
from runqueue.tracing import Origin, continuing, working
from worker.delivery.relay import Relay, result_of, target_of
from worker.delivery.watcher import WebhookWatcher
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.stages.consumer import Consumer

log = structlog.get_logger()

#: Seconds after which a webhook that nobody recorded comes again. A try takes less, even one that
#: Skyvern takes 75 s for; where permits are scarce it may be made twice, under the same id.
LEASE_SECONDS = 120.0
#: Seconds that a webhook may wait for besides its schedule: Skyvern's own tries, a worker's death.
EXTRA_SECONDS = 600.0
#: Seconds after which one that was cut off comes again.
SOON_SECONDS = 2.0


class _Due(NamedTuple):
    """A webhook, the server's time of its claim, and the monotonic clock then."""

    item: DueDelivery
    now_us: int
    claimed: float

    @property
    def age(self) -> float:
        """Seconds since the run was seen to be over."""
        return (self.now_us - self.item.ended_us) / 1e6 + time.monotonic() - self.claimed


class WebhookConsumer(Consumer[_Due]):
    """Claims webhooks that are due, and sends them or has them sent."""

    stage = "webhooks"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, capacity)
        self._relay = Relay(account)
        self._watch = WebhookWatcher(account)
        #: Webhooks under way, by the endpoint they go to.
        self._open: Counter[str] = Counter()
        span = sum(account.worker_settings.webhook_retry_seconds) * 1.1 + EXTRA_SECONDS
        self._span_us = int(span * 1e6)

    async def take(self, limit: int, tick_us: int) -> Taken[_Due]:
        """Claim webhooks that are due."""
        taken = await self.claim(
            delivery_calls.delivery_claim,
            limit,
            tick_us,
            stay_idle=self.stays_idle(),
            lease_us=int(LEASE_SECONDS * 1e6),
            span_us=self._span_us,
            busy=self._open,
        )
        now = time.monotonic()
        self._open.update(map(_receiver, taken.items))
        return taken.with_items([_Due(item, taken.now_us, now) for item in taken.items])

    def about(self, item: _Due) -> dict[str, Any]:
        """Return the run's id, its job's with the attempt, and the receiver."""
        due = item.item
        ids = {"job_id": due.job_id, "attempt": due.attempt, "run_id": due.run_id}
        return {**ids, "receiver": _receiver(due)}

    async def handle(self, item: _Due) -> Sequence[Write]:
        """Deliver one webhook, or see what became of it."""
        due = item.item
        receiver = _receiver(due)
        try:
            result = await self._result(item)
        finally:
            self._open[receiver] -= 1
            if not self._open[receiver]:
                del self._open[receiver]
        if result.verdict == "again" and item.age + result.wait_us / 1e6 > SURELY_RETAINED_SECONDS:
            result = result._replace(verdict="abandoned")
        if result.verdict == "abandoned" or (result.was_tried and result.verdict != "delivered"):
            details = {"verdict": result.verdict, "status": result.status, "why": result.error}
            self.warn(item, "webhook_not_delivered", **details)
        return [(self.account.writers.deliveries, result)]

    async def _result(self, due: _Due) -> Delivered:
        item = due.item
        try:
            return await self._deliver(due)
        except ValueError:
            return result_of(item, "abandoned", error="the stored request cannot be read")
        except asyncio.CancelledError:
            # A receiver that has it all the same knows it by its id.
            return _soon(item, "the worker was stopped")
        except RedisError as error:
            return _soon(item, f"Redis: {type(error).__name__}")

    async def _deliver(self, due: _Due) -> Delivered:
        """Deliver a webhook, or check whether Skyvern did, as a step of its job's trace."""
        item, trace = due.item, codec.traceparent(due.item.envelope)
        origin = Origin(self.account.name, item.job_id, item.attempt, trace)
        with continuing(trace), working("deliver", "CLIENT", origin) as step:
            result = await self._deliver_now(due)
            step.set_attributes(
                runqueue__verdict=result.verdict,
                runqueue__webhook_route=item.webhook_route,
                server__address=urlsplit(result.endpoint).hostname,
                http__response__status_code=result.status,
            )
            if result.was_tried and result.verdict != "delivered":
                step.fail(result.verdict)
            return result

    async def _deliver_now(self, due: _Due) -> Delivered:
        item = due.item
        if item.webhook_route != "watch":
            return await self._relay.deliver(item)
        seen = await self._watch.check(item, due.age)
        if seen is not None:
            return seen
        return await self._watch.drive(item, is_paid=bool(item.tries or item.forced))


def _receiver(item: DueDelivery) -> str:
    """Return the endpoint that a webhook goes to; '' = its request cannot be read."""
    try:
        return endpoint_of(target_of(item))
    except ValueError:
        return ""


def _soon(item: DueDelivery, why: str) -> Delivered:
    """Have a webhook claimed again in a moment, not all at once."""
    return result_of(item, "again", wait=SOON_SECONDS * (1 + random.random()), error=why)
