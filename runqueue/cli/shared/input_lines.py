"""The input of jobs: a file or stdin, compressed or not, as numbered lines, in constant memory."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import typer

from runqueue.errors import FieldError
from runqueue.producer.upload import MAX_LINE
from runqueue.request.validation_errors import size_words

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
#: The first bytes of text files in other encodings than UTF-8.
_OTHERS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_ZIP = b"PK\x03\x04"
_BUFFER = 256 * 1024

#: A line of JSON under its number, or why the line cannot be read.
Row = tuple[int, bytes | list[FieldError]]
#: A physical line under its number, None where it is too long.
Text = tuple[int, bytes | None]

TOO_LONG = FieldError("line", f"expected at most {size_words(MAX_LINE)}")


class Unreadable(Exception):  # noqa: N818 - what it says is in its name
    """The input cannot be read to its end.

    Args:
        number: the line where reading failed.
        message: what is wrong, and what to do.
    """

    def __init__(self, number: int, message: str) -> None:
        self.number, self.message = number, message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Source:
    """An open input.

    Args:
        name: as messages show it.
        rows: its lines, blank ones left out; to be read once.
        size: its bytes; None where that is not known.
        position: returns how many of them were read.
    """

    name: str
    rows: Iterator[Row]
    size: int | None
    position: Callable[[], int]


@contextmanager
def open_input(name: str, read: Callable[[Iterator[Text]], Iterator[Row]]) -> Iterator[Source]:
    """Open an input; `-` is stdin.

    Args:
        name: the file.
        read: makes rows of its physical lines.
    """
    if name == "-":
        yield Source(name, read(_lines(_plain(sys.stdin.buffer))), None, lambda: 0)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb", buffering=0))
            size = Path(name).stat().st_size if Path(name).is_file() else None
            # Kept open until the end: its position is read after the last line, too.
            stream = stack.enter_context(io.BufferedReader(file, _BUFFER))
            lines = _lines(_plain(stream))
        except OSError as error:
            said = f"cannot read {name}: {error.strerror or error}"
            raise typer.BadParameter(said, param_hint="FILE") from None
        yield Source(name, read(lines), size, file.tell if size is not None else lambda: 0)


def json_lines(lines: Iterator[Text]) -> Iterator[Row]:
    """Read lines of JSON.

    Raises:
        Unreadable: it is JSON, but not one object a line.
    """
    is_first = True
    for number, text in lines:
        if text is None:
            yield number, [TOO_LONG]
        elif raw := text.strip():
            if is_first:
                _check_begins(number, raw)
            is_first = False
            fault = no_utf_8(number, raw)
            yield number, [fault] if fault else raw


def _check_begins(number: int, raw: bytes) -> None:
    if raw[:1] == b"[":
        said = "an array: jq -c '.[]' FILE | runqueue submit - submits its objects"
    elif raw == b"{":
        said = "an object over several lines: jq -c . FILE | runqueue submit - submits it"
    else:
        return
    raise Unreadable(number, f"expected one JSON object a line, got {said}")


def no_utf_8(number: int, text: bytes) -> FieldError | None:
    """Return which byte of a line is not UTF-8; None if all are."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{text[error.start]:02x} in line {number}"
        return FieldError("line", f"expected UTF-8, got {byte}: save the file as UTF-8")
    return None


def _plain(stream: IO[bytes]) -> IO[bytes]:
    """Return the content of a stream, decompressed if it is gzip, whatever its name."""
    head = stream.read(len(_GZIP))
    whole = cast(IO[bytes], io.BufferedReader(_Rejoined(head, stream), _BUFFER))
    if head != _GZIP:
        return whole
    # In small reads: of a cut file, everything before the cut is read.
    decompressed = _Rejoined(b"", cast(IO[bytes], gzip.GzipFile(fileobj=whole)))
    return cast(IO[bytes], io.BufferedReader(decompressed, _BUFFER))


class _Rejoined(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        some = self._head or cast(io.BufferedReader, self._stream).read1(len(buffer))
        self._head = b""
        buffer[: len(some)] = some
        return len(some)


def _lines(stream: IO[bytes]) -> Iterator[Text]:
    """Number the lines.

    Raises:
        Unreadable: the input is cut or broken, or is no UTF-8.
    """
    number = 0
    try:
        while text := stream.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                text = _without_mark(text)
            if len(text) <= MAX_LINE:
                yield number, text
                continue
            while text and not text.endswith(b"\n"):
                text = stream.readline(MAX_LINE)
            yield number, None
    except EOFError:
        said = "the gzip data is incomplete: the file was cut; get it again"
        raise Unreadable(number + 1, said) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable(number + 1, f"the gzip data is broken: {error}") from None
    except OSError as error:
        raise Unreadable(number + 1, f"cannot be read: {error.strerror or error}") from None


def _without_mark(text: bytes) -> bytes:
    """Return the first line without its UTF-8 byte order mark.

    Raises:
        Unreadable: it has the mark of another encoding, or is a zip file.
    """
    if text.startswith(_ZIP):
        raise Unreadable(
            1, "expected text, or text compressed with gzip, got a zip file: unpack it"
        )
    for mark, encoding in _OTHERS.items():
        if text.startswith(mark):
            said = f"expected UTF-8, got {encoding}: save the file as UTF-8"
            raise Unreadable(1, said)
    return text.removeprefix(_BOM)
