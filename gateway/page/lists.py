"""The lists: jobs of a filter, batches, groups, webhooks, refused lines, and the audit."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from gateway.http.results import stream_results
from gateway.page.filters import filter_of, pairs_of
from gateway.page.overview import OPEN, OVER, bar
from gateway.page.render import HEADERS, page
from gateway.page.viewer import Viewer, list_page, viewer_of
from gateway.state.sampler import first_jobs, longest_first
from runqueue.operator.refused_lines import refused_line
from runqueue.producer.listing import ALL, Filter
from runqueue.records.delivery import DeliveryState
from runqueue.store import job_calls
from runqueue.store.inbox_calls import newest_refused

#: Rows of a page.
ROWS: Final = 100
#: Parameters of a list that are no part of its filter.
_ONCE: Final = {"account", "cursor", "done", "format"}
#: How long ago a list of jobs begins, by one click.
_PRESETS: Final = ("1h", "12h", "24h", "7d")
#: Groups of a page: each has a form.
GROUPS: Final = 200
#: Refused lines of a page, and bytes of them: one may hold megabytes.
REFUSED: Final = 50
_REFUSED_BYTES: Final = 1024 * 1024
#: Webhooks that are listed.
_SHOWN: Final = (DeliveryState.ABANDONED, DeliveryState.UNKNOWN, DeliveryState.PENDING)


#: The values of a list: of a viewer, an account and a query.
_Values = Callable[[Viewer, str, QueryParams], Awaitable[dict[str, Any]]]


def of_account(template: str) -> Callable[[_Values], Callable[[Request], Awaitable[Response]]]:
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


@of_account("jobs.html")
async def jobs(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List the jobs of a filter, which the address has; reads are bounded, so pages vary."""
    wanted, cursor = filter_of(query), query.get("cursor", "")
    found = await first_jobs(viewer.queue, ROWS, wanted, account, cursor, archived=True)
    kept = [pair for pair in query.multi_items() if pair[0] not in _ONCE and pair[1]]
    pairs = [("account", account), *kept]
    count = None
    if not cursor and not found.cursor:
        count = f"{len(found.jobs):,}"
    elif viewer.has_archive and wanted != ALL and not found.lacks_archive:
        counted = await viewer.queue.count_jobs(wanted, account=account)
        count = f"{counted.jobs:,}{'' if counted.is_exact else '+'}"
    untimed = [pair for pair in pairs if pair[0] not in {"since", "until"}]
    return {
        "wanted": wanted,
        "given": {name: query.get(name, "").strip() for name in ("since", "until")},
        "filter": urlencode(pairs),
        "fixed": urlencode([("account", account), *pairs_of(wanted)]),
        "presets": [(one, urlencode([*untimed, ("since", one)])) for one in _PRESETS],
        "any_time": urlencode(untimed),
        "has_archive": viewer.has_archive,
        "lacks_archive": found.lacks_archive,
        "has_results": not wanted.is_open and wanted.state in (None, *OVER),
        "count": count,
        "states": (*OPEN, *OVER),
        "jobs": found.jobs,
        "unread": found.unread,
        "cursor": found.cursor,
    }


async def results(request: Request) -> Response:
    """Send the results of a list's jobs that have ended, or of a batch, as a file.

    With `errors=1` those that did not go well.
    """
    viewer = await viewer_of(request)
    query, batch = request.query_params, request.path_params.get("batch_id")
    account = await viewer.tenant_scope.account("" if batch else query.get("account", ""))
    is_csv, errors = query.get("format") == "csv", query.get("errors") == "1"
    what = "errors" if errors else "results" if batch else "jobs"
    name = f"{what}-{batch or account}.{'csv' if is_csv else 'jsonl'}"
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return await stream_results(
        request,
        viewer.queue,
        batch,
        filter_of(query),
        errors=errors,
        is_csv=is_csv,
        account=account,
        headers=headers,
    )


@of_account("batches.html")
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


@of_account("groups.html")
async def groups(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the groups with the most ready jobs, those that are paused first."""
    found = longest_first(await viewer.queue.groups(account))
    return {"count": len(found), "groups": found[:GROUPS]}


@of_account("keys.html")
async def keys(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the keys that have limits, and those that jobs wait for."""
    return {"keys": await viewer.queue.list_keys(account)}


@of_account("budgets.html")
async def budgets(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the budgets, and what of them is spent and committed."""
    return {"budgets": await viewer.queue.list_budgets(account)}


@of_account("webhooks.html")
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


@of_account("refused.html")
async def refused(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the newest lines of the inbox, and of Celery messages, that were refused."""
    total, newest = await viewer.queue.send(newest_refused(account, REFUSED, _REFUSED_BYTES))
    return {"total": total, "lines": [refused_line(account, stored) for stored in newest]}


@of_account("audit.html")
async def audit(viewer: Viewer, account: str, query: QueryParams) -> dict[str, Any]:
    """List the users' actions, the newest first."""
    before = query.get("before", "")
    entries = await viewer.queue.audit(account, before=before, limit=ROWS)
    return {"entries": entries, "before": entries[-1].id if len(entries) == ROWS else ""}
