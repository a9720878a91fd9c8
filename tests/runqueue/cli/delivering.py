"""Jobs that are over and whose webhooks stand somewhere, brought there as the worker would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from api_client.elapsed import elapsed_us
from runqueue.records import claim_items
from runqueue.records.delivery import Delivered, Reported
from runqueue.store import delivery_calls, worker_calls
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, line, ready

PREFIX = "runqueue:{default}:"
URL = "https://user.test/hook"
_MINUTE_US = 60_000_000


def told(key: str, **options: Any) -> dict[str, Any]:
    """A good line whose request names a webhook URL."""
    row = line(key, **options)
    row["body"]["webhook_url"] = URL
    return row


def taken(desk: Desk, *rows: dict[str, Any], receives: bool = True) -> list[claim_items.Claimed]:
    """Hand in jobs and claim them, as a worker whose receiver is reached or not."""
    ids = ready(desk, *rows)
    desk.client.incr("test:claims")
    run(
        desk.client,
        worker_calls.heartbeat("default", "test", _MINUTE_US, -1, elapsed_us(), first=True),
    )
    found: dict[str, claim_items.Claimed] = {}
    while len(found) < len(ids):
        claim_id = f"delivering-{desk.client.incr('test:claims')}"
        call = worker_calls.claim("default", "test", claim_id, 500, 0, receives=receives)
        found.update({job.job_id: job for job in run(desk.client, call).items})
    return [found[job_id] for job_id in ids]


def relayed(desk: Desk, *rows: dict[str, Any]) -> list[str]:
    """Jobs whose end a webhook told: where the user is to be told, it is pending."""
    jobs = taken(desk, *rows)
    ends = [
        Reported(
            j.job_id, j.attempt, f"r-{j.job_id}", "completed", "completed", "s 1", False, b"{}"
        )
        for j in jobs
    ]
    run(desk.client, delivery_calls.record_webhook("default", ends))
    return [job.job_id for job in jobs]


def watched(desk: Desk, *rows: dict[str, Any]) -> list[str]:
    """Jobs whose webhook Skyvern sends: whether it arrives is pending."""
    jobs = taken(desk, *rows, receives=False)
    desk.end(jobs)
    return [job.job_id for job in jobs]


def settle(
    desk: Desk, job_ids: Sequence[str], verdict: str, status: int | None = None, error: str = ""
) -> list[str]:
    """Record what came of the deliveries of jobs; returns the jobs."""
    tried = [Delivered(job_id, 1, verdict, True, status, error) for job_id in job_ids]
    codes = run(desk.client, delivery_calls.record_delivery("default", tried))
    assert codes == [1] * len(job_ids)
    return list(job_ids)


def abandoned(desk: Desk, *rows: dict[str, Any], error: str = "gone") -> list[str]:
    """Jobs whose receivers said no."""
    return settle(desk, relayed(desk, *rows), "abandoned", 410, error)


def unknown(desk: Desk, *rows: dict[str, Any]) -> list[str]:
    """Jobs of which Skyvern does not say whether their webhook arrived."""
    return settle(desk, watched(desk, *rows), "unknown")


def delivered(desk: Desk, *rows: dict[str, Any]) -> list[str]:
    """Jobs whose receivers took the webhook."""
    return settle(desk, relayed(desk, *rows), "delivered", 200)


def ended_at(desk: Desk, job_ids: Iterable[str], moment: datetime) -> None:
    """Have the runs of jobs ended at another time."""
    for job_id in job_ids:
        desk.client.hset(f"{PREFIX}job:{job_id}", "ended", int(moment.timestamp() * 1e6))


def stands(desk: Desk, job_id: str) -> str:
    """How the webhook of a job stands."""
    return desk.queue.get(job_id).webhook.state.value


def everywhere(desk: Desk) -> dict[str, str]:
    """A job whose webhook stands in each state, and one without; returns their ids by key."""
    made = {
        "relay": relayed(desk, told("relay")),
        "watch": watched(desk, told("watch", group="shop")),
        "gone": abandoned(desk, told("gone", group="shop")),
        "hidden": unknown(desk, told("hidden")),
        "told": delivered(desk, told("told")),
        "quiet": relayed(desk, line("quiet")),
    }
    return {key: job_id for key, (job_id,) in made.items()}


def a_moment_ago(seconds: float) -> datetime:
    """A time that lies so far back."""
    return datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds, tz=UTC)
