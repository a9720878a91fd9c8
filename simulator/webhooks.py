"""When a webhook is due: one timer for all runs, whose ends are known in advance."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter
from dataclasses import asdict

import orjson

from simulator.delivery import DeliveryAttempt, WebhookSender
from simulator.faults import Switchboard
from simulator.model.releases import Release
from simulator.model.runs import Run
from simulator.model.store import Clock, Store
from simulator.records import webhook_content
from simulator.replies import Json

#: The route name of webhooks in fault rules.
WEBHOOK_ROUTE = "webhook"


class Webhooks:
    """Report the end of every run that has a webhook URL.

    Args:
        sender: sends them.
        clock: unix seconds.
        faults: may drop, delay or double one.
        store: starts waiting runs, whose ends are not known before.
        imitated: the release that is imitated.
    """

    def __init__(
        self,
        sender: WebhookSender,
        clock: Clock,
        faults: Switchboard,
        store: Store,
        imitated: Release,
    ) -> None:
        self._imitated = imitated
        self.counts: Counter[str] = Counter()
        self._sender = sender
        self._clock = clock
        self._faults = faults
        self._store = store
        self._due: list[tuple[float, int, Run]] = []
        self._order = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._deliveries: set[asyncio.Task[None]] = set()

    def schedule(self, run: Run) -> None:
        """Report a run when it is over; a cancel schedules it anew."""
        if run.submission.webhook_url is not None and math.isfinite(run.ended):
            self._order += 1
            heapq.heappush(self._due, (run.cleaned_up, self._order, run))
        self.arm()

    def arm(self) -> None:
        """Set the timer for the next end, unless it is set for that or sooner."""
        following = min(self._due[0][0] if self._due else math.inf, self._store.next_start())
        if following >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, following - self._clock())
        self._timer_at = following
        self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    async def report(self, run: Run) -> DeliveryAttempt | None:
        """Deliver a run's webhook with all tries; None if a fault dropped it."""
        if run.submission.webhook_url is None:
            return None
        body = self._body(run)
        fault = self._faults.hit("POST", WEBHOOK_ROUTE, body)
        if fault is not None:
            await asyncio.sleep(fault.latency)
            if fault.drop:
                self.counts["dropped"] += 1
                return None
            if fault.duplicate:
                self.counts["duplicated"] += 1
                await self._sender.deliver(run.submission.webhook_url, body, run.api_key)
        attempt = await self._sender.deliver(run.submission.webhook_url, body, run.api_key)
        # A failure reason stays: a later success does not clear it.
        run.webhook_failure_reason = run.webhook_failure_reason or attempt.failure
        if attempt.status_code is None:
            run.lose_end(self._imitated)
        self.counts["delivered" if attempt.arrived else "abandoned"] += 1
        return attempt

    async def replay(self, run: Run, url: str) -> Json:
        """Try once, now, and return the result.

        Args:
            url: the receiver, not always the run's own.
        """
        body = self._body(run, replay=True)
        attempt = await self._sender.send(url, body, run.api_key)
        self.counts["replayed"] += 1
        return {
            "run_id": run.run_id,
            "run_type": run.submission.run_type,
            "default_webhook_url": run.submission.webhook_url,
            "target_webhook_url": url,
            "payload": body.decode(),
            **asdict(attempt),
        }

    async def close(self) -> None:
        """Drop webhooks that are due and stop those under way."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf
        deliveries = list(self._deliveries)
        for task in deliveries:
            task.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)

    def _body(self, run: Run, *, replay: bool = False) -> bytes:
        content = webhook_content(run, self._clock(), replay=replay)
        return orjson.dumps(self._imitated.shown(content))

    def _ring(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._store.advance()
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            at, _, run = heapq.heappop(self._due)
            # An entry whose time is no longer the run's was overtaken by a cancel.
            if run.cleaned_up == at:
                task = asyncio.create_task(self._deliver(run))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)
        self.arm()

    async def _deliver(self, run: Run) -> None:
        await self.report(run)
