"""Jobs and batches as answers show them, and the shapes of all answers for the OpenAPI file.

Answers show the queue's records, so their shapes are made of the records' types.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from inspect import getdoc
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from gateway.api.job_schema import PUBLISHED
from runqueue import Batch, Enqueued, Job
from runqueue.connection.urls import shown_url
from runqueue.records.as_json import json_object
from runqueue.records.batch import BatchStatus

EXAMPLE_BATCH: Final = "nma37qd2mzk4t3xvbu5wy6ae"
#: A JSON Schema.
Shape = dict[str, Any]


def shape(**fields: Any) -> Shape:
    """Describe an object by the types, or the shapes, of its fields."""
    properties = {name: shape_of(kind) for name, kind in fields.items()}
    return {"type": "object", "properties": properties, "required": [*properties]}


def shape_of(kind: Any) -> Shape:
    """Describe a type as JSON has it; a shape is returned as it is."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, dict):
        return kind
    if origin in {Union, UnionType}:
        return {"anyOf": [*map(shape_of, inner)]}
    if origin in {list, tuple}:
        return {"type": "array", "items": shape_of(inner[0])}
    if origin in {dict, Mapping}:
        return {"type": "object", "additionalProperties": shape_of(inner[1])}
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return {"description": getdoc(kind), **shape(**get_type_hints(kind))}
    return TypeAdapter(kind).json_schema()


def each(items: Shape) -> Shape:
    """Describe an array by the shape of its items."""
    return {"type": "array", "items": items}


def record(kind: Any, *left_out: str, **more: Any) -> Shape:
    """Describe a record of which some fields are left out, and others are shown."""
    fields = {name: one for name, one in get_type_hints(kind).items() if name not in left_out}
    return {"description": getdoc(kind), **shape(**fields | more)}


#: What a job's answer has beside a line of a results file.
_OF_JOBS: Final = (
    *("account", "namespace", "reason", "cancel_requested", "on_unconfirmed", "search_message"),
    *("candidates", "run_at", "deadline", "max_run_seconds", "waits_for", "webhook"),
    *("paused_since", "paused_url", "workflow"),
)
_JOB_FIELDS: Final = {name: get_type_hints(Job)[name] for name in (*_OF_JOBS, "result")}
#: A job, the answer to one that was submitted, and a batch.
JOB: Final = shape(**PUBLISHED["job"]["properties"] | _JOB_FIELDS)
ENQUEUED: Final = shape(**PUBLISHED["enqueued"]["properties"])
BATCH: Final = record(
    *(Batch, "id"), batch_id=str, status=BatchStatus, request_counts=dict[str, int], is_over=bool
)


def answer_values(answer: Enqueued) -> dict[str, Any]:
    """Return the answer to one submitted job; `error` says why one is refused."""
    values = {name: getattr(answer, name) for name in ENQUEUED["properties"]}
    return values if answer.fault is None else {**values, "error": str(answer.fault)}


def job_values(job: Job, *, result: bool) -> dict[str, Any]:
    """Return a job as answers show it.

    Args:
        job: the job.
        result: with its result, and the fields read from it.
    """
    url = job.webhook.url
    return {
        **job.as_row(),
        **json_object(job, *_OF_JOBS),
        "webhook": job.webhook._replace(url=url and shown_url(url))._asdict(),
        "result": job.result if result else None,
    }


def batch_values(batch: Batch) -> dict[str, Any]:
    """Return a batch as answers show it."""
    shown = batch.as_dict()
    return {"batch_id": shown.pop("batch"), "total": shown.pop("jobs"), **shown}
