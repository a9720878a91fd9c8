"""Schedules: when jobs are enqueued by themselves, and which."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, Final, Literal

import orjson
from fastapi import Path, Query, Request
from starlette.responses import Response

from gateway.api import job_schema
from gateway.api.routing import Routes, Time, one_at_a_time
from gateway.api.schemas import each, record, shape
from gateway.auth.audit import set_details
from gateway.checks.findings import not_readable, too_large
from gateway.checks.jobs import MAX_BYTES
from gateway.checks.upload_lines import line_too_long
from gateway.http.counting import taken_by
from gateway.http.request_body import (
    body_of,
    check_kind,
    chunks_of,
    gathered,
    json_answer,
    read_json,
)
from gateway.state.state import state_of
from gateway.tenants.in_flight import STREAM
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.errors import FieldError, InvalidRequest
from runqueue.problem_types import ProblemType
from runqueue.producer.dedup import NoSpace
from runqueue.producer.upload import MAX_LINE
from runqueue.records.as_json import json_value
from runqueue.records.schedule import Firing, ScheduleChange
from runqueue.request.json_values import holds_more_values
from runqueue.request.validation_errors import size_words
from runqueue.schedules.applying import change_words
from runqueue.schedules.shown import schedule_values

router = Routes("schedules")

#: Bytes of a file of jobs, and values of a body of schedules: more take too much memory.
_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_VALUES: Final = 200_000
_LINES: Final = "application/x-ndjson"
_TEXT: Final = ("cron", "every", "timezone", "jitter", "start", "end", "overlap", "catch_up")
#: What a schedule says; all of it is optional, and docs/schedules.md describes it.
_FIELDS: Final = {
    **{name: {"type": "string"} for name in (*_TEXT, "lines")},
    "pause_after": {"type": "integer"},
}
_GIVEN: Final = {"type": "object", "properties": {**_FIELDS, "job": job_schema.REFERENCE}}
_BODY: Final = {
    "schema": shape(schedules={"type": "object", "additionalProperties": _GIVEN}),
    "example": {"schedules": {"prices": {"cron": "0 2 * * 1-5", "job": job_schema.EXAMPLE}}},
}
_FIRING: Final = record(
    *(Firing, "at_us", "begun_us", "ended_us"),
    at=datetime,
    begun_at=datetime | None,
    ended_at=datetime | None,
)
_SCHEDULE: Final = shape(
    name=str,
    account=str,
    paused=str,
    version=int,
    mark=datetime,
    upcoming=list[datetime],
    firings=each(_FIRING),
)
_SCHEDULE["properties"] |= {**_FIELDS, "job": shape(kind=str, fields=list[str])}

Name = Annotated[str, Path(description="The schedule's name.", examples=["prices"])]


@router.call(
    "GET /v1/schedules",
    "read",
    "Read the schedules",
    ("By name, each with its newest firing.", shape(schedules=each(_SCHEDULE))),
)
async def list_schedules(request: Request, account: Account = None) -> Response:
    """Return the schedules of an account; of their jobs, the names of fields alone."""
    async with one_at_a_time(request) as queue:
        found = await queue.list_schedules(tenant_scope_of(request).whose(account))
        return json_answer({"schedules": list(map(schedule_values, found))})


@router.call(
    "PUT /v1/schedules",
    "operate",
    "Apply schedules",
    ("What changes, or would.", shape(changes=list[ScheduleChange])),
    body=body_of(_BODY),
)
async def apply_schedules(
    request: Request,
    *,
    account: Account = None,
    remove_others: Annotated[bool, Query(description="Have no others then.")] = False,
    dry_run: Annotated[bool, Query(description="Change nothing.")] = False,
) -> Response:
    """Make schedules what the body says of them; others stay, unless it is said otherwise.

    If a field is wrong, nothing changes. `changes` names what differs; of jobs, names of fields.
    """
    raw = await read_json(request, MAX_BYTES)
    given = None
    with suppress(ValueError, TypeError, KeyError):
        if not holds_more_values(raw, _MOST_VALUES):
            given = orjson.loads(raw)["schedules"]
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise not_readable("expected an object with schedules: an object with one of each name")
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        changes = await queue.apply_schedules(
            given, account=whose, remove_others=remove_others, dry_run=dry_run
        )
    words = change_words(changes)
    set_details(request, {whose: ("", words)} if words and not dry_run else {})
    return json_answer({"changes": json_value(changes)})


@router.call(
    "POST /v1/schedules:lines",
    "operate",
    "Store a file of jobs for schedules",
    ("What a schedule names it by.", shape(lines=str)),
    problems={ProblemType.INVALID_JOB, ProblemType.DISK_FULL},
    body=body_of({"schema": {"type": "string"}}, _LINES),
)
async def store_lines(request: Request, account: Account = None) -> Response:
    """Store one job a line; it lasts two days, and as long as a schedule names it."""
    check_kind(request, _LINES)
    taken_by(request).take(STREAM)
    in_thread, whose = state_of(request).in_thread, tenant_scope_of(request).whose(account)
    size = 0
    try:
        with TemporaryFile() as file:
            async for part in gathered(chunks_of(request)):
                size += len(part)
                if size > _MOST_BYTES:
                    raise too_large(f"expected at most {size_words(_MOST_BYTES)}")
                await in_thread(partial(file.write, part))
            file.seek(0)
            stored = await queue_of(request).store_schedule_lines(_lines(file), account=whose)
    except OSError as error:
        raise NoSpace(error.strerror or str(error)) from None
    set_details(request, {})
    return json_answer({"lines": stored})


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    lines = iter(partial(file.readline, MAX_LINE + 1), b"")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise line_too_long(number)
        yield line


@router.call(
    "GET /v1/schedules/{name}",
    "read",
    "Read a schedule",
    ("It, with its last hundred firings.", _SCHEDULE),
    problems={ProblemType.SCHEDULE_NOT_FOUND},
)
async def read_schedule(name: Name, request: Request, account: Account = None) -> Response:
    """Return a schedule: its next five firings, and what became of the last."""
    whose = tenant_scope_of(request).whose(account)
    return json_answer(schedule_values(await queue_of(request).get_schedule(name, account=whose)))


@router.call(
    "DELETE /v1/schedules/{name}",
    "operate",
    "Remove a schedule",
    ("It, as it was.", _SCHEDULE),
    problems={ProblemType.SCHEDULE_NOT_FOUND},
)
async def remove_schedule(name: Name, request: Request, account: Account = None) -> Response:
    """Remove a schedule with its history; jobs that are enqueued go on."""
    whose = tenant_scope_of(request).whose(account)
    found = await queue_of(request).remove_schedule(name, account=whose)
    return json_answer(schedule_values(found))


@router.call(
    "POST /v1/schedules/{name}/{action}",
    "operate",
    "Pause or resume a schedule, or have it fire",
    ("It, as it is then.", _SCHEDULE),
    problems={ProblemType.SCHEDULE_NOT_FOUND},
)
async def change_schedule(
    name: Name,
    action: Annotated[
        Literal["pause", "resume", "fire", "backfill"],
        Path(description="What is done.", examples=["fire"]),
    ],
    request: Request,
    *,
    account: Account = None,
    reason: Annotated[str, Query(max_length=200, description="`pause`: shown to all.")] = "",
    since: Annotated[Time | None, Query(description="`backfill`: from then on.")] = None,
    until: Annotated[Time | None, Query(description="`backfill`: before then.")] = None,
) -> Response:
    """`pause` or `resume` it; have it `fire` once, now; `backfill` past times that did not fire."""
    queue, whose = queue_of(request), tenant_scope_of(request).whose(account)
    taken: dict[str, dict[str, Any]] = {
        "pause": {"reason": reason},
        "backfill": {"since": since, "until": until},
    }
    own = taken.pop(action, {})
    errors = [FieldError(one, "required") for one in own if own[one] is None]
    others = (one for fields in taken.values() for one in fields if one in request.query_params)
    errors += (FieldError(one, f"expected none: {action} does not take it") for one in others)
    if errors:
        raise InvalidRequest(errors)
    arguments, change = own.values(), getattr(queue, f"{action}_schedule")
    found = await change(name, *arguments, account=whose)
    set_details(request, {whose: (name, " to ".join(map(str, arguments)))}, f"{action}_schedule")
    return json_answer(schedule_values(found))
