"""The formats of results files: lines of JSON, CSV, both packed by gzip, and Parquet.

Lines of JSON are written first; the other formats are made from them.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import orjson
import typer

from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.records.csv_rows import csv_head, csv_rows

#: Lines converted at once, and about so many bytes of them.
_LINES, _BYTES = 1000, 4 * 1024 * 1024
#: Lines and bytes of one Parquet row group.
_GROUP, _GROUP_BYTES = 10_000, 32 * 1024 * 1024
#: Higher levels gain little.
_LEVEL = 6


class ResultsKind(StrEnum):
    """The content of a file."""

    JSONL = ".jsonl"
    CSV = ".csv"
    PARQUET = ".parquet"


class Format(NamedTuple):
    """How a file is written."""

    kind: ResultsKind
    is_gzip: bool = False

    @property
    def is_lines(self) -> bool:
        """Whether the part is the file."""
        return self.kind is ResultsKind.JSONL and not self.is_gzip


_FORMATS = {
    ".jsonl": Format(ResultsKind.JSONL),
    ".ndjson": Format(ResultsKind.JSONL),
    ".csv": Format(ResultsKind.CSV),
    ".jsonl.gz": Format(ResultsKind.JSONL, is_gzip=True),
    ".ndjson.gz": Format(ResultsKind.JSONL, is_gzip=True),
    ".csv.gz": Format(ResultsKind.CSV, is_gzip=True),
    ".parquet": Format(ResultsKind.PARQUET),
}


def format_of(path: Path) -> Format:
    """Return the format by a file's name; an unknown suffix ends the command."""
    found = next((one for end, one in _FORMATS.items() if path.name.lower().endswith(end)), None)
    if found is None:
        words = "expected a name that ends in .jsonl, .csv (or with .gz behind it) or .parquet"
        raise typer.BadParameter(words, param_hint="-o")
    if found.kind is ResultsKind.PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ended(".parquet needs: pip install 'runqueue[parquet]'", Exit.USAGE)
    return found


def make(target: Path, wanted: Format, chunks: Callable[[int, int], Iterator[list[bytes]]]) -> None:
    """Convert lines of JSON to a file; it gets its name once it is safe on the disk.

    Args:
        target: the file; one that exists is replaced, at the end.
        wanted: its format.
        chunks: yields the lines, so many at a time and about so many bytes.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    new = target.with_name(f"{target.name}.new")
    try:
        # Without a buffer, closing writes nothing.
        with new.open("wb", buffering=0) as file:
            _write(cast(BinaryIO, file), wanted, chunks)
            os.fsync(file.fileno())
        new.replace(target)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _write(
    file: BinaryIO, wanted: Format, chunks: Callable[[int, int], Iterator[list[bytes]]]
) -> None:
    if wanted.kind is ResultsKind.PARQUET:
        # pyarrow is large, and comes with its own extra.
        from runqueue.cli.results.parquet import write_parquet  # noqa: PLC0415

        write_parquet(file, chunks(_GROUP, _GROUP_BYTES))
        return
    parts = chunks(_LINES, _BYTES)
    texts = as_csv(parts) if wanted.kind is ResultsKind.CSV else map(b"".join, parts)
    if wanted.is_gzip:
        texts = _packed(texts)
    for text in texts:
        left = memoryview(text)
        while left:
            left = left[file.write(left) :]


def _packed(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Pack texts, each by itself: gzip's members are read as one."""
    for text in texts:
        yield gzip.compress(text, _LEVEL, mtime=0)


def as_csv(parts: Iterable[list[bytes]]) -> Iterator[bytes]:
    """Return lines of JSON as CSV, the header first."""
    yield csv_head()
    for lines in parts:
        yield csv_rows(map(orjson.loads, lines))
