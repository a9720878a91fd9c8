"""The page's actions on whole accounts: pausing, resuming, setting limits.

A page may be out of date: an action applies to the state that it showed, or is refused.
"""

from collections.abc import Mapping

from starlette.exceptions import HTTPException

from gateway.page.action_types import ActionRequest, required
from runqueue.errors import FieldError, InvalidLimits
from runqueue.operator import pausing
from runqueue.records.limits import RANGES
from runqueue.store.limits import change_words


async def pause(action: ActionRequest) -> str:
    """Submit nothing more of the account."""
    reason = action.fields.get("reason", "")
    shown = f"{action.viewer.name}: {reason}" if reason else f"by {action.viewer.name}"
    await action.queue.pause(action.account, shown)
    return reason


async def resume(action: ActionRequest) -> str:
    """End the pause or hold that the form showed, unless another holds the account by now."""
    seen = pausing.HoldsShown(required(action.fields, "seen"), action.fields.get("digest", ""))
    ended = await action.queue.send(pausing.resume_seen(action.account, seen))
    if not ended.done:
        raise HTTPException(409, f"it is held by something else by now: {ended.reason}")
    return f"it was held by: {ended.reason}" if ended.reason else "nothing held it"


async def set_limits(action: ActionRequest) -> str:
    """Set the limits that were changed in the form, unless they were set meanwhile."""
    changes = _changes(action.fields)
    now = (await action.queue.set_limits({}, action.account)).live
    for name, value in changes.items():
        shown = action.fields.get(_was(name))
        if shown is not None and now.get(name) not in {value, _limit(name, shown)}:
            by_now = change_words({name: now.get(name)})
            raise HTTPException(409, f"{by_now} meanwhile: check it again, nothing was set")
    if changes:
        await action.queue.set_limits(changes, action.account)
    return change_words(changes) or "none was changed"


def _changes(fields: Mapping[str, str]) -> dict[str, float | None]:
    """Return the limits that differ from what the form showed."""
    given = {name: _limit(name, fields[name]) for name in RANGES if name in fields}
    return {
        name: value
        for name, value in given.items()
        if _was(name) not in fields or value != _limit(name, fields[_was(name)])
    }


def _was(name: str) -> str:
    """Return the field with the value of a limit that the form showed."""
    return f"was:{name}"


def _limit(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise InvalidLimits([FieldError(name, f"expected a number, got {text[:20]!r}")]) from None
