"""Errors as people and programs read them: RFC 9457, `application/problem+json`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from config.settings import SHOWN_FAULTS
from gateway.checks.findings import NotReadable, TooLarge
from gateway.http.bursts import Burst
from runqueue.connection.redis_errors import UNREADABLE_JOB, damage_of
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    OtherFormat,
    QueueFull,
    QuotaReached,
    RunQueueError,
    UnknownAccount,
)
from runqueue.ids import is_id
from runqueue.producer.dedup import NoSpace
from runqueue.request.validation_errors import got

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
#: One answer for every wrong address, so that nobody learns which part of it was right.
NOTHING_HERE: Final = "there is nothing at this address"
NO_JOB: Final = "no such job is on record"
NO_BATCH: Final = "no such batch is on record"
#: Seconds after which to try again: a server comes back sooner than memory is freed.
AWAY_SECONDS, FULL_SECONDS = 5, 30
_DISK_FULL: Final = "the gateway's disk has no room for its temporary files; see its log"
#: Trouble that every request meets.
_troubles: defaultdict[tuple[str, type], Burst] = defaultdict(Burst)
#: Faults that the `detail` of a problem names; `errors` has all of them.
_IN_DETAIL: Final = 5
#: Faults of a model that a problem lists.
_SHOWN: Final = 20

_AWAY: Final = "the queue cannot be reached; try again"


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


def problem(
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    *,
    retry_after: int | None = None,
) -> Response:
    """Return the answer that describes a problem.

    Args:
        status: its status.
        detail: what is wrong.
        errors: the fields at fault.
        headers: of the answer.
        retry_after: seconds after which to try again; None = that is not known.
    """
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _text(detail),
    }
    if errors:
        body["errors"] = field_values(errors)
    if retry_after is not None:
        headers = {**(headers or {}), "Retry-After": str(retry_after)}
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of these statuses that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": f"{HTTPStatus(status).phrase}.", "content": content}
        for status in statuses
    }


def add_handlers(app: FastAPI) -> None:
    """Have every error of an app answered as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(NotReadable, _not_readable)
    app.add_exception_handler(TooLarge, _too_large)
    app.add_exception_handler(InvalidRequest, _refused)
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
    return _of_fields([_fault(found) for found in cast(RequestValidationError, error).errors()])


async def _refused(_: Request, error: Exception) -> Response:
    return _of_fields(cast(InvalidRequest, error).errors)


async def _not_readable(_: Request, error: Exception) -> Response:
    return _of_fields([FieldError("body", str(error))])


async def _too_large(_: Request, error: Exception) -> Response:
    return problem(413, str(error))


def _of_fields(errors: Sequence[FieldError]) -> Response:
    """Answer with all fields at fault, the first few of them in one line."""
    words = "; ".join(map(str, errors[:_IN_DETAIL]))
    more = len(errors) - _IN_DETAIL
    return problem(422, f"{words}; and {more} more" if more > 0 else words, errors)


def errors_of_model(error: ValidationError) -> list[FieldError]:
    """Return the faults of a body that should be a model, the first few of many."""
    found = error.errors(include_url=False)
    errors = [_fault({**one, "loc": ("body", *one["loc"])}) for one in found[:_SHOWN]]
    if more := len(found) - len(errors):
        errors.append(FieldError("body", f"{more} more fields are at fault"))
    return errors


def field_values(errors: Sequence[FieldError]) -> list[dict[str, str]]:
    """Return the fields at fault as answers show them."""
    return [{"field": _text(one.field), "message": _text(one.message)} for one in errors]


def _text(text: str) -> str:
    """Return text that can be encoded: names in a body may hold half of a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()


async def _of_the_queue(_: Request, error: Exception) -> Response:
    if isinstance(error, UnknownAccount):
        return _of_fields([FieldError("account", f"no worker has served {error.account!r} yet")])
    if status := STATUSES.get(type(error)):
        detail = _NOT_FOUND.get(type(error)) or str(error)
        if isinstance(error, JobNotFound) and not is_id(error.job_id):
            name = quote(error.job_id[:256], safe="")
            detail = f"{detail}; by its custom_id: GET /v1/jobs?custom_id={name}"
        return problem(status, detail)
    if isinstance(error, NoSpace):
        log_trouble("no_room", error)
        return problem(503, _DISK_FULL, retry_after=FULL_SECONDS)
    if isinstance(error, QuotaReached):
        return problem(429, str(error), retry_after=FULL_SECONDS)
    log_trouble("queue_unavailable", error)
    if isinstance(error, QueueFull | OtherFormat):
        return problem(503, str(error), retry_after=FULL_SECONDS)
    # Not what is damaged: that is for the operator's log.
    damage = damage_of(error)
    return problem(503, f"{what_is_damaged(damage)}; {_MORE}") if damage else _away()


_MORE: Final = "see `runqueue stats`"


def what_is_damaged(damage: str) -> str:
    """Say whether one record is damaged, or the account."""
    if damage.startswith(UNREADABLE_JOB):
        return "the record of a job of this account in Redis cannot be read"
    return "this account's keys in Redis are damaged"


#: Errors of the queue that mean a wrong request.
STATUSES: Final[dict[type[Exception], int]] = {
    IdempotencyConflict: 409,
    BatchCanceled: 409,
    BatchExpired: 409,
    BatchMismatch: 409,
    JobNotFound: 404,
    BatchNotFound: 404,
}
#: What is said of those that name an id, which the caller knows.
_NOT_FOUND: Final[dict[type[Exception], str]] = {
    JobNotFound: NO_JOB,
    BatchNotFound: NO_BATCH,
}


def _fault(found: Mapping[str, Any]) -> FieldError:
    """Return pydantic's error in our words, with the value of a number or of one of some words."""
    if found["type"] == "json_invalid":
        return FieldError("body", "expected a JSON object")
    field = ".".join(str(part) for part in found["loc"][1:]) or "body"
    if found["type"] == "extra_forbidden":
        return FieldError(field, "is no field of this request")
    message = str(found["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "expected")
    message = message.replace("Field required", "required")
    if found["type"] in SHOWN_FAULTS and "input" in found:
        message += f", got {got(found['input'])}"
    return FieldError(field, message)


async def _unavailable(_: Request, error: Exception) -> Response:
    log_trouble("queue_unreachable", error)
    return _away()


def log_trouble(event: str, error: Exception) -> None:
    """Log what every request meets: now and then, with how many more met it since the last."""
    more = _troubles[event, type(error)].count()
    if more is not None:
        log.warning(event, error=str(error)[:200], more=more)


def _away() -> Response:
    return problem(503, _AWAY, retry_after=AWAY_SECONDS)


async def _unforeseen(_: Request, __: Exception) -> Response:
    return problem(500, "this should not have happened; see the gateway's log")
