"""An upload: its jobs are handed in while it arrives, and accepted once all of it is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from gateway.api.upload_check import UploadWork
from gateway.checks.messages import MAX_FAULTS
from gateway.checks.processes import BodyCheck
from gateway.http.problems import Fault, FieldsRefused, faults_of
from gateway.http.request_body import closing, gathered
from runqueue import AsyncRunQueue, ids
from runqueue.errors import BatchNotFound, QueueFull, QueueUnavailable, UnknownAccount
from runqueue.producer import flows
from runqueue.producer.chunks import Packet
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.private_targets import FieldWarning, private_callback
from runqueue.store import job_calls

#: Bytes of a body that are checked at a time.
_PART = 256 * 1024
#: Seconds that the rest of a body is read for after it was refused: few senders listen meanwhile.
_REST_SECONDS = 60.0
#: Seconds that Redis may be away during an upload, a failover say, and between two tries.
PATIENCE, _PAUSE = 30.0, 0.5
T = TypeVar("T")

_GIVEN_UP = "the upload was given up meanwhile; send it again"


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What an upload is to be.

    Args:
        lines: what its lines are checked as.
        name: what people call the batch.
        rules: what the batch does by itself.
    """

    lines: UploadWork
    name: str = ""
    rules: BatchRules = NO_RULES


@dataclass(slots=True)
class UploadOutcome:
    """What became of an upload.

    Args:
        batch: the batch that holds its jobs; None until one is opened, or if no single one does.
        is_new: whether the upload made it.
        new, known, invalid, conflicts: how many of its lines.
        faults: why lines are invalid, the first hundred.
        shown_conflicts: the first hundred of them.
        warnings: what will not do what the sender may expect.
    """

    batch: str | None = None
    is_new: bool = True
    new: int = 0
    known: int = 0
    invalid: int = 0
    conflicts: int = 0
    faults: list[Fault] = field(default_factory=list)
    shown_conflicts: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[FieldWarning] = field(default_factory=list)
    #: The batches of jobs that were known; more than two are as good as two.
    _known_in: set[str | None] = field(default_factory=set)

    def note(self, packet: Packet, answers: list[Enqueued]) -> None:
        """Count the answers to a packet.

        Args:
            packet: what was sent; its positions are the numbers of its lines.
            answers: to each of its jobs.
        """
        for line, answer in zip(packet.positions, answers, strict=True):
            # No job comes twice in an upload: one that is known in its own batch was stored by a
            # call whose answer was lost.
            if self.batch is not None and answer.batch == self.batch:
                self.new += 1
            elif answer.status is EnqueueStatus.KNOWN:
                self.known += 1
                if len(self._known_in) < 2:
                    self._known_in.add(answer.batch)
            else:
                self.conflicts += 1
                if len(self.shown_conflicts) < MAX_FAULTS:
                    told = {"line": line, "custom_id": answer.custom_id, "job_id": answer.job_id}
                    if answer.fault is not None:
                        told["error"] = str(answer.fault)
                    self.shown_conflicts.append(told)

    def found_again(self) -> None:
        """Name the batch that has all of the jobs, since none of them was new."""
        self.is_new = False
        (self.batch,) = self._known_in if len(self._known_in) == 1 else (None,)


async def upload(
    queue: AsyncRunQueue, check: BodyCheck, asked: UploadRequest, parts: AsyncIterator[bytes]
) -> UploadOutcome:
    """Hand in the lines of a body as one batch; all of them are accepted, or none.

    Args:
        queue: the queue, as the sender sees it.
        check: checks the lines.
        asked: what the batch is to be.
        parts: the body.

    Raises:
        FieldsRefused: lines are bad, named `line N: field`.
        HTTPException: the body does not arrive, or another upload has some of the jobs.
        NotReadable, TooLarge: the body is no such lines, or too many.
        SenderGone: nobody waits for the answer.
        RunQueueError: the queue cannot take it.
    """
    if asked.lines.account not in await queue.accounts():
        raise UnknownAccount(asked.lines.account)
    sender = _Sender(queue, asked)
    try:
        await _hand_in(check, asked.lines, sender, parts)
        await _accept(queue, sender, check)
    except BaseException as error:
        await sender.give_up()
        if isinstance(error, BatchNotFound):
            raise HTTPException(409, _GIVEN_UP) from None
        raise
    return sender.outcome


