"""An upload: its jobs are submitted while it arrives, and accepted once all of it is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from functools import partial

from gateway.checks.findings import Findings
from gateway.checks.upload_check import UploadCheck, UploadWork
from gateway.http.request_body import gathered
from gateway.refused import Refused
from runqueue import AsyncRunQueue
from runqueue.errors import BatchNotFound, FieldError, InvalidJob, UnknownAccount
from runqueue.problem_types import ProblemType
from runqueue.producer.async_batch_upload import AsyncBatchUpload
from runqueue.producer.chunks import Packet
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import BatchRules

#: Seconds after which a step of a check ends: a little body may decompress to gigabytes.
_STEP_SECONDS = 0.05

_ABANDONED = "the upload was abandoned meanwhile; send it again"


class SteppedCheck:
    """Checks a body in a thread, step by step.

    Args:
        check: the check.
        threads: they run the steps.
        work: held for each step.
    """

    def __init__(self, check: UploadCheck, threads: Executor, work: asyncio.Lock) -> None:
        self.findings = check.findings
        self._check = check
        self._threads = threads
        self._work = work

    def feed(self, part: bytes) -> AsyncIterator[Packet]:
        """Add a part of the body, and yield the packets that are full."""
        return self._follow(self._check.feed(part))

    def end(self) -> AsyncIterator[Packet]:
        """Yield the last packets once the body has ended."""
        return self._follow(self._check.end())

    async def _follow(self, steps: Iterator[Packet | None]) -> AsyncIterator[Packet]:
        loop, is_over = asyncio.get_running_loop(), False
        while not is_over:
            async with self._work:
                step = partial(_step, steps)
                packet, is_over = await loop.run_in_executor(self._threads, step)
            if packet is not None:
                yield packet


def _step(steps: Iterator[Packet | None]) -> tuple[Packet | None, bool]:
    """Return the next packet, if there is one in time, and whether the check is over."""
    until = time.monotonic() + _STEP_SECONDS
    for packet in steps:
        if packet is not None or time.monotonic() > until:
            return packet, False
    return None, True


async def upload(
    queue: AsyncRunQueue,
    check: SteppedCheck,
    lines: UploadWork,
    opening: tuple[str, BatchRules, str],
    parts: AsyncIterator[bytes],
) -> UploadReport:
    """Submit the lines of a body as one batch; all of them are accepted, or none.

    Args:
        queue: the queue, as the sender sees it.
        check: checks the lines; its findings are those of the whole body then.
        lines: how they are checked.
        opening: the batch's name, its rules and its metadata.
        parts: the body.

    Raises:
        InvalidJob: lines are bad, named `line N: field`.
        InvalidRequest: the body is no such lines.
        Refused: it does not arrive, is too large, or another upload has some of the jobs.
        RunQueueError: the queue cannot take it.
    """
    if lines.account not in await queue.accounts():
        raise UnknownAccount(lines.account)
    sender = AsyncBatchUpload(queue.send, *opening)
    try:
        await _submit(check, lines, sender, parts)
        return await _accept(sender, check.findings)
    except BaseException as error:
        await sender.give_up()
        if isinstance(error, BatchNotFound):
            kind = ProblemType.UPLOAD_DISCARDED
            raise Refused(kind, _ABANDONED, batch_id=error.batch_id) from None
        raise


async def _accept(sender: AsyncBatchUpload, found: Findings) -> UploadReport:
    """Accept the batch; one without a job of its own is discarded."""
    report = sender.report
    if not report.jobs and not report.conflicts:
        none = FieldError("body", "expected at least one job, one a line")
        raise InvalidJob(found.errors or [none])
    await sender.seal()
    return report


async def _submit(
    check: SteppedCheck, lines: UploadWork, sender: AsyncBatchUpload, parts: AsyncIterator[bytes]
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
        raise InvalidJob(check.findings.errors)


async def _put(sender: AsyncBatchUpload, packet: Packet) -> None:
    for part in packet.cut_short():
        await sender.put(part)
