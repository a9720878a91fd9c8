"""The lists: jobs of a state, batches, groups, webhooks, refused lines, and the audit."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from gateway.page.overview import OPEN, OVER, bar
from gateway.page.render import page
from gateway.page.viewer import Viewer, list_page
from gateway.state.sampler import first_jobs, longest_first
from runqueue.operator.refused_lines import refused_line
from runqueue.producer.listing import Filter
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
_SHOWN: Final = (DeliveryState.ABANDONED, DeliveryState.UNKNOWN, DeliveryState.PENDING)


#: The values of a list: of a viewer, an account and a query.
_Values = Callable[[Viewer, str, QueryParams], Awaitable[dict[str, Any]]]


def _of_account(template: str) -> Callable[[_Values], Callable[[Request], Awaitable[Response]]]:
    """Return the view of a list of one account, which the query names."""

    def made(values_of: _Values) -> Callable[[Request], Awaitable[Response]]:
        @list_page
        async def answer(request: Request, viewer: Viewer) -> Response:
            query = request.query_params
            account = await viewer.tenant_scope.account(query.get("account", ""))
            values = {
                "account": account,
                "accounts": await viewer.queue.accounts(),
                "done": await viewer.done(account, query.get("done", "")),
                **await values_of(viewer, account, query),
            }
            return page(request, template, viewer, values)

        return answer

    return made


@_of_account("jobs.html")
async def jobs(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List jobs by state, group and words of the reason; reads are bounded, so pages vary."""
    state, group = query.get("state", ""), query.get("group", "").strip()
    reason = query.get("reason", "").strip()
    is_paused = query.get("is_paused") == "true"
    which = Filter(
        group or None, reason=reason or None, state=state or None, is_paused=is_paused
    ).checked()
    found = await first_jobs(viewer.queue, ROWS, which, account, query.get("cursor", ""))
    return {
        "state": state,
        "group": group,
        "reason": reason,
        "is_paused": is_paused,
        "states": (*OPEN, *OVER),
        "jobs": found.jobs,
        "unread": found.unread,
        "cursor": found.cursor,
    }


@_of_account("batches.html")
async def batches(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List the batches, the newest first."""
    cursor = query.get("cursor", "")
    found = await viewer.queue.list_batches(account, cursor=cursor, limit=ROWS)
    return {
        "batches": found.batches,
        "bars": [bar(batch) for batch in found.batches],
        "unread": found.unread,
        "cursor": found.cursor,
    }


@_of_account("groups.html")
async def groups(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the groups with the most ready jobs, those that are paused first."""
    found = longest_first(await viewer.queue.groups(account))
    return {"count": len(found), "groups": found[:GROUPS]}


@_of_account("keys.html")
async def keys(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the keys that have limits, and those that jobs wait for."""
    return {"keys": await viewer.queue.list_keys(account)}


@_of_account("budgets.html")
async def budgets(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the budgets, and what of them is spent and committed."""
    return {"budgets": await viewer.queue.list_budgets(account)}


@_of_account("webhooks.html")
async def webhooks(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List the jobs whose webhook did not arrive, or may not have."""
    state = DeliveryState(query["state"]) if query.get("state") in _SHOWN else _SHOWN[0]
    found = await first_jobs(viewer.queue, ROWS, Filter(webhook=state), account)
    stats = await viewer.queue.send(job_calls.stats(account))
    return {
        "state": state.value,
        "jobs": found.jobs[:ROWS],
        "unread": found.unread,
        "deliveries": stats.deliveries,
        "states": _SHOWN,
    }


@_of_account("refused.html")
async def refused(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the newest lines of the inbox, and of Celery messages, that were refused."""
    total, newest = await viewer.queue.send(newest_refused(account, REFUSED, _REFUSED_BYTES))
    return {"total": total, "lines": [refused_line(account, stored) for stored in newest]}


@_of_account("audit.html")
async def audit(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List the users' actions, the newest first."""
    before = query.get("before", "")
    entries = await viewer.queue.audit(account, before=before, limit=ROWS)
    return {
        "entries": entries,
        "before": entries[-1].id if len(entries) == ROWS else "",
    }
