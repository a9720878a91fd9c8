"""Schedules and their firings, as plain values."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple


class Overlap(StrEnum):
    """What becomes of a firing while the one before is not over."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"


class CatchUp(StrEnum):
    """Which firings that no worker was there for are made up for."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """When jobs are enqueued, and which.

    Args:
        name: of the schedule; an account has it once.
        cron: five fields, as cron has them; '' = `every_seconds` says when.
        every_seconds: seconds between two firings, counted from `start`, else from 1970; 0 = `cron`
            says when.
        timezone: a name of the IANA database; cron's fields are of it, `{date}` and `{time}` too.
        jitter_seconds: a firing begins later by up to so many seconds, the same for the same time.
        start, end: no firing before, none at or after; None = there is no such bound.
        overlap: see `Overlap`.
        catch_up: see `CatchUp`.
        pause_after: after so many firings in a row of which no job completed, it pauses; 0 = never.
        job: a batch file's line with placeholders; None = `lines` are enqueued.
        lines: the name of the stored file of such lines, `<how many>-<digest>`; '' = `job` is
            enqueued.
    """

    name: str
    cron: str = ""
    every_seconds: int = 0
    timezone: str = "UTC"
    jitter_seconds: int = 0
    start: datetime | None = None
    end: datetime | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    pause_after: int = 0
    job: dict[str, Any] | None = field(default=None, repr=False)
    lines: str = ""

    @property
    def count(self) -> int:
        """How many jobs a firing has."""
        return int(self.lines.partition("-")[0]) if self.lines else 1


class FiringKind(StrEnum):
    """Why a schedule fired."""

    TIMED = "timed"
    NOW = "now"
    BACKFILL = "backfill"


class FiringState(StrEnum):
    """How far a firing is: waiting → uploading → running → over; or skipped, missed or failed."""

    WAITING = "waiting"
    UPLOADING = "uploading"
    RUNNING = "running"
    OVER = "over"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"

    @property
    def is_under_way(self) -> bool:
        """Whether its jobs are being enqueued, or done."""
        return self in {FiringState.UPLOADING, FiringState.RUNNING}


class Firing(NamedTuple):
    """One firing of a schedule.

    Args:
        at_us: its time, without jitter; no other firing of the schedule has it. Microseconds since
            1970, as all times of a firing.
        begun_us, ended_us: when it was uploaded, and its batch was over; 0 = not yet.
        batch: its batch's id; '' = it has none.
        message: why it was skipped, missed or failed, or what its budget lacks; '' = nothing.
        jobs: how many it has.
        completed, failed: how many of them ended so; `failed` counts dead ones, too.
        credits: what its runs took, as far as that is known.
        paused: whether the schedule paused itself after it (`pause_after`).
    """

    at_us: int
    kind: FiringKind = FiringKind.TIMED
    state: FiringState = FiringState.WAITING
    begun_us: int = 0
    ended_us: int = 0
    batch: str = ""
    message: str = ""
    jobs: int = 0
    completed: int = 0
    failed: int = 0
    credits: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, and how far it is.

    Args:
        account: whose.
        mark_us: up to which time its firings are decided, in microseconds since 1970.
        paused: why it makes no firings; '' = it does.
        version: counts its changes: each write compares it.
        firings: the last hundred at most, the newest first, with all that wait or are under way.
        upcoming: the times of its next five firings, with jitter.
    """

    spec: ScheduleSpec
    account: str
    mark_us: int
    paused: str
    version: int
    firings: tuple[Firing, ...] = ()
    upcoming: tuple[datetime, ...] = ()


class ScheduleChange(NamedTuple):
    """What applying does to a schedule.

    Args:
        fields: what differs, in words; of a job's template, which may hold secrets, names alone.
    """

    name: str
    change: Literal["created", "changed", "removed", "unchanged"]
    fields: tuple[str, ...] = ()
