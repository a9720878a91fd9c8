"""Records as JSON has them: their fields by name, times and enums as text."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

from runqueue.request.job_spec import Priority


def json_object(record: Any, *names: str) -> dict[str, Any]:
    """Return attributes of a record as a JSON object.

    Args:
        record: a dataclass or a named tuple.
        names: of the attributes; none = all of its fields.
    """
    all_names = getattr(record, "_fields", None) or [field.name for field in fields(record)]
    return {name: json_value(getattr(record, name)) for name in names or all_names}


def json_value(value: Any) -> Any:
    """Return a value of a record as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.name.lower() if isinstance(value, Priority) else value.value
    if isinstance(value, Mapping):
        return {json_value(name): json_value(inner) for name, inner in value.items()}
    if hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields"):
        return json_object(value)
    return list(map(json_value, value)) if isinstance(value, list | tuple) else value
