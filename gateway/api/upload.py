"""An upload: its jobs are submitted while it arrives, and accepted once all of it is there."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException

from gateway.api.upload_check import UploadWork
from gateway.checks.messages import Findings
from gateway.checks.processes import BodyCheck
from gateway.http.request_body import closing, gathered
from runqueue import AsyncRunQueue
from runqueue.errors import (
    BatchNotFound,
    FieldError,
    InvalidRequest,
    QueueUnavailable,
    UnknownAccount,
)
from runqueue.producer.batch_upload import BatchUpload, UploadReport
from runqueue.producer.chunks import Packet
from runqueue.producer.flows import drive_async
from runqueue.records.batch import BatchRules
from runqueue.records.job import Enqueued
from runqueue.request.private_targets import private_callback
from runqueue.store.scripts import ScriptCall, T

#: Seconds that the rest of a body is read for after it was refused: few senders read meanwhile.
_REST_SECONDS = 60.0
#: Seconds that Redis may be away during an upload, a failover say, and between two tries.
PATIENCE, _PAUSE = 30.0, 0.5

_GIVEN_UP = "the upload was given up meanwhile; send it again"


async def upload(
    queue: AsyncRunQueue,
    check: BodyCheck,
    lines: UploadWork,
    opening: tuple[str, BatchRules],
    parts: AsyncIterator[bytes],
) -> UploadReport:
    """Submit the lines of a body as one batch; all of them are accepted, or none.

    Args:
        queue: the queue, as the sender sees it.
        check: checks the lines; its findings are those of the whole body then.
        lines: how they are checked.
        opening: the batch's name, and its rules.
        parts: the body.

    Raises:
        InvalidRequest: lines are bad, named `line N: field`.
        HTTPException: the body does not arrive, or another upload has some of the jobs.
        NotReadable, TooLarge: the body is no such lines, or too many.
        SenderGone: the sender waits for the answer no more.
        RunQueueError: the queue cannot take it.
    """
    if lines.account not in await queue.accounts():
        raise UnknownAccount(lines.account)
    sender = _Sender(queue, BatchUpload(*opening))
    try:
        await _submit(check, lines, sender, parts)
        return await _accept(sender, check.findings, opening[1])
    except BaseException as error:
        await sender.give_up()
        if isinstance(error, BatchNotFound):
            raise HTTPException(409, _GIVEN_UP) from None
        raise


async def _accept(sender: "_Sender", found: Findings, rules: BatchRules) -> UploadReport:
    """Accept the batch; one without a job of its own is discarded."""
    report = sender.upload.report
    if not report.jobs and not report.conflicts:
        none = FieldError("body", "expected at least one job, one a line")
        raise InvalidRequest(found.errors or [none])
    await drive_async(sender.upload.seal(), sender.send_patiently)
    report.warnings = found.warnings
    if report.batches:  # otherwise its rules do not apply
        report.warnings += private_callback(rules.callback_url)
    return report


async def _submit(
    check: BodyCheck, lines: UploadWork, sender: "_Sender", parts: AsyncIterator[bytes]
) -> None:
    """Check a body and send its jobs; one packet is sent while the next is checked."""
    async for part in gathered(parts):
        async for packet in check.feed(part):
            await sender.send(packet)
        if check.findings.has_seen_enough:
            break
    else:
        async for packet in check.end():
            await sender.send(packet)
    await sender.finish()
    if check.findings.bad and not lines.skip_invalid:
        await _read_the_rest(parts)
        raise InvalidRequest(check.findings.errors)


async def _read_the_rest(parts: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in parts:
                pass
    except TimeoutError:
        raise closing(413, "lines are bad, and the rest is too long to be read") from None


class _Sender:
    """Sends the packets of an upload, one at a time.

    Args:
        queue: the queue.
        upload: the upload.
    """

    def __init__(self, queue: AsyncRunQueue, upload: BatchUpload) -> None:
        self.upload = upload
        self._queue = queue
        self._under_way: tuple[Packet, asyncio.Task[list[Enqueued]]] | None = None

    async def send(self, packet: Packet) -> None:
        """Send a packet once the one before has arrived."""
        await self.finish()
        self._under_way = packet, asyncio.create_task(self._deliver(packet))

    async def finish(self) -> None:
        """Wait until all packets are sent."""
        if self._under_way is not None:
            packet, sending = self._under_way
            self.upload.report.note(packet, await sending)
            self._under_way = None

    async def give_up(self) -> None:
        """Discard the jobs that were sent."""
        if self._under_way is not None:
            self._under_way[1].cancel()
            await asyncio.wait([self._under_way[1]])
        await drive_async(self.upload.discard(), self._queue.send)

    async def _deliver(self, packet: Packet) -> list[Enqueued]:
        answers: list[Enqueued] = []
        for part in packet.cut_short():
            answers += await drive_async(self.upload.deliver(part), self.send_patiently)
        return answers

    async def send_patiently(self, call: ScriptCall[T]) -> T:
        """Send a call, and retry while Redis is away.

        One slow answer of Redis must not cost an upload of a million lines.
        """
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._queue.send(call)
            except QueueUnavailable:
                if time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE)
