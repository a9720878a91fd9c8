"""Points in time as a producer gives them: at a moment, or so many seconds from now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: Latest moment that can be given, in µs since 1970 (year 2200): Lua's numbers are exact to 2^53.
LAST_MOMENT_US = 7_258_118_400_000_000
#: Longest time from now, in seconds (10 years of 365 days).
LONGEST_WAIT_S = 315_360_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SECONDS_WORDS = f"seconds from now (a number from 0 to {LONGEST_WAIT_S})"
MOMENT_WORDS = f'a time with its zone such as "2030-01-31T12:00:00Z", or {SECONDS_WORDS}'


@dataclass(frozen=True, slots=True)
class When:
    """A point in time, kept as it was given, because the Redis server's clock decides "now".

    Args:
        microseconds: since 1970 (UTC), or from now if `relative`.
        relative: whether it counts from the moment the job is stored.
    """

    microseconds: int
    relative: bool

    def may_follow(self, start: When | None) -> bool:
        """Tell whether this can be after `start` (None: now); true where only the server knows."""
        if start is None:
            return self.microseconds > 0 or not self.relative
        return self.relative != start.relative or self.microseconds > start.microseconds


def seconds(value: object) -> When | None:
    """Read a number of seconds from now or a timedelta; None if it is neither or out of range."""
    if isinstance(value, timedelta):
        microseconds = value // _MICROSECOND
        ok = 0 <= microseconds <= LONGEST_WAIT_S * 1_000_000
        return When(microseconds, relative=True) if ok else None
    # Not a bool, although Python counts it among the whole numbers; NaN fails the comparison.
    if type(value) not in (int, float) or not 0 <= value <= LONGEST_WAIT_S:  # type: ignore[operator]
        return None
    return When(round(value * 1_000_000), relative=True)  # type: ignore[operator]


def moment(value: object) -> When | None:
    """Read what `seconds` reads, or an aware datetime or its ISO 8601 text; None if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return seconds(value)
    if value.utcoffset() is None:
        return None
    microseconds = (value - _EPOCH) // _MICROSECOND
    return When(microseconds, relative=False) if 0 <= microseconds <= LAST_MOMENT_US else None
