"""Jobs as a table: its columns, and rows as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from runqueue.records.job import RESULT_FIELDS

#: What a table has of `Job.as_row`; the last ones a row has only where there is something.
COLUMNS = (
    *("custom_id", "job_id", "state", "run_id", "run_status", "output", "failure_reason"),
    *("attempts", "runs", "kind", "priority", "group", "batch", "keys"),
    *("created_at", "started_at", "ended_at", "webhook"),
    *RESULT_FIELDS,
)
#: What makes a spreadsheet take a cell for a formula; a plain number is none.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def csv_head(end: str = "\n") -> bytes:
    """Return the names of the columns; `end` ends the line."""
    return _csv([COLUMNS], end)


def csv_rows(rows: Iterable[Mapping[str, Any]], end: str = "\n") -> bytes:
    """Return rows as CSV; what is an object or a list is there as JSON.

    Text that a spreadsheet would take for a formula gets a ' in front.

    Args:
        rows: as `Job.as_row` gives them.
        end: what ends a line.
    """
    return _csv(([_cell(row.get(name)) for name in COLUMNS] for row in rows), end)


def _csv(rows: Iterable[Iterable[Any]], end: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list, bool)):
        return orjson.dumps(value).decode()
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
