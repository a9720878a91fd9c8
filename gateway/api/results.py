"""The calls for results, of a batch or of an account."""

from dataclasses import dataclass
from typing import Annotated, Literal

import orjson
from fastapi import Depends, Query, Request
from starlette.responses import Response

from gateway.api import job_schema, routing
from gateway.api.batches import BatchId
from gateway.api.routing import Routes
from gateway.http.results import CRLF, CSV, NDJSON, stream_results
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.ids import DEFAULT
from runqueue.problem_types import ProblemType
from runqueue.producer.listing import ALL, Filter
from runqueue.records.csv_rows import csv_head

router = Routes("batches")

_ROW = {"custom_id": "order-17", "state": "completed", "output": {"price": 12.5}}
_LINES = {
    "description": "One job a line.",
    "content": {
        NDJSON: {"schema": {"type": "string"}, "example": orjson.dumps(_ROW).decode() + "\n"},
        CSV: {"schema": {"type": "string"}, "example": csv_head(CRLF).decode()},
    },
}

Format = Annotated[
    Literal["jsonl", "csv"], Query(description="Lines of JSON, or a table.", examples=["jsonl"])
]
After = Annotated[
    str | None,
    Query(
        description="Only lines behind this job's, to go on with an answer that was cut.",
        examples=[job_schema.EXAMPLE_ID],
    ),
]


@dataclass(frozen=True, slots=True)
class LinesRequest:
    """A request for lines."""

    request: Request
    format: Format = "jsonl"
    after: After = None


Wanted = Annotated[LinesRequest, Depends()]


@router.call(
    "GET /v1/results",
    "read",
    "Read the results of jobs, of any batch or none",
    _LINES,
    problems={ProblemType.BATCH_NOT_FOUND},
    response_class=Response,
)
async def results(
    wanted: Wanted,
    jobs: routing.Wanted,
    *,
    errors: Annotated[
        bool, Query(description="Only jobs that failed, were canceled or are dead.")
    ] = False,
    account: Account = None,
) -> Response:
    """Return a line for each job of an account that has ended, the newest end first.

    Those of a `batch` come in the order of its upload, if Redis has all that the filters ask for.
    With an archive, the last seconds may be missing. Otherwise as for the results of a batch.
    """
    whose = tenant_scope_of(wanted.request).whose(account)
    return await _answer(wanted, None, jobs.wanted, errors=errors, account=whose)


@router.call(
    "GET /v1/batches/{batch_id}/results",
    "read",
    "Read the results of a batch",
    _LINES,
    response_class=Response,
)
async def batch_results(wanted: Wanted, batch_id: BatchId) -> Response:
    """Return a line for each job of the batch that has ended, in the order of the upload.

    The columns are those of a results file. An answer that cannot be finished is cut, and HTTP
    clients report that.
    """
    return await _answer(wanted, batch_id, errors=False)


@router.call(
    "GET /v1/batches/{batch_id}/errors",
    "read",
    "Read what of a batch did not go well",
    _LINES,
    response_class=Response,
)
async def batch_errors(wanted: Wanted, batch_id: BatchId) -> Response:
    """Return a line for each job that ended but not as completed, or is unconfirmed.

    As for the results.
    """
    return await _answer(wanted, batch_id, errors=True)


async def _answer(
    wanted: LinesRequest,
    batch: str | None,
    chosen: Filter = ALL,
    *,
    errors: bool,
    account: str = DEFAULT,
) -> Response:
    request = wanted.request
    return await stream_results(
        request,
        queue_of(request),
        batch,
        chosen,
        errors=errors,
        is_csv=wanted.format == "csv",
        after=wanted.after or None,
        account=account,
    )
