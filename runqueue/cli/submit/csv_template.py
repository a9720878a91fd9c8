"""Templates: a line with placeholders, filled from a row's cells.

    {"custom_id": "{order}", "body": {"prompt": "Read the price of {name}.", "max_steps": "{n}"}}

A text that is a single placeholder takes the cell's value, in the field's type; an empty cell
leaves the field out. Placeholders are names of columns and nothing else: nothing is evaluated.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runqueue.cli.submit.csv_fields import Path, read_json, value_of, wanted
from runqueue.errors import FieldError, InvalidJob
from runqueue.request.validation_errors import did_you_mean

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: Suffix of a column's or a field's name: the cell is JSON, whatever the field takes.
AS_JSON: Final = ":json"
#: The value of an omitted part.
_NOTHING = object()

Cells = Sequence[str]
#: A part of the line: returns its value for a row of a kind; `_NOTHING` omits it.
Part = Callable[[Cells, str], Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """A whole value from one cell.

    Args:
        column: its position in the row.
        path: the field.
        as_json: whether the cell is JSON, whatever the field takes.
    """

    column: int
    path: Path
    as_json: bool = False

    def __call__(self, cells: Cells, kind: str) -> Any:
        """Return the cell's value.

        Raises:
            InvalidJob: it should be JSON, and is not.
        """
        cell = cells[self.column]
        if not cell:
            return _NOTHING
        if not self.as_json:
            return value_of(cell, wanted(kind, self.path))
        try:
            return read_json(cell)
        except ValueError:
            said = "expected JSON in its cell, as the placeholder says"
            raise InvalidJob([FieldError(".".join(self.path), said)]) from None


@dataclass(frozen=True, slots=True)
class Fields:
    """An object; it is omitted if all its parts are."""

    parts: dict[str, Part] = field(default_factory=dict)

    def __call__(self, cells: Cells, kind: str) -> Any:
        """Return the object."""
        found = {}
        for name, part in self.parts.items():
            value = part(cells, kind)
            if value is not _NOTHING:
                found[name] = value
        return found if found or not self.parts else _NOTHING

    def put(self, path: Path, part: Part) -> bool:
        """Put a part at a path; False if the path is taken."""
        name, *rest = path
        if not rest:
            return self.parts.setdefault(name, part) is part
        inner = self.parts.setdefault(name, Fields())
        return isinstance(inner, Fields) and inner.put(tuple(rest), part)


@dataclass(frozen=True, slots=True)
class Template:
    """Turns rows into lines.

    Args:
        fields: the line.
        kind: of rows that name none.
    """

    fields: Fields
    kind: str

    def line(self, cells: Cells) -> dict[str, Any]:
        """Return the line of a row.

        Raises:
            InvalidJob: a cell does not fit.
        """
        named = self.fields.parts.get("kind")
        given = named(cells, "") if named else _NOTHING
        kind = self.kind if given is _NOTHING else given
        line = self.fields(cells, kind if isinstance(kind, str) else "")
        found: dict[str, Any] = {} if line is _NOTHING else line
        # An empty body is kept: its missing fields are reported.
        return {"kind": kind, "body": {}} | found


def compiled(
    template: Mapping[str, Any], columns: Mapping[str, int], kind: str
) -> tuple[Template, set[int], list[str]]:
    """Return a template bound to its columns, the positions of those it names, and its faults.

    Args:
        template: the line with placeholders.
        columns: the positions of the columns, by name.
        kind: of rows that name none.
    """
    compiler = _Compiler(columns)
    fields = compiler.object(template, ())
    return Template(fields, kind), compiler.used, compiler.faults


def _list(parts: list[Part]) -> Part:
    def fill(cells: Cells, kind: str) -> list[Any]:
        filled = [part(cells, kind) for part in parts]
        return [value for value in filled if value is not _NOTHING]

    return fill


class _Compiler:
    def __init__(self, columns: Mapping[str, int]) -> None:
        self.faults: list[str] = []
        #: The positions of the columns that are named.
        self.used: set[int] = set()
        self._columns = columns

    def object(self, value: Mapping[str, Any], path: Path) -> Fields:
        return Fields({name: self._node(inner, (*path, name)) for name, inner in value.items()})

    def _node(self, value: Any, path: Path) -> Part:
        if isinstance(value, dict):
            return self.object(value, path)
        if isinstance(value, list):
            return _list([self._node(inner, path) for inner in value])
        return self._text(value, path) if isinstance(value, str) else lambda _cells, _kind: value

    def _text(self, text: str, path: Path) -> Part:
        whole = _TOKEN.fullmatch(text)
        if whole and whole[1] is not None:
            name, as_json = whole[1], False
            if name not in self._columns and name.endswith(AS_JSON):
                name, as_json = name.removesuffix(AS_JSON), True
            return Cell(self._column(name, path), path, as_json)
        parts = list(self._parts(text, path))
        return lambda cells, _kind: "".join(
            [part if isinstance(part, str) else cells[part] for part in parts]
        )

    def _parts(self, text: str, path: Path) -> Iterator[str | int]:
        end = 0
        for token in _TOKEN.finditer(text):
            yield text[end : token.start()]
            end = token.end()
            if token[1] is not None:
                yield self._column(token[1], path)
            elif len(token[0]) == 2:
                yield token[0][0]
            else:
                self._fault(path, f"a single {token[0]!r}: a brace that is text is written twice")
        yield text[end:]

    def _column(self, name: str, path: Path) -> int:
        if name not in self._columns:
            hint = did_you_mean(name, self._columns) or "; a brace that is text is written twice"
            self._fault(path, f"no column {name[:60]!r}{hint}")
        place = self._columns.get(name, 0)
        self.used.add(place)
        return place

    def _fault(self, path: Path, message: str) -> None:
        self.faults.append(f"template, {'.'.join(path)}: {message}")
