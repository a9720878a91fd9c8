"""Webhooks of runs that are over: pending → delivered | gave_up | unknown.

Each is sent by us (`sender.py`) or by Skyvern (`watcher.py`). One receiver gets a part of the
places that others leave, which the claim sees to: one that hangs must not keep another's webhooks
waiting.
"""

import asyncio
import random
import time
from collections import Counter
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog
from redis.exceptions import RedisError

from runqueue.connection.endpoints import endpoint_of
from runqueue.records.claim_items import Taken
from runqueue.records.delivery_items import Delivered, DueDelivery
from runqueue.store import codec, delivery_calls
from runqueue.tracing import Origin, continuing, working
from worker.delivery.sender import Relay, target_of
from worker.delivery.watcher import WebhookWatcher
from worker.process.account import AccountLink
from worker.stages.consumer import Pump

log = structlog.get_logger()

#: Seconds after which a webhook that nobody recorded comes again. A try takes less, even one that
#: Skyvern takes 75 s for; where permits are scarce it may be made twice, under the same id.
LEASE_SECONDS = 120.0
#: Seconds that a webhook may wait for besides its schedule: Skyvern's own tries, a worker's death.
EXTRA_SECONDS = 600.0
#: Seconds that a webhook's record stays after its end, less a day: no try is put off beyond that.
KEPT_SECONDS = 6 * 86_400.0
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


class WebhookPump(Pump):
    """Claims webhooks that are due, and sends them or has them sent."""

    kind = "webhooks"

    def __init__(self, account: AccountLink, places: int) -> None:
        super().__init__(account, places)
        self._relay = Relay(account)
        self._watch = WebhookWatcher(account)
        #: Webhooks under way, by the endpoint they go to.
        self._open: Counter[str] = Counter()
        span = sum(account.webhook_schedule) * 1.1 + EXTRA_SECONDS
        self._span_us = int(span * 1e6)

    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim webhooks that are due."""
        account = self.account
        taken = await account.send(
            delivery_calls.delivery_claim(
                account.name,
                account.lease.name,
                want,
                tick_us,
                linger=self.lingers(),
                lease_us=int(LEASE_SECONDS * 1e6),
                span_us=self._span_us,
                busy=self._open,
            )
        )
        now = time.monotonic()
        self._open.update(map(_receiver, taken.items))
        return taken._replace(items=[_Due(item, taken.now_us, now) for item in taken.items])

    async def handle(self, due: _Due) -> None:
        """Deliver one webhook, or see what became of it."""
        item = due.item
        receiver = _receiver(item)
        try:
            result = await self._result(due)
        finally:
            self._open[receiver] -= 1
            if not self._open[receiver]:
                del self._open[receiver]
        if result.verdict == "again" and due.age + result.wait_us / 1e6 > KEPT_SECONDS:
            result = result._replace(verdict="gave_up")
        self._tell(item, receiver, result)
        # By these it is seen that a repeated call, or one that is late, brings no news.
        result = result._replace(tries=item.tries, looks=item.looks)
        self.account.deliveries.put(result, self.free_place)

    async def _result(self, due: _Due) -> Delivered:
        item = due.item
        try:
            return await self._deliver(due)
        except ValueError:
            return _ended(item, "the stored request cannot be read")
        except asyncio.CancelledError:
            # A receiver that has it all the same knows it by its id.
            return _soon(item, "the worker was stopped")
        except RedisError as error:
            return _soon(item, f"Redis: {type(error).__name__}")

    async def _deliver(self, due: _Due) -> Delivered:
        """Deliver a webhook, or look at it, as a step of its job's trace."""
        item, trace = due.item, codec.traceparent(due.item.envelope)
        origin = Origin(self.account.name, item.job_id, item.attempt, trace)
        with continuing(trace), working("deliver", "CLIENT", origin) as told:
            result = await self._deliver_now(due)
            told.tell(
                runqueue__verdict=result.verdict,
                runqueue__via=item.via,
                server__address=urlsplit(result.endpoint).hostname,
                http__response__status_code=result.status,
            )
            if result.was_tried and result.verdict != "delivered":
                told.fail(result.verdict)
            return result

    async def _deliver_now(self, due: _Due) -> Delivered:
        item = due.item
        if item.via != "watch":
            return await self._relay.deliver(item)
        seen = await self._watch.look(item, due.age)
        if seen is not None:
            return seen
        return await self._watch.drive(item, is_paid=bool(item.tries or item.forced))

    def _tell(self, item: DueDelivery, receiver: str, result: Delivered) -> None:
        if result.verdict != "delivered" and (result.was_tried or result.verdict == "gave_up"):
            log.warning(
                "webhook_not_delivered",
                account=self.account.name,
                job_id=result.job_id,
                attempt=result.attempt,
                run_id=item.run_id,
                receiver=receiver,
                verdict=result.verdict,
                status=result.status,
                why=result.error,
            )


def _receiver(item: DueDelivery) -> str:
    """Return the endpoint that a webhook goes to; '' = its request cannot be read."""
    try:
        return endpoint_of(target_of(item))
    except ValueError:
        return ""


def _soon(item: DueDelivery, why: str) -> Delivered:
    """Have a webhook claimed again in a moment, not all at once."""
    wait = SOON_SECONDS * (1 + random.random())
    return Delivered(
        item.job_id, item.attempt, "again", was_tried=False, error=why, wait_us=int(wait * 1e6)
    )


def _ended(item: DueDelivery, why: str) -> Delivered:
    return Delivered(item.job_id, item.attempt, "gave_up", was_tried=False, error=why)
