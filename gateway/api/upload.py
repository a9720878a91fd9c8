"""An upload: its jobs are submitted while it arrives, and accepted once all of it is there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from gateway.api.upload_check import UploadWork
from gateway.checks.processes import BodyCheck
from gateway.http.problems import Fault, FieldsRefused, faults_of
from gateway.http.request_body import closing, gathered
from runqueue import AsyncRunQueue
from runqueue.errors import BatchNotFound, UnknownAccount
from runqueue.producer.async_upload_sender import AsyncUploadSender
from runqueue.producer.batch_upload import BatchUpload, UploadReport
from runqueue.producer.chunks import Packet
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.request.private_targets import private_callback

#: Bytes of a body that are checked at a time.
_PART = 256 * 1024
#: Seconds that the rest of a body is read for after it was refused: few senders read meanwhile.
_REST_SECONDS = 60.0

_GIVEN_UP = "the upload was given up meanwhile; send it again"


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The description of an upload.

    Args:
        lines: how its lines are checked.
        name: the batch's name.
        rules: the batch's rules.
    """

    lines: UploadWork
    name: str = ""
    rules: BatchRules = NO_RULES


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """The outcome of an upload.

    Args:
        report: the outcomes of its jobs.
        invalid: lines that were skipped; faults: why, the first hundred.
        repeated: lines that repeat the job of an earlier one.
    """

    report: UploadReport
    invalid: int = 0
    repeated: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Whether the upload made a batch."""
        return bool(self.report.batches)

    @property
    def batch(self) -> str | None:
        """The batch that holds its jobs; None if no single one does."""
        if self.is_new:
            return next(iter(self.report.batches.values()))
        known = self.report.known
        return (next(iter(known)) or None) if len(known) == 1 else None


async def upload(
    queue: AsyncRunQueue,
    check: BodyCheck,
    upload_request: UploadRequest,
    parts: AsyncIterator[bytes],
) -> UploadOutcome:
    """Submit the lines of a body as one batch; all of them are accepted, or none.

    Args:
        queue: the queue, as the sender sees it.
        check: checks the lines.
        upload_request: describes the batch.
        parts: the body.

    Raises:
        FieldsRefused: lines are bad, named `line N: field`.
        HTTPException: the body does not arrive, or another upload has some of the jobs.
        NotReadable, TooLarge: the body is no such lines, or too many.
        SenderGone: the sender waits for the answer no more.
        RunQueueError: the queue cannot take it.
    """
    if upload_request.lines.account not in await queue.accounts():
        raise UnknownAccount(upload_request.lines.account)
    batch = BatchUpload(upload_request.name, upload_request.rules)
    sender = AsyncUploadSender(queue.send, batch)
    try:
        await _submit(check, upload_request.lines, sender, parts)
        return await _accept(sender, check, upload_request.rules)
    except BaseException as error:
        await sender.give_up()
        if isinstance(error, BatchNotFound):
            raise HTTPException(409, _GIVEN_UP) from None
        raise


async def _accept(sender: AsyncUploadSender, check: BodyCheck, rules: BatchRules) -> UploadOutcome:
    """Accept the batch; one without a job of its own is discarded."""
    report, found = sender.upload.report, check.findings
    faults = faults_of(found.errors)
    if not report.jobs and not report.conflicts:
        raise FieldsRefused(*(faults or [Fault("body", "expected at least one job, one a line")]))
    await sender.seal()
    report.warnings = found.warnings
    if report.batches:  # otherwise its rules do not apply
        report.warnings += private_callback(rules.callback_url)
    return UploadOutcome(report, found.bad, found.repeated, faults)


async def _submit(
    check: BodyCheck, lines: UploadWork, sender: AsyncUploadSender, parts: AsyncIterator[bytes]
) -> None:
    """Check a body and send its jobs; one packet is sent while the next is checked."""
    async for part in gathered(parts, _PART):
        async for packet in check.feed(part):
            await _put(sender, packet)
        if check.findings.has_seen_enough:
            break
    else:
        async for packet in check.end():
            await _put(sender, packet)
    await sender.finish()
    if check.findings.bad and not lines.skip_invalid:
        await _read_the_rest(parts)
        raise FieldsRefused(*faults_of(check.findings.errors))


async def _put(sender: AsyncUploadSender, packet: Packet) -> None:
    for part in packet.cut_short():
        await sender.put(part)


async def _read_the_rest(parts: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in parts:
                pass
    except TimeoutError:
        raise closing(413, "lines are bad, and the rest is too long to be read") from None