async def _accept(queue: AsyncRunQueue, sender: "_Sender", check: BodyCheck) -> None:
    """Accept the batch; one without a job of its own is given up."""
    outcome, found = sender.outcome, check.findings
    outcome.invalid, outcome.faults = found.bad, faults_of(found.errors)
    if batch := outcome.batch if outcome.new else None:
        # An upload of the same keys may have taken over what is not accepted yet; should that end
        # badly, it would be gone, and this one would have said that it is there.
        await _patiently(lambda: queue.seal_batch(batch, outcome.new))
    elif outcome.known or outcome.conflicts:
        await sender.give_up()
        outcome.found_again()
    else:
        nothing = Fault("body", "expected at least one job, one a line")
        raise FieldsRefused(*(outcome.faults or [nothing]))
    outcome.known += found.repeated
    outcome.warnings = found.warnings
    if outcome.is_new:  # else its rules do not hold
        outcome.warnings += private_callback(sender.asked.rules.callback_url)


async def _hand_in(
    check: BodyCheck, lines: UploadWork, sender: "_Sender", parts: AsyncIterator[bytes]
) -> None:
    """Check a body and send its jobs, one packet on its way while the next is checked."""
    async for part in gathered(parts, _PART):
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
        raise FieldsRefused(*faults_of(check.findings.errors))


async def _read_the_rest(parts: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_REST_SECONDS):
            async for _ in parts:
                pass
    except TimeoutError:
        raise closing(413, "lines are bad, and the rest is too long to be read") from None


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the queue, and again while it is away.

    A million lines are not given up because Redis took its time once.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return await ask()
        except QueueUnavailable:
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(_PAUSE)


class _Sender:
    """Sends packets, one at a time.

    The batch is opened with the first job that is new, so that an upload that is known leaves none.

    Args:
        queue: the queue.
        asked: what the batch is to be.
    """

    def __init__(self, queue: AsyncRunQueue, asked: UploadRequest) -> None:
        self.outcome = UploadOutcome()
        self._queue = queue
        self.asked = asked
        self._under_way: tuple[Packet, asyncio.Task[list[Enqueued]]] | None = None

    async def send(self, packet: Packet) -> None:
        """Send a packet once the last one has arrived."""
        await self.finish()
        self._under_way = packet, asyncio.create_task(self._deliver(packet))

    async def finish(self) -> None:
        """Wait until all is sent."""
        if self._under_way is not None:
            packet, sending = self._under_way
            self.outcome.note(packet, await sending)
            self._under_way = None

    async def give_up(self) -> None:
        """Give the batch up; where that cannot be said, it expires by itself within a day."""
        if self._under_way is not None:
            self._under_way[1].cancel()
            await asyncio.wait([self._under_way[1]])
        if self.outcome.batch is not None:
            with suppress(QueueUnavailable, QueueFull):
                flow = flows.discard_batch(self.asked.lines.account, self.outcome.batch)
                await flows.drive_async(flow, self._queue.send)

    async def _deliver(self, packet: Packet) -> list[Enqueued]:
        answers: list[Enqueued] = []
        for part in packet.cut_short():
            answers += await self._enqueue(part)
        return answers

    async def _enqueue(self, packet: Packet) -> list[Enqueued]:
        if self.outcome.batch is None:
            looking = job_calls.look_up(packet.account, packet.arguments, packet.keys)
            answers = await _patiently(lambda: self._queue.send(looking))
            if all(answer.status is not EnqueueStatus.NEW for answer in answers):
                return answers
            await self._open()
        # The same call again bears the same ids.
        call = packet.call(self.outcome.batch)
        return await _patiently(lambda: self._queue.send(call))

    async def _open(self) -> None:
        asked, account = self.asked, self.asked.lines.account
        batch = ids.new_id(account)
        # First, so that it is given up even if the answer is lost.
        self.outcome.batch = batch
        call = job_calls.open_batch(account, batch, asked.name, asked.rules)
        await _patiently(lambda: self._queue.send(call))
