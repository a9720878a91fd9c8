"""JSON Schemas of what goes in and comes out, for producers in any language.

`python -m runqueue.schemas FOLDER` writes them (`make schemas`). What a schema refuses the queue
refuses, too; the queue also checks what a schema cannot say, such as times that agree.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from runqueue.ids import ID_LENGTH, NAME
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import EnqueueStatus, JobState
from runqueue.request.job_keys import KEY, MAX_KEY, MAX_KEYS
from runqueue.request.job_options import (
    LONGEST_WAIT_S,
    MAX_CUSTOM_ID,
    ON_UNCONFIRMED,
    RETRY_FIELDS,
    Priority,
)
from runqueue.request.metadata import MAX_ENTRIES, MAX_VALUE
from runqueue.request.metadata import NAME as METADATA_NAME
from runqueue.request.requests import KINDS, MODELS, RunRequest, WorkflowRunRequest
from runqueue.request.retry_policy import Retry
from runqueue.request.run_limits import MAX_RUN_SECONDS
from runqueue.tracing import TRACEPARENT_PATTERN

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = f"^{NAME}$"
#: Text without control characters.
_PRINTED = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
_ID = f"^[a-z2-7]{{{ID_LENGTH}}}$"
_EXAMPLE_ID = "p5gqn6yzbfm3vdk2a4rx7wtj"
_BODIES: dict[str, Schema] = {
    "task": {"prompt": "Read the price.", "url": "https://shop.example/17", "max_steps": 10},
    "workflow": {"workflow_id": "wpid_123", "parameters": {"order": 18}},
    "login": {
        "credential_type": "skyvern",
        "credential_id": "cred_123",
        "url": "https://shop.example",
    },
    "download_files": {
        "navigation_goal": "Download the last invoice.",
        "url": "https://shop.example/invoices",
    },
}


def schemas() -> dict[str, Schema]:
    """Return every schema by its name."""
    return {
        **{f"{model.kind}_run_request": _body(model) for model in MODELS.values()},
        "job_line": _job_line(),
        "enqueued": _enqueued(),
        "job": _job(),
    }


def write(folder: Path) -> None:
    """Write every schema to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        path = folder / f"{name}.schema.json"
        path.write_text(f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n")


def _named(name: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "$id": f"{name}.schema.json", **schema}


def _body(model: type[RunRequest]) -> Schema:
    schema = _portable(model.model_json_schema())
    schema["description"] = schema["description"].partition("\n")[0]
    schema["examples"] = [_BODIES[model.kind]]
    if model is WorkflowRunRequest:
        schema["oneOf"] = [_given("workflow_id"), _given("agent_id")]
    return _named(f"{model.kind}_run_request", schema)


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"type": "string"}}}


def _portable(value: Any) -> Any:
    """Write patterns as ECMAScript has them, and refuse names that match none."""
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _portable(inner) for name, inner in value.items()}
    if isinstance(found.get("pattern"), str):
        # pydantic's know how to ignore the case of a part.
        found["pattern"] = found["pattern"].replace("(?i:https?)", "[Hh][Tt][Tt][Pp][Ss]?")
    if "patternProperties" in found:
        ((pattern, inner),) = found.pop("patternProperties").items()
        found |= {"propertyNames": {"pattern": pattern}, "additionalProperties": inner}
    return found


def _inner(model: type[RunRequest]) -> Schema:
    """Return a body's schema as a part of another."""
    return {name: part for name, part in _body(model).items() if not name.startswith("$")}


def _or_null(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": "null"}], "description": description}


def _seconds() -> Schema:
    return {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S}


def _moment(description: str) -> Schema:
    time = {"type": "string", "format": "date-time"}
    said = f"{description}: ISO 8601 with a zone, or seconds from now."
    return {"anyOf": [time, _seconds(), {"type": "null"}], "description": said}


def _options() -> Schema:
    name = {"type": "string", "pattern": _NAME}
    priorities = [*(p.name.lower() for p in Priority), *(int(p) for p in Priority)]
    key = {"type": "string", "minLength": 1, "maxLength": MAX_CUSTOM_ID, "pattern": _PRINTED}
    return {
        "custom_id": _or_null(key, "Your name for the job, and its idempotency key."),
        "priority": _or_null({"enum": priorities}, "Strict; normal (2) if it is not given."),
        "group": _or_null(name, "Whose share of the account it takes; groups take turns."),
        "run_at": _moment("Not before"),
        "delay": _or_null(_seconds(), "Seconds from now; instead of run_at."),
        "deadline": _moment("Not submitted after, and canceled if it still runs"),
        "account": _or_null(name, "The Skyvern account."),
        "namespace": _or_null(
            {"type": "string", "pattern": f"{_NAME}|^$"},
            "Keeps the custom_ids of several producers apart.",
        ),
        "on_unconfirmed": _or_null(
            {"enum": list(ON_UNCONFIRMED)},
            "What becomes of it when its submission's answer was lost and no run is found.",
        ),
        "retry": _or_null(_retry(), "When its run is tried again after a bad end; never if not."),
        "max_run_seconds": _or_null(
            {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_RUN_SECONDS},
            "Seconds that its run may take; else max_elapsed_time_minutes plus a margin, or the"
            " account's limit.",
        ),
        "keys": _or_null(
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_KEYS,
                "items": {"type": "string", "maxLength": MAX_KEY, "pattern": f"^{KEY}$"},
            },
            "What it uses together with other jobs; operators set limits on keys.",
        ),
        "metadata": _or_null(
            {
                "type": "object",
                "maxProperties": MAX_ENTRIES,
                "propertyNames": {"pattern": f"^{METADATA_NAME}$"},
                "additionalProperties": {
                    "type": "string",
                    "maxLength": MAX_VALUE,
                    "pattern": _PRINTED,
                },
            },
            "Your own names and texts for it; they are shown with it and its result.",
        ),
        "traceparent": _or_null(
            {"type": "string", "pattern": TRACEPARENT_PATTERN},
            "The trace that it belongs to (W3C Trace Context).",
        ),
    }


