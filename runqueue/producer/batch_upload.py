"""Submitting lines of any number as batches: opened, filled packet by packet, sealed or discarded.

Each step is a flow of calls: the command line drives them with threads, the gateway with asyncio.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from runqueue import ids
from runqueue.errors import BatchMismatch, QueueFull, QueueUnavailable, RunQueueError
from runqueue.producer import flows
from runqueue.producer.chunks import Packet
from runqueue.producer.flows import Flow
from runqueue.producer.upload import MOST_TOLD
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.private_targets import FieldWarning
from runqueue.store import job_calls

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
        warnings: what will not do what its sender may expect.
    """

    batches: dict[str, str] = field(default_factory=dict)
    new: Counter[str] = field(default_factory=Counter)
    known: dict[str | None, KnownIn] = field(default_factory=dict)
    conflicts: int = 0
    shown_conflicts: list[LineConflict] = field(default_factory=list)
    warnings: list[FieldWarning] = field(default_factory=list)

    @property
    def known_jobs(self) -> int:
        """How many jobs were known before."""
        return sum(known.jobs for known in self.known.values())

    @property
    def jobs(self) -> int:
        """How many jobs were accepted, now or before."""
        return self.new.total() + self.known_jobs

    def note(self, packet: Packet, answers: list[Enqueued]) -> None:
        """Count the answers to a packet, whose positions are the numbers of its lines."""
        batch = self.batches.get(packet.account)
        for line, answer in zip(packet.positions, answers, strict=True):
            # No job comes twice in an upload: one that is known in its own batch was stored by a
            # call whose answer was lost.
            if batch is not None and answer.batch == batch:
                self.new[batch] += 1
            elif answer.status.is_stored:
                self._note_known(answer)
            else:
                self.conflicts += 1
                if len(self.shown_conflicts) < MOST_TOLD:
                    why = str(answer.fault) if answer.fault else None
                    conflict = LineConflict(line, answer.custom_id or "", answer.job_id, why)
                    self.shown_conflicts.append(conflict)

    def _note_known(self, answer: Enqueued) -> None:
        is_apart = answer.batch in self.known or len(self.known) < MOST_KNOWN_IN
        where = answer.batch if is_apart else ""
        known = self.known.setdefault(where, KnownIn(0, answer.created_at))
        known.jobs += 1
        known.since = min(known.since or answer.created_at, answer.created_at)


class BatchUpload:
    """An upload under way: a batch for each account that has a new job.

    A batch is opened with the first job that is new, so that an upload of known jobs leaves none.

    Args:
        name: shown to people.
        rules: what the batches do by themselves.
    """

    def __init__(self, name: str = "", rules: BatchRules = NO_RULES) -> None:
        self.report = UploadReport()
        #: Whether the jobs may have been accepted already.
        self.is_sealing = False
        self._name, self._rules = name, rules

    def deliver(self, packet: Packet) -> Flow[list[Enqueued]]:
        """Send a packet; `report.note` counts the answers.

        Raises:
            BatchNotFound: the batch was discarded meanwhile.
        """
        account = packet.account
        answers: list[Enqueued]
        if account not in self.report.batches:
            answers = yield job_calls.look_up(account, packet.arguments, packet.keys)
            if all(answer.status is not EnqueueStatus.NEW for answer in answers):
                return answers
            batch = ids.new_id(account)
            # First, so that it is discarded even if the answer is lost.
            self.report.batches[account] = batch
            yield job_calls.open_batch(account, batch, self._name, self._rules)
        # Repeated, the call has the same ids.
        answers = yield packet.call(self.report.batches[account])
        return answers

    def seal(self) -> Flow[None]:
        """Accept all of it.

        What is not accepted yet may be taken over by an upload of the same keys. Should that one
        fail, the jobs would be gone although this one had reported them: so each batch has to hold
        as many as were sent.

        Raises:
            BatchMismatch: another upload has taken over some of the jobs.
            BatchNotFound, BatchExpired: the batch was discarded, or not filled in time.
        """
        report = self.report
        report.shown_conflicts.sort()
        for account, batch in list(report.batches.items()):
            if not report.new[batch]:  # another upload of the same jobs was faster
                yield from self._discard(account, batch)
                del report.batches[account]
        if len(report.batches) > 1:  # so that none is accepted where another cannot be
            for account, batch in report.batches.items():
                found = yield from flows.get_batch(account, batch)
                if found.total != report.new[batch]:
                    raise BatchMismatch(batch, report.new[batch])
        for accepted, (account, batch) in enumerate(report.batches.items()):
            self.is_sealing = True
            reply: int = yield job_calls.seal_batch(account, batch, report.new[batch])
            try:
                job_calls.sealed(batch, reply, report.new[batch])
            except RunQueueError:
                self.is_sealing = accepted > 0
                raise

    def discard(self) -> Flow[None]:
        """Discard the batches; where Redis cannot be reached they expire within a day."""
        for account, batch in self.report.batches.items():
            yield from self._discard(account, batch)

    def _discard(self, account: str, batch: str) -> Flow[None]:
        with suppress(QueueUnavailable, QueueFull):
            yield from flows.discard_batch(account, batch)
