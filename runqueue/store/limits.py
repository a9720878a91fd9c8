"""An account's limits: what the workers' environments say, and what people set live.

A limit that is set live wins, for every worker and at once, until it is reset. Both are kept, so
that the difference can be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from runqueue.errors import FieldError, InvalidLimits
from runqueue.records.job import fields_of
from runqueue.store.scripts import Argument, ScriptCall, load


class Range(NamedTuple):
    """What a limit may be, beside 0, which means that there is none.

    Args:
        most: the largest value.
        whole: whether it counts things.
        words: what it limits, for people.
    """

    most: int
    whole: bool
    words: str


#: Every limit, under the name that it has in the queue; settings put `max_` before it.
RANGES: Final[dict[str, Range]] = {
    "dispatches_per_second": Range(100_000, False, "submissions per second"),
    "burst_size": Range(100_000, True, "submissions, or calls, at once after a pause"),
    "concurrent_runs": Range(1_000_000, True, "runs under way at once"),
    "requests_per_second": Range(100_000, False, "calls of all kinds per second"),
    "webhooks_per_second": Range(100_000, False, "relayed webhooks per second"),
    "waiting_jobs": Range(10**9, True, "jobs that wait, before more are refused"),
    "waiting_bytes": Range(2**50, True, "bytes of their requests, likewise"),
}


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """The limits of an account; 0 = none.

    Args:
        environment: those of the worker that started last.
        live: what people set since, which wins.
    """

    account: str
    environment: dict[str, float]
    live: dict[str, float]

    @property
    def in_force(self) -> dict[str, float]:
        """What holds now."""
        return {name: self.live.get(name, self.environment.get(name, 0.0)) for name in RANGES}

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as JSON values."""
        return {
            "account": self.account,
            "limits": self.in_force,
            "environment": self.environment,
            "live": self.live,
        }


def set_limits(account: str, values: Mapping[str, float | None]) -> ScriptCall[AccountLimits]:
    """Set limits live; returns all of them as they are then.

    Args:
        account: whose.
        values: by name, with or without `max_` before it; None = as the environment says. Those
            that are not named stay as they are.

    Raises:
        InvalidLimits: a name or a value is none; nothing was changed.
    """
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


def read_limits(account: str, reply: Any) -> AccountLimits:
    """Read limits as a script gives them."""
    found = fields_of(reply)
    environment = {name: found.get(f"env:{name}") for name in RANGES}
    live = {name: found.get(f"live:{name}") for name in RANGES}
    return AccountLimits(
        account,
        {name: float(value) for name, value in environment.items() if value is not None},
        {name: float(value) for name, value in live.items() if value is not None},
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
