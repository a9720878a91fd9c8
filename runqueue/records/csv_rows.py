"""Jobs as a table: its columns, and rows as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from runqueue.records.job import COLUMNS

#: What makes a spreadsheet take a cell for a formula, in full width too; a plain number is none.
_BEGINS = "=+@\uff1d\uff0b\uff0d\uff20-"
_FORMULA = (*_BEGINS, "\t", "\r", "\n")
#: Where a spreadsheet that splits elsewhere begins a cell, and how a formula would begin it.
_WITHIN = re.compile(rf'([;\t\r\n][;\t\r\n" ]*)([{_BEGINS}]?)')
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def csv_head(end: str = "\n") -> bytes:
    """Return the names of the columns; `end` ends the line."""
    return _csv([COLUMNS], end)


def csv_rows(rows: Iterable[Mapping[str, Any]], end: str = "\n") -> bytes:
    """Return rows as CSV; what is an object or a list is there as JSON.

    What a spreadsheet would take for a formula gets a ' in front, also behind `;`, a tab or a line
    break: some split cells there.

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
        value = orjson.dumps(value).decode()
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    text = _WITHIN.sub(lambda found: f"{found[1]}'{found[2]}" if found[2] else found[0], value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
