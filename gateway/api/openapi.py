"""The OpenAPI description: FastAPI's of its routes, and the receiver's, written by hand."""

from typing import Any

from fastapi import FastAPI

from gateway.api import job_schema
from gateway.http.problems import Problem, answers, described
from gateway.metrics import WebhookOutcome
from gateway.webhooks import receiver
from gateway.webhooks.outcomes import ANSWERS

_TAKEN = {
    WebhookOutcome.ENDED: "The run's end is its job's.",
    WebhookOutcome.NOTED: "The run goes on.",
    WebhookOutcome.DUPLICATE: "It was known.",
    WebhookOutcome.RETRIED: "The run ended badly, and the job runs again.",
    WebhookOutcome.ORPHAN: "The job has moved on: the run is shown as an orphan.",
}
_REFUSED = {
    401: "It does not bear the signature of the account's API key.",
    404: "No worker made this address, or its job is not on record.",
    409: "The run is another job's, or was submitted for another attempt.",
    413: "The body is larger than 8 MiB; the rest of it is not read.",
    422: "The body describes no run.",
    503: "The queue cannot be reached; Skyvern tries again.",
}
_EXAMPLE = {
    "run_id": "tsk_123",
    "status": "completed",
    "output": {"price": "12.50"},
    "failure_reason": None,
    "retry_pending": False,
}
_PARAMETERS = {
    "account": ("The account's name.", "default"),
    "job_id": ("The job's id.", "p5gqn6yzbfm3vdk2a4rx7wtj"),
    "attempt": ("The number of the attempt.", "1"),
    "token": ("Made of the three by a worker.", "0f8e2d6c4b1a39785f6e7d8c9b0a1b2c"),
}

_SIGNATURE = {
    "name": "x-skyvern-signature",
    "in": "header",
    "required": True,
    "description": "HMAC-SHA256 of the body under the account's API key, in hex.",
    "schema": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    "example": "9c1d" * 16,
}
_RUN = {
    "type": "object",
    "properties": {"run_id": {"type": "string"}, "status": {"type": "string"}},
    "required": ["run_id", "status"],
    "additionalProperties": True,
}

_UNKNOWN = answers(422, words={422: "limits: unknown parameter, did you mean 'limit'?"})[422]


def describe(app: FastAPI) -> dict[str, Any]:
    """Return an application's description, the receiver included."""
    whole = app.openapi()
    whole["paths"][receiver.PATH] = {"post": _receiver()}
    schemas = whole["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem, **job_schema.schemas()}
    # No answer has FastAPI's own error format.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in whole["paths"].values():
        for operation in path.values():
            found = operation["responses"]
            if "HTTPValidationError" in str(found.get("422")):
                del found["422"]
            if "security" in operation:  # `requires` checks the query, too
                found.setdefault("422", _UNKNOWN)
    return whole


def _receiver() -> dict[str, Any]:
    return {
        "tags": ["webhooks"],
        "summary": "Take a webhook of Skyvern's",
        "description": "Workers name this address when they submit a run, one for each attempt."
        " A webhook is recorded before it is answered; sent again, it changes nothing.",
        "operationId": "take_webhook",
        "parameters": [*map(_in_path, _PARAMETERS), _SIGNATURE],
        "requestBody": {
            "required": True,
            "description": "The run, as `GET /v1/runs/{run_id}` of Skyvern's API shows it.",
            "content": {"application/json": {"schema": _RUN, "example": _EXAMPLE}},
        },
        "responses": {"200": _taken()} | {str(status): _refused(status) for status in _REFUSED},
    }


def _in_path(name: str) -> dict[str, Any]:
    words, example = _PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": words,
        "schema": {"type": "string"},
        "example": example,
    }


def _taken() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": [*_TAKEN]}},
        "required": ["verdict"],
    }
    examples = {
        outcome.value: {"summary": words, "value": {"verdict": outcome.value}}
        for outcome, words in _TAKEN.items()
    }
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"description": "The queue knows.", "content": content}


def _refused(status: int) -> dict[str, Any]:
    shown = {answer.body: answer for answer in ANSWERS.values() if answer.status_code == status}
    return described(_REFUSED[status], *shown.values())
