"""What became of the jobs of an upload, whose packets `async_batch_upload.py` sends."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from runqueue.errors import FieldError
from runqueue.producer.chunks import Packet
from runqueue.producer.upload import MOST_REPORTED
from runqueue.records.job import Enqueued

#: Batches of known jobs that are counted apart.
MOST_KNOWN_IN = 1000


@dataclass(slots=True)
class KnownIn:
    """Known jobs of one batch: how many, and since when (None: not reported)."""

    jobs: int
    since: datetime | None


class LineConflict(NamedTuple):
    """A line whose `custom_id` was used before for another request.

    Args:
        line: its number, from 1.
        custom_id, job_id: its name, and the job that has it.
        error: of a conflict that is not about the name: why.
    """

    line: int
    custom_id: str | None
    job_id: str
    error: str | None = None


@dataclass(slots=True)
class UploadReport:
    """What became of the jobs of an upload.

    Args:
        batches: the new batches, by account; none where nothing was new.
        new: how many jobs each of them has.
        known: the jobs known before, by batch; None = in no batch, '' = in batches not named.
        conflicts: how many lines are in conflict, and the first of them.
    """

    batches: dict[str, str] = field(default_factory=dict)
    new: Counter[str] = field(default_factory=Counter)
    known: dict[str | None, KnownIn] = field(default_factory=dict)
    conflicts: int = 0
    shown_conflicts: list[LineConflict] = field(default_factory=list)

    @property
    def batch_id(self) -> str | None:
        """The batch that has its jobs, if a single one does."""
        holding = self.batches.values() or self.known
        batch = next(iter(holding)) if self.batches or len(holding) == 1 else None
        return batch or None

    @property
    def known_jobs(self) -> int:
        """How many jobs were known before."""
        return sum(known.jobs for known in self.known.values())

    @property
    def jobs(self) -> int:
        """How many jobs were accepted, now or before."""
        return self.new.total() + self.known_jobs

    def count(self, packet: Packet, answers: list[Enqueued]) -> None:
        """Count the answers to a packet, whose positions are the numbers of its lines."""
        batch = self.batches.get(packet.account)
        for line, answer in zip(packet.positions, answers, strict=True):
            # No job comes twice in an upload: one that is known in its own batch was stored by a
            # call whose answer was lost.
            if batch is not None and answer.batch == batch:
                self.new[batch] += 1
            elif answer.status.is_stored:
                self._count_known(answer)
            else:
                self.conflicts += 1
                if len(self.shown_conflicts) < MOST_REPORTED:
                    why = str(answer.fault) if answer.fault else None
                    conflict = LineConflict(line, answer.custom_id or "", answer.job_id, why)
                    self.shown_conflicts.append(conflict)

    def _count_known(self, answer: Enqueued) -> None:
        is_apart = answer.batch in self.known or len(self.known) < MOST_KNOWN_IN
        where = answer.batch if is_apart else ""
        known = self.known.setdefault(where, KnownIn(0, answer.created_at))
        known.jobs += 1
        known.since = min(known.since or answer.created_at, answer.created_at)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload.

    Args:
        batch_id: the batch; None if nothing was new and no single batch has all of it.
        is_new: whether the upload made it.
        new, known, invalid, conflict: lines by what became of them.
        errors: why lines were skipped, the first hundred, named `line N: field`.
        conflicts: the first hundred of them.
    """

    batch_id: str | None
    is_new: bool
    new: int
    known: int
    invalid: int
    conflict: int
    errors: list[FieldError] = field(default_factory=list)
    conflicts: list[LineConflict] = field(default_factory=list)
