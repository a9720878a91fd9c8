"""Submitting a file while it is read: the server works on one packet while the next is checked."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from runqueue.cli.follow.job_id_store import JobList
from runqueue.errors import (
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    QueueUnavailable,
    RunQueueError,
)
from runqueue.producer import flows
from runqueue.producer.batch_upload import BatchUpload
from runqueue.producer.chunks import Packet
from runqueue.producer.queue import RunQueue
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.store.scripts import ScriptCall, T

#: Seconds that Redis may be away during an upload, as in a failover; and between two tries.
PATIENCE, _PAUSE = 30.0, 0.5


class UploadGivenUp(RunQueueError):  # noqa: N818 - what it says is in its name
    """The upload cannot end well; nothing of it was accepted."""


_TAKEN_OVER = (
    "a concurrent upload of the same jobs has taken over some of them; submit the file again"
    " once that one is over"
)
_NO_BATCH = "the upload was discarded meanwhile; submit the file again"


@contextmanager
def _reasons_told() -> Iterator[None]:
    """Raise errors that end an upload as `UploadGivenUp`, worded for the command's user."""
    try:
        yield
    except BatchMismatch:
        raise UploadGivenUp(_TAKEN_OVER) from None
    except BatchNotFound:
        raise UploadGivenUp(_NO_BATCH) from None
    except BatchExpired as error:
        raise UploadGivenUp(str(error)) from None


class FileSender:
    """Sends the packets of an upload, one at a time.

    Args:
        queue: the queue.
        upload: the upload.
        jobs: gets the ids of known jobs.
        keep_all: whether it gets those of all jobs.
    """

    def __init__(
        self, queue: RunQueue, upload: BatchUpload, jobs: JobList, *, keep_all: bool
    ) -> None:
        self._queue, self._upload = queue, upload
        self._jobs, self._keep_all = jobs, keep_all
        self._thread = ThreadPoolExecutor(1, "upload")
        self._under_way: tuple[Packet, Future[list[Enqueued]]] | None = None
        self._over = threading.Event()

    def send(self, packet: Packet) -> None:
        """Send a packet once the last one has arrived."""
        self._note_last()
        self._under_way = packet, self._thread.submit(self._deliver, packet)

    def seal(self) -> None:
        """Accept all of it.

        Raises:
            UploadGivenUp: another upload has taken over some jobs; nothing was accepted.
        """
        self._note_last()
        self._thread.shutdown()
        with _reasons_told():
            flows.drive(self._upload.seal(), self._send_patiently)

    def give_up(self) -> None:
        """Discard what was sent."""
        self._over.set()
        if self._under_way:
            wait([self._under_way[1]])
            self._under_way = None
        self._thread.shutdown()
        flows.drive(self._upload.discard(), self._queue.send)

    def _note_last(self) -> None:
        if self._under_way is None:
            return
        packet, sending = self._under_way
        answers = sending.result()
        self._under_way = None
        self._upload.report.note(packet, answers)
        batch = self._upload.report.batches.get(packet.account)
        found: dict[str, list[str]] = {}
        for answer in answers:
            is_wanted = self._keep_all or batch is None or answer.batch != batch
            if is_wanted and answer.status is not EnqueueStatus.CONFLICT:
                found.setdefault(answer.batch or "", []).append(answer.job_id)
        for where, job_ids in found.items():
            self._jobs.add(where, job_ids)

    def _deliver(self, packet: Packet) -> list[Enqueued]:
        with _reasons_told():
            return flows.drive(self._upload.deliver(packet), self._send_patiently)

    def _send_patiently(self, call: ScriptCall[T]) -> T:
        """Send a call, and again while Redis is away.

        A short outage does not end a long upload; a Redis that is unreachable from the start is
        reported at once.
        """
        give_up = time.monotonic() + (PATIENCE if self._upload.report.batches else 0.0)
        while True:
            try:
                return self._queue.send(call)
            except QueueUnavailable:
                if time.monotonic() > give_up or self._over.wait(_PAUSE):
                    raise
