"""Checking an upload while it arrives, beside the event loop: bytes in, packets of jobs out."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.bulk import MAX_FAULTS
from gateway.problems import Fault, faults_of
from gateway.unpacking import Gzip, Lines, Plain
from runqueue.accounts import DEFAULT
from runqueue.batches import NO_RULES, BatchRules
from runqueue.checking import Block, Checker
from runqueue.errors import FieldError
from runqueue.intake import Packet
from runqueue.repeats import Repeats
from runqueue.tracing import ambient


@dataclass(frozen=True, slots=True)
class Asked:
    """What an upload is to be.

    Args:
        name: what people call the batch.
        account: whose jobs these are.
        namespace: that of lines that name none.
        skip_invalid: whether good lines are accepted although others are bad.
        is_gzip: whether the body is packed.
        rules: what the batch does by itself.
    """

    name: str = ""
    account: str = DEFAULT
    namespace: str = ""
    skip_invalid: bool = False
    is_gzip: bool = False
    rules: BatchRules = NO_RULES


class Checking:
    """Unpacks and checks an upload; `feed` and `end` are for one thread at a time.

    Args:
        asked: what it is to be.
        repeats: remembers its lines.
    """

    def __init__(self, asked: Asked, repeats: Repeats) -> None:
        #: Why lines are bad, the first hundred.
        self.faults: list[Fault] = []
        # The trace is asked for here: threads do not have the request's context.
        self.checker = Checker(
            repeats, asked.namespace, account=asked.account, traceparent=ambient()
        )
        self._skip_invalid = asked.skip_invalid
        self._unpacker = Gzip() if asked.is_gzip else Plain()
        self._lines = Lines()

    @property
    def is_refused(self) -> bool:
        """Whether nothing of the upload will be accepted."""
        return bool(self.checker.bad_lines) and not self._skip_invalid

    @property
    def has_seen_enough(self) -> bool:
        """Whether reading on can change nothing that is told."""
        return self.is_refused and len(self.faults) >= MAX_FAULTS

    def feed(self, part: bytes) -> Iterator[Packet]:
        """Take in a part of the body, and yield the packets that are full.

        Raises:
            NotReadable: the body is not packed as it should be.
            LineTooLong: a line is.
            NoRoom: the lines cannot be remembered.
        """
        for piece in self._unpacker.feed(part):
            yield from self._check(self._lines.feed(piece))
            if self.has_seen_enough:
                return

    def end(self) -> Iterator[Packet]:
        """Yield what is left once the body has ended.

        Raises:
            NotReadable: the body was cut.
            NoRoom: as `feed`.
        """
        self._unpacker.end()
        yield from self._check(self._lines.end())
        yield from self._good(self.checker.end())

    def _check(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Packet]:
        for number, raw in lines:
            if block := self.checker.take(number, raw):
                yield from self._good(block)

    def _good(self, block: Block) -> list[Packet]:
        for bad in block.bad[: MAX_FAULTS - len(self.faults)]:
            self.faults += faults_of([FieldError(bad.field, bad.message)], f"line {bad.number}: ")
        return [] if self.is_refused else block.packets
