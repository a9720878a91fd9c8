"""When cron fires, found by a walk through a range; zoneinfo alone knows the zone.

`*`, lists, ranges, steps and numbers are known. It shares nothing with the product, nor with the
library that the product asks.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))

Walk = list[tuple[datetime, datetime]]


def us(at: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def walk(since: datetime, until: datetime, zone: str, step: timedelta) -> Walk:
    """Return the times of a range of UTC, a step apart, and what clocks show then."""
    count, rules = (until - since) // step, ZoneInfo(zone)
    times = (since + number * step for number in range(count))
    return [(at, at.astimezone(rules).replace(tzinfo=None)) for at in times]


def fired(cron: str, walk: Walk) -> list[int]:
    """Return when cron fires during a walk.

    A time with a star in minute or hour fires whenever clocks show it; any other at the first
    moment at which clocks show it or a later one.
    """
    matches = _matches(cron)
    minute, hour = cron.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return [us(at) for at, local in walk if matches(local)]
    times, shown, step = list[int](), walk[0][1], walk[1][0] - walk[0][0]
    for at, local in walk:
        is_due = False
        while shown <= local:
            is_due = matches(shown) or is_due
            shown += step
        if is_due:
            times.append(us(at))
    return times


def _matches(cron: str) -> Callable[[datetime], bool]:
    fields = cron.split()
    minutes, hours, dates, months, weekdays = map(_set, fields, *zip(*_BOUNDS, strict=True))
    both = fields[2].startswith("*") or fields[4].startswith("*")

    def matches(local: datetime) -> bool:
        if local.minute not in minutes or local.hour not in hours or local.month not in months:
            return False
        days = (local.day in dates, local.isoweekday() % 7 in weekdays)
        return all(days) if both else any(days)

    return matches


def _set(field: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        term, _, step = part.partition("/")
        low, _, high = term.partition("-")
        if term == "*":
            low, high = str(least), str(most)
        found.update(range(int(low), int(high or (most if step else low)) + 1, int(step or 1)))
    return found
