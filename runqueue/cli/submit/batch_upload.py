"""Handing in a file while it is read: into open batches, accepted when all of it is there."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from runqueue import ids
from runqueue.cli.follow.job_id_store import JobList
from runqueue.errors import (
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    QueueFull,
    QueueUnavailable,
    RunQueueError,
)
from runqueue.producer import flows
from runqueue.producer.chunks import Packet
from runqueue.producer.queue import RunQueue
from runqueue.producer.upload import MOST_TOLD
from runqueue.records.batch import BatchRules
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.private_targets import FieldWarning
from runqueue.store import job_calls

#: Seconds that Redis may be away during an upload, a failover say, and between two tries.
PATIENCE, _PAUSE = 30.0, 0.5
T = TypeVar("T")


class UploadGivenUp(RunQueueError):  # noqa: N818 - what it says is in its name
    """The upload cannot end well; nothing of it was accepted."""


_TAKEN_OVER = (
    "another upload of the same jobs, under way at the same time, has some of them; hand the file"
    " in again once that is over"
)
_NO_BATCH = "somebody gave the upload up meanwhile; hand the file in again"


@dataclass(slots=True)
class KnownIn:
    """Jobs that were known before: how many of one batch, and since when (None: nobody says).

    The batch None stands for none, '' for batches that nobody names.
    """

    jobs: int
    since: datetime | None


class Conflict(NamedTuple):
    """A line whose custom_id was used earlier for another body, and the job that has it.

    Args:
        error: of a conflict that is not about the custom_id: why.
    """

    line: int
    custom_id: str
    job_id: str
    error: str | None = None


@dataclass(slots=True)
class HandedIn:
    """What became of a file's jobs.

    Args:
        batches: the new batches, by account; none where nothing was new.
        new: how many jobs each of them has.
        known: the jobs known before, by batch.
        conflicts: how many lines are in conflict, and the first of them.
        warnings: what will not do what its sender may expect.
    """

    batches: dict[str, str] = field(default_factory=dict)
    new: Counter[str] = field(default_factory=Counter)
    known: dict[str | None, KnownIn] = field(default_factory=dict)
    conflicts: int = 0
    shown_conflicts: list[Conflict] = field(default_factory=list)
    warnings: list[FieldWarning] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        """How many jobs were accepted, now or before."""
        return self.new.total() + sum(known.jobs for known in self.known.values())

    def note(self, lines: list[int], answers: list[Enqueued], batch: str | None) -> None:
        """Count the answers to a packet.

        Args:
            lines: the numbers of its lines.
            answers: what became of them.
            batch: the batch that the upload has opened.
        """
        # No job comes twice in an upload: one that is known in its own batch was stored by a call
        # whose answer was lost.
        others = [
            (line, answer)
            for line, answer in zip(lines, answers, strict=True)
            if batch is None or answer.batch != batch
        ]
        if batch is not None:
            self.new[batch] += len(answers) - len(others)
        for line, answer in others:
            if answer.status is EnqueueStatus.CONFLICT:
                self.conflicts += 1
                if len(self.shown_conflicts) < MOST_TOLD:
                    why = str(answer.fault) if answer.fault else None
                    conflict = Conflict(line, answer.custom_id or "", answer.job_id, why)
                    self.shown_conflicts.append(conflict)
                continue
            known = self.known.setdefault(answer.batch, KnownIn(0, answer.created_at))
            known.jobs += 1
            known.since = min(known.since or answer.created_at, answer.created_at)


class BatchUpload:
    """Sends packets, the server at work on one while the next is read and checked.

    A batch is opened with the first job that is new, so that a file that is known leaves none.

    Args:
        queue: the queue.
        name: what people call the batches.
        rules: what they do by themselves.
        jobs: takes the ids of jobs that were known.
        keep_all: whether it takes those of all jobs.
    """

    def __init__(
        self, queue: RunQueue, name: str, rules: BatchRules, jobs: JobList, *, keep_all: bool
    ) -> None:
        self.handed = HandedIn()
        #: Whether the jobs may have been accepted already.
        self.is_sealing = False
        self._queue = queue
        self._name = name
        self._rules = rules
        self._jobs = jobs
        self._keep_all = keep_all
        self._sender = ThreadPoolExecutor(1, "upload")
        self._under_way: tuple[Packet, Future[list[Enqueued]]] | None = None
        self._over = threading.Event()

    def send(self, packet: Packet) -> None:
        """Send a packet once the last one has arrived."""
        self._note_last()
        self._under_way = packet, self._sender.submit(self._deliver, packet)

    def seal(self) -> None:
        """Accept all of it.

        Raises:
            GivenUp: another upload has taken jobs of it over; nothing was accepted.
        """
        self._note_last()
        self._sender.shutdown()
        self.handed.shown_conflicts.sort()
        batches = self.handed.batches
        for account, batch in list(batches.items()):
            if not self.handed.new[batch]:  # others were faster
                flows.drive(flows.discard_batch(account, batch), self._queue.send)
                del batches[account]
        if len(batches) > 1:  # so that none is accepted where another cannot be
            self._check_all()
        for accepted, batch in enumerate(batches.values()):
            self.is_sealing = True
            try:
                self._seal(batch)
            except UploadGivenUp:
                self.is_sealing = accepted > 0
                raise

    def _check_all(self) -> None:
        for batch in self.handed.batches.values():
            try:
                found = self._patiently(partial(self._queue.get_batch, batch))
            except BatchNotFound:
                raise UploadGivenUp(_NO_BATCH) from None
            if found.total != self.handed.new[batch]:
                raise UploadGivenUp(_TAKEN_OVER)

    def _seal(self, batch: str) -> None:
        # What is not accepted yet may be taken over by an upload of the same keys. Should that end
        # badly, it would be gone, and this one would have said that it is there.
        expected = self.handed.new[batch]
        try:
            self._patiently(lambda: self._queue.seal_batch(batch, expected))
        except BatchMismatch:
            raise UploadGivenUp(_TAKEN_OVER) from None
        except BatchNotFound:
            raise UploadGivenUp(_NO_BATCH) from None
        except BatchExpired as error:
            raise UploadGivenUp(str(error)) from None

    def give_up(self) -> None:
        """Give the batches up; where that cannot be said, they expire by themselves in a day."""
        self._over.set()
        if self._under_way:
            wait([self._under_way[1]])
            self._under_way = None
        self._sender.shutdown()
        for account, batch in self.handed.batches.items():
            # What ended the upload is to be told, not that this could not be said.
            with suppress(QueueUnavailable, QueueFull):
                flows.drive(flows.discard_batch(account, batch), self._queue.send)

    def _note_last(self) -> None:
        if self._under_way is None:
            return
        packet, sending = self._under_way
        answers = sending.result()
        self._under_way = None
        batch = self.handed.batches.get(packet.account)
        self.handed.note(packet.positions, answers, batch)
        for where, job_ids in self._to_follow(answers, batch).items():
            self._jobs.add(where, job_ids)

    def _to_follow(self, answers: list[Enqueued], batch: str | None) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for answer in answers:
            is_wanted = self._keep_all or batch is None or answer.batch != batch
            if is_wanted and answer.status is not EnqueueStatus.CONFLICT:
                found.setdefault(answer.batch or "", []).append(answer.job_id)
        return found

    def _deliver(self, packet: Packet) -> list[Enqueued]:
        """Hand in a packet; in the sender's thread."""
        account, batch = packet.account, self.handed.batches.get(packet.account)
        if batch is None:
            looking = job_calls.look_up(account, packet.arguments, packet.keys)
            answers = self._patiently(lambda: self._queue.send(looking))
            if all(answer.status is not EnqueueStatus.NEW for answer in answers):
                return answers
            batch = ids.new_id(account)
            self._queue.send(job_calls.open_batch(account, batch, self._name, self._rules))
            self.handed.batches[account] = batch
        call = packet.call(batch)  # sent again it bears the same ids
        try:
            return self._patiently(lambda: self._queue.send(call))
        except BatchNotFound:
            raise UploadGivenUp(_NO_BATCH) from None

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the queue, and again while it is away.

        A million lines are not given up because Redis took its time once; but where it is not there
        from the beginning, that is told at once.
        """
        give_up = time.monotonic() + (PATIENCE if self.handed.batches else 0.0)
        while True:
            try:
                return ask()
            except QueueUnavailable:
                if time.monotonic() > give_up or self._over.wait(_PAUSE):
                    raise
