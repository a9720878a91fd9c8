"""The results of a batch, streamed: one job a line, as JSON or CSV, in constant memory."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.auth import requires
from gateway.batches import BatchId
from gateway.problems import answers
from gateway.sight import queue_of
from gateway.streaming import Streamed
from runqueue import AsyncRunQueue, Batch, Job, JobState, calls

router = APIRouter(tags=["batches"])

#: Ids that are looked at in one step.
_IDS = 1_000
#: Jobs that are read in one step, at least and at most, and bytes of their rows to aim at: results
#: may have some megabytes each.
_LEAST, _MOST, _AIM = 4, 256, 4 * 1024 * 1024

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
_KINDS = {"jsonl": NDJSON, "csv": CSV}
#: The columns of a CSV file; what is an object or a list stands there as JSON.
COLUMNS: Final = (
    "custom_id",
    "job_id",
    "state",
    "run_id",
    "run_status",
    "output",
    "failure_reason",
    "attempts",
    "runs",
    "kind",
    "priority",
    "group",
    "batch",
    "created_at",
    "started_at",
    "ended_at",
    "webhook",
)
_ROW = {"custom_id": "order-17", "state": "completed", "output": {"price": 12.5}}
_CONTENT = {
    NDJSON: {"schema": {"type": "string"}, "example": orjson.dumps(_ROW).decode() + "\n"},
    CSV: {"schema": {"type": "string"}, "example": ",".join(COLUMNS) + "\r\n"},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "One job a line.", "content": _CONTENT},
    **answers(
        401,
        403,
        404,
        406,
        422,
        503,
        words={404: "no such batch is on record", 422: "format: expected 'jsonl' or 'csv'"},
    ),
}

Format = Annotated[
    Literal["jsonl", "csv"] | None,
    Query(description="Instead of the header Accept.", examples=["jsonl"]),
]


@router.get(
    "/v1/batches/{batch_id}/results",
    summary="Read the results of a batch",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses=_ANSWERS,
)
async def batch_results(batch_id: BatchId, request: Request, format: Format = None) -> Response:  # noqa: A002
    """Return a line for each job of the batch that has ended, in the order of the upload.

    The columns are those of a results file. An answer that cannot be finished is cut, and a client
    tells so. Needs the scope `read`.
    """
    return await _answer(request, batch_id, format, lambda state: state.is_over)


@router.get(
    "/v1/batches/{batch_id}/errors",
    summary="Read what of a batch did not go well",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses=_ANSWERS,
)
async def batch_errors(batch_id: BatchId, request: Request, format: Format = None) -> Response:  # noqa: A002
    """Return a line for each job that ended otherwise than completed, or is unconfirmed.

    As for the results. Needs the scope `read`.
    """
    bad = {JobState.FAILED, JobState.CANCELED, JobState.DEAD, JobState.UNCONFIRMED}
    return await _answer(request, batch_id, format, bad.__contains__)


async def _answer(
    request: Request, batch_id: str, chosen: str | None, wanted: Callable[[JobState], bool]
) -> Response:
    kind = _KINDS[chosen] if chosen else _accepted(request.headers.get("accept", "*/*"))
    queue = queue_of(request)
    batch = await queue.get_batch(batch_id)
    write = _csv if kind == CSV else _ndjson
    pages = _pages(queue, batch, wanted)
    return Streamed(_written(pages, write, kind), media_type=kind)


def _accepted(accept: str) -> str:
    """Return the kind of answer that the header Accept asks for.

    Raises:
        HTTPException: none that there is.
    """
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for kind in kinds:
        if kind in {CSV, "text/*"}:
            return CSV
        if kind in {NDJSON, "application/jsonl", "application/json", "application/*", "*/*", ""}:
            return NDJSON
    raise HTTPException(406, f"expected Accept: {NDJSON} or {CSV}")


async def _pages(
    queue: AsyncRunQueue, batch: Batch, wanted: Callable[[JobState], bool]
) -> AsyncIterator[tuple[Sequence[Job], Callable[[int], None]]]:
    """Yield jobs, page by page, each with a function that is told how large its rows were."""
    start, size = 0, _LEAST

    def adapt(written: int) -> None:
        nonlocal size
        size = min(size * 2, _MOST) if written < _AIM // 2 else max(size // 2, _LEAST)

    while ids := await queue.send(calls.list_batch(batch.account, batch.id, start, _IDS)):
        start += len(ids)
        states = await queue.states(ids)
        left = [i for i, (state, _) in zip(ids, states, strict=True) if state and wanted(state)]
        while left:
            some, left = left[:size], left[size:]
            jobs = await queue.get_many(some)
            # One that another upload took over is that batch's.
            yield [job for job in jobs if job is not None and job.batch == batch.id], adapt


async def _written(
    pages: AsyncIterator[tuple[Sequence[Job], Callable[[int], None]]],
    write: Callable[[Sequence[Job]], bytes],
    kind: str,
) -> AsyncIterator[bytes]:
    if kind == CSV:
        yield _line(COLUMNS)
    async for jobs, adapt in pages:
        written = write(jobs)
        adapt(len(written))
        yield written


def _ndjson(jobs: Sequence[Job]) -> bytes:
    return b"".join(orjson.dumps(job.as_row()) + b"\n" for job in jobs)


def _csv(jobs: Sequence[Job]) -> bytes:
    return b"".join(_line([_cell(row.get(name)) for name in COLUMNS]) for row in _rows(jobs))


def _rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    return [job.as_row() for job in jobs]


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else value


def _line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
