"""An upload: its jobs are handed in while it arrives, and accepted once all of it is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from gateway.bulk import MAX_FAULTS
from gateway.checking import Asked, Checker
from gateway.content import closing, too_large
from gateway.problems import Fault, FieldsRefused
from gateway.unpacking import MAX_LINE, LineTooLong, NotReadable
from runqueue import AsyncRunQueue, calls
from runqueue.errors import BatchNotFound, QueueUnavailable
from runqueue.intake import Packet
from runqueue.job import Enqueued, EnqueueStatus

#: Bytes of a body that are checked at a time.
_PART = 256 * 1024
#: Seconds that the rest of a body is read for after it was refused: few senders listen meanwhile.
_REST_SECONDS = 60.0
#: Seconds that Redis may be away during an upload, a failover say, and between two tries.
PATIENCE, _PAUSE = 30.0, 0.5
T = TypeVar("T")

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_GIVEN_UP = "the upload was given up meanwhile; send it again"
_TAKEN_OVER = (
    "another upload of the same jobs, under way at the same time, has some of them;"
    " send it again once that is over"
)


@dataclass(slots=True)
class Outcome:
    """What became of an upload.

    Args:
        batch: the batch that holds its jobs; None if no single one does.
        is_new: whether the upload made it.
        new, known, invalid, conflicts: how many of its lines.
        faults: why lines are invalid, the first hundred.
        shown_conflicts: the first hundred of them.
    """

    batch: str | None
    is_new: bool = True
    new: int = 0
    known: int = 0
    invalid: int = 0
    conflicts: int = 0
    faults: list[Fault] = field(default_factory=list)
    shown_conflicts: list[dict[str, Any]] = field(default_factory=list)
    #: The batches of jobs that were known; more than two are as good as two.
    _known_in: set[str | None] = field(default_factory=set)
    #: When the last of its jobs was stored.
    _latest: datetime = _LONG_AGO

    def note(self, packet: Packet, answers: list[Enqueued]) -> None:
        """Count the answers to a packet.

        Args:
            packet: what was sent; its positions are the numbers of its lines.
            answers: to each of its jobs.
        """
        stored = self._stored_unanswered(answers)
        for line, answer in zip(packet.positions, answers, strict=True):
            if answer.status is EnqueueStatus.NEW or answer.job_id in stored:
                stored.discard(answer.job_id)
                self.new += 1
                self._latest = max(self._latest, answer.created_at)
            elif answer.status is EnqueueStatus.KNOWN:
                self.known += 1
                if len(self._known_in) < 2:
                    self._known_in.add(answer.batch)
            else:
                self.conflicts += 1
                if len(self.shown_conflicts) < MAX_FAULTS:
                    told = {"line": line, "custom_id": answer.custom_id, "job_id": answer.job_id}
                    self.shown_conflicts.append(told)

    def _stored_unanswered(self, answers: list[Enqueued]) -> set[str]:
        """Return the jobs of a packet that the try before the answered one stored.

        They are known by now, in this batch, and were not while the packets before were sent.
        Whether there was such a try nobody can tell: the client of Redis sends again by itself.
        """
        return {
            answer.job_id
            for answer in answers
            if answer.status is EnqueueStatus.KNOWN
            and answer.batch == self.batch
            and answer.created_at > self._latest
        }

    def found_again(self) -> None:
        """Name the batch that has all of the jobs, since none of them was new."""
        self.is_new = False
        (self.batch,) = self._known_in if len(self._known_in) == 1 else (None,)


async def upload(
    queue: AsyncRunQueue, checkers: Executor, asked: Asked, parts: AsyncIterator[bytes]
) -> Outcome:
    """Hand in the lines of a body as one batch; all of them are accepted, or none.

    Args:
        queue: the queue, as the sender sees it.
        checkers: where lines are checked.
        asked: what the batch is to be.
        parts: the body.

    Raises:
        FieldsRefused: lines are bad, named `line N: field`.
        HTTPException: the body cannot be read, or another upload has some of the jobs.
        RunQueueError: the queue cannot take it.
    """
    batch = await queue.open_batch(asked.name, account=asked.account, **asked.rules)
    checker, sender = Checker(asked), _Sender(queue, batch)
    try:
        await _hand_in(checkers, checker, sender, parts)
        outcome = sender.outcome
        outcome.invalid, outcome.faults = checker.bad_lines, checker.faults
        await _seal(queue, asked.account, outcome)
    except BaseException as error:
        await sender.give_up(asked.account)
        if isinstance(error, BatchNotFound):
            raise HTTPException(409, _GIVEN_UP) from None
        raise
    return outcome


async def _seal(queue: AsyncRunQueue, account: str, outcome: Outcome) -> None:
    """Accept the batch; one without a job of its own is given up."""
    batch = outcome.batch or ""
    if outcome.new:
        # An upload of the same keys takes over what is not accepted yet; should that end badly,
        # they would be gone, and this one would have said that they are there.
        found = await _patiently(lambda: queue.get_batch(batch))
        if found.total != outcome.new:
            raise HTTPException(409, _TAKEN_OVER)
        await _patiently(lambda: queue.seal_batch(batch))
        return
    if not outcome.known and not outcome.conflicts:
        nothing = Fault("body", "expected at least one job, one a line")
        raise FieldsRefused(*(outcome.faults or [nothing]))
    outcome.found_again()
    await queue.send(calls.discard_batch(account, batch))


async def _hand_in(
    checkers: Executor, checker: Checker, sender: "_Sender", parts: AsyncIterator[bytes]
) -> None:
    """Check a body and send its jobs, one packet on its way while the next is checked."""
    try:
        async for part in _gathered(parts):
            await _each(checkers, checker.feed(part), sender.send)
            if checker.has_seen_enough:
                break
        else:
            await _each(checkers, checker.end(), sender.send)
    except LineTooLong as error:
        words = f"line {error.number}: expected at most {MAX_LINE} bytes"
        raise too_large(words) from None
    except NotReadable as error:
        raise FieldsRefused(Fault("body", str(error))) from None
    await sender.finish()
    if checker.is_refused:
        await _read_the_rest(parts)
        raise FieldsRefused(*checker.faults)


async def _each(
    checkers: Executor, packets: Iterator[Packet], send: Callable[[Packet], Awaitable[None]]
) -> None:
    loop = asyncio.get_running_loop()
    while (packet := await loop.run_in_executor(checkers, next, packets, None)) is not None:
        await send(packet)


async def _gathered(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield larger parts: each costs a switch of threads."""
    gathered: list[bytes] = []
    size = 0
    async for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _PART:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


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

    Args:
        queue: the queue.
        batch: the open batch.
    """

    def __init__(self, queue: AsyncRunQueue, batch: str) -> None:
        self.outcome = Outcome(batch)
        self._queue = queue
        self._batch = batch
        self._under_way: tuple[Packet, asyncio.Task[list[Enqueued]]] | None = None

    async def send(self, packet: Packet) -> None:
        """Send a packet once the last one has arrived."""
        await self.finish()
        # The same call again bears the same ids.
        call = packet.call(self._batch)
        sending = _patiently(lambda: self._queue.send(call))
        self._under_way = packet, asyncio.create_task(sending)

    async def finish(self) -> None:
        """Wait until all is sent."""
        if self._under_way is not None:
            packet, sending = self._under_way
            self.outcome.note(packet, await sending)
            self._under_way = None

    async def give_up(self, account: str) -> None:
        """Give the batch up; where that cannot be said, it expires by itself within a day."""
        if self._under_way is not None:
            self._under_way[1].cancel()
            await asyncio.wait([self._under_way[1]])
        with suppress(QueueUnavailable):
            await self._queue.send(calls.discard_batch(account, self._batch))
