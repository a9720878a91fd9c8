"""Batches: uploading one of any length, listing and reading them, canceling one."""

from typing import Annotated, Final

from fastapi import Path, Query, Request
from starlette.responses import Response

from gateway.api import job_schema
from gateway.api.batch_options import Callback, Opening
from gateway.api.routing import OF_JOBS, Limit, Routes, described, one_at_a_time
from gateway.api.schemas import BATCH, EXAMPLE_BATCH, batch_values, each, shape
from gateway.api.upload import SteppedCheck, upload
from gateway.checks.findings import Findings
from gateway.checks.upload_check import UploadCheck, UploadWork
from gateway.http.counting import taken_by, work_of
from gateway.http.problems import field_values
from gateway.http.request_body import body_of, check_kind, chunks_of, json_answer
from gateway.refused import Refused
from gateway.state.state import state_of
from gateway.tenants.in_flight import STREAM
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.errors import FieldError
from runqueue.problem_types import ProblemType
from runqueue.producer.dedup import Repeats
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import BatchStatus
from runqueue.request.metadata import read_pairs, stored_metadata
from runqueue.tracing import ambient

router = Routes("batches")

#: Content types of lines of JSON.
KINDS: Final = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
_IS_GZIP = {"": False, "identity": False, "gzip": True, "x-gzip": True}

BatchId = Annotated[str, Path(description="The batch's id.", examples=[EXAMPLE_BATCH])]


#: Of lines that were skipped the first hundred are shown, and of those in conflict.
_UPLOADED = shape(
    batch_id=str | None,
    counts=dict[str, int],
    errors=list[FieldError],
    conflicts=each(shape(line=int, custom_id=str | None, job_id=str)),
)
_LINES = {
    "schema": {"type": "string", "description": f"One {job_schema.NAME} a line, as JSON."},
    "example": '{"custom_id": "order-17", "kind": "task", "body": {"prompt": "Read the price."}}\n',
}


@router.call(
    "POST /v1/batches",
    "enqueue",
    "Upload a batch of any length",
    ("It is accepted.", _UPLOADED),
    status=201,
    problems=OF_JOBS
    | {
        ProblemType.INVALID_BATCH,
        ProblemType.BATCH_EXPIRED,
        ProblemType.BATCH_MISMATCH,
        ProblemType.UPLOAD_DISCARDED,
        ProblemType.DISK_FULL,
    },
    body=body_of(_LINES, *KINDS),
    responses={200: described("Nothing of it was new.", _UPLOADED)},
)
async def create_batch(
    request: Request, opening: Annotated[Opening, Query()], callback: Callback = None
) -> Response:
    """Submit one job a line, with `Content-Encoding: gzip` or plain.

    No job runs before the whole upload has arrived. If a line is bad, nothing is accepted (except
    with `skip_invalid`), and the first hundred faults are named; likewise if it breaks off. The
    same upload again makes no second job of a line with a `custom_id`.
    """
    lines, rules = _lines_of(request, opening), opening.rules(callback)
    batch = opening.name, rules, stored_metadata(read_pairs(opening.metadata))
    taken_by(request).take(STREAM)
    with Repeats() as repeats:
        threads = state_of(request).checkers
        check = SteppedCheck(UploadCheck(lines, repeats), threads, work_of(request))
        report = await upload(queue_of(request), check, lines, batch, chunks_of(request))
    return _answer_of(report, check.findings)


def _lines_of(request: Request, opening: Opening) -> UploadWork:
    check_kind(request, *KINDS)
    is_gzip = _IS_GZIP.get(request.headers.get("content-encoding", "").strip().lower())
    if is_gzip is None:
        kind = ProblemType.UNSUPPORTED_MEDIA_TYPE
        raise Refused(kind, "expected Content-Encoding: gzip, or none")
    settings = state_of(request).settings
    return UploadWork(
        account=tenant_scope_of(request).whose(opening.account),
        namespace=opening.namespace,
        skip_invalid=opening.skip_invalid,
        is_gzip=is_gzip,
        traceparent=ambient(),
        max_lines=settings.gateway_max_upload_lines,
        max_bytes=settings.gateway_max_upload_bytes,
    )


