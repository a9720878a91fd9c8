"""Checking an upload while it arrives, beside the event loop: lines in, packets of jobs out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.problems import Fault, faults_of
from gateway.submitting import read_line
from gateway.unpacking import Gzip, Lines, Plain
from runqueue.accounts import DEFAULT
from runqueue.errors import FieldError, InvalidJob
from runqueue.intake import Packet
from runqueue.spec import JobSpec

#: Faults that are told of one upload.
MAX_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What an upload is to be.

    Args:
        name: what people call the batch.
        account: whose jobs these are.
        namespace: that of lines that name none.
        skip_invalid: whether good lines are accepted although others are bad.
        is_gzip: whether the body is packed.
        rules: what the batch does by itself, as `open_batch` takes it.
    """

    name: str = ""
    account: str = DEFAULT
    namespace: str = ""
    skip_invalid: bool = False
    is_gzip: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Checker:
    """Checks an upload; `feed` and `end` are for one thread at a time.

    Args:
        asked: what it is to be.
        bad_lines: how many lines cannot be accepted, as far as it was read.
        faults: why, the first hundred.
    """

    asked: Asked
    bad_lines: int = 0
    faults: list[Fault] = field(default_factory=list)
    _unpacker: Gzip | Plain = field(init=False)
    _lines: Lines = field(default_factory=Lines)
    _packet: Packet = field(init=False)

    def __post_init__(self) -> None:
        self._unpacker = Gzip() if self.asked.is_gzip else Plain()
        self._packet = Packet(self.asked.account)

    @property
    def is_refused(self) -> bool:
        """Whether nothing of the upload will be accepted."""
        return bool(self.bad_lines) and not self.asked.skip_invalid

    @property
    def has_seen_enough(self) -> bool:
        """Whether reading on can change nothing that is told."""
        return self.is_refused and len(self.faults) >= MAX_FAULTS

    def feed(self, part: bytes) -> Iterator[Packet]:
        """Take in a part of the body, and yield the packets that are full.

        Raises:
            NotReadable: the body is not packed as it should be.
            LineTooLong: a line is.
        """
        for piece in self._unpacker.feed(part):
            for number, raw in self._lines.feed(piece):
                yield from self._take(number, raw)
            if self.has_seen_enough:
                return

    def end(self) -> Iterator[Packet]:
        """Yield what is left once the body has ended.

        Raises:
            NotReadable: the body was cut.
        """
        self._unpacker.end()
        for number, raw in self._lines.end():
            yield from self._take(number, raw)
        if self._packet.positions and not self.is_refused:
            yield self._packet

    def _take(self, number: int, raw: bytes) -> Iterator[Packet]:
        try:
            spec = self._checked(raw)
        except InvalidJob as error:
            self._note(number, error)
            return
        if self.is_refused:
            return
        self._packet.add(number, spec)
        if self._packet.is_full:
            full, self._packet = self._packet, self._another()
            yield full

    def _another(self) -> Packet:
        # Made in a thread, where the request's own context is not.
        return Packet(self.asked.account, traceparent=self._packet.traceparent)

    def _note(self, number: int, error: InvalidJob) -> None:
        self.bad_lines += 1
        room = MAX_FAULTS - len(self.faults)
        if room > 0:
            self.faults += faults_of(error.errors, f"line {number}: ")[:room]

    def _checked(self, raw: bytes) -> JobSpec:
        """Check a line.

        Raises:
            InvalidJob: it names every field at fault.
        """
        account = self.asked.account
        spec = read_line(raw, account)
        spec.namespace = spec.namespace or self.asked.namespace
        if spec.account != account:
            words = f"expected {account!r}, the batch's account, or none, got {spec.account!r}"
            raise InvalidJob([FieldError("account", words)])
        return spec
