"""Saying yes to most bodies at a third of the cost; whatever it does not take, the model decides.

It is made of the model's own schema, so no field is described twice. What is left out of it costs
most and decides nothing here:

- that texts have no NUL: a pattern asks that of every character, and the caller sees it at a glance
  of the body as JSON, where a NUL is always written out (`NUL`);
- the model object, with a default for each field that was not given.
"""

from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema, SchemaValidator, core_schema

#: How JSON has a NUL.
NUL = b"\\u0000"

# Patterns, and what is left to ask of a text that has no NUL.
_WITHOUT_NUL = {
    r"^[^\x00]*$": None,
    r"^[^\x00]+$": r"^(?s:.)",
    r"^[^\x00]*[^\s\x00][^\x00]*$": r"\S",
}


def quick_check(model: type[BaseModel]) -> Callable[[Any], bool]:
    """Return what tells whether a body without NUL is one that the model takes.

    No means "ask the model": only its refusal says what is wrong.
    """
    schema = _lighter(model.__pydantic_core_schema__)
    if schema["type"] == "model" and schema["schema"]["type"] == "model-fields":
        schema = _fields_alone(schema)
    return SchemaValidator(cast(CoreSchema, schema)).isinstance_python


def _lighter(part: Any) -> Any:
    """Copy a part of a schema, with patterns that know of no NUL."""
    if isinstance(part, list):
        return [_lighter(item) for item in part]
    if not isinstance(part, dict):
        return part
    copy = {name: _lighter(item) for name, item in part.items()}
    if copy.get("type") == "str" and copy.get("pattern") in _WITHOUT_NUL:
        pattern = _WITHOUT_NUL[copy.pop("pattern")]
        return copy if pattern is None else {**copy, "pattern": pattern}
    return copy


def _fields_alone(model: dict[str, Any]) -> Any:
    """Return the schema of a model's fields, without the model; defaults need no check."""
    fields = {}
    for name, field in model["schema"]["fields"].items():
        is_required = field["schema"]["type"] != "default"
        inner = field["schema"] if is_required else field["schema"]["schema"]
        fields[name] = core_schema.typed_dict_field(inner, required=is_required)
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid", config=model["config"])
