"""Groups of errors: how many jobs failed with each, when, and what that cost."""

from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from archive.search import JobSearch, KeyRange, days_of
from archive.tables import HOUR_US, KEYS_A_MICROSECOND, ended_us, errors, jobs, key_of
from runqueue.records.archived import ErrorGroup, ErrorGroups
from runqueue.request.time_range import from_microseconds

#: Failures that are read, the newest, and seconds that reading goes on.
MOST_FAILURES, _SECONDS = 200_000, 2.0
#: Points of a trend, and examples of a group.
_POINTS, _EXAMPLES = 60, 3
#: Jobs of the last hour with which a new group is said to grow.
GROWS: Final = 10
#: A group is new for so long, unless a search says since when.
_NEW_US: Final = 24 * HOUR_US


@dataclass(slots=True)
class _Sum:
    """What was read of a group."""

    jobs: int = 0
    credits: int = 0
    keys: list[int] = field(default_factory=list)
    points: Counter[int] = field(default_factory=Counter)


class _Read(NamedTuple):
    sums: dict[int, _Sum]
    failures: int
    low: int
    is_all: bool


async def read_groups(connection: AsyncConnection, search: JobSearch, limit: int) -> ErrorGroups:
    """Read the largest groups of the errors that jobs failed with.

    Args:
        connection: within a transaction that reads.
        search: which jobs.
        limit: how many groups.
    """
    keys = await search.range(connection)
    hours = (ended_us(keys.high) - ended_us(keys.low)) / HOUR_US
    step = HOUR_US if hours < _POINTS else 24 * HOUR_US
    read = await _read(connection, search, keys, step)
    largest = sorted(read.sums.items(), key=lambda item: (-item[1].jobs, item[0]))[:limit]
    last = ended_us(keys.high - 1) // step
    first = last + 1 - min(_POINTS, last + 1 - ended_us(read.low) // step)
    groups = []
    known = await _known(connection, largest)
    examples = await _examples(connection, largest)
    since = search.wanted.since or from_microseconds(ended_us(keys.high - 1) - _NEW_US)
    for error, found in largest:
        category, words, first_us = known.get(error, ("", "", ended_us(min(found.keys))))
        first_seen = from_microseconds(first_us)
        groups.append(
            ErrorGroup(
                str(error),
                category,
                words,
                found.jobs,
                found.jobs / read.failures,
                found.credits,
                first_seen,
                from_microseconds(ended_us(max(found.keys))),
                first_seen >= since,
                tuple(found.points[point] for point in range(first, last + 1)),
                tuple({examples[n]: n for n in found.keys[:_EXAMPLES] if n in examples}),
            )
        )
    begins = from_microseconds(first * step) if groups else None
    used = sum(one.credits for one in read.sums.values())
    return ErrorGroups(
        groups, read.failures, used, len(read.sums), read.is_all, begins, step // 1_000_000
    )


async def new_groups(
    connection: AsyncConnection, account: str, now_us: int
) -> list[tuple[int, int]]:
    """Return the groups that are new and grow: their ids, and their jobs of the last hour.

    Args:
        connection: within a transaction that reads.
        account: whose.
        now_us: the time, in microseconds.
    """
    newest = (
        select(jobs.c.error)
        .where(jobs.c.account == account, jobs.c.error.is_not(None))
        .where(jobs.c.n >= key_of(now_us - HOUR_US))
        .order_by(jobs.c.n.desc())
        .limit(MOST_FAILURES)
        .subquery()
    )
    jobs_of = func.count().label("jobs_of")
    chosen = (
        select(newest.c.error, jobs_of)
        .join(errors, errors.c.id == newest.c.error)
        .where(errors.c.first_us >= now_us - _NEW_US)
        .group_by(newest.c.error)
        .having(jobs_of >= GROWS)
        .order_by(jobs_of.desc(), newest.c.error)
    )
    return [(row.error, row.jobs_of) for row in await connection.execute(chosen)]


async def _read(connection: AsyncConnection, search: JobSearch, keys: KeyRange, step: int) -> _Read:
    """Sum up failures by group and point of time, the newest first."""
    sums: dict[int, _Sum] = {}
    failures, begun = 0, monotonic()
    for part in days_of(keys):
        left = MOST_FAILURES - failures
        some = (
            select(jobs.c.error, jobs.c.n, jobs.c.credits)
            .where(*search.conditions(part, is_by_key=True), jobs.c.error.is_not(None))
            .order_by(jobs.c.n.desc())
            .limit(left)
            .subquery()
        )
        n = some.c.n
        point = n // (step * KEYS_A_MICROSECOND)
        summed = (func.count(), func.sum(some.c.credits), func.min(n), func.max(n))
        grouped = select(some.c.error, point, *summed).group_by(some.c.error, point)
        lowest = part.high
        for error, at, number, used, oldest, newest in await connection.execute(grouped):
            found = sums.setdefault(error, _Sum())
            found.jobs += number
            found.credits += int(used or 0)
            found.points[at] += number
            found.keys = sorted({*found.keys, oldest, newest}, reverse=True)
            found.keys = [*found.keys[:_EXAMPLES], *found.keys[-1:]]
            failures += number
            lowest = min(lowest, oldest)
        if failures >= MOST_FAILURES or monotonic() - begun > _SECONDS:
            is_all = failures < MOST_FAILURES and part.low == keys.low
            return _Read(sums, failures, lowest if failures >= MOST_FAILURES else part.low, is_all)
    return _Read(sums, failures, keys.low, True)


async def _known(
    connection: AsyncConnection, largest: list[tuple[int, _Sum]]
) -> dict[int, tuple[str, str, int]]:
    chosen = select(errors).where(errors.c.id.in_([error for error, _ in largest]))
    rows: Any = await connection.execute(chosen)
    return {row.id: (row.category, row.words, row.first_us) for row in rows}


async def _examples(connection: AsyncConnection, largest: list[tuple[int, _Sum]]) -> dict[int, str]:
    keys = [n for _, found in largest for n in found.keys[:_EXAMPLES]]
    rows = await connection.execute(select(jobs.c.n, jobs.c.id).where(jobs.c.n.in_(keys)))
    return {row.n: row.id for row in rows}