def _answer_of(report: UploadReport, found: Findings) -> Response:
    batch = report.batch_id
    conflicts = []
    for one in report.shown_conflicts:
        conflict = one._asdict() | {"custom_id": one.custom_id or None}
        if one.error is None:
            del conflict["error"]
        conflicts.append(conflict)
    values = {
        "batch_id": batch,
        "counts": {
            "new": report.new.total(),
            "known": report.known_jobs + found.repeated,
            "invalid": found.bad,
            "conflicts": report.conflicts,
        },
        "errors": field_values(found.errors),
        "conflicts": conflicts,
    }
    status = 201 if report.batches else 200
    return json_answer(values, status, f"/v1/batches/{batch}" if batch else None)


@router.call(
    "POST /v1/batches:open",
    "enqueue",
    "Open a batch",
    ("It is open.", shape(batch_id=str)),
    status=201,
    problems={ProblemType.INVALID_BATCH},
)
async def open_batch(
    request: Request, opening: Annotated[Opening, Query()], callback: Callback = None
) -> Response:
    """Open a batch, to which `POST /v1/jobs:bulk?batch=…` submits; its jobs run once it is sealed.

    `namespace` and `skip_invalid` have no effect here.
    """
    rules, whose = opening.rules(callback), tenant_scope_of(request).whose(opening.account)
    batch = await queue_of(request).open_batch(
        opening.name, account=whose, rules=rules, metadata=read_pairs(opening.metadata)
    )
    return json_answer({"batch_id": batch}, 201, f"/v1/batches/{batch}")


@router.call(
    "POST /v1/batches/{batch_id}/seal",
    "enqueue",
    "Accept a batch",
    ("It is accepted.", shape(batch_id=str, jobs=int)),
    problems={ProblemType.BATCH_EXPIRED, ProblemType.BATCH_MISMATCH},
)
async def seal_batch(
    batch_id: BatchId,
    request: Request,
    expected: Annotated[
        int | None, Query(ge=0, description="How many jobs it has to have.", examples=[1000])
    ] = None,
) -> Response:
    """Accept the jobs of an open batch; repeating it changes nothing."""
    jobs = await queue_of(request).seal_batch(batch_id, expected)
    return json_answer({"batch_id": batch_id, "jobs": jobs})


@router.call(
    "GET /v1/batches",
    "read",
    "List batches",
    (
        "A page of them, the newest first.",
        shape(batches=each(BATCH), cursor=str | None, unread=list[str]),
    ),
)
async def list_batches(
    request: Request,
    *,
    status: Annotated[
        BatchStatus | None, Query(description="Only in it.", examples=["in_progress"])
    ] = None,
    account: Account = None,
    cursor: Annotated[
        str, Query(max_length=200, description="That of the page before.", examples=[""])
    ] = "",
    limit: Limit = 100,
) -> Response:
    """Return a page of the batches of an account.

    A page reads `limit` batches: with a status, a page that is not the last may be empty.
    """
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        page = await queue.list_batches(whose, status=status, cursor=cursor, limit=limit)
        shown = [batch_values(one) for one in page.batches]
        return json_answer({"batches": shown, "cursor": page.cursor or None, "unread": page.unread})


@router.call(
    "GET /v1/batches/{batch_id}", "read", "Read a batch", ("The batch as it is now.", BATCH)
)
async def read_batch(batch_id: BatchId, request: Request) -> Response:
    """Read a batch, and how many of its jobs are in each state.

    Of one that Redis has no more (`archived`), an archive has the counts of its jobs.
    """
    return json_answer(batch_values(await queue_of(request).get_batch(batch_id)))


@router.call(
    "POST /v1/batches/{batch_id}/cancel",
    "operate",
    "Cancel a batch",
    (
        "None of it is submitted any more.",
        shape(batch_id=str, jobs=int, canceled=int, will_be_canceled=int, over=int),
    ),
)
async def cancel_batch(batch_id: BatchId, request: Request) -> Response:
    """Cancel every job of a batch, whatever its size, in one step."""
    done = await queue_of(request).cancel_batch(batch_id)
    counts = {"canceled": done.at_once, "will_be_canceled": done.asked, "over": done.over}
    return json_answer({"batch_id": batch_id, "jobs": done.jobs, **counts})
