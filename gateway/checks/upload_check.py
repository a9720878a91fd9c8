"""Checking an upload while it arrives: bytes in, packets out."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.checks.findings import MAX_FAULTS, Findings, too_large
from gateway.checks.upload_lines import Gzip, Lines
from runqueue.errors import FieldError
from runqueue.producer.chunks import Packet
from runqueue.producer.dedup import Repeats
from runqueue.producer.upload import Block, Checker
from runqueue.request.validation_errors import size_words

#: Bytes of lines after which a step may end; each line counts as some hundred bytes more.
_STRETCH, _LINE = 64 * 1024, 500


@dataclass(frozen=True, slots=True)
class UploadWork:
    """How the lines of an upload are checked.

    Args:
        account: the account of the jobs.
        namespace: that of lines that name none.
        skip_invalid: whether good lines are accepted although others are bad.
        is_gzip: whether the body is compressed.
        traceparent: the trace of jobs that name none.
        max_lines: lines that it may have.
        max_bytes: bytes that it may have, decompressed.
    """

    account: str
    namespace: str
    skip_invalid: bool
    is_gzip: bool
    traceparent: str
    max_lines: int
    max_bytes: int


class UploadCheck:
    """Unpacks and checks an upload.

    Args:
        upload: how it is checked.
        repeats: remembers its lines.
    """

    def __init__(self, upload: UploadWork, repeats: Repeats) -> None:
        self.findings = Findings()
        self._upload = upload
        self._checker = Checker(
            repeats, upload.namespace, account=upload.account, traceparent=upload.traceparent
        )
        self._gzip = Gzip() if upload.is_gzip else None
        self._lines = Lines()
        self._bytes = self._count = 0

    def feed(self, part: bytes) -> Iterator[Packet | None]:
        """Add a part of the body; yield the packets that are full, and None in between.

        Raises:
            InvalidRequest: the body is not compressed as it should be.
            Refused: a line is too long, there are too many, or they decompress to too many bytes.
            NoSpace: the disk has no space to remember the lines.
        """
        for piece in self._gzip.feed(part) if self._gzip else (part,):
            self._bytes += len(piece)
            if self._bytes > self._upload.max_bytes:
                raise too_large(
                    f"expected at most {size_words(self._upload.max_bytes)}, decompressed"
                )
            yield from self._check(self._lines.feed(piece))
            if self.findings.has_seen_enough:
                return
            yield None

    def end(self) -> Iterator[Packet | None]:
        """Yield the last packets once the body has ended.

        Raises:
            InvalidRequest: the body was cut.
            Refused, NoSpace: as `feed`.
        """
        if self._gzip:
            self._gzip.end()
        yield from self._check(self._lines.end())
        yield from self._good(self._checker.end())

    def _check(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Packet | None]:
        stretch = 0
        for number, raw in lines:
            self._count += 1
            if self._count > self._upload.max_lines:
                raise too_large(f"expected at most {self._upload.max_lines:,} lines")
            if block := self._checker.take(number, raw):
                yield from self._good(block)
            stretch += len(raw) + _LINE
            if stretch > _STRETCH:
                stretch = 0
                yield None

    def _good(self, block: Block) -> list[Packet]:
        found = self.findings
        found.bad, found.repeated = self._checker.bad_lines, self._checker.repeated
        found.errors += (
            FieldError(f"line {bad.number}: {bad.field}", bad.message)
            for bad in block.bad[: MAX_FAULTS - len(found.errors)]
        )
        if not found.bad or self._upload.skip_invalid:
            return block.packets
        found.has_seen_enough = len(found.errors) >= MAX_FAULTS
        return []
