"""Bulk actions: the page shows the count first, and acts once the user confirms."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlencode

import structlog
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.auth.audit import record_change
from gateway.auth.tokens import is_from_elsewhere
from gateway.http.counting import working
from gateway.page.bulk import KINDS, BulkWork, Choice, count
from gateway.page.errors import words_of
from gateway.page.filters import filter_of, pairs_of
from gateway.page.forms import back, operator_form, whole
from gateway.page.render import HEADERS, page
from gateway.page.viewer import Viewer, must_operate, viewer_of
from gateway.state.state import WORKS, GatewayState, state_of
from runqueue.ids import is_id
from runqueue.producer.listing import Filter, JobCount
from runqueue.records.job import Job

log = structlog.get_logger()

#: Seconds that a request waits for its action, which goes on afterwards.
_WAIT: Final = 5.0
#: Jobs from which on the beginning of an action is recorded, too.
_MANY: Final = 500
#: Jobs that may be checked: more than a list shows.
_CHECKED: Final = 500
#: Fields of a filter that the form has; it keeps the others.
_ENTERED: Final = ("group", "batch", "reason", "is_paused")


async def select(request: Request) -> Response:
    """Show a filter and, if one was given, the number of its jobs and a few of them."""
    viewer = await viewer_of(request)
    must_operate(viewer)
    query = request.query_params
    fields = {**query, "except": " ".join(query.getlist("except"))}
    fields |= {"ids": " ".join(query.getlist("id"))} if "checked" in query else {}
    choice = await _choice(viewer, fields, _stateless(query))
    # A link of another site only shows the form; counting begins there.
    is_requested = "count" in query and not is_from_elsewhere(request)
    counted: tuple[JobCount | None, list[Job], list[str]] = (None, [], [])
    if is_requested:
        async with working(request):
            counted = await count(viewer.queue, choice)
    values = {
        "account": choice.account,
        "accounts": await viewer.queue.accounts(),
        "choice": choice,
        "kind": KINDS[choice.what],
        **dict(zip(("count", "first", "unmet"), counted, strict=True)),
        "filter": urlencode(pairs_of(choice.wanted)),
        "more": [pair for pair in pairs_of(choice.wanted) if pair[0] not in _ENTERED],
        "next": back(query),
        "leave": back(query, account=choice.account),
    }
    return page(request, "select.html", viewer, values)


async def act_on_many(request: Request) -> Response:
    """Run the confirmed action; answers when it is over, or after a few seconds."""
    viewer, fields = await operator_form(request)
    gate = state_of(request)
    choice = await _choice(viewer, fields, _stateless(QueryParams(fields.get("filter", ""))))
    most = whole(fields["most"], "most") if fields.get("most") else None
    if [*gate.works.values()].count(viewer.name) >= WORKS:
        raise HTTPException(429, f"expected at most {WORKS} bulk actions of {viewer.name} at once")
    task = asyncio.create_task(_work(gate, BulkWork(choice, most, gate.closing), viewer))
    gate.works[task] = viewer.name
    task.add_done_callback(gate.works.pop)
    await asyncio.wait([task], timeout=_WAIT)
    done = task.result() if task.done() else ""
    return RedirectResponse(back(fields, done=done, account=choice.account), 303, HEADERS)


async def _work(gate: GatewayState, work: BulkWork, viewer: Viewer) -> str:
    """Run it in the background, and record its result; returns the entry's id."""
    choice, most = work.choice, work.most
    record = partial(
        record_change, gate.tenant_scopes.whole, choice.account, viewer.name, choice.what
    )
    if most is None or most > _MANY:
        await record(detail=f"{choice.words}: began, {most or 'unknown how many'} jobs")
    failed = ""
    try:
        await work.run(viewer.queue)
    except Exception as error:  # noqa: BLE001 - it is recorded whatever ended it
        log.warning("work_broke_off", what=choice.what, error=repr(error)[:200])
        failed = f"; broke off: {words_of(error)}"
    return await record(detail=f"{choice.words}: {work.words}{failed}")


async def _choice(viewer: Viewer, fields: Mapping[str, str], wanted: Filter) -> Choice:
    """Return the choice of a form or a query.

    Args:
        viewer: the user.
        fields: of the form, or of the query: `ids` of checked jobs are instead of the filter, and
            `except` are ids or custom_ids of jobs that this does not mean, with commas or spaces.
        wanted: its filter, but for the state; a group of errors needs none to be replayed.
    """
    what = fields.get("what") or "cancel"
    if what not in KINDS:
        raise HTTPException(422, f"what: expected one of {', '.join(KINDS)}")
    default = "" if what == "replay" and wanted.error is not None else KINDS[what].states[0]
    state = fields.get("state") or default
    if state not in KINDS[what].states:
        state = default
    account = await viewer.tenant_scope.account(fields.get("account", ""))
    named = {
        name: (*dict.fromkeys(fields.get(name, "").replace(",", " ").split()),)
        for name in ("ids", "except")
    }
    for name, given in named.items():
        if len(given) > _CHECKED:
            raise HTTPException(422, f"{name}: expected at most {_CHECKED} jobs, got {len(given)}")
    ids = tuple(filter(is_id, named["ids"])) if "ids" in fields else None
    return Choice(what, account, state, wanted, ids, named["except"])


def _stateless(query: QueryParams) -> Filter:
    """Return the filter of a query without its state, which may be one of a bulk action alone."""
    return filter_of(QueryParams([pair for pair in query.multi_items() if pair[0] != "state"]))
