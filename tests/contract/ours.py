"""The calls that the project makes, with what it sends and what it reads, to be compared."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from api_client.calls import calls, run_calls, session_calls
from api_client.types import (
    Artifact,
    BrowserSessionResponse,
    BulkCancelRunsResponse,
    RunListItem,
    RunTagsResponse,
    RunWebhookReplayResponse,
    TaskRunResponse,
    WorkflowRunResponse,
    WorkflowRunTimeline,
)
from runqueue.request.requests import MODELS, Kind
from runqueue.request.server_rules import MAX_MINUTES, NOT_NULL
from tests.contract.shapes import Shape, fields_of

#: Arguments that travel as headers, with the names that they have there.
HEADERS = {"user_agent": "x-user-agent", "max_steps_override": "x-max-steps-override"}
#: Arguments that travel in the query.
QUERY = frozenset(
    {"template", "search_key", "status", "tags", "page", "page_size", "artifact_type"}
)


@dataclass(frozen=True)
class Used:
    """A call that is made.

    Args:
        method, path: where the OpenAPI description has it.
        call: the client's function, whose arguments are compared; None = there is none.
        kind: the kind of run request whose model is compared; None = of none.
        models: what its answer is read as; none = nothing is read.
        fields: further fields of its body.
    """

    method: str
    path: str
    call: Callable[..., Any] | None = None
    kind: Kind | None = None
    models: tuple[type[BaseModel], ...] = ()
    fields: frozenset[str] = frozenset()


_RUN, _WORKFLOW_RUN = "/v1/runs/{run_id}", "/v1/runs/{workflow_run_id}"
_SESSION = "/v1/browser_sessions/{browser_session_id}"
_SESSION_MODEL = (BrowserSessionResponse,)

USED = (
    Used("POST", "/v1/run/tasks", calls.run_task, "task", (TaskRunResponse,)),
    Used("POST", "/v1/run/agents", calls.run_workflow, "workflow", (WorkflowRunResponse,)),
    Used("POST", "/v1/run/tasks/login", calls.login, "login", (WorkflowRunResponse,)),
    Used(
        "POST",
        "/v1/run/tasks/download_files",
        calls.download_files,
        "download_files",
        (WorkflowRunResponse,),
    ),
    Used("GET", _RUN, models=(TaskRunResponse, WorkflowRunResponse)),
    Used("POST", f"{_RUN}/cancel"),
    Used(
        "POST", f"{_RUN}/retry_webhook", calls.retry_run_webhook, models=(RunWebhookReplayResponse,)
    ),
    Used("GET", "/v1/runs", calls.list_runs, models=(RunListItem,)),
    Used(
        "POST", "/v1/runs/cancel", models=(BulkCancelRunsResponse,), fields=frozenset({"run_ids"})
    ),
    Used("GET", f"{_RUN}/artifacts", run_calls.get_run_artifacts, models=(Artifact,)),
    Used("GET", f"{_RUN}/timeline", models=(WorkflowRunTimeline,)),
    Used("GET", f"{_WORKFLOW_RUN}/tags", models=(RunTagsResponse,)),
    Used("POST", f"{_WORKFLOW_RUN}/tags", run_calls.apply_run_tags, models=(RunTagsResponse,)),
    Used(
        "POST",
        "/v1/workflows/runs/{workflow_run_id}/retry",
        run_calls.retry_workflow_run,
        models=(WorkflowRunResponse,),
    ),
    Used(
        "POST", "/v1/browser_sessions", session_calls.create_browser_session, models=_SESSION_MODEL
    ),
    Used("GET", _SESSION, models=_SESSION_MODEL),
    Used("POST", f"{_SESSION}/extend", session_calls.extend_browser_session, models=_SESSION_MODEL),
    Used("POST", f"{_SESSION}/close"),
)
#: Routes that are used and that the OpenAPI description leaves out.
HIDDEN = (
    ("POST", "/v1/run/workflows"),
    ("GET", "/v1/workflows/{workflow_id}"),
    ("GET", "/v1/workflows/runs/{workflow_run_id}"),
    ("GET", "/v1/agents/runs"),
    ("GET", "/v1/version"),
    ("GET", "/api/v1/tasks/{task_id}"),
)


def arguments_of(call: Callable[..., Any]) -> frozenset[str]:
    """Return the arguments of a call that travel to the server, but for those in the path."""
    return frozenset(
        name
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "request_options"
    )


def request_fields(kind: Kind) -> dict[str, Shape]:
    """Return what a run request of ours takes, and the server is sent, by default."""
    schema = MODELS[kind].model_json_schema()
    found = fields_of(schema, schema.get("$defs", {}))
    for name, shape in found.items():
        if name in NOT_NULL[kind]:
            found[name] = replace(shape, is_nullable=False)
    if minutes := found.get("max_elapsed_time_minutes"):
        bounds = {**minutes.bounds, "maximum": MAX_MINUTES}
        found["max_elapsed_time_minutes"] = replace(minutes, bounds=bounds)
    return found


@dataclass(frozen=True)
class Read:
    """What an answer's field is read as: JSON types, and whether the answer must have it."""

    types: frozenset[str]
    is_required: bool
    values: frozenset[str] = field(default_factory=frozenset)


def response_fields(model: type[BaseModel]) -> dict[str, Read]:
    """Return the fields that are read of an answer; what we add ourselves is left out."""
    return {
        name: _read(found.annotation, is_required=found.is_required())
        for name, found in model.model_fields.items()
        if name != "unreadable_fields"
    }


def _read(annotation: Any, *, is_required: bool) -> Read:
    found, values = _types(annotation)
    return Read(frozenset(found), is_required, frozenset(values))


_JSON: Mapping[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    datetime: "string",
    dict: "object",
    list: "array",
}


def _types(annotation: Any) -> tuple[set[str], set[str]]:
    """Return the JSON types of an annotation, and the values that it names."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _types(args[0])
    if origin in (Union, types.UnionType):
        found: set[str] = set()
        values: set[str] = set()
        for arg in args:
            inner, named = _types(arg)
            found |= inner
            values |= named
        return found, values
    if origin is Literal:
        return {"string"}, set(args)
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"string"}, {str(member.value) for member in kind}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {"object"}, set()
    return ({_JSON[kind]} if kind in _JSON else set()), set()
