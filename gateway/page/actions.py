"""The page's actions on single jobs, batches and groups; each is noted with its user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.auth.audit import note
from gateway.page import account_actions
from gateway.page.action_types import ActionRequest, Done
from gateway.page.errors import status_of, words_of
from gateway.page.forms import back, operator_form, whole
from gateway.page.render import HEADERS
from gateway.page.viewer import Viewer
from gateway.state.state import gate_of
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.operator.operations import Settled
from runqueue.producer import flows
from runqueue.records.batch import Retried
from runqueue.records.job import is_run_id
from runqueue.store import groups


class Act(NamedTuple):
    """A possible action.

    Args:
        to: the field of the form that names the target, whose account is acted on.
        do: carries it out.
    """

    to: Literal["account", "batch", "job"]
    do: Callable[[ActionRequest], Awaitable[Done]]


async def act(request: Request) -> Response:
    """Carry out a form's action, note it, and go back to the form's page."""
    viewer, fields = await operator_form(request)
    what = str(request.path_params["what"])
    if what not in _ACTS:
        raise HTTPException(404)
    gate = gate_of(request)
    account = await _account(viewer, fields, _ACTS[what].to)
    action = ActionRequest(gate, viewer, account, fields)
    try:
        done = await _ACTS[what].do(action)
    except Exception as error:
        # Refused actions are not noted. One that broke off may have done something.
        if action.so_far or status_of(error) >= 500:
            target = fields.get(_ACTS[what].to, "") if _ACTS[what].to != "account" else ""
            detail = "; ".join(filter(None, (action.so_far, f"broke off: {words_of(error)}")))
            whole_queue = gate.tenant_scopes.whole
            await note(whole_queue, account, viewer.name, what, target=target, detail=detail)
        raise
    note_id = await note(gate.tenant_scopes.whole, account, viewer.name, what, **done._asdict())
    return RedirectResponse(back(fields, done=note_id), 303, HEADERS)


async def _account(viewer: Viewer, fields: Mapping[str, str], to: str) -> str:
    """Return the account of the job or batch, else the one that the form names.

    Raises:
        HTTPException: the field is empty.
        JobNotFound, BatchNotFound, UnknownAccount: it does not exist for the viewer.
    """
    if to == "account":
        return await viewer.account(fields.get("account", ""))
    some_id = fields.get(to, "")
    if not some_id:
        raise HTTPException(422, f"{to}: required")
    owner = await viewer.tenant_scope.owner(some_id)
    if owner is None:
        raise {"job": JobNotFound, "batch": BatchNotFound}[to](some_id)
    return owner


async def _pause_group(action: ActionRequest, *, paused: bool) -> Done:
    group = action.field("group")
    await action.viewer.queue.set_group(group, paused=paused, account=action.account)
    return Done(group, "")


async def _cap_group(action: ActionRequest) -> Done:
    group, text = action.field("group"), action.fields.get("cap", "")
    cap = whole(text, "cap") if text else None
    await action.viewer.queue.set_group(group, max_concurrent=cap, account=action.account)
    return Done(group, groups.change_words(cap))


async def _pause_batch(action: ActionRequest) -> Done:
    batch = await action.viewer.queue.pause_batch(action.field("batch"))
    return Done(batch.id, batch.name)


async def _resume_batch(action: ActionRequest) -> Done:
    batch = await action.viewer.queue.resume_batch(action.field("batch"))
    return Done(batch.id, batch.name)


async def _cancel_batch(action: ActionRequest) -> Done:
    batch = action.field("batch")
    jobs = await action.viewer.queue.cancel_batch(batch)
    return Done(batch, f"of {jobs:,} jobs")


async def _retry_failed(action: ActionRequest) -> Done:
    batch = action.field("batch")

    def note_progress(done: Retried) -> None:
        action.so_far = f"{done.jobs:,} jobs are ready again{done.words}"

    canceled = action.fields.get("canceled") == "yes"
    flow = flows.retry_failed(action.account, batch, note_progress, canceled=canceled)
    done = await flows.drive_async(flow, action.viewer.queue.send)
    return Done(batch, f"{done.jobs:,} jobs are ready again{done.words}")


async def _retry_callbacks(action: ActionRequest) -> Done:
    batch = action.field("batch")
    count = await action.viewer.queue.retry_callbacks(batch)
    return Done(batch, f"{count:,} callbacks are due again")


async def _cancel_job(action: ActionRequest) -> Done:
    job = action.field("job")
    state = await action.viewer.queue.cancel(job)
    return Done(job, f"it is {state.value}")


def _settling(name: str) -> Callable[[ActionRequest], Awaitable[Done]]:
    """Return the function that carries out one of the decisions on single jobs."""

    async def settle(action: ActionRequest) -> Done:
        job = action.field("job")
        decide = getattr(action.gate.operations, name)
        more = [action.fields.get("reason", "")] if name == "fail" else []
        _expect_done((await asyncio.to_thread(decide, [job], *more))[job])
        return Done(job, "".join(more))

    return settle


async def _adopt(action: ActionRequest) -> Done:
    job, run = action.field("job"), action.field("run_id")
    if not is_run_id(run):
        raise HTTPException(422, "run_id: expected the id of a run: tsk_… or wr_…")
    _expect_done(await asyncio.to_thread(action.gate.operations.adopt, job, run))
    return Done(job, run)


def _expect_done(what: Settled) -> None:
    if what is not Settled.DONE:
        raise HTTPException(409, f"nothing was done: {what.value}")


_ACTS: Final[dict[str, Act]] = {
    "pause_account": Act("account", account_actions.pause),
    "resume_account": Act("account", account_actions.resume),
    "set_limits": Act("account", account_actions.set_limits),
    "pause_group": Act("account", partial(_pause_group, paused=True)),
    "resume_group": Act("account", partial(_pause_group, paused=False)),
    "cap_group": Act("account", _cap_group),
    "pause_batch": Act("batch", _pause_batch),
    "resume_batch": Act("batch", _resume_batch),
    "cancel_batch": Act("batch", _cancel_batch),
    "retry_failed": Act("batch", _retry_failed),
    "retry_callbacks": Act("batch", _retry_callbacks),
    "cancel_job": Act("job", _cancel_job),
    "adopt": Act("job", _adopt),
    "replay_job": Act("job", _settling("replay")),
    "discard": Act("job", _settling("discard")),
    "resubmit": Act("job", _settling("resubmit")),
    "fail": Act("job", _settling("fail")),
    "deliver": Act("job", _settling("deliver_again")),
}
