"""Errors as people and programs read them: RFC 9457, `application/problem+json`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
#: One answer for every address that is none, so that nobody learns which part of it was right.
NOTHING_HERE: Final = "there is nothing at this address"


_EXAMPLES: Final = {
    401: "expected Authorization: Bearer <a token of RUNQUEUE_API_TOKENS>",
    403: "dashboard has not the scope operate",
    404: "no such job is on record",
    409: "the job has not ended, or nobody is to be told of it",
    413: "expected a body of 64 KiB at most",
    422: "url: expected a value",
    503: "the queue cannot be reached; try again",
}


class FieldFault(BaseModel):
    """A field at fault."""

    field: str = Field(description="Where it stands.", examples=["url"])
    message: str = Field(description="What was expected.", examples=["expected a value"])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong here.")
    errors: list[FieldFault] | None = Field(None, description="The fields at fault, if any are.")


class Fault(NamedTuple):
    """A field at fault: where it stands, and what was expected."""

    field: str
    message: str


class FieldsRefused(Exception):  # noqa: N818 - what it says is in its name
    """Fields that cannot be accepted, beyond what a model can check."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__(faults)


def problem(
    status: int,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that tells of a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if faults:
        body["errors"] = [fault._asdict() for fault in faults]
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, for the OpenAPI file."""
    faults = [Fault("url", "expected a value")]
    return {
        status: described(
            f"{HTTPStatus(status).phrase}.",
            problem(status, _EXAMPLES[status], faults if status == 422 else ()),
        )
        for status in statuses
    }


def described(words: str, *examples: Response) -> dict[str, Any]:
    """Describe one problem, or several of one status, for the OpenAPI file."""
    shown = {f"example{n}": {"value": orjson.loads(one.body)} for n, one in enumerate(examples, 1)}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {MEDIA_TYPE: {"schema": schema, "examples": shown}}}


def add_handlers(app: FastAPI) -> None:
    """Have every error of an app answered as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(FieldsRefused, _refused)
    for unreachable in (RedisError, OSError, TimeoutError):
        app.add_exception_handler(unreachable, _unavailable)
    app.add_exception_handler(Exception, _unforeseen)


async def _http(_: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    detail = NOTHING_HERE if error.detail == "Not Found" else str(error.detail)
    if error.status_code == 405:
        detail = f"expected {(error.headers or {}).get('Allow', 'another method')}"
    return problem(error.status_code, detail, headers=error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    faults = [_fault(found) for found in cast(RequestValidationError, error).errors()]
    return _of_fields(faults)


async def _refused(_: Request, error: Exception) -> Response:
    return _of_fields(cast(FieldsRefused, error).faults)


def _of_fields(faults: Sequence[Fault]) -> Response:
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return problem(422, detail, faults)


def _fault(found: Mapping[str, Any]) -> Fault:
    """Return a finding of pydantic's in our words; the value itself is not shown."""
    if found["type"] == "json_invalid":
        return Fault("body", "expected a JSON object")
    field = ".".join(str(part) for part in found["loc"][1:]) or "body"
    if found["type"] == "extra_forbidden":
        return Fault(field, "is no field of this request")
    message = str(found["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "expected")
    return Fault(field, message.replace("Field required", "expected a value"))


async def _unavailable(_: Request, error: Exception) -> Response:
    log.warning("queue_unreachable", error=str(error)[:200])
    return problem(503, "the queue cannot be reached; try again")


async def _unforeseen(_: Request, __: Exception) -> Response:
    return problem(500, "this should not have happened; the log tells more")
