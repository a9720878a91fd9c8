"""What is done from the page, one thing at a time; each is noted with who did it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.audit import note
from gateway.gate import Gate, gate_of
from gateway.page_forms import back, operator_form
from gateway.page_render import HEADERS
from gateway.page_viewer import Viewer
from runqueue import calls
from runqueue.errors import BatchNotFound, FieldError, InvalidLimits, JobNotFound
from runqueue.limits import RANGES
from runqueue.operate import Settled

#: A hold that lasts so many seconds waits for a person.
_A_YEAR: Final = 365 * 86_400


class Done(NamedTuple):
    """What was done.

    Args:
        target: what to; '' = the account.
        detail: what it came to.
    """

    target: str
    detail: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants done.

    Args:
        fields: of the form.
    """

    gate: Gate
    viewer: Viewer
    account: str
    fields: Mapping[str, str]

    def field(self, name: str) -> str:
        """Return a field that has to be filled in.

        Raises:
            HTTPException: it is empty.
        """
        if value := self.fields.get(name, ""):
            return value
        raise HTTPException(422, f"{name}: expected a value")


async def act(request: Request) -> Response:
    """Do what a form asks for, note it, and go back to the page that it stood on."""
    viewer, fields = await operator_form(request)
    what = str(request.path_params["what"])
    if what not in _ACTS:
        raise HTTPException(404)
    gate = gate_of(request)
    asked = Asked(gate, viewer, await _account(viewer, fields), fields)
    done = await _ACTS[what](asked)
    note_id = await note(gate.sights.whole, asked.account, viewer.name, what, **done._asdict())
    return RedirectResponse(back(fields, done=note_id), 303, HEADERS)


async def _account(viewer: Viewer, fields: Mapping[str, str]) -> str:
    """Return whose job or batch it is, else the account that is named."""
    for name, error in (("job", JobNotFound), ("batch", BatchNotFound)):
        if some_id := fields.get(name):
            owner = await viewer.owner(some_id)
            if owner is None:
                raise error(some_id)
            return owner
    return await viewer.account(fields.get("account", ""))


async def _pause_account(asked: Asked) -> Done:
    reason = asked.fields.get("reason", "")
    shown = f"{asked.viewer.name}: {reason}" if reason else f"by {asked.viewer.name}"
    await asked.viewer.queue.pause(asked.account, shown)
    return Done("", reason)


async def _resume_account(asked: Asked) -> Done:
    """Go on, unless something else holds the account by now than what was seen."""
    stats = await asked.viewer.queue.send(calls.stats(asked.account))
    is_same = stats.paused == (asked.fields.get("seen") == "paused")
    if is_same and not stats.paused and stats.hold_seconds > _A_YEAR:
        is_same = stats.hold_reason == asked.fields.get("reason")
    if not is_same:
        raise HTTPException(409, f"it is held by something else by now: {stats.hold_reason}")
    reason = await asked.viewer.queue.resume(asked.account)
    return Done("", f"it was held by: {reason}" if reason else "nothing held it")


async def _set_limits(asked: Asked) -> Done:
    values: dict[str, float | None] = {}
    for name in RANGES:
        if name in asked.fields:
            values[name] = _limit(name, asked.fields[name])
    before = (await asked.viewer.queue.set_limits({}, asked.account)).live
    changed = {name: value for name, value in values.items() if before.get(name) != value}
    await asked.viewer.queue.set_limits(changed, asked.account)
    words = [f"{name} {'reset' if v is None else f'{v:g}'}" for name, v in changed.items()]
    return Done("", ", ".join(words) or "none was changed")


def _limit(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise InvalidLimits([FieldError(name, f"expected a number, got {text[:20]!r}")]) from None


async def _pause_group(asked: Asked) -> Done:
    group = asked.field("group")
    await asked.viewer.queue.set_group(group, paused=True, account=asked.account)
    return Done(group, "")


async def _resume_group(asked: Asked) -> Done:
    group = asked.field("group")
    await asked.viewer.queue.set_group(group, paused=False, account=asked.account)
    return Done(group, "")


async def _cap_group(asked: Asked) -> Done:
    group, text = asked.field("group"), asked.fields.get("cap", "")
    if text and not (text.isascii() and text.isdigit()):
        raise HTTPException(422, f"cap: expected a number, or nothing for no cap, got {text[:20]}")
    cap = int(text) if text else None
    await asked.viewer.queue.set_group(group, max_concurrent=cap, account=asked.account)
    return Done(group, f"at most {cap:,} at once" if cap else "no cap")


async def _pause_batch(asked: Asked) -> Done:
    batch = await asked.viewer.queue.pause_batch(asked.field("batch"))
    return Done(batch.id, batch.name)


async def _resume_batch(asked: Asked) -> Done:
    batch = await asked.viewer.queue.resume_batch(asked.field("batch"))
    return Done(batch.id, batch.name)


async def _cancel_batch(asked: Asked) -> Done:
    batch = asked.field("batch")
    jobs = await asked.viewer.queue.cancel_batch(batch)
    return Done(batch, f"of {jobs:,} jobs")


async def _retry_failed(asked: Asked) -> Done:
    batch = asked.field("batch")
    jobs = await asked.viewer.queue.retry_failed(batch)
    return Done(batch, f"{jobs:,} jobs are ready again")


async def _cancel_job(asked: Asked) -> Done:
    job = asked.field("job")
    state = await asked.viewer.queue.cancel(job)
    return Done(job, f"it is {state.value}")


def _settling(name: str) -> Callable[[Asked], Awaitable[Done]]:
    """Return how one of the decisions on single jobs is carried out."""

    async def settle(asked: Asked) -> Done:
        job = asked.field("job")
        decide = getattr(asked.gate.operations, name)
        more = [asked.fields.get("reason", "")] if name == "fail" else []
        _expect_done((await asyncio.to_thread(decide, [job], *more))[job])
        return Done(job, "".join(more))

    return settle


async def _adopt(asked: Asked) -> Done:
    job, run = asked.field("job"), asked.field("run_id")
    if not run.isascii() or not run.isprintable() or len(run) > 128:
        raise HTTPException(422, "run_id: expected the id of a run, such as tsk_123")
    _expect_done(await asyncio.to_thread(asked.gate.operations.adopt, job, run))
    return Done(job, run)


def _expect_done(what: Settled) -> None:
    if what is not Settled.DONE:
        raise HTTPException(409, f"nothing was done: {what.value}")


_ACTS: Final[dict[str, Callable[[Asked], Awaitable[Done]]]] = {
    "pause_account": _pause_account,
    "resume_account": _resume_account,
    "set_limits": _set_limits,
    "pause_group": _pause_group,
    "resume_group": _resume_group,
    "cap_group": _cap_group,
    "pause_batch": _pause_batch,
    "resume_batch": _resume_batch,
    "cancel_batch": _cancel_batch,
    "retry_failed": _retry_failed,
    "cancel_job": _cancel_job,
    "adopt": _adopt,
    "replay_job": _settling("replay"),
    "discard": _settling("discard"),
    "resubmit": _settling("resubmit"),
    "fail": _settling("fail"),
    "deliver": _settling("deliver_again"),
}
