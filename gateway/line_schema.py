"""A line of a batch file as the OpenAPI file describes it; `runqueue/spec.py` is what checks it."""

from typing import Any

from runqueue.requests import TaskRunRequest, WorkflowRunRequest
from runqueue.retry import RUN_STATUSES

#: The schema's name, and where others find it.
NAME = "Line"
REFERENCE = {"$ref": f"#/components/schemas/{NAME}"}

EXAMPLE: dict[str, Any] = {
    "custom_id": "order-17",
    "kind": "task",
    "body": {"prompt": "Read the price.", "url": "https://shop.example/17", "max_steps": 10},
    "priority": "high",
    "group": "shop-a",
}
#: Its job in the account `default`: the id of a job with a key is made of the key.
EXAMPLE_ID = "nma3hvhb5tbdhxffjjm3sq3f"

_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,31}$"}
_SECONDS = {"type": "number", "minimum": 0, "maximum": 315_360_000}
_MOMENT = [
    {"type": "string", "format": "date-time", "description": "A time with its zone."},
    {**_SECONDS, "description": "Seconds from now."},
]


def _or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}], "description": description}


def _retry() -> dict[str, Any]:
    seconds = {"type": "number", "minimum": 0, "maximum": 31_536_000}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100},
            "retry_on": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string"},
                "description": f"Ends of a run ({', '.join(RUN_STATUSES)}) and error codes.",
            },
            "min_backoff": seconds,
            "max_backoff": seconds,
            "max_doublings": {"type": "integer", "minimum": 0, "maximum": 64},
        },
    }


def schemas() -> dict[str, Any]:
    """Return the schema of a line, and those that it stands on, by name."""
    found: dict[str, Any] = {NAME: _line()}
    for model in (TaskRunRequest, WorkflowRunRequest):
        whole = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= whole.pop("$defs", {})
        found[model.__name__] = whole
    portable: dict[str, Any] = _portable(found)
    return portable


def _line() -> dict[str, Any]:
    properties = {
        "custom_id": _or_null(
            {"type": "string", "minLength": 1, "maxLength": 256},
            "Your name for the job: its idempotency key.",
        ),
        "priority": _or_null(
            {"enum": ["urgent", "high", "normal", "low", 0, 1, 2, 3]}, "Strict; default normal."
        ),
        "group": _or_null(_NAME, "Whose share of the account it takes."),
        "run_at": _or_null({"anyOf": _MOMENT}, "Not before."),
        "delay": _or_null(_SECONDS, "Seconds from now; instead of run_at."),
        "deadline": _or_null({"anyOf": _MOMENT}, "Too late after."),
        "account": _or_null(_NAME, "The Skyvern account; default `default`."),
        "namespace": _or_null(
            {"anyOf": [_NAME, {"const": ""}]}, "Keeps the custom_ids of several producers apart."
        ),
        "on_unconfirmed": _or_null(
            {"enum": ["auto", "park", "resubmit"]},
            "What to do if the answer to the submission was lost and no run is found.",
        ),
        "retry": _or_null(_retry(), "When its run is tried again after a bad end."),
    }
    return {
        "title": "A line of a batch file: one job",
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "body"],
        "properties": {"kind": {"enum": ["task", "workflow"]}, "body": {}, **properties},
        "oneOf": [
            _kind("task", TaskRunRequest.__name__),
            _kind("workflow", WorkflowRunRequest.__name__),
        ],
        "examples": [EXAMPLE],
    }


def _kind(kind: str, model: str) -> dict[str, Any]:
    body = {"$ref": f"#/components/schemas/{model}"}
    return {"properties": {"kind": {"const": kind}, "body": body}}


def _portable(part: Any) -> Any:
    """Return a schema whose patterns ECMA-262 knows, as JSON Schema asks for."""
    if isinstance(part, dict):
        return {
            name: value.replace("(?i:https?)", "[Hh][Tt][Tt][Pp][Ss]?")
            if name == "pattern" and isinstance(value, str)
            else _portable(value)
            for name, value in part.items()
        }
    return [_portable(value) for value in part] if isinstance(part, list) else part
