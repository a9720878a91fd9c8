"""Errors as people and programs read them: RFC 9457, `application/problem+json`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.checks.messages import Crashed, NotReadable, TooLarge
from gateway.checks.processes import CheckLost, SenderGone
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    FieldError,
    IdempotencyConflict,
    JobNotFound,
    QueueFull,
    QuotaReached,
    RunQueueError,
    UnknownAccount,
)
from runqueue.producer.dedup import NoRoom
from runqueue.store.damage import damage_behind, is_of_one

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
#: One answer for every wrong address, so that nobody learns which part of it was right.
NOTHING_HERE: Final = "there is nothing at this address"
#: Seconds after which to try again: a server comes back sooner than memory is freed.
AWAY_SECONDS, FULL_SECONDS = 5, 30
_DISK_FULL: Final = "the gateway's disk has no room for its temporary files; see its log"
#: Faults that the `detail` of a problem names; `errors` has all of them.
_IN_DETAIL: Final = 5
#: Faults of a model that a problem lists.
_TOLD: Final = 20

_EXAMPLES: Final = {
    401: "expected Authorization: Bearer <a token of RUNQUEUE_API_TOKENS>",
    403: "dashboard has not the scope operate",
    400: "the body did not arrive whole",
    404: "no such job is on record",
    406: "expected Accept: application/x-ndjson or text/csv",
    408: "the body did not arrive in time",
    409: "the job has not ended, or it has no webhook",
    413: "expected a body of 8 MiB at most",
    415: "expected Content-Type: application/json",
    422: "url: required",
    429: "expected 100 jobs a second at most; try again after Retry-After",
    503: "the queue cannot be reached; try again",
}


class FieldFault(BaseModel):
    """A field at fault."""

    field: str = Field(description="Its path.", examples=["url"])
    message: str = Field(description="What was expected.", examples=["required"])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong here.")
    errors: list[FieldFault] | None = Field(None, description="The fields at fault, if any are.")


class Fault(NamedTuple):
    """A field at fault: its path, and what was expected."""

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
    """Return the answer that describes a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if faults:
        body["errors"] = [fault._asdict() for fault in faults]
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def answers(
    *statuses: int, words: Mapping[int, str] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route may answer with, for the OpenAPI file.

    Args:
        statuses: their statuses.
        words: the details of those examples that are the route's own; that of a 422 begins with
            its field.
    """
    details = {**_EXAMPLES, **(words or {})}
    shown: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        field, _, message = details[status].partition(": ")
        faults = [Fault(field, message)] if status == 422 else ()
        words_of = f"{HTTPStatus(status).phrase}."
        shown[status] = described(words_of, problem(status, details[status], faults))
        if status in {429, 503}:
            shown[status]["headers"] = _RETRY_AFTER
    return shown


_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "Seconds after which to try again, where that is known.",
        "schema": {"type": "integer"},
        "example": AWAY_SECONDS,
    }
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
    for unchecked in (NotReadable, TooLarge, SenderGone, CheckLost):
        app.add_exception_handler(unchecked, _unchecked)
    app.add_exception_handler(RunQueueError, _of_the_queue)
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


async def _unchecked(_: Request, error: Exception) -> Response:
    if isinstance(error, NotReadable):
        return _of_fields([Fault("body", str(error))])
    if isinstance(error, TooLarge):
        if isinstance(error, Crashed):
            log.warning("check_crashed")
        return problem(413, str(error), headers={"Connection": "close"})
    if isinstance(error, SenderGone):
        return problem(400, "the sender has gone")  # which nobody reads
    log.warning("check_lost")
    headers = {"Retry-After": str(AWAY_SECONDS)}
    return problem(503, "the check of the body was cut short; try again", headers=headers)


def _of_fields(faults: Sequence[Fault]) -> Response:
    return problem(422, in_words(faults), faults)


def in_words(faults: Sequence[Fault]) -> str:
    """Return the first few faults in one line."""
    words = "; ".join(f"{fault.field}: {fault.message}" for fault in faults[:_IN_DETAIL])
    more = len(faults) - _IN_DETAIL
    return f"{words}; and {more} more" if more > 0 else words


def faults_of_model(error: ValidationError) -> list[Fault]:
    """Return the faults of a body that should be a model, the first few of many."""
    found = error.errors(include_url=False, include_input=False)
    faults = [_fault({**one, "loc": ("body", *one["loc"])}) for one in found[:_TOLD]]
    if more := len(found) - len(faults):
        faults.append(Fault("body", f"{more} more fields are at fault"))
    return faults


def faults_of(errors: Sequence[FieldError], before: str = "") -> list[Fault]:
    """Return what is wrong with a job, its fields named as `runqueue` does.

    Args:
        errors: what is wrong.
        before: what every field's name begins with.
    """
    return [Fault(before + _text(error.field), _text(error.message)) for error in errors]


def _text(text: str) -> str:
    """Return text that can be encoded: names in a body may hold half of a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()


async def _of_the_queue(_: Request, error: Exception) -> Response:
    if errors := getattr(error, "errors", None):
        return _of_fields(faults_of(errors))
    if isinstance(error, UnknownAccount):
        return _of_fields([Fault("account", f"no worker has served {error.account!r} yet")])
    for kind, (status, words) in _SAID.items():
        if isinstance(error, kind):
            return problem(status, words or _text(str(error)))
    if isinstance(error, NoRoom):
        log.warning("no_room", error=str(error)[:200])
        return problem(503, _DISK_FULL, headers={"Retry-After": str(FULL_SECONDS)})
    is_quota = isinstance(error, QuotaReached)
    if not is_quota:
        log.warning("queue_unavailable", error=str(error)[:200])
    if isinstance(error, QueueFull):
        status = 429 if is_quota else 503
        return problem(status, str(error), headers={"Retry-After": str(FULL_SECONDS)})
    # Not what is damaged: that is for the operator's log.
    damage = damage_behind(error)
    return problem(503, f"{what_is_damaged(damage)}; {_MORE}") if damage else _away()


_MORE: Final = "see `runqueue stats`"


def what_is_damaged(damage: str) -> str:
    """Say whether one record is damaged, or the account."""
    if is_of_one(damage):
        return "a record of this account in Redis is damaged"
    return "this account's keys in Redis are damaged"


#: Errors of the queue that mean a wrong request; '' = use the error's own text.
_SAID: Final[dict[type[Exception], tuple[int, str]]] = {
    IdempotencyConflict: (409, ""),
    BatchCanceled: (409, ""),
    BatchExpired: (409, ""),
    BatchMismatch: (409, ""),
    JobNotFound: (404, "no such job is on record"),
    BatchNotFound: (404, "no such batch is on record"),
}


def _fault(found: Mapping[str, Any]) -> Fault:
    """Return pydantic's error in our words; the value itself is not shown."""
    if found["type"] == "json_invalid":
        return Fault("body", "expected a JSON object")
    field = ".".join(str(part) for part in found["loc"][1:]) or "body"
    if found["type"] == "extra_forbidden":
        return Fault(field, "is no field of this request")
    message = str(found["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "expected")
    return Fault(field, message.replace("Field required", "required"))


async def _unavailable(_: Request, error: Exception) -> Response:
    log.warning("queue_unreachable", error=str(error)[:200])
    return _away()


def _away() -> Response:
    headers = {"Retry-After": str(AWAY_SECONDS)}
    return problem(503, "the queue cannot be reached; try again", headers=headers)


async def _unforeseen(_: Request, __: Exception) -> Response:
    return problem(500, "this should not have happened; see the gateway's log")
