"""The page's actions on jobs, batches, schedules and more; each is recorded with its user."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.auth.audit import record_change
from gateway.page import account_actions
from gateway.page.action_types import ActionRequest, required
from gateway.page.errors import status_of, words_of
from gateway.page.forms import back, number, operator_form, time, whole
from gateway.page.render import HEADERS
from gateway.page.viewer import Viewer
from gateway.state.state import state_of
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.operator.decisions import GOOD, Settled
from runqueue.producer.async_queue import retry_pages
from runqueue.store import groups
from runqueue.store.budgets import Budget
from runqueue.store.key_limits import KeyLimit

#: Carries an action out, and returns its result in words.
Do = Callable[[ActionRequest], Awaitable[str]]


async def act(request: Request) -> Response:
    """Carry out a form's action, record it, and go back to the form's page."""
    viewer, fields = await operator_form(request)
    what = str(request.path_params["what"])
    if what not in _ACTS:
        raise HTTPException(404)
    to, do = _ACTS[what]
    gate = state_of(request)
    account, target = await _aim(viewer, fields, to)
    action = ActionRequest(viewer, account, target, fields)
    whole_queue = gate.tenant_scopes.whole
    recorded = partial(record_change, whole_queue, account, viewer.name, what, target=target)
    try:
        detail = await do(action)
    except Exception as error:
        # Refused actions are not recorded. One that broke off may have done something.
        if action.so_far or status_of(error) >= 500:
            broke_off = f"broke off: {words_of(error)}"
            await recorded(detail="; ".join(filter(None, (action.so_far, broke_off))))
        raise
    return RedirectResponse(back(fields, done=await recorded(detail=detail)), 303, HEADERS)


async def _aim(viewer: Viewer, fields: Mapping[str, str], to: str) -> tuple[str, str]:
    """Return the account that is acted on, and the target: '' = the account.

    Args:
        viewer: the user.
        fields: of the form.
        to: which of them names the target.

    Raises:
        HTTPException: the field is empty.
        JobNotFound, BatchNotFound, UnknownAccount: it does not exist for the viewer.
    """
    if to in {"account", "group", "key", "scope", "schedule"}:
        account = await viewer.tenant_scope.account(fields.get("account", ""))
        return account, "" if to == "account" else required(fields, to)
    target = required(fields, to)
    owner = await viewer.tenant_scope.owner(target)
    if owner is None:
        raise {"job": JobNotFound, "batch": BatchNotFound}[to](target)
    return owner, target


async def _pause_group(action: ActionRequest, *, paused: bool) -> str:
    await action.queue.set_group(action.target, paused=paused, account=action.account)
    return ""


async def _cap_group(action: ActionRequest) -> str:
    text = action.fields.get("max_concurrent", "")
    cap = whole(text, "max_concurrent") if text else None
    await action.queue.set_group(action.target, max_concurrent=cap, account=action.account)
    return groups.change_words(cap)


async def _set_key_limit(action: ActionRequest) -> str:
    most, rate = action.fields.get("most", ""), action.fields.get("rate", "")
    unit = action.fields.get("unit", "minute")
    if not most and not rate:
        raise HTTPException(422, "at a time, begin: expected a number in one of them")
    limit = KeyLimit(
        whole(most, "at a time") if most else None, number(rate, "begin") if rate else None, unit
    )
    await action.queue.set_key_limit(action.target, limit, account=action.account)
    return limit.words()


async def _clear_key_limit(action: ActionRequest) -> str:
    await action.queue.set_key_limit(action.target, None, account=action.account)
    return "no limit of its own"


async def _set_budget(action: ActionRequest) -> str:
    fields = action.fields
    amount, is_billed = whole(fields.get("amount", ""), "amount"), fields.get("unit") == "credits"
    budget = Budget(
        None if is_billed else amount,
        fields.get("per") or "total",
        fields.get("timezone") or "UTC",
        is_strict=fields.get("strict") == "1",
        credits=amount if is_billed else None,
    )
    await action.queue.set_budget(action.target, budget, account=action.account)
    return budget.words()


async def _clear_budget(action: ActionRequest) -> str:
    await action.queue.set_budget(action.target, None, account=action.account)
    return "no budget"


def _to_schedule(name: str) -> Do:
    """Return the function that does something to a schedule."""

    async def change(action: ActionRequest) -> str:
        given: list[Any] = [action.fields.get("reason", "")] if name == "pause" else []
        if name == "backfill":
            given = [time(action.fields.get(field, ""), field) for field in ("since", "until")]
        method = getattr(action.queue, f"{name}_schedule")
        await method(action.target, *given, account=action.account)
        return " to ".join(map(str, given))

    return change


async def _hold_batch(action: ActionRequest, *, paused: bool) -> str:
    change = action.queue.pause_batch if paused else action.queue.resume_batch
    return (await change(action.target)).name


async def _cancel_batch(action: ActionRequest) -> str:
    return f"of {(await action.queue.cancel_batch(action.target)).jobs:,} jobs"


async def _retry_failed(action: ActionRequest) -> str:
    canceled = action.fields.get("canceled") == "yes"
    async for done in retry_pages(action.queue, action.target, canceled=canceled):
        action.so_far = f"{done.jobs:,} jobs are ready again{done.words}"
    return action.so_far


async def _retry_callbacks(action: ActionRequest) -> str:
    return f"{await action.queue.retry_callbacks(action.target):,} callbacks are due again"


async def _cancel_job(action: ActionRequest) -> str:
    return f"it is {(await action.queue.cancel(action.target)).value}"


def _settling(name: str) -> Do:
    """Return the function that carries out one of the decisions on single jobs."""

    async def settle(action: ActionRequest) -> str:
        decide = getattr(action.queue, name)
        more = [action.fields.get("reason", "")] if name == "fail" else []
        settled = await decide([action.target], *more)
        _expect_done(settled[action.target])
        return "".join(more)

    return settle


async def _adopt(action: ActionRequest) -> str:
    run = required(action.fields, "run_id")
    _expect_done(await action.queue.adopt(action.target, run))
    return run


def _expect_done(what: Settled) -> None:
    if what not in GOOD:
        raise HTTPException(409, f"nothing was done: {what.value}")


#: The actions by name: the field of the form that names the target, and what carries it out.
_ACTS: Final[dict[str, tuple[str, Do]]] = {
    "pause_account": ("account", account_actions.pause),
    "resume_account": ("account", account_actions.resume),
    "set_limits": ("account", account_actions.set_limits),
    "pause_group": ("group", partial(_pause_group, paused=True)),
    "resume_group": ("group", partial(_pause_group, paused=False)),
    "limit_group": ("group", _cap_group),
    "set_key_limit": ("key", _set_key_limit),
    "clear_key_limit": ("key", _clear_key_limit),
    "set_budget": ("scope", _set_budget),
    "clear_budget": ("scope", _clear_budget),
    "pause_schedule": ("schedule", _to_schedule("pause")),
    "resume_schedule": ("schedule", _to_schedule("resume")),
    "fire_schedule": ("schedule", _to_schedule("fire")),
    "backfill_schedule": ("schedule", _to_schedule("backfill")),
    "remove_schedule": ("schedule", _to_schedule("remove")),
    "pause_batch": ("batch", partial(_hold_batch, paused=True)),
    "resume_batch": ("batch", partial(_hold_batch, paused=False)),
    "cancel_batch": ("batch", _cancel_batch),
    "retry_failed": ("batch", _retry_failed),
    "retry_callbacks": ("batch", _retry_callbacks),
    "cancel_job": ("job", _cancel_job),
    "adopt": ("job", _adopt),
    "approve": ("job", _settling("approve")),
    "replay_job": ("job", _settling("replay")),
    "discard": ("job", _settling("discard")),
    "resubmit": ("job", _settling("resubmit")),
    "fail": ("job", _settling("fail")),
    "deliver": ("job", _settling("deliver_again")),
}
