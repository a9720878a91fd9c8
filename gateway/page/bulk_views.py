"""Choosing many jobs: the count is shown first, and what is confirmed is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.auth.audit import note
from gateway.auth.tokens import is_from_elsewhere
from gateway.http.places import in_turn
from gateway.http.request_body import busy
from gateway.page.bulk import KINDS, BulkWork, Choice, Count, count
from gateway.page.errors import words_of
from gateway.page.forms import back, operator_form, whole
from gateway.page.render import HEADERS, page
from gateway.page.viewer import Viewer, must_operate, viewer_of
from gateway.state.state import Gate, gate_of
from runqueue.operator.operations import Filter

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds that a request waits for what was confirmed; it goes on afterwards.
_WAIT: Final = 5.0
#: Seconds that a count waits for its turn.
_PATIENCE: Final = 5.0
#: So many jobs are noted when it begins, too.
_MANY: Final = 500


async def select(request: Request) -> Response:
    """Show a filter and, where one was given, how many jobs it means and a few of them."""
    viewer = await viewer_of(request)
    must_operate(viewer)
    query = request.query_params
    choice = await _choice(viewer, query)
    # A link of another site shows the form; counting is begun on it.
    is_asked = "count" in query and not is_from_elsewhere(request)
    found = await _count(gate_of(request), choice, viewer.name) if is_asked else None
    values = {
        "account": choice.account,
        "accounts": await viewer.known(),
        "choice": choice,
        "kind": KINDS[choice.what],
        "count": found,
    }
    return page(request, "select.html", viewer, values)


async def _count(gate: Gate, choice: Choice, who: str) -> Count:
    """Count, once it is the viewer's turn."""
    refusal = "too much is being counted already; try again"
    async with in_turn(gate.counts, who, _PATIENCE, refusal):
        return await _in_thread(gate, partial(count, gate.operations, choice))


async def _in_thread(gate: Gate, call: Callable[[], T]) -> T:
    """Run what takes seconds in a thread of its own pool."""
    return await asyncio.get_running_loop().run_in_executor(gate.long_calls, call)


async def act_on_many(request: Request) -> Response:
    """Do what was confirmed; the answer comes when it is done, or after a few seconds."""
    viewer, fields = await operator_form(request)
    gate = gate_of(request)
    choice = await _choice(viewer, fields)
    most = whole(fields["most"], "most") if fields.get("most") else None
    if not gate.workers.take(viewer.name):
        raise busy("too much is being done to many jobs already; try again")
    task = asyncio.create_task(_work(gate, BulkWork(choice, most, gate.stopping), viewer.name))
    gate.works.add(task)
    task.add_done_callback(gate.works.discard)
    await asyncio.wait([task], timeout=_WAIT)
    done = task.result() if task.done() else ""
    return RedirectResponse(back(fields, done=done, account=choice.account), 303, HEADERS)


async def _work(gate: Gate, work: BulkWork, who: str) -> str:
    """Do it beside the requests, and note what it came to; returns the note's id.

    The place that was taken of `gate.workers` is free afterwards.
    """
    choice, most = work.choice, work.most
    failed = ""
    try:
        if most is None or most > _MANY:
            began = f"{choice.words}: began, {most or 'unknown how many'} jobs"
            await note(gate.sights.whole, choice.account, who, choice.what, detail=began)
        try:
            await _in_thread(gate, partial(work.run, gate.operations))
        except Exception as error:  # noqa: BLE001 - whatever ended it, what was done is done: it is noted
            log.warning("work_broke_off", what=choice.what, error=repr(error)[:200])
            failed = f"; broke off: {words_of(error)}"
        detail = f"{choice.words}: {work.words}{failed}"
        return await note(gate.sights.whole, choice.account, who, choice.what, detail=detail)
    finally:
        gate.workers.give_back(who)


async def _choice(viewer: Viewer, fields: Mapping[str, Any]) -> Choice:
    """Return what a form or a query chooses."""
    what = str(fields.get("what") or "cancel")
    if what not in KINDS:
        raise HTTPException(422, f"what: expected one of {', '.join(KINDS)}")
    state = str(fields.get("state") or KINDS[what].states[0])
    if state not in KINDS[what].states:
        state = KINDS[what].states[0]
    group, batch, reason = (
        str(fields.get(name) or "").strip() or None for name in ("group", "batch", "reason")
    )
    account = await viewer.account(str(fields.get("account") or ""))
    return Choice(what, account, state, Filter(group, batch, reason))
