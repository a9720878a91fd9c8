"""Charts: what ended by hours, days or weeks, of all jobs or of a group, a workflow or a batch."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from time import time
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from archive.rows import LEAST_BUCKET, clean
from archive.tables import HOUR_US, IS_COUNT, sums
from runqueue.producer.listing import DIMENSIONS, MOST, refused
from runqueue.records.archived import Chart, ChartPoint, Durations, TopValue
from runqueue.records.job import JobState
from runqueue.request.time_range import check_range, from_microseconds, in_microseconds

#: Hours of a chart by hours, and by days, at most; of any chart.
_BY_HOURS, _BY_DAYS, _MOST = 4 * 24, 100 * 24, 5 * 366 * 24
_DAY, _WEEK = 24, 168
#: The hour of the first Monday after 1970 began.
_MONDAY: Final = 96
_FAILED: Final = (JobState.FAILED.value, JobState.DEAD.value)
_ENDED: Final = (JobState.COMPLETED.value, JobState.CANCELED.value, *_FAILED)


class Asked(NamedTuple):
    """What a chart is of: hours since 1970, and hours of a point."""

    account: str
    dimension: str
    value: str
    first: int
    behind: int
    step: int


def asked(account: str, since: datetime, until: datetime, dimension: str, value: str) -> Asked:
    """Return what a chart is of.

    Args:
        account, since, until, dimension, value: as for `Reader.chart`.

    Raises:
        InvalidRequest: an argument is none, or the range is longer than five years.
    """
    check_range(since, until)
    if dimension not in {"", *DIMENSIONS}:
        raise refused("dimension", f"expected one of {', '.join(DIMENSIONS)}")
    if bool(dimension) != bool(value):
        raise refused("value", "expected the name of one, with a dimension only")
    first, behind = in_microseconds(since) // HOUR_US, -(-in_microseconds(until) // HOUR_US)
    if behind - first > _MOST:
        raise refused("since", "expected a time within five years before until")
    hours = behind - first
    step = 1 if hours <= _BY_HOURS else _DAY if hours <= _BY_DAYS else _WEEK
    return Asked(account, dimension, clean(value, 200), first, behind, step)


async def read_chart(connection: AsyncConnection, of: Asked) -> Chart:
    """Read the points of a chart.

    Args:
        connection: within a transaction that reads.
        of: what it is of.
    """
    offset = _MONDAY if of.step == _WEEK else 0
    point = (sums.c.hour - offset) // of.step
    chosen = (
        select(point, sums.c.measure, func.sum(sums.c.amount))
        .where(*_are_of(of), sums.c.value == of.value)
        .group_by(point, sums.c.measure)
    )
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for at, measure, amount in await connection.execute(chosen):
        found[at][measure] = int(amount)
    whole = Counter[str]()
    for amounts in found.values():
        whole.update(amounts)
    numbers = range((of.first - offset) // of.step, (of.behind - 1 - offset) // of.step + 1)
    whole_until = min(of.behind, int(time()) // 3600)
    points = []
    for n in numbers:
        hour = n * of.step + offset
        is_partial = hour < of.first or hour + of.step > whole_until
        points.append(_point(hour * HOUR_US, found.get(n, {}), is_partial=is_partial))
    return Chart(points, of.step * 3600, _point(of.first * HOUR_US, whole))


async def read_top(connection: AsyncConnection, of: Asked, by: str) -> list[TopValue]:
    """Read the values of a dimension that took most credits, then: of which most jobs ended.

    Args:
        connection: within a transaction that reads.
        of: in which time, and whose.
        by: the dimension.
    """
    ended, failures, steps, used = (
        func.sum(case((sums.c.measure.in_(names), sums.c.amount), else_=0))
        for names in (_ENDED, _FAILED, ("steps",), ("credits",))
    )
    chosen = (
        select(sums.c.value, ended, failures, steps, used)
        .where(*_are_of(of._replace(dimension=by)), IS_COUNT)
        .group_by(sums.c.value)
        .having(ended > 0)
        .order_by(used.desc(), ended.desc(), sums.c.value)
        .limit(MOST)
    )
    rows = await connection.execute(chosen)
    return [TopValue(value, *map(int, numbers)) for value, *numbers in rows]


def _are_of(of: Asked) -> tuple[ColumnElement[bool], ...]:
    is_in_range = (sums.c.hour >= of.first, sums.c.hour < of.behind)
    return (sums.c.account == of.account, sums.c.dimension == of.dimension, *is_in_range)


def _point(at_us: int, amounts: Mapping[str, int], *, is_partial: bool = False) -> ChartPoint:
    states = {state: amounts[state] for state in _ENDED if amounts.get(state)}
    ended = sum(states.values())
    failed = sum(states.get(state, 0) for state in _FAILED)
    return ChartPoint(
        from_microseconds(at_us),
        states,
        failed / ended if ended else None,
        _durations(amounts, "waited:"),
        _durations(amounts, "ran:"),
        steps=amounts.get("steps", 0),
        credits=amounts.get("credits", 0),
        cached_credits=amounts.get("cached_credits", 0),
        is_partial=is_partial,
    )


def _durations(amounts: Mapping[str, int], prefix: str) -> Durations | None:
    buckets = sorted(
        (int(measure.removeprefix(prefix)), number)
        for measure, number in amounts.items()
        if measure.startswith(prefix) and number > 0
    )
    return Durations(_quantile(buckets, 0.5), _quantile(buckets, 0.95)) if buckets else None


def _quantile(buckets: Iterable[tuple[int, int]], share: float) -> float:
    """Return a quantile of durations as if those of a bucket were evenly spread in it."""
    counted = list(buckets)
    left = share * sum(number for _, number in counted)
    for bucket, number in counted:
        if left <= number:
            low = 0.0 if bucket == LEAST_BUCKET else 2 ** (bucket / 2)
            return round(low + (2 ** ((bucket + 1) / 2) - low) * left / number, 3)
        left -= number
    return 0.0
