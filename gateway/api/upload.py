"""An upload: its jobs are submitted while it arrives, and accepted once all of it is there."""

import asyncio
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException

from gateway.api.upload_check import UploadWork
from gateway.checks.messages import Findings
from gateway.checks.processes import BodyCheck
from gateway.http.request_body import closing, gathered
from runqueue import AsyncRunQueue
from runqueue.errors import BatchNotFound, FieldError, InvalidRequest, UnknownAccount
from runqueue.producer.async_batch_upload import AsyncBatchUpload
from runqueue.producer.chunks import Packet
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import BatchRules
from runqueue.request.private_targets import private_callback

#: Seconds that the rest of a body is read for after it was refused: few senders read meanwhile.
_REST_SECONDS = 60.0

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
    sender = AsyncBatchUpload(queue.send, *opening)
    try:
        await _submit(check, lines, sender, parts)
        return await _accept(sender, check.findings, opening[1])
    except BaseException as error:
        await sender.give_up()
        if isinstance(error, BatchNotFound):
            raise HTTPException(409, _GIVEN_UP) from None
        raise


async def _accept(sender: AsyncBatchUpload, found: Findings, rules: BatchRules) -> UploadReport:
    """Accept the batch; one without a job of its own is discarded."""
    report = sender.report
    if not report.jobs and not report.conflicts:
        none = FieldError("body", "expected at least one job, one a line")
        raise InvalidRequest(found.errors or [none])
    await sender.seal()
    report.warnings = found.warnings
    if report.batches:  # otherwise its rules do not apply
        report.warnings += private_callback(rules.callback_url)
    return report


async def _submit(
    check: BodyCheck, lines: UploadWork, sender: AsyncBatchUpload, parts: AsyncIterator[bytes]
) -> None:
    """Check a body and send its jobs; one packet is sent while the next is checked."""
    async for part in gathered(parts):
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
        raise InvalidRequest(check.findings.errors)


async def _put(sender: AsyncBatchUpload, packet: Packet) -> None:
    for part in packet.cut_short():
        await sender.put(part)


async def _read_the_rest(parts: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in parts:
                pass
    except TimeoutError:
        raise closing(413, "lines are bad, and the rest is too long to be read") from None
