"""What a batch looks like from outside, and the rules that it may be opened with.

    validating → in_progress → finalizing → completed | failed | canceled

`validating` is a batch that is not sealed yet. `finalizing` is one of which nothing more is
submitted, while runs of it are still under way: it was canceled, or a rule of its own aborted it
(`failed`, then). A batch that is paused, or waits for its canary, is `in_progress` and `held`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from runqueue.errors import FieldError, InvalidBatch
from runqueue.job import Job, JobState, fields_of, moment, text


class BatchStatus(StrEnum):
    """Where a batch stands, in the words of OpenAI's Batch API."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more happens to the batch by itself."""
        return self in _FINAL


_FINAL = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELED})
_LIVE = (JobState.SUBMITTING, JobState.UNCONFIRMED, JobState.RUNNING)
_WAITING = (JobState.READY, JobState.SCHEDULED)
#: What the rules are where a batch does not say.
ABORT_AFTER, CANARY_RATIO = 20, 0.9
_COUNTED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.DEAD)


@dataclass(frozen=True, slots=True)
class BatchRules:
    """What a batch does by itself when its jobs end badly.

    Args:
        abort_at_failure_ratio: from this share of failed and dead jobs among those that ended on,
            nothing more of it is submitted; None = never.
        abort_after: the rule is not applied before so many jobs have ended.
        canary: only so many jobs, the first of the upload, go at first; None = all.
        canary_ratio: the share of these that has to complete before the others go. If fewer do,
            the batch is aborted.

    Raises:
        InvalidBatch: a value is out of its range.
    """

    abort_at_failure_ratio: float | None = None
    abort_after: int = ABORT_AFTER
    canary: int | None = None
    canary_ratio: float = CANARY_RATIO

    def __post_init__(self) -> None:
        """Check the values."""
        wrong = []
        ratio = self.abort_at_failure_ratio
        if ratio is not None and not 0 < ratio <= 1:
            wrong.append(_fault("abort_at_failure_ratio", "a number above 0, up to 1", ratio))
        if not 0 <= self.canary_ratio <= 1:
            wrong.append(_fault("canary_ratio", "a number from 0 to 1", self.canary_ratio))
        for name, value in (("abort_after", self.abort_after), ("canary", self.canary)):
            if value is not None and not 1 <= value < 2**53:
                wrong.append(_fault(name, "a number of jobs, 1 or more", value))
        if wrong:
            raise InvalidBatch(wrong)

    def stored(self) -> list[str | int]:
        """Return the rules as `open_batch.lua` takes them."""
        ratio = self.abort_at_failure_ratio
        abort = "" if ratio is None else repr(float(ratio))
        return [abort, self.abort_after, self.canary or 0, repr(float(self.canary_ratio))]


#: A batch that goes on whatever comes of its jobs.
NO_RULES = BatchRules()


def _fault(name: str, expected: str, value: object) -> FieldError:
    return FieldError(name, f"expected {expected}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs handed in together; a snapshot, read again with `RunQueue.get_batch`.

    Args:
        sealed: whether the upload is complete; before that none of its jobs runs.
        held: why nothing of it is claimed now, None if it runs: `paused`, `aborted` (by its rules),
            `canceled`, or `canary` (its first jobs go, and decide on the others).
        held_reason: what a rule that aborted it saw, in words.
        states: how many of its jobs stand in each state.
        finished_at: when its last job ended; of an aborted one, its last run.
    """

    id: str
    account: str
    name: str
    sealed: bool
    held: str | None
    total: int
    states: dict[JobState, int]
    created_at: datetime
    held_reason: str | None = None
    sealed_at: datetime | None = None
    canceled_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether every job of it has ended."""
        return self.sealed and sum(n for s, n in self.states.items() if s.is_over) >= self.total

    @property
    def status(self) -> BatchStatus:
        """Where it stands."""
        is_live = any(self.states.get(state) for state in _LIVE)
        if self.held in {"canceled", "aborted"}:
            if is_live:
                return BatchStatus.FINALIZING
            return BatchStatus.CANCELED if self.held == "canceled" else BatchStatus.FAILED
        if not self.sealed:
            return BatchStatus.VALIDATING
        return BatchStatus.COMPLETED if self.is_over else BatchStatus.IN_PROGRESS

    @property
    def request_counts(self) -> dict[str, int]:
        """How many jobs it has, and how many ended in each way."""
        return {"total": self.total} | {s.value: self.states.get(s, 0) for s in _COUNTED}

    def as_dict(self) -> dict[str, Any]:
        """Return the batch as JSON values."""
        return {
            "batch": self.id,
            "name": self.name,
            "account": self.account,
            "status": self.status.value,
            "sealed": self.sealed,
            "held": self.held,
            "held_reason": self.held_reason,
            "jobs": self.total,
            "request_counts": self.request_counts,
            "states": {state.value: n for state, n in self.states.items()},
            "is_over": self.is_over,
            "created_at": self.created_at.isoformat(),
            "sealed_at": _iso(self.sealed_at),
            "canceled_at": _iso(self.canceled_at),
            "finished_at": _iso(self.finished_at),
        }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches, and where the others are; cursor is '' on the last page."""

    batches: list[Batch]
    cursor: str


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and where the others are; cursor is '' on the last page."""

    jobs: list[Job]
    cursor: str


def read_batch(account: str, batch: str, flat: Any, jobs: int) -> Batch | None:
    """Return a batch as the scripts give it; None where it is none (any more).

    Args:
        account, batch: whose it is, and its id.
        flat: its record, as HGETALL gives it inside a script's reply.
        jobs: how many jobs it has.
    """
    fields = fields_of(flat)
    if "sealed" not in fields:
        return None
    held = text(fields.get("held"))
    created_at = moment(fields["created"])
    assert created_at is not None  # noqa: S101 - every record has it
    return Batch(
        id=batch,
        account=account,
        name=fields.get("name", b"").decode(),
        sealed=fields["sealed"] == b"1",
        held=held,
        total=jobs,
        states=_states(fields, is_canceled=held == "canceled"),
        created_at=created_at,
        held_reason=text(fields.get("why")) if held == "aborted" else None,
        sealed_at=moment(fields.get("sealed_at")),
        canceled_at=moment(fields.get("canceled_at")) if held == "canceled" else None,
        finished_at=moment(fields.get("finished_at")),
    )


def _states(fields: dict[str, bytes], *, is_canceled: bool) -> dict[JobState, int]:
    """Return the counts; what waits in a canceled batch is canceled, swept or not."""
    counts = {state: int(fields.get(f"count:{state.value}", 0)) for state in JobState}
    if is_canceled:
        counts[JobState.CANCELED] += sum(counts[state] for state in _WAITING)
        counts |= dict.fromkeys(_WAITING, 0)
    return {state: n for state, n in counts.items() if n}
