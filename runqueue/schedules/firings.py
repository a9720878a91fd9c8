"""When a schedule fires: pure functions of what it says and of two times.

Times are microseconds since 1970, compared in UTC. cronsim reads the expression and goes through
local times; what becomes of those in UTC is decided here, as Debian's cron does:

- Minute and hour both named (`30 2 * * *`): each local time fires once. One that a clock's change
  leaves out fires at the first moment after it, one that comes twice at the first of both.
- A `*` in either (`*/30 * * * *`): every minute whose local time matches, also the second time.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from runqueue.records.schedule import ScheduleSpec
from runqueue.request.time_range import from_microseconds, in_microseconds

_SECOND = 1_000_000
_NOW, _DAY, _MINUTE = timedelta(0), timedelta(days=1), timedelta(minutes=1)


def firings(spec: ScheduleSpec, mark_us: int, now_us: int, most: int) -> list[int]:
    """Return the times after the mark, up to now: the earliest of them, in order.

    Args:
        spec: the schedule.
        mark_us: up to when firings are decided.
        now_us: the last time that is looked at.
        most: how many at most.
    """
    return list(islice(takewhile(lambda at_us: at_us <= now_us, _after(spec, mark_us)), most))


def following(spec: ScheduleSpec, after_us: int) -> int | None:
    """Return the first time after one; None = there is none."""
    return next(_after(spec, after_us), None)


def upcoming(spec: ScheduleSpec, account: str, after_us: int, count: int) -> list[datetime]:
    """Return when the next firings begin, in the schedule's zone.

    Args:
        spec: the schedule.
        account: whose it is.
        after_us: the mark; the firings are after it, without jitter.
        count: how many.
    """
    zone = ZoneInfo(spec.timezone)
    times = islice(_after(spec, after_us), count)
    begins = (at_us + jitter_us(account, spec.name, at_us, spec) for at_us in times)
    return [from_microseconds(begin).astimezone(zone) for begin in begins]


def jitter_us(account: str, name: str, at_us: int, spec: ScheduleSpec) -> int:
    """Return how much later a firing begins, the same at each call; always before the next one.

    Args:
        account, name: of the schedule.
        at_us: the firing's time.
        spec: the schedule.
    """
    if not spec.jitter_seconds:
        return 0
    most = spec.jitter_seconds * _SECOND
    next_us = following(replace(spec, end=None), at_us)
    if next_us is not None:
        most = min(most, next_us - at_us)
    digest = blake2b(f"{account}/{name}/{at_us}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * most >> 64


def _after(spec: ScheduleSpec, mark_us: int) -> Iterator[int]:
    """Go through all times after the mark, within the schedule's bounds."""
    start_us = 0 if spec.start is None else in_microseconds(spec.start)
    times: Iterator[int]
    if spec.every_seconds:
        times = _evenly(spec.every_seconds * _SECOND, start_us, max(mark_us, start_us - 1))
    else:
        times = _of_cron(spec.cron, ZoneInfo(spec.timezone), max(mark_us, start_us - 1))
    if spec.end is None:
        return times
    end_us = in_microseconds(spec.end)
    return takewhile(lambda at_us: at_us < end_us, times)


def _evenly(step_us: int, start_us: int, mark_us: int) -> Iterator[int]:
    at_us = mark_us + step_us - (mark_us - start_us) % step_us
    while True:
        yield at_us
        at_us += step_us


def _of_cron(cron: str, zone: ZoneInfo, mark_us: int) -> Iterator[int]:
    mark = from_microseconds(mark_us)
    # The clock may go back soon: local times that come again are before that of the mark.
    begins = (
        (mark + ahead).astimezone(zone).replace(tzinfo=None) - ahead for ahead in (_NOW, _DAY)
    )
    local_times = CronSim(cron, min(begins))
    minute, hour = cron.split()[:2]
    evenly = minute.startswith("*") or hour.startswith("*")
    found = _every_time(local_times, zone) if evenly else _once(local_times, zone)
    last_us = mark_us
    for at in found:
        at_us = in_microseconds(at)
        if at_us > last_us:
            yield at_us
            last_us = at_us


def _once(local_times: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Find for each local time its first moment, or the first after the gap that it is in."""
    for local in local_times:
        while not (moments := _moments(local, zone)):
            local += _MINUTE  # noqa: PLW2901
        yield moments[0]


def _every_time(local_times: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Find all moments that local times have: none, one or two each; in order."""
    waiting: list[datetime] = []
    for local in local_times:
        moments = _moments(local, zone)
        while moments and waiting and waiting[0] < moments[0]:
            yield heappop(waiting)
        for at in moments:
            heappush(waiting, at)
    yield from sorted(waiting)


def _moments(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the moments at which clocks of the zone show a time."""
    both = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(at for at in both if at.astimezone(zone).replace(tzinfo=None) == local)
