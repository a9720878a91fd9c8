"""Errors as people and programs read them: RFC 9457, `application/problem+json`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
from gateway.http.bursts import Burst
from gateway.refused import Refused
from runqueue.connection.redis_errors import UNREADABLE_JOB, damage_of
from runqueue.errors import (
    BatchNotFound,
    FieldError,
    InvalidRequest,
    JobNotFound,
    RunQueueError,
    UnknownAccount,
)
from runqueue.ids import is_id
from runqueue.problem_types import ProblemType, members_of, type_of
from runqueue.producer.dedup import NoSpace
from runqueue.request.validation_errors import got

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
#: One answer for every wrong address, so that nobody learns which part of it was right.
NOTHING_HERE: Final = "there is nothing at this address"
NO_JOB: Final = "no such job is on record"
#: Seconds after which to try again: a server comes back sooner than memory is freed.
AWAY_SECONDS, FULL_SECONDS = 5, 30
_DISK_FULL: Final = "the gateway's disk has no room for its temporary files; see its log"
#: Trouble that every request meets.
_troubles: defaultdict[tuple[str, type], Burst] = defaultdict(Burst)
#: Faults that the `detail` of a problem names; `errors` has all of them.
_IN_DETAIL: Final = 5
#: Faults of a model that a problem lists.
_SHOWN: Final = 20

_NO_ARCHIVE: Final = "the archive cannot be read now; the gateway's log says why"
AWAY: Final = "the queue cannot be reached; try again"


class FieldFault(BaseModel):
    """A field at fault."""

    field: str = Field(description="Its path.", examples=["url"])
    message: str = Field(description="What was expected.", examples=["required"])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        description="\n".join(f"- `{one.uri}`: {one.meaning}" for one in ProblemType),
        examples=[ProblemType.JOB_NOT_FOUND.uri],
        json_schema_extra={"enum": [one.uri for one in ProblemType]},
    )
    title: str = Field(description="The type in words.")
    status: int
    detail: str = Field(description="What is wrong here.")
    errors: list[FieldFault] | None = Field(None, description="The fields at fault, if any are.")


def problem(
    kind: ProblemType,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    *,
    retry_after: int | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """Return the answer that describes a problem.

    Args:
        kind: its type.
        detail: what is wrong.
        errors: the fields at fault.
        headers: of the answer.
        retry_after: seconds after which to try again; None = that is not known.
        members: what else a program may read of it.
    """
    body: dict[str, Any] = {
        "type": kind.uri,
        "title": kind.meaning,
        "status": kind.status,
        "detail": _text(detail),
    }
    for name, value in (members or {}).items():
        body[name] = _text(value) if isinstance(value, str) else value
    if errors:
        body["errors"] = field_values(errors)
    if retry_after is not None:
        headers = {**(headers or {}), "Retry-After": str(retry_after)}
    return Response(orjson.dumps(body), kind.status, headers, MEDIA_TYPE)


def refusal(error: Refused) -> Response:
    """Return the answer that describes what was raised."""
    return problem(error.kind, str(error.detail), headers=error.headers, members=error.members)


def answers(kinds: Collection[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of these types that a route may answer with, by their statuses."""
    by_status: defaultdict[int, list[ProblemType]] = defaultdict(list)
    for kind in ProblemType:
        if kind in kinds:
            by_status[kind.status].append(kind)
    return {status: _described(some) for status, some in by_status.items()}


def _described(kinds: Sequence[ProblemType]) -> dict[str, Any]:
    """Describe the answers of one status."""
    own = {"properties": {"type": {"enum": [kind.uri for kind in kinds]}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, own]}
    description = " ".join(kind.meaning for kind in kinds)
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


def add_handlers(app: FastAPI) -> None:
    """Have every error of an app answered as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RunQueueError, _of_the_queue)
    for unreachable in (RedisError, OSError, TimeoutError):
        app.add_exception_handler(unreachable, _unavailable)
    app.add_exception_handler(Exception, _unforeseen)


async def _http(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if isinstance(error, Refused):
        return refusal(error)
    if error.status_code == 404:
        return problem(ProblemType.ADDRESS_NOT_FOUND, NOTHING_HERE)
    if error.status_code == 405:
        expected = (error.headers or {}).get("Allow", "another method")
        return problem(
            ProblemType.METHOD_NOT_ALLOWED, f"expected {expected}", headers=error.headers
        )
    return await _unforeseen(request, error)


async def _invalid(_: Request, error: Exception) -> Response:
    return _of_fields([_fault(found) for found in cast(RequestValidationError, error).errors()])


def _of_fields(
    errors: Sequence[FieldError],
    kind: ProblemType = ProblemType.INVALID_REQUEST,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """Answer with all fields at fault, the first few of them in one line."""
    words = "; ".join(map(str, errors[:_IN_DETAIL]))
    more = len(errors) - _IN_DETAIL
    words += f"; and {more} more" if more > 0 else ""
    return problem(kind, words, errors, members=members)


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
    error = cast(RunQueueError, error)
    kind, members = type_of(error), members_of(error)
    faults = error.errors if isinstance(error, InvalidRequest) else []
    if isinstance(error, UnknownAccount):
        faults = [FieldError("account", f"no worker has served {error.account!r} yet")]
    if faults:
        return _of_fields(faults, kind, members)
    if kind.status in {404, 409}:
        detail = _NOT_FOUND.get(type(error)) or str(error)
        if isinstance(error, JobNotFound) and not is_id(error.job_id):
            name = quote(error.job_id[:256], safe="")
            detail = f"{detail}; by its custom_id: GET /v1/jobs?custom_id={name}"
        return problem(kind, detail, members=members)
    if isinstance(error, NoSpace):
        log_trouble("no_room", error)
        return problem(ProblemType.DISK_FULL, _DISK_FULL, retry_after=FULL_SECONDS)
    if kind is not ProblemType.QUOTA_REACHED:
        log_trouble("queue_unavailable", error)
    if kind is not ProblemType.QUEUE_UNAVAILABLE:
        # What the driver of a database says may name hosts and users.
        detail = _NO_ARCHIVE if kind is ProblemType.ARCHIVE_UNAVAILABLE else str(error)
        return problem(kind, detail, retry_after=FULL_SECONDS, members=members)
    # Not what is damaged: that is for the operator's log.
    damage = damage_of(error)
    if damage is None:
        return _away()
    detail = f"{what_is_damaged(damage)}; see `runqueue stats`"
    return problem(ProblemType.DATA_DAMAGED, detail)


def what_is_damaged(damage: str) -> str:
    """Say whether one record is damaged, or the account."""
    if damage.startswith(UNREADABLE_JOB):
        return "the record of a job of this account in Redis cannot be read"
    return "this account's keys in Redis are damaged"


#: What is said of those that name an id, which the caller knows.
_NOT_FOUND: Final[dict[type[Exception], str]] = {
    JobNotFound: NO_JOB,
    BatchNotFound: "no such batch is on record",
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
    return problem(ProblemType.QUEUE_UNAVAILABLE, AWAY, retry_after=AWAY_SECONDS)


async def _unforeseen(_: Request, __: Exception) -> Response:
    detail = "this should not have happened; see the gateway's log"
    return problem(ProblemType.INTERNAL_ERROR, detail)
