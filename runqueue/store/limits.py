"""Setting an account's limits live."""

from __future__ import annotations

import math
from collections.abc import Mapping

from runqueue.errors import FieldError, InvalidLimits
from runqueue.records.limits import RANGES, AccountLimits, read_limits
from runqueue.store.scripts import Argument, ScriptCall, load


def set_limits(account: str, values: Mapping[str, float | None]) -> ScriptCall[AccountLimits]:
    """Set limits live, by names with or without `max_` before them; see `RunQueue.set_limits`."""
    wrong: list[FieldError] = []
    arguments: list[Argument] = []
    for given, value in values.items():
        name = given.removeprefix("max_")
        if fault := _fault(name, value):
            wrong.append(FieldError(given, fault))
        else:
            arguments += [name, "" if value is None else exact(value)]
    if wrong:
        raise InvalidLimits(wrong)
    return ScriptCall(
        load("set_limits"), account, arguments, lambda reply: read_limits(account, reply)
    )


def change_words(changes: Mapping[str, float | None]) -> str:
    """Return what is changed, in words."""
    return ", ".join(
        f"{name} {'reset' if value is None else exact(value)}" for name, value in changes.items()
    )


def _fault(name: str, value: float | None) -> str | None:
    """Return what is wrong with a limit, None if nothing is."""
    allowed = RANGES.get(name)
    if allowed is None:
        return f"expected one of {', '.join(RANGES)}"
    if value is None:
        return None
    if not math.isfinite(value) or not 0 <= value <= allowed.most:
        return f"expected 0 (none) to {allowed.most:,}, got {value:g}"
    if allowed.whole and value != int(value):
        return f"expected a whole number, got {value:g}"
    return None


def exact(value: float) -> str:
    """Return a limit in digits that read as the same one again."""
    return str(int(value)) if value == int(value) else repr(float(value))
