"""What a JSON schema says of a field, in a form that two of them can be compared in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "maxItems", "maxLength")
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True)
class Shape:
    """What a field takes, or holds.

    Args:
        types: JSON types, null left out; empty = anything.
        is_nullable: whether null is one.
        is_required: whether it must be there.
        values: the values there are, of one that takes no others; or that are known to us.
        bounds: limits, by their names in JSON Schema.
        inner: the types of what it holds, if it is an array or an object of one kind of value.
    """

    types: frozenset[str] = frozenset()
    is_nullable: bool = False
    is_required: bool = False
    values: frozenset[str] = frozenset()
    bounds: Mapping[str, float] = field(default_factory=dict)
    inner: frozenset[str] = frozenset()

    def differences(self, other: Shape) -> Iterator[tuple[str, str]]:
        """Yield each aspect in which another shape differs, with both sides in words."""
        for name in ASPECTS:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                yield name, f"ours {_words(mine)}, theirs {_words(theirs)}"


#: What is compared of a field that both sides have.
ASPECTS = ("types", "is_nullable", "is_required", "values", "bounds", "inner")


def _words(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(value)) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} {value[name]:g}" for name in sorted(value)) + "}"
    return str(value)


def fields_of(schema: Schema, definitions: Schema) -> dict[str, Shape]:
    """Return the shapes of an object's fields.

    Args:
        schema: the object's.
        definitions: what its references name, by their last part.
    """
    found = _resolved(schema, definitions)
    required = set(found.get("required", ()))
    return {
        name: shape_of(inner, definitions, is_required=name in required)
        for name, inner in found.get("properties", {}).items()
    }


def shape_of(schema: Schema, definitions: Schema, *, is_required: bool = False) -> Shape:
    """Return the shape of one field; arguments as above."""
    types: set[str] = set()
    values: set[str] = set()
    inner: set[str] = set()
    bounds: dict[str, float] = {}
    is_open = False
    for part in _alternatives(schema, definitions):
        kinds = _types_of(part)
        types.update(kinds)
        known = part.get("enum", [part["const"]] if "const" in part else ())
        values.update(value for value in known if isinstance(value, str))
        bounds.update({name: part[name] for name in _BOUNDS if name in part})
        below = part.get("items") if "array" in kinds else _values_of(part)
        if isinstance(below, Mapping):
            for one in _alternatives(below, definitions):
                inner.update(_types_of(one))
        is_open = is_open or not (kinds or known)
    # Our schemas name values that are known, of a field that takes others, too.
    values.update(value for value in schema.get("examples", ()) if _is_list_of_names(schema))
    nullable = "null" in types
    return Shape(
        frozenset() if is_open else frozenset(types - {"null"}),
        nullable,
        is_required,
        frozenset(values),
        bounds,
        frozenset(inner),
    )


def _values_of(part: Schema) -> Any:
    """Return the schema of what an object holds under any name; of ours a pattern limits these."""
    for below in part.get("patternProperties", {}).values():
        return below
    return part.get("additionalProperties")


def _is_list_of_names(schema: Schema) -> bool:
    """Tell examples that list all known values from examples that only show one."""
    examples = schema.get("examples", ())
    return len(examples) > 3 and all(isinstance(one, str) for one in examples)


def _types_of(part: Schema) -> set[str]:
    kinds = part.get("type", ())
    if isinstance(kinds, str):
        return {kinds}
    if not kinds and "enum" in part:
        return {_TYPES[type(value)] for value in part["enum"] if type(value) in _TYPES}
    return set(kinds)


def _alternatives(schema: Schema, definitions: Schema) -> Iterator[Schema]:
    schema = _resolved(schema, definitions)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            for part in schema[name]:
                yield from _alternatives(part, definitions)
            return
    yield schema


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema
