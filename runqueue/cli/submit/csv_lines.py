"""Tables: rows of CSV become lines of JSON, by a template or the names of the columns."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.input_lines import TOO_LONG, Row, Text, Unreadable, no_utf_8
from runqueue.cli.submit.csv_fields import Path, fault_of
from runqueue.cli.submit.csv_template import AS_JSON, Cell, Fields, Template, compiled
from runqueue.errors import FieldError, InvalidJob
from runqueue.producer.upload import MAX_LINE
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES
from runqueue.request.validation_errors import size_words

_DELIMITERS = (";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is read.

    Args:
        template: the line that a row becomes, with placeholders; None = by the columns' names.
        kind: of rows that name none.
        delimiter: the character between cells.
        say: prints which columns are not used.
    """

    template: Mapping[str, Any] | None = None
    kind: str = "task"
    delimiter: str = ","
    say: Callable[[str], None] = lambda _: None

    def rows(self, lines: Iterator[Text]) -> Iterator[Row]:
        """Read a table.

        Raises:
            Unreadable: the header is invalid; or a quote is wrong, so that the start of the next
                row is unknown.
        """
        csv.field_size_limit(MAX_PAYLOAD_BYTES)  # of characters; no legal value is longer
        texts = _Texts(lines)
        rows = _cells(texts, self.delimiter)
        names, template = self._header(rows)
        for number, cells in rows:
            if isinstance(cells, list) and len(cells) != len(names):
                said = f"expected {len(names)} cells, one a column, got {len(cells)}"
                texts.check_one_line(said)
                yield number, [FieldError("line", said)]
            elif isinstance(cells, list):
                yield number, _line(template, cells)
            else:
                yield number, [cells]

    def _header(self, rows: Iterator[tuple[int, "list[str] | FieldError"]]) -> "_Header":
        number, cells = next(rows, (0, []))
        if not number:
            return [], Template(Fields(), self.kind)
        if isinstance(cells, FieldError):
            raise Unreadable(number, f"the columns' names: {cells.message}")
        names = [name.strip() for name in cells]
        faults = [
            f"column {name!r} appears {count} times"
            for name, count in Counter(filter(None, names)).items()
            if count > 1
        ]
        columns = {name: place for place, name in enumerate(names) if name}
        if not faults:
            template, faults = self._template(columns)
        if faults:
            hint = ""
            if len(names) == 1 and (other := next(filter(names[0].count, _DELIMITERS), "")):
                hint = f" (one column; did you mean --delimiter {other!r}?)"
            raise Unreadable(number, "; ".join(faults) + hint)
        return names, template

    def _template(self, columns: Mapping[str, int]) -> tuple[Template, list[str]]:
        if self.template is not None:
            template, used, faults = compiled(self.template, columns, self.kind)
        else:
            fields, used, faults = _by_name(columns)
            template = Template(fields, self.kind)
        unused = [name for name, place in columns.items() if place not in used]
        if unused and not faults:
            self.say(f"columns that are not used: {', '.join(unused)}")
        return template, faults


def _by_name(columns: Mapping[str, int]) -> tuple[Fields, set[int], list[str]]:
    """Return the line whose fields come from columns of their names.

    With it come the positions of these columns, and the faults.
    """
    fields, faults = Fields(), []
    for name, place in columns.items():
        path: Path = tuple(name.removesuffix(AS_JSON).split("."))
        if said := fault_of(path):
            faults.append(f"column {name!r}: {said} (a --template names other columns)")
        elif not fields.put(path, Cell(place, path, name.endswith(AS_JSON))):
            faults.append(f"column {name!r}: another column is {'.'.join(path)!r}, or in it")
    return fields, set(columns.values()), faults


_Header = tuple[list[str], Template]


def _line(template: Template, cells: list[str]) -> bytes | list[FieldError]:
    try:
        line = template.line(cells)
    except InvalidJob as error:
        return error.errors
    try:
        return orjson.dumps(line)
    except TypeError:  # a number that is too long, a lone surrogate: the check names the field
        return json.dumps(line).encode()


class _Texts(Iterator[str]):
    """Physical lines as text, for the CSV reader.

    Args:
        first, number: the row's first line, and its last one so far.
        fault: the row's first fault.
    """

    def __init__(self, lines: Iterator[Text]) -> None:
        self.first, self.number = 1, 0
        self.fault: FieldError | None = None
        self._lines = lines
        self._bytes = 0

    def __next__(self) -> str:
        self.number, text = next(self._lines)
        if text is None:
            self._note(TOO_LONG)
            return "\n"
        self._bytes += len(text)
        if self._bytes > MAX_LINE:  # each cell is bounded, but not their number
            self.check_one_line(f"expected at most {size_words(MAX_LINE)} a row")
        if fault := no_utf_8(self.number, text):
            self._note(fault)
        return text.decode(errors="replace")

    def _note(self, fault: FieldError) -> None:
        self.fault = self.fault or fault

    def begin(self) -> None:
        """Begin a row with the next line."""
        self.first, self.fault, self._bytes = self.number + 1, None, 0

    def check_one_line(self, said: str) -> None:
        """Make sure that an unreadable row took only one line.

        Args:
            said: what is wrong with it.

        Raises:
            Unreadable: it took more; a misplaced quote may have swallowed rows.
        """
        if self.number > self.first:
            lines = counted(self.number - self.first + 1, "line")
            raise Unreadable(
                self.first,
                f"{said}; this row takes {lines}, up to {self.number}: is a quote in it misplaced,"
                " or not closed? What follows cannot be read",
            )


def _cells(texts: _Texts, delimiter: str) -> Iterator[tuple[int, list[str] | FieldError]]:
    """Yield each nonempty row's cells, or its fault, with the number of its first line."""
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        texts.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            said = f"expected CSV: {_words(str(error))}"
            texts.check_one_line(said)
            yield texts.first, FieldError("line", said)
            continue
        if cells is None:
            return
        if texts.fault is TOO_LONG:
            texts.check_one_line(TOO_LONG.message)
        if texts.fault:
            yield texts.first, texts.fault
        elif any(cells):
            yield texts.first, cells


def _words(error: str) -> str:
    if "unexpected end of data" in error or "field larger" in error:
        return "a cell's quote opens here and is not closed"
    return error
