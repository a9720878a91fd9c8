"""Splits the parts of a body, compressed or not, into lines, in constant memory."""

import zlib
from collections.abc import Iterator

from gateway.checks.findings import not_readable, too_large
from gateway.refused import Refused
from runqueue.producer.upload import MAX_LINE
from runqueue.request.validation_errors import size_words

#: Bytes that are decompressed at a time, so that a gzip bomb takes no memory.
_PIECE = 256 * 1024
_GZIP = zlib.MAX_WBITS + 16
_BOM = b"\xef\xbb\xbf"


class Gzip:
    """Unpacks a gzip stream; several of them, one after the other, are one."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Yield what a part of the stream decompresses to.

        Raises:
            InvalidRequest: it is no gzip.
        """
        try:
            yield from self._decompress(part)
        except zlib.error:
            raise not_readable("expected gzip, as Content-Encoding says") from None

    def _decompress(self, part: bytes) -> Iterator[bytes]:
        more = bool(part)
        while more:
            if self._stream.eof:
                part = part.lstrip(b"\0")  # padding
                if not part:
                    return
                self._stream = zlib.decompressobj(_GZIP)
            piece = self._stream.decompress(part, _PIECE)
            part = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            # After a full piece more output may follow without more input.
            more = bool(part) or (len(piece) == _PIECE and not self._stream.eof)
            yield piece

    def end(self) -> None:
        """Check that the stream is complete.

        Raises:
            InvalidRequest: it is cut off.
        """
        if not self._stream.eof:
            raise not_readable("the gzip stream is cut short")


def line_too_long(number: int) -> Refused:
    """Return the refusal of a line that is longer than any that is accepted."""
    return too_large(f"line {number}: expected at most {size_words(MAX_LINE)}")


class Lines:
    """Cuts parts into lines."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = bytearray()

    def feed(self, part: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that end in a part, numbered, those that are blank left out.

        Raises:
            Refused: a line has more bytes than any that is accepted.
        """
        if not self._rest and part.isspace():
            self._number += part.count(b"\n")  # a little body may decompress to a lot of these
            return
        *whole, rest = part.split(b"\n")
        for end in whole:
            self._number += 1
            raw = end.strip() if not self._rest else self._whole(end)
            if raw:
                yield self._number, self._checked(raw)
        self._rest += rest
        if len(self._rest) > MAX_LINE:
            raise line_too_long(self._number + 1)

    def end(self) -> Iterator[tuple[int, bytes]]:
        """Yield the last line, if no line break ends it."""
        self._number += 1
        if raw := self._whole(b""):
            yield self._number, self._checked(raw)

    def _whole(self, end: bytes) -> bytes:
        """Return the line that began in earlier parts."""
        raw = bytes(self._rest) + end
        self._rest.clear()
        return raw.strip()

    def _checked(self, raw: bytes) -> bytes:
        if len(raw) > MAX_LINE:
            raise line_too_long(self._number)
        return raw.removeprefix(_BOM) if self._number == 1 else raw
