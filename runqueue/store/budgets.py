"""Budgets: how many steps or credits runs may take, in a day, a month or in all; their calls.

Skyvern's cloud bills credits, by the action. Steps are what its API counts of every run, and what
`max_steps` bounds: of a task of engine 1.0 all of them, of a workflow those of each block, and of
engine 2.0, where it is checked between blocks, those before its last block. Nothing bounds a run's
credits.

Windows begin at midnight of a time zone, whose offsets the scripts know for ten years
(`lua/lib/account/budgets.lua`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runqueue.errors import FieldError, InvalidBudget
from runqueue.ids import NAME, is_id
from runqueue.records.as_json import json_object
from runqueue.records.job import moment
from runqueue.request.job_keys import is_pattern
from runqueue.store.replies import rows, texts
from runqueue.store.scripts import ScriptCall, load

#: The windows of budgets.
PERIODS: Final = ("day", "month", "total")
#: What a run is expected to take while nothing is known: the steps that Skyvern lets a task take
#: that names no `max_steps` (as seen on 1.0.56), and as many credits.
EXPECTED: Final = 10
#: Budgets that are read in one call, and keys of a pattern at most.
A_CALL, MOST_KEYS = 50, 20
_MOST = 10**12
#: For how many years the offsets of a time zone are stored.
_YEARS = 10
_GROUP = re.compile(f"group:({NAME})")
SCOPE_WORDS = (
    "account, group:<group>, batch:<batch's id>, key:<key> or key:<first segment>:* (one for each"
    " such key)"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many steps, or credits, runs may take.

    Args:
        steps, credits: how many; one of the two.
        per: `day`, `month` or `total`.
        timezone: the time zone in which days and months begin, as `Europe/Berlin`.
        is_strict: whether the `max_steps` of live runs count as taken, and jobs without are
            refused; else as much as runs took so far. Of steps alone.
        expected: what a run is expected to take while none has ended; of steps, if its request has
            no `max_steps`.
    """

    steps: int | None = None
    per: str = "total"
    timezone: str = "UTC"
    is_strict: bool = False
    expected: int = EXPECTED
    credits: int | None = None

    @property
    def unit(self) -> str:
        """What it counts: `steps` or `credits`."""
        return "steps" if self.credits is None else "credits"

    @property
    def amount(self) -> int:
        """How many of these."""
        return (self.steps if self.credits is None else self.credits) or 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, as the HTTP API takes them."""
        return {
            "steps": self.steps,
            "credits": self.credits,
            "per": self.per,
            "timezone": self.timezone,
            "strict": self.is_strict,
            "expected": self.expected,
        }

    def words(self) -> str:
        """Return it in words."""
        per = "in all" if self.per == "total" else f"a {self.per} ({self.timezone})"
        return f"{self.amount:,} {self.unit} {per}{', strict' if self.is_strict else ''}"

    def stored(self, now: datetime) -> str:
        """Return it as the scripts read it."""
        offsets = ",".join(
            f"{seconds}@{round(until.timestamp() * 1e6)}" if until else f"{seconds}"
            for seconds, until in _offsets(self.timezone, now)
        )
        rule = f"{self.amount} {self.unit} {self.per} {int(self.is_strict)} {self.expected}"
        return f"{rule} {self.timezone} {offsets}"


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """A budget as it is now; of one for each of many keys (`key:customer:*`), of one key.

    Args:
        scope: what it is set for.
        target: what these figures are of: the scope, or a key of it.
        budget: the budget.
        resets_at: when its window ends; None = never.
        spent: what runs took whose ends were recorded in this window.
        estimated_runs: runs of these that count as expected, as it is not known what they took.
        live: runs that are live.
        committed: what these are expected to take, or may take if it is strict.
        mean: what a run took so far; None = none has ended.
        next_check_at: when what waits for it is checked again; None = nothing waits.
    """

    scope: str
    target: str
    budget: Budget
    resets_at: datetime | None
    spent: int
    estimated_runs: int
    live: int
    committed: float
    mean: float | None
    next_check_at: datetime | None

    @property
    def spent_ratio(self) -> float:
        """The share of it that is spent."""
        return self.spent / self.budget.amount

    @property
    def left(self) -> float:
        """What is neither spent nor committed; below 0 = live runs may take more."""
        return self.budget.amount - self.spent - self.committed

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        names = (
            *("resets_at", "spent", "estimated_runs", "live", "committed", "mean", "left"),
            "next_check_at",
        )
        return {
            "scope": self.scope,
            "target": self.target,
            **self.budget.as_dict(),
            **json_object(self, *names),
        }


def _check_scope(scope: str) -> list[FieldError]:
    """Return what is wrong with a scope."""
    kind, _, name = scope.partition(":")
    if (
        scope == "account"
        or _GROUP.fullmatch(scope)
        or (kind == "batch" and is_id(name))
        or (kind == "key" and is_pattern(name))
    ):
        return []
    return [FieldError("scope", f"expected {SCOPE_WORDS}, got {scope!r}")]


def set_budget(
    account: str, scope: str, budget: Budget | None, now: datetime | None = None
) -> ScriptCall[bool]:
    """Set or clear a budget; says whether there was one.

    Args:
        account: of which account.
        scope: see `SCOPE_WORDS`.
        budget: None = none.
        now: from when on the zone's offsets are stored.

    Raises:
        InvalidBudget: the scope or the budget is none.
    """
    wrong = [*_check_scope(scope), *(_wrong(budget) if budget else ())]
    if wrong:
        raise InvalidBudget(wrong)
    stored = budget.stored(now or datetime.now(UTC)) if budget else ""
    return ScriptCall(load("set_budget"), account, [scope, stored], bool)


def budget_scopes(account: str) -> ScriptCall[list[str]]:
    """Name what has a budget, 1,000 at most."""
    return ScriptCall(load("budget_scopes"), account, [], texts)


def read_budgets(account: str, scopes: Sequence[str]) -> ScriptCall[list[BudgetUse]]:
    """Read budgets, at most `A_CALL`; of those for each of many keys, the keys that took most."""

    def parse(reply: list[Any]) -> list[BudgetUse]:
        return [_use(row) for row in rows(reply, 0, 10)]

    return ScriptCall(load("list_budgets"), account, [MOST_KEYS, *scopes], parse)


def _wrong(budget: Budget) -> Iterator[FieldError]:
    if (budget.steps is None) == (budget.credits is None):
        yield FieldError("steps", "expected either steps or credits")
    elif not 1 <= budget.amount <= _MOST:
        yield FieldError(budget.unit, f"expected 1 to {_MOST:,}, got {budget.amount}")
    if budget.is_strict and budget.credits is not None:
        words = "expected a budget of steps: nothing at Skyvern bounds the credits of a run"
        yield FieldError("strict", words)
    if budget.per not in PERIODS:
        yield FieldError("per", f"expected {', '.join(PERIODS)}, got {budget.per!r}")
    if not 1 <= budget.expected <= _MOST:
        yield FieldError("expected", f"expected 1 or more, got {budget.expected}")
    if not _is_zone(budget.timezone):
        words = f"expected a time zone such as Europe/Berlin, got {budget.timezone!r}"
        yield FieldError("timezone", words)
    elif budget.per == "total" and budget.timezone != "UTC":
        yield FieldError("timezone", f"expected one only per day or month, got {budget.timezone!r}")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return " " not in name


def _offsets(zone: str, now: datetime) -> Iterator[tuple[int, datetime | None]]:
    """Yield a zone's offsets from UTC in seconds, each with the time until which it holds."""
    at, end = now, now + timedelta(days=366 * _YEARS)
    info = ZoneInfo(zone)

    def offset(moment_: datetime) -> int:
        shift = moment_.astimezone(info).utcoffset() or timedelta()
        return round(shift.total_seconds())

    while at < end:
        later = min(at + timedelta(days=7), end)
        if offset(at) != offset(later):
            begin = at
            while later - begin > timedelta(seconds=1):
                middle = begin + (later - begin) / 2
                if offset(middle) == offset(at):
                    begin = middle
                else:
                    later = middle
            yield offset(at), later.replace(microsecond=0)
        at = later
    yield offset(end), None


def _use(row: Sequence[Any]) -> BudgetUse:
    scope, what, text, ends, spent, estimated_runs, live, committed, mean, held = row
    amount, unit, per, strict, expected, zone, _ = text.decode().split(" ")
    return BudgetUse(
        scope=scope.decode(),
        target=what.decode(),
        budget=Budget(
            int(amount) if unit == "steps" else None,
            *(per, zone, strict == "1", int(expected)),
            credits=int(amount) if unit == "credits" else None,
        ),
        resets_at=moment(int(ends) or None),
        spent=int(spent),
        estimated_runs=int(estimated_runs),
        live=int(live),
        committed=float(committed),
        mean=float(mean) if mean else None,
        next_check_at=moment(int(held) or None),
    )
