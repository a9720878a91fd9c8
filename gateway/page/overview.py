"""The live page: each account at `/`, and its changes at `/live`."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Final

import orjson
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from gateway.http.streaming import Streamed, first_of
from gateway.page.rates import rates
from gateway.page.render import HEADERS, page, render
from gateway.page.viewer import Viewer, viewer_of
from gateway.state.sampler import Feed, Sample, Snapshot
from gateway.state.sessions import Session
from gateway.state.state import GatewayState, state_of
from runqueue.errors import RunQueueError
from runqueue.operator.pausing import seen_of
from runqueue.records.batch import Batch
from runqueue.records.health import health_of
from runqueue.records.job import JobState
from runqueue.records.limits import RANGES
from runqueue.request.job_spec import Priority

#: Seconds without a sample after which the page shows that it is out of date.
STALE: Final = 5.0
#: Seconds after which an open page notices that its session was ended.
SESSION_CHECK_SECONDS: Final = 5.0
#: Parts of the page that change by themselves: each is a template of its own.
REGIONS: Final = (
    "health",
    "figures",
    "queue",
    "limits",
    "lines",
    "batches",
    "workers",
    "needing",
    "audit",
)
#: Stands in parts for the form token of each recipient.
_FORM_TOKEN: Final = secrets.token_hex()
#: States of open jobs, and those of ended ones, in the order of the table.
OPEN: Final = ("scheduled", "ready", "submitting", "unconfirmed", "running")
OVER: Final = ("completed", "failed", "canceled", "dead")


async def overview(request: Request) -> Response:
    """Show an account."""
    viewer = await viewer_of(request)
    account = await viewer.tenant_scope.account(request.query_params.get("account", ""))
    feed = state_of(request).feed
    done = request.query_params.get("done", "")
    found = await feed.snapshot(account, fresh=bool(done))
    values = shown(viewer, feed, account, found)
    entry = next((one for one in found.audit if one.id == done), None)
    values |= {"accounts": await viewer.queue.accounts(), "done": entry}
    return page(request, "overview.html", viewer, values)


def shown(viewer: Viewer, feed: Feed, account: str, found: Snapshot) -> dict[str, Any]:
    """Return the values of the parts of the page."""
    history = feed.history(account)
    stats = found.stats
    pace = rates(stats, history)
    return {
        "viewer": viewer,
        "account": account,
        "found": found,
        "stats": stats,
        "health": health_of(stats, pace.silent_seconds),
        "rates": pace,
        "seen": seen_of(stats),
        "sparks": _sparks(history),
        "now": datetime.now(UTC),
        "history_seconds": history[-1].at - history[0].at if history else 0,
        "failed_lately": max(0, history[-1].failed - history[0].failed) if history else 0,
        "ended_lately": history[-1].ended - history[0].ended if history else 0,
        "rows": _rows(found),
        "open_states": OPEN,
        "over_states": OVER,
        "priorities": [priority.name.lower() for priority in Priority],
        "limits": RANGES,
        "batch_bars": [bar(batch) for batch in found.batches],
    }


def _sparks(history: Sequence[Sample]) -> dict[str, list[float]]:
    """Return the points of each sparkline."""
    steps = [(later.at - before.at, before, later) for before, later in pairwise(history)]
    return {
        "ready": [one.ready for one in history],
        "live": [one.live for one in history],
        "unconfirmed": [one.unconfirmed for one in history],
        "dead": [one.dead for one in history],
        "failed": [60 * max(0, b.failed - a.failed) / t for t, a, b in steps],
        "submitted": [60 * max(0, b.accepted - a.accepted) / t for t, a, b in steps],
        "ended": [60 * max(0, b.ended - a.ended) / t for t, a, b in steps],
    }


def _rows(found: Snapshot) -> list[tuple[str, list[int]]]:
    """Return the number of jobs of each state and priority."""
    by_priority = found.stats.by_priority
    return [
        (state.value, [by_priority[state][priority] for priority in Priority])
        for state in (JobState(name) for name in (*OPEN, *OVER))
    ]


def bar(batch: Batch) -> dict[str, int]:
    """Return the shares of a batch's bar, of all its jobs."""
    done = sum(n for state, n in batch.states.items() if state.is_over)
    return {"done": done, "total": max(batch.total, 1)}


async def live(request: Request) -> Response:
    """Send the parts of the page that have changed, for as long as it is open."""
    viewer = await viewer_of(request)
    gate = state_of(request)
    account = await viewer.tenant_scope.account(request.query_params.get("account", ""))
    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return Streamed(_events(gate, viewer, account), headers=headers, media_type="text/event-stream")


async def _events(gate: GatewayState, viewer: Viewer, account: str) -> AsyncIterator[bytes]:
    """Yield changed parts, once a second at most, and heartbeats while nothing changes."""
    sent: dict[str, bytes] = {}
    form_token = viewer.session.form_token.encode()
    yield b"retry: 2000\n\n"
    with gate.feed.listen(account) as read:
        session_seen = time.monotonic()
        while not gate.closing.is_set() and time.time() < viewer.session.expires:
            if time.monotonic() - session_seen >= SESSION_CHECK_SECONDS:
                if not await _holds(gate, viewer.session):
                    return
                session_seen = time.monotonic()
            parts = []
            with suppress(RunQueueError, OSError, TimeoutError):
                async with asyncio.timeout(STALE):
                    found = await gate.feed.snapshot(account)
                for name, part in _parts(viewer, gate.feed, account, found).items():
                    if sent.get(name) != part:
                        sent[name] = part
                        parts.append(part.replace(_FORM_TOKEN.encode(), form_token))
                parts.append(_event("fresh", {"at": datetime.now(UTC).isoformat()}))
            yield b"".join(parts) or _event("stale", {})
            read.clear()
            await first_of(read, gate.closing, seconds=STALE)


def _parts(viewer: Viewer, feed: Feed, account: str, found: Snapshot) -> dict[str, bytes]:
    """Return the parts of the page as events, rendered once for all viewers who may do the same."""
    parts = found.parts.get(viewer.operates)
    if parts is None:
        anybody = SimpleNamespace(
            operates=viewer.operates, session=SimpleNamespace(form_token=_FORM_TOKEN)
        )
        values = {**shown(viewer, feed, account, found), "viewer": anybody}
        parts = found.parts[viewer.operates] = {
            name: _event("part", {"name": name, "html": render(f"parts/{name}.html", values)})
            for name in REGIONS
        }
    return parts


async def _holds(gate: GatewayState, session: Session) -> bool:
    """Return whether a session is valid, as far as Redis can be reached."""
    try:
        async with asyncio.timeout(STALE):
            return await gate.sessions.holds(session)
    except (RedisError, OSError, TimeoutError):
        return True


def _event(name: str, value: dict[str, str]) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps(value) + b"\n\n"