def _retry() -> Schema:
    described = {
        "max_attempts": "Runs in all, the first included.",
        "retry_on": f"{', '.join(Retry().retry_on)} (the default), terminated, and error codes.",
        "min_backoff": "Seconds before the second run.",
        "max_backoff": "Seconds before any extra run.",
        "max_doublings": "How often the wait doubles.",
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _or_null(RETRY_FIELDS[name][0].json_schema(), said)
            for name, said in described.items()
        },
    }


def _job_line() -> Schema:
    models = list(MODELS.values())
    parts: Schema = {}
    for model in models:
        parts |= model.model_json_schema().get("$defs", {})
    parts |= {model.__name__: _inner(model) for model in models}
    options = _options()
    fields = {
        "kind": {"enum": [model.kind for model in models], "description": "What the body is."},
        "body": {"type": "object", "description": "The run request, in the API's fields."},
    }
    return _named(
        "job_line",
        {
            "title": "JobLine",
            "description": "One job: a line of a batch file, of the inbox, or of a Celery message.",
            "type": "object",
            "additionalProperties": False,
            "required": ["kind", "body"],
            "properties": {**fields, **options},
            "allOf": [
                *(
                    {
                        "if": {"properties": {"kind": {"const": model.kind}}},
                        "then": {"properties": {"body": {"$ref": f"#/$defs/{model.__name__}"}}},
                    }
                    for model in models
                ),
                {"not": {"properties": _GIVEN, "required": list(_GIVEN)}},
            ],
            "examples": [
                {"custom_id": "order-17", "kind": "task", "body": _BODIES["task"]},
                {"kind": "workflow", "body": _BODIES["workflow"], "priority": "high", "delay": 60},
            ],
            "$defs": parts,
        },
    )


#: A start may be given in one of two ways.
_GIVEN: Schema = {name: {"not": {"type": "null"}} for name in ("run_at", "delay")}


def _words(words: type[StrEnum], description: str) -> Schema:
    return {"enum": [word.value for word in words], "description": description}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _maybe(description: str, **more: Any) -> Schema:
    return {"type": ["string", "null"], "description": description, **more}


def _job_id() -> Schema:
    return _text("The job's id.", pattern=_ID, examples=[_EXAMPLE_ID])


def _enqueued() -> Schema:
    fields = {
        "job_id": _job_id(),
        "status": _words(EnqueueStatus, "new, known (nothing changed), conflict, or refused."),
        "custom_id": _maybe("The job's idempotency key."),
        "state": _words(JobState, "The job's state."),
        "batch": _maybe("The batch it belongs to."),
        "created_at": _text("When it was first enqueued.", format="date-time"),
    }
    return _record("enqueued", "The answer to one enqueued job.", fields)


def _record(name: str, description: str, fields: Schema) -> Schema:
    schema = {"title": name.capitalize(), "description": description, "type": "object"}
    return _named(name, {**schema, "required": list(fields), "properties": fields})


def _job() -> Schema:
    count = {"type": "integer", "minimum": 0}
    known = {"type": ["integer", "null"], "minimum": 0}
    time = {"type": ["string", "null"], "format": "date-time"}
    fields = {
        "custom_id": _maybe("The job's idempotency key."),
        "job_id": _job_id(),
        "state": _words(JobState, "The job's state."),
        "run_id": _maybe("Skyvern's name for its run."),
        "run_status": _maybe("The run's status, as Skyvern has it."),
        "output": {"description": "What the run brought, as Skyvern gave it."},
        "failure_reason": _maybe("Why there is no result."),
        "failure_category": _maybe("Why its last run failed, in a word of Skyvern's."),
        "attempts": {**count, "description": "Claims for submission."},
        "runs": {**count, "description": "Runs that have ended, before replays, too."},
        "steps": {**known, "description": "Steps that its runs took."},
        "credits": {**known, "description": "Credits that its runs took; 0 = not billed."},
        "cached_credits": {**known, "description": "Credits of cached actions."},
        "credits_estimated": {**known, "description": "How many of the credits are estimated."},
        "kind": {"enum": list(KINDS), "description": "What was requested."},
        "priority": {"enum": [p.name.lower() for p in Priority], "description": "Its priority."},
        "group": _text("Whose share of the account it takes."),
        "batch": _maybe("The batch it belongs to."),
        "keys": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What it uses together with other jobs.",
        },
        "metadata": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Its own names and texts.",
        },
        "created_at": _text("When it was first enqueued.", format="date-time"),
        "started_at": {**time, "description": "When its run was accepted."},
        "ended_at": {**time, "description": "When it ended."},
        "webhook": _words(DeliveryState, "The delivery of its webhook."),
    }
    said = "A job: a line of a results file. More fields come with some results."
    return _record("job", said, fields)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
