"""The JSON types of a job's fields: a cell's text becomes a number where the field is one."""

import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from runqueue.request.job_spec import MAX_PAYLOAD_BYTES
from runqueue.request.requests import KINDS, MODELS
from runqueue.request.validation_errors import did_you_mean
from runqueue.schemas import Schema, schemas

Path = tuple[str, ...]
_DEFINED: dict[str, str] = {kind: model.__name__ for kind, model in MODELS.items()}
_BOOLS = {"true": True, "false": False}


@cache
def _line() -> Schema:
    return schemas()["job_line"]


@cache
def wanted(kind: str, path: Path) -> frozenset[str]:
    """Return the JSON types that a field takes, text and null left out.

    Args:
        kind: one of `KINDS`; for another kind no type is known.
        path: where the field is: ("body", "max_steps").
    """
    found = {name for schema in _at(kind, path) for name in _types(schema)}
    return frozenset(found - {"string", "null", ""})


def fault_of(path: Path) -> str:
    """Return why a path leads to no field of any kind of job; '' if it does."""
    for depth, name in enumerate(path):
        known: set[str] = set()
        for kind in KINDS:
            for schema in _at(kind, path[:depth]):
                if not _is_closed(schema):
                    return ""
                known |= schema.get("properties", {}).keys()
        if name not in known:
            return f"unknown field {'.'.join(path)!r}{did_you_mean(name, known)}"
    return ""


def value_of(cell: str, types: frozenset[str]) -> Any:
    """Return a cell as the JSON value that its field takes, or else as text.

    Args:
        cell: the text; not empty.
        types: what the field takes beside text.
    """
    if not types or len(cell) > MAX_PAYLOAD_BYTES:
        return cell
    trimmed = cell.strip()
    if "boolean" in types and trimmed.lower() in _BOOLS:  # Excel writes TRUE
        return _BOOLS[trimmed.lower()]
    try:
        value = read_json(trimmed)
    except ValueError:
        return cell
    if isinstance(value, float) and value.is_integer() and "number" not in types:
        value = int(value)  # pandas writes 10.0 where a column has gaps
    return value if _name(value) in types or _is_number(value, types) else cell


def read_json(cell: str) -> Any:
    """Read a cell as JSON.

    Raises:
        ValueError: it is not JSON, or a number that is not in JSON (NaN) or too large (1e999).
    """
    try:
        return json.loads(cell, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _is_number(value: object, types: frozenset[str]) -> bool:
    return "number" in types and _name(value) == "integer"


def _name(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "")


def _at(kind: str, path: Sequence[str]) -> list[Schema]:
    """Return the schemas that a field may have."""
    found = [_line()]
    for name in path:
        found = [inner for schema in found for inner in _inner(kind, schema, name)]
    return found


def _inner(kind: str, schema: Schema, name: str) -> Iterator[Schema]:
    if schema is _line() and name == "body":
        yield _line()["$defs"].get(_DEFINED.get(kind, ""), {})
        return
    more = schema.get("additionalProperties", True)
    inner = schema.get("properties", {}).get(name, more if isinstance(more, dict) else None)
    if inner is not None:
        yield from _alternatives(inner)


def _alternatives(schema: Schema) -> Iterator[Schema]:
    if "$ref" in schema:
        schema = _line()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        for inner in schema["anyOf"]:
            yield from _alternatives(inner)
    else:
        yield schema


def _types(schema: Schema) -> Iterator[str]:
    if "type" in schema:
        yield schema["type"]
    yield from map(_name, schema.get("enum", ()))


def _is_closed(schema: Schema) -> bool:
    """Return whether a schema allows no fields but those it names."""
    if schema.get("type") == "object":
        return schema.get("additionalProperties", True) is False
    return bool(schema)
