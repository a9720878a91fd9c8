"""What an archive tells of many jobs: groups of errors, and charts."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failures with the same category and the same reason, but for numbers, ids and URLs.

    Args:
        id: as a filter's `error` has it: a number, as text.
        category: Skyvern's word for it; '' = none is known.
        words: the reason, with names in place of what varies.
        jobs: how many failed with it.
        share_of_failures: of the failures that were read, from 0 to 1.
        credits: what their runs took.
        first_seen: the end of its first job, whatever was searched for.
        last_seen: the end of its last job that was read.
        is_new: whether its first job ended in the range that was asked for; without one, within
            a day before the last end.
        trend: its jobs by hours or days, the oldest first; see `ErrorGroups`.
        examples: ids of some of its jobs, the newest first.
    """

    id: str
    category: str
    words: str
    jobs: int
    share_of_failures: float
    credits: int
    first_seen: datetime
    last_seen: datetime
    is_new: bool
    trend: tuple[int, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The largest groups of errors.

    Args:
        failures, credits: how many were read, of all groups, and what their runs took.
        total_groups: how many groups those are of.
        is_all: whether those are all; else they are the newest.
        trend_from: when the first point of each trend begins; None = there are no failures.
        trend_seconds: of each point: an hour or a day (of UTC).
    """

    groups: list[ErrorGroup]
    failures: int
    credits: int
    total_groups: int
    is_all: bool
    trend_from: datetime | None
    trend_seconds: int


class Durations(NamedTuple):
    """Half and 95 % of durations are below these seconds: estimates within 41 %."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """What ended in an hour, a day or a week.

    Args:
        at: when it begins.
        jobs: how many ended, by their states; states without jobs are left out.
        failure_share: of the failed and dead among them, from 0 to 1; None = none ended.
        waiting: from creation to the last run's start; None = no run was started.
        running: from there to the end.
        steps, credits, cached_credits: what their runs took.
        is_partial: whether it begins before the time that was asked for, or is not over in it.
    """

    at: datetime
    jobs: dict[str, int]
    failure_share: float | None
    waiting: Durations | None
    running: Durations | None
    steps: int
    credits: int
    cached_credits: int
    is_partial: bool


@dataclass(frozen=True, slots=True)
class TopValue:
    """A group, a workflow or a batch: how many jobs ended, how many badly, what they took."""

    value: str
    jobs: int
    failures: int
    steps: int
    credits: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Points, the oldest first, and how many seconds each is of: an hour, a day or a week (UTC).

    `total` is of the whole time; in `top` are those that took most credits, then had most jobs.
    """

    points: list[ChartPoint]
    seconds: int
    total: ChartPoint
    top: list[TopValue] = field(default_factory=list)
