"""Jobs with webhooks, brought to the end of their runs, and what became of the webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from runqueue import TaskRunRequest
from runqueue.records.delivery import DeliveryState, Reported, WebhookDelivery, WebhookVerdict
from runqueue.store.delivery_calls import record_webhook
from simulator.delivery import signed_headers
from simulator.model.options import DEFAULT_API_KEY
from tests.simulator.simulating import receiving
from tests.worker.working import INSTANT, KEYS, Bench, working
from worker.process.metrics import REGISTRY

#: Webhooks are tried once, and retried a second later.
ONCE_MORE = (1.0,)
#: What Skyvern reports, in the tests that play our gateway.
BODY = b'{"run_id": "tsk_1",  "status": "completed", "output": {"price": "12 \xe2\x82\xac"}}'


@asynccontextmanager
async def delivering(
    client: redis.Redis,
    url: str,
    *,
    gateway: str | None = None,
    simulator: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **account: Any,
) -> AsyncIterator[Bench]:
    """Start an account's worker whose webhooks may go to this machine.

    Args:
        client, url: the queue's Redis.
        gateway: where Skyvern reaches us; None = it sends webhooks to the users itself.
        simulator, settings, account: as in `working`.
    """
    chosen = {
        "allow_private_webhook_targets": True,
        "public_url": gateway,
        "webhook_retry_seconds": ONCE_MORE,
        **(settings or {}),
    }
    options = {"webhook_retry_delays": (), **(simulator or {})}
    async with working(client, url, simulator=options, settings=chosen, **account) as bench:
        yield bench


@asynccontextmanager
async def relaying(client: redis.Redis, url: str, **options: Any) -> AsyncIterator[Bench]:
    """Start a worker beside a gateway that takes what comes and records nothing."""
    async with (
        receiving() as gateway,
        delivering(client, url, gateway=gateway.url.removesuffix("/hook"), **options) as bench,
    ):
        yield bench


async def ended(bench: Bench, webhook_url: str, *, site: str = INSTANT) -> str:
    """Bring a job to the end of its run, which a poll sees; return its id."""
    request = TaskRunRequest(
        prompt="Read it.", url=site, engine="skyvern-1.0", webhook_url=webhook_url
    )
    job_id = bench.queue.enqueue(request).job_id
    await bench.one_pass("submit")
    bench.client.zadd(f"{KEYS.prefix}poll", {job_id: bench.now_us()})
    await bench.one_pass("poll")
    assert bench.job(job_id).state == "completed"
    assert state_of(bench, job_id) is DeliveryState.PENDING
    return job_id


async def told(
    bench: Bench, webhook_url: str, body: bytes = BODY, custom_id: str | None = None
) -> str:
    """Bring a job to the end of its run, which a webhook of Skyvern's tells; return its id."""
    request = TaskRunRequest(
        prompt="Read it.", url=INSTANT, engine="skyvern-1.0", webhook_url=webhook_url
    )
    job_id = bench.queue.enqueue(request, idempotency_key=custom_id).job_id
    await bench.one_pass("submit")
    assert await _report(bench, job_id, body) is WebhookVerdict.ENDED
    return job_id


async def come_late(bench: Bench, job_id: str, body: bytes = BODY) -> None:
    """Have Skyvern's webhook come to our gateway after the end of its run was seen."""
    assert await _report(bench, job_id, body) is WebhookVerdict.DUPLICATE


async def _report(bench: Bench, job_id: str, body: bytes) -> WebhookVerdict:
    job = bench.job(job_id)
    reported = Reported(
        *(job_id, job.attempts, job.run_id or "", "completed", "completed"),
        *(signature(body), True, body),
    )
    (report,) = await bench.account.send(record_webhook("default", [reported]))
    return report.verdict


def signature(body: bytes) -> str:
    """Sign as Skyvern does."""
    headers = signed_headers(body, DEFAULT_API_KEY)
    return f"{headers['x-skyvern-signature']} {headers['x-skyvern-timestamp']}"


def webhook(bench: Bench, job_id: str) -> WebhookDelivery:
    """Read how a webhook stands."""
    return bench.job(job_id).webhook


def state_of(bench: Bench, job_id: str) -> DeliveryState:
    """Read whether a webhook is pending, delivered, given up or unknown."""
    return webhook(bench, job_id).state


def due(bench: Bench, *job_ids: str) -> None:
    """Make webhooks due by hand."""
    for job_id in job_ids:
        index = "relays" if bench.score("relays", job_id) is not None else "watches"
        bench.client.zadd(f"{KEYS.prefix}{index}", {job_id: bench.now_us()})


def wait_of(bench: Bench, job_id: str) -> float:
    """Seconds until the next try of a webhook."""
    score = bench.score("relays", job_id) or bench.score("watches", job_id)
    assert score is not None
    return (score - bench.now_us()) / 1e6


def figure(name: str, **labels: str) -> float:
    """Read a metric of this process."""
    return REGISTRY.get_sample_value(name, {"account": "default", **labels}) or 0.0


async def delivered(bench: Bench, job_id: str) -> WebhookDelivery:
    """Try a webhook now, and return what became of it."""
    due(bench, job_id)
    await bench.one_pass("webhooks")
    return webhook(bench, job_id)
