"""The formats of results files: lines of JSON, CSV, both compressed by gzip, and Parquet."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import orjson
import typer

from runqueue.cli.results.output_file import is_special
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.records.csv_rows import csv_head, csv_rows

#: Higher levels of gzip gain little.
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


_FORMATS = {
    ".jsonl": Format(ResultsKind.JSONL),
    ".ndjson": Format(ResultsKind.JSONL),
    ".csv": Format(ResultsKind.CSV),
    ".jsonl.gz": Format(ResultsKind.JSONL, is_gzip=True),
    ".ndjson.gz": Format(ResultsKind.JSONL, is_gzip=True),
    ".csv.gz": Format(ResultsKind.CSV, is_gzip=True),
    ".parquet": Format(ResultsKind.PARQUET),
}


def format_of(path: Path, option: str = "-o") -> Format:
    """Return the format by a file's name; an unknown suffix ends the command.

    Args:
        path: the file; what is no plain file, such as /dev/stdout, gets lines of JSON.
        option: the option that names it.
    """
    found = next((one for end, one in _FORMATS.items() if path.name.lower().endswith(end)), None)
    if is_special(path):
        return found or Format(ResultsKind.JSONL)
    if found is None:
        words = "expected a name that ends in .jsonl, .csv (or with .gz behind it) or .parquet"
        raise typer.BadParameter(words, param_hint=option)
    if found.kind is ResultsKind.PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ended(".parquet needs: pip install 'runqueue[parquet]'", Exit.USAGE)
    return found


def write_rows(file: BinaryIO, wanted: Format, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows of jobs.

    Args:
        file: open for writing.
        wanted: its format.
        rows: as `Job.as_row` gives them.
    """
    if wanted.is_gzip:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as compressed:
            write_rows(cast(BinaryIO, compressed), wanted._replace(is_gzip=False), rows)
    elif wanted.kind is ResultsKind.PARQUET:
        # pyarrow is large, and comes with its own extra.
        from runqueue.cli.results.parquet import write_parquet  # noqa: PLC0415

        write_parquet(file, rows)
    elif wanted.kind is ResultsKind.CSV:
        file.write(csv_head())
        file.writelines(csv_rows([row]) for row in rows)
    else:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)
