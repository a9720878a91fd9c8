"""The pages that list: jobs of a state, batches, groups, webhooks, and what people did."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.page.overview import OPEN, OVER, bar
from gateway.page.render import page
from gateway.page.viewer import Viewer, listing
from gateway.state.sampler import first_jobs
from runqueue.operator.rejected_lines import RefusedLine
from runqueue.producer.listing import Filter, wanted
from runqueue.records.delivery import DeliveryState
from runqueue.store import job_calls
from runqueue.store.inbox_calls import newest_refused

#: Rows of a page.
ROWS: Final = 100
#: Groups of a page: each has a form.
GROUPS: Final = 200
#: Refused lines of a page, and bytes of them: one may hold megabytes.
REFUSED: Final = 50
_REFUSED_BYTES: Final = 1024 * 1024
#: Webhooks that are listed.
_SHOWN: Final = (DeliveryState.GAVE_UP, DeliveryState.UNKNOWN, DeliveryState.PENDING)


@listing
async def jobs(request: Request, viewer: Viewer) -> Response:
    """List jobs by state, group and words of the reason; bounded work, so a page may be short."""
    query = request.query_params
    account = await viewer.account(query.get("account", ""))
    state, group = query.get("state", ""), query.get("group", "").strip()
    reason = query.get("reason", "").strip()
    which = wanted(state or None, group or None, None, reason=reason or None)
    found = await first_jobs(viewer.queue, ROWS, which, account, query.get("cursor", ""))
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "state": state,
        "group": group,
        "reason": reason,
        "states": (*OPEN, *OVER),
        "jobs": found.jobs,
        "unread": found.unread,
        "cursor": found.cursor,
        "done": await viewer.done(account, query.get("done", "")),
    }
    return page(request, "jobs.html", viewer, values)


@listing
async def batches(request: Request, viewer: Viewer) -> Response:
    """List the batches, the newest first."""
    account = await viewer.account(request.query_params.get("account", ""))
    cursor = request.query_params.get("cursor", "")
    found = await viewer.queue.list_batches(account, cursor=cursor, limit=ROWS, sound_only=True)
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "batches": found.batches,
        "bars": [bar(batch) for batch in found.batches],
        "unread": found.unread,
        "cursor": found.cursor,
        "done": await viewer.done(account, request.query_params.get("done", "")),
    }
    return page(request, "batches.html", viewer, values)


@listing
async def groups(request: Request, viewer: Viewer) -> Response:
    """List the longest lines of a thousand groups, those that are paused first."""
    account = await viewer.account(request.query_params.get("account", ""))
    count, lines = await viewer.queue.longest_lines(account, GROUPS)
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "count": count,
        "lines": lines,
        "done": await viewer.done(account, request.query_params.get("done", "")),
    }
    return page(request, "groups.html", viewer, values)


@listing
async def webhooks(request: Request, viewer: Viewer) -> Response:
    """List the jobs whose webhook did not arrive, or may not have."""
    query = request.query_params
    account = await viewer.account(query.get("account", ""))
    state = DeliveryState(query["state"]) if query.get("state") in _SHOWN else _SHOWN[0]
    found = await first_jobs(viewer.queue, ROWS, Filter(webhook=state), account)
    stats = await viewer.queue.send(job_calls.stats(account))
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "state": state.value,
        "jobs": found.jobs[:ROWS],
        "unread": found.unread,
        "deliveries": stats.deliveries,
        "states": _SHOWN,
    }
    return page(request, "webhooks.html", viewer, values)


@listing
async def refused(request: Request, viewer: Viewer) -> Response:
    """List the newest lines of the inbox, and of Celery messages, that were refused."""
    account = await viewer.account(request.query_params.get("account", ""))
    total, newest = await viewer.queue.send(newest_refused(account, REFUSED, _REFUSED_BYTES))
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "total": total,
        "lines": [RefusedLine.read(account, stored) for stored in newest],
    }
    return page(request, "refused.html", viewer, values)


@listing
async def audit(request: Request, viewer: Viewer) -> Response:
    """List what people did, the newest first."""
    account = await viewer.account(request.query_params.get("account", ""))
    before = request.query_params.get("before", "")
    notes = await viewer.queue.audit(account, before=before, limit=ROWS)
    values = {
        "account": account,
        "accounts": await viewer.known(),
        "notes": notes,
        "before": notes[-1].id if len(notes) == ROWS else "",
    }
    return page(request, "audit.html", viewer, values)
