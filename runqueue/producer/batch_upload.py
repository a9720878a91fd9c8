# Generated from async_batch_upload.py by tools/generate.py: change that, and run `make generate`.
"""Submitting any number of jobs as batches: opened, filled by packets, sealed or discarded."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from runqueue import ids
from runqueue.errors import (
    BatchMismatch,
    BatchNotFound,
    FieldError,
    InvalidJob,
    QueueFull,
    QueueUnavailable,
    RunQueueError,
)
from runqueue.producer.chunks import Handed, Packet
from runqueue.producer.ordered_sender import OrderedSender
from runqueue.producer.upload import MOST_REPORTED, Checker, as_line
from runqueue.producer.upload_report import Uploaded, UploadReport
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.store import job_calls
from runqueue.store.scripts import ScriptCall, Send, T

#: Seconds that Redis may be away during an upload, as in a failover; and between two tries.
PATIENCE, PAUSE = 30.0, 0.5
#: Jobs of an upload that are removed in one script call once it is abandoned, and such calls: of a
#: longer one the next sweep removes the rest.
_REMOVED, _REMOVALS = 100, 100


class BatchUpload:
    """An upload under way: a batch for each account that has a new job.

    A batch is opened with the first job that is new, so that an upload of known jobs leaves none.

    Args:
        send: sends one call.
        name: shown to people.
        rules: what the batches do by themselves.
        metadata: the batches', as `stored_metadata` gives it.
        take: gets the answers of each packet, and before them the new batch of its account, if any.
        is_patient: whether an outage is waited for before anything is stored, too.
    """

    def __init__(
        self,
        send: Send,
        name: str = "",
        rules: BatchRules = NO_RULES,
        metadata: str = "",
        *,
        take: Callable[[str | None, list[Enqueued]], None] | None = None,
        is_patient: bool = True,
    ) -> None:
        self.report = UploadReport()
        #: Whether the jobs may have been accepted already.
        self.is_sealing = False
        self._send, self._opening = send, (name, rules, metadata)
        self._take, self._is_patient = take, is_patient
        self._packets = OrderedSender(self._deliver)
        self.put, self.finish = self._packets.put, self._packets.finish

    def submit(self, lines: Iterable[Handed], checker: Checker, *, skip_invalid: bool) -> Uploaded:
        """Check and send lines, and accept all of them, or none; see `RunQueue.upload`."""
        try:
            errors = self._put_lines(lines, checker, skip_invalid=skip_invalid)
            self.seal()
        except BaseException:
            self.give_up()
            raise
        report = self.report
        return Uploaded(
            report.batch_id,
            bool(report.batches),
            report.new.total(),
            report.known_jobs + checker.repeated,
            checker.bad_lines,
            report.conflicts,
            errors,
            [one._replace(custom_id=one.custom_id or None) for one in report.shown_conflicts],
        )

    def _put_lines(
        self, lines: Iterable[Handed], checker: Checker, *, skip_invalid: bool
    ) -> list[FieldError]:
        """Send the good lines, and return what is wrong with the others.

        Raises:
            InvalidJob: there are bad ones that are not to be skipped, or there is no good one.
        """
        errors: list[FieldError] = []
        for block in checker.blocks(as_line(job, n) for n, job in enumerate(lines, 1)):
            errors += (
                FieldError(f"line {bad.number}: {bad.field}", bad.message)
                for bad in block.bad[: MOST_REPORTED - len(errors)]
            )
            for packet in block.packets if skip_invalid or not errors else ():
                self.put(packet)
        self.finish()
        if not (self.report.jobs or self.report.conflicts):
            none = FieldError("body", "expected at least one job, one a line")
            raise InvalidJob(errors or [none])
        if errors and not skip_invalid:
            raise InvalidJob(errors)
        return errors

    def seal(self) -> None:
        """Accept all of it.

        What is not accepted yet may be taken over by an upload of the same keys. Should that one
        fail, the jobs would be gone although this one had reported them: so each batch has to hold
        as many as were sent.

        Raises:
            BatchMismatch: another upload has taken over some of the jobs.
            BatchNotFound, BatchExpired: the batch was discarded, or not filled in time.
        """
        self.finish()
        report = self.report
        report.shown_conflicts.sort()
        for account, batch in list(report.batches.items()):
            if not report.new[batch]:  # another upload of the same jobs was faster
                self._discard(account, batch)
                del report.batches[account]
        if len(report.batches) > 1:  # so that none is accepted where another cannot be
            for account, batch in report.batches.items():
                found = self._send_patiently(job_calls.get_batch(account, batch))
                if found is None:
                    raise BatchNotFound(batch)
                if found.total != report.new[batch]:
                    raise BatchMismatch(batch, report.new[batch])
        for accepted, (account, batch) in enumerate(report.batches.items()):
            self.is_sealing = True
            call = job_calls.seal_batch(account, batch, report.new[batch])
            reply = self._send_patiently(call)
            try:
                job_calls.sealed(batch, reply, report.new[batch])
            except RunQueueError:
                self.is_sealing = accepted > 0
                raise

    def give_up(self) -> None:
        """Discard what was sent; where Redis cannot be reached it expires within a day."""
        self._packets.end()
        for account, batch in self.report.batches.items():
            self._discard(account, batch)

    def _discard(self, account: str, batch: str) -> None:
        with suppress(QueueUnavailable, QueueFull):
            discard_batch(self._send, account, batch)

    def _deliver(self, packet: Packet) -> None:
        answers = self._answers(packet)
        self.report.count(packet, answers)
        if self._take:
            self._take(self.report.batches.get(packet.account), answers)

    def _answers(self, packet: Packet) -> list[Enqueued]:
        """Send a packet; raises `BatchNotFound` if its batch was discarded meanwhile."""
        account = packet.account
        if account not in self.report.batches:
            looked = job_calls.look_up(account, packet.arguments, packet.keys)
            answers = self._send_patiently(looked)
            if all(answer.status is not EnqueueStatus.NEW for answer in answers):
                return answers
            batch = ids.new_id(account)
            # First, so that it is discarded even if the answer is lost.
            self.report.batches[account] = batch
            self._send_patiently(job_calls.open_batch(account, batch, *self._opening))
        # Repeated, the call has the same ids.
        return self._send_patiently(packet.call(self.report.batches[account]))

    def _send_patiently(self, call: ScriptCall[T]) -> T:
        """Send a call, and again while Redis is away: an outage must not cost a long upload."""
        is_patient = self._is_patient or bool(self.report.batches)
        give_up = time.monotonic() + PATIENCE * is_patient
        while True:
            try:
                return self._send(call)
            except QueueUnavailable:
                if time.monotonic() > give_up:
                    raise
            self._packets.rest(PAUSE)


def discard_batch(send: Send, account: str, batch: str) -> None:
    """Give an unfinished upload up and remove its jobs: nothing of it is seen, or counts.

    What cannot be removed now is left to the sweep.
    """
    send(job_calls.discard_batch(account, batch))
    with suppress(RunQueueError):
        for _ in range(_REMOVALS):
            if send(job_calls.remove_abandoned(account, batch, _REMOVED)) < _REMOVED:
                return
