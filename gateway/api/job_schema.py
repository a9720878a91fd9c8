"""The published schemas of jobs and of lines of batch files, as the OpenAPI file has them."""

from typing import Any, Final

from runqueue.ids import DEFAULT, job_id_for
from runqueue.schemas import schemas as published

#: The schema's name, and its URL in the OpenAPI file.
NAME: Final = "Line"
REFERENCE: Final = {"$ref": f"#/components/schemas/{NAME}"}

PUBLISHED: Final = published()
_LINE: Final = PUBLISHED["job_line"]
EXAMPLE: Final[dict[str, Any]] = _LINE["examples"][0]
#: Its job in the account `default`: the id of a job with a key is made of the key.
EXAMPLE_ID: Final = job_id_for(DEFAULT, "", EXAMPLE["custom_id"])


def schemas() -> dict[str, Any]:
    """Return the schema of a line, and those that it refers to, by name."""
    line = {name: part for name, part in _LINE.items() if name not in {"$schema", "$id", "$defs"}}
    found: dict[str, Any] = _placed({NAME: line | _by_kind(), **_LINE["$defs"]})
    return found


def _by_kind() -> dict[str, Any]:
    """Return the rules of a line with each kind's body in `oneOf`: generators read no `if`."""
    rules = [rule for rule in _LINE["allOf"] if "if" in rule]
    kinds = [rule["if"]["properties"] | rule["then"]["properties"] for rule in rules]
    body = {"description": _LINE["properties"]["body"]["description"]}
    return {
        "properties": {**_LINE["properties"], "body": body},
        "oneOf": [{"properties": kind, "required": [*kind]} for kind in kinds],
        "allOf": [rule for rule in _LINE["allOf"] if rule not in rules],
    }


def _placed(part: Any) -> Any:
    """Return a schema whose references lead to its parts in the OpenAPI file."""
    if isinstance(part, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/")
            if name == "$ref"
            else _placed(value)
            for name, value in part.items()
        }
    return [_placed(value) for value in part] if isinstance(part, list) else part
