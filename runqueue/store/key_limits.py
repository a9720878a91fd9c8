"""Limits on keys (what jobs use together, see `request/job_keys.py`), and the calls about them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from runqueue.errors import FieldError, InvalidKeyLimit
from runqueue.records.as_json import json_object
from runqueue.records.job import moment
from runqueue.request.job_keys import KEY_WORDS, is_pattern
from runqueue.store.replies import flat, page, rows, texts
from runqueue.store.scripts import ScriptCall, load

#: Keys with limits that are listed, at most, and keys at which jobs wait.
MOST = 1000
#: Keys of Redis that one call scans for what jobs have.
SCANNED = 1000
#: The seconds of each unit of a rate.
UNITS = {"second": 1, "minute": 60, "hour": 3600}
#: Seconds between two that begin, at most.
SLOWEST = 366 * 86_400


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """How many jobs may use a key.

    Args:
        max_concurrent: how many may have it at a time; None = any number.
        rate: how many may begin in a `unit`; None = any number.
        unit: second, minute or hour.
    """

    max_concurrent: int | None = None
    rate: float | None = None
    unit: str = "second"

    @classmethod
    def of_rates(cls, max_concurrent: int | None, **per_unit: float | None) -> "KeyLimit":
        """Make a limit of the rates by unit, of which one at most is given.

        Args:
            max_concurrent: how many may have it at a time; None = any number.
            per_unit: how many may begin in a `second`, `minute` or `hour`; None = not given.

        Raises:
            InvalidKeyLimit: more than one rate is given.
        """
        given = {unit: rate for unit, rate in per_unit.items() if rate is not None}
        if len(given) > 1:
            first, second, *_ = given
            words = f"expected one rate, got per_{first}, too"
            raise InvalidKeyLimit([FieldError(f"per_{second}", words)])
        unit, rate = next(iter(given.items()), ("second", None))
        return cls(max_concurrent, rate, unit)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, as the HTTP API takes them."""
        shown: dict[str, Any] = {"max_concurrent": self.max_concurrent}
        if self.rate is not None:
            shown[f"per_{self.unit}"] = self.rate
        return shown

    def words(self) -> str:
        """Return it in words."""
        said = [] if self.max_concurrent is None else [f"{self.max_concurrent:,} at a time"]
        if self.rate is not None:
            said.append(f"{self.rate:g} per {self.unit}")
        return ", ".join(said) or "any number"

    def stored(self) -> str:
        """Return it as the scripts read it."""
        most = "-" if self.max_concurrent is None else str(self.max_concurrent)
        if self.rate is None:
            return f"{most} -"
        return f"{most} {max(1, round(UNITS[self.unit] * 1e6 / self.rate))}"


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key as it is now, or all keys with a first segment (`host:*`), of which a limit is set.

    Args:
        key: the key, or the pattern.
        max_concurrent: of its own limit; None = it has none of its own, and that of
            `<first segment>:*` applies, or one at a time for `session:`, `profile:` and
            `totp:`.
        interval_seconds: seconds between two jobs that begin; None = it has no such limit.
        live: jobs and orphan runs that have it; 0 for a pattern.
        waiting: jobs that wait at it; 0 for a pattern.
        waiting_since: when the first of them was enqueued.
        has_limit: whether it has a limit of its own, if only one that lets any number go.
        paused_until: of a browser session that Skyvern says is occupied: until when no job gets it.
    """

    key: str
    max_concurrent: int | None
    interval_seconds: float | None
    live: int
    waiting: int
    waiting_since: datetime | None
    has_limit: bool = False
    paused_until: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        names = ("key", "max_concurrent", "interval_seconds", "live", "waiting", "waiting_since")
        return json_object(self, *names, "has_limit", "paused_until")


class EndedHolder(NamedTuple):
    """What still has a key, or steps of a budget, although it has ended.

    Args:
        of: `key:<key>`, or `max_steps:<what>` of strict budgets.
        holder: a job's id, or `orphan <run>`.
    """

    of: str
    holder: str


def set_limit(account: str, pattern: str, limit: KeyLimit | None) -> ScriptCall[bool]:
    """Set or clear a limit; says whether there was one.

    Args:
        account: whose keys.
        pattern: a key, or `<first segment>:*`.
        limit: None = none of its own.

    Raises:
        InvalidKeyLimit: the pattern or the limit is none.
    """
    wrong = []
    if not is_pattern(pattern):
        words = f"expected {KEY_WORDS}, or a first segment and :*, got {pattern!r}"
        wrong.append(FieldError("key", words))
    if limit is not None:
        most, rate = limit.max_concurrent, limit.rate
        if most is not None and not 1 <= most < 2**31:
            words = f"expected 1 or more, got {str(most)[:40]}"
            wrong.append(FieldError("max_concurrent", words))
        if limit.unit not in UNITS:
            wrong.append(FieldError("unit", f"expected {', '.join(UNITS)}, got {limit.unit!r}"))
        elif rate is not None and not UNITS[limit.unit] / SLOWEST <= rate <= 1_000_000:
            words = f"expected one a year or more, and a million at most, got {str(rate)[:40]}"
            wrong.append(FieldError(f"per_{limit.unit}", words))
    if wrong:
        raise InvalidKeyLimit(wrong)
    stored = "" if limit is None else limit.stored()
    return ScriptCall(load("set_key_limit"), account, [pattern, stored], bool)


def list_keys(account: str, most: int = MOST) -> ScriptCall[list[KeyUse]]:
    """Read the keys that have limits, and those at which jobs wait."""

    def parse(reply: list[Any]) -> list[KeyUse]:
        return [_use(row) for row in rows(reply, 0, 6)]

    return ScriptCall(load("list_keys"), account, [most], parse)


def list_holders(account: str, cursor: str) -> ScriptCall[tuple[str, list[str]]]:
    """Search for what says who has keys and budgets; see `list_holders.lua`.

    Args:
        account: whose keys.
        cursor: "0" = from the start.
    """
    return ScriptCall(load("list_holders"), account, [cursor, SCANNED], page)


def check_holders(
    account: str, names: Sequence[tuple[str, str]], *, drop: bool
) -> ScriptCall[list[tuple[str, str, list[str]]]]:
    """Compare who has keys and budgets with the jobs; see `check_holders.lua`.

    Args:
        account: whose keys.
        names: each with the cursor from which on it is read.
        drop: remove what has ended.
    """

    def parse(reply: list[Any]) -> list[tuple[str, str, list[str]]]:
        return [
            (name.decode(), cursor.decode(), texts(ended))
            for name, cursor, ended in rows(reply, 0, 3)
        ]

    return ScriptCall(load("check_holders"), account, [int(drop), *flat(names)], parse)


def _use(row: Sequence[Any]) -> KeyUse:
    key, limit, live, waiting, since, paused = row
    most, every = _read_limit(limit.decode())
    return KeyUse(
        key=key.decode(),
        max_concurrent=most,
        interval_seconds=every,
        live=int(live),
        waiting=int(waiting),
        waiting_since=moment(int(since) or None),
        has_limit=bool(limit),
        paused_until=moment(int(paused) if paused else None),
    )


def _read_limit(stored: str) -> tuple[int | None, float | None]:
    """Return how many may have a key, and seconds between two; as the scripts read a limit.

    Args:
        stored: "" = none. One that cannot be read lets one at a time.
    """
    if not stored:
        return None, None
    found = re.fullmatch(r"(-|[1-9]\d*) (-|[1-9]\d*)", stored)
    if not found:
        return 1, None
    most, every = found.groups()
    return None if most == "-" else int(most), None if every == "-" else int(every) / 1e6
