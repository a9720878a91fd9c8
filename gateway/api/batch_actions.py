"""Lists of jobs, and actions on whole batches: pausing, resuming, retrying."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.api.batch_options import Callback, callback_of
from gateway.api.batches import BatchId
from gateway.api.list_turns import listing
from gateway.api.schemas import (
    EXAMPLE_BATCH,
    BatchShown,
    JobsShown,
    Warnings,
    batch_values,
    job_values,
    warning_values,
)
from gateway.auth.audit import set_detail
from gateway.auth.tokens import requires
from gateway.http.problems import answers
from gateway.http.request_body import json_answer
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue import AsyncRunQueue
from runqueue.errors import BatchNotFound
from runqueue.ids import is_id
from runqueue.producer import flows
from runqueue.records.batch import Retried
from runqueue.records.job import JobState
from runqueue.request.private_targets import private_callback
from runqueue.store.accounts import account_of

router = APIRouter()

Reason = Annotated[
    str | None,
    Query(
        min_length=1,
        description="Only jobs whose reason contains this text, whatever its case.",
        examples=["crashed"],
    ),
]

#: A cursor may hold ids of jobs that did not fit into the page before.
_LONGEST_CURSOR = 16_000
#: Jobs that are encoded at a time: a millisecond of the event loop.
_SHOWN_AT_ONCE = 50

_WORDS = {
    404: "no such batch is on record",
    409: f"batch {EXAMPLE_BATCH} was canceled, and does not go on",
}
_BATCH: dict[int | str, dict[str, Any]] = {
    200: {"description": "The batch as it is now.", "model": BatchShown},
    **answers(401, 403, 404, 409, 503, words=_WORDS),
}


class RetriedShown(BaseModel):
    """Jobs of a batch are done again."""

    batch_id: str = Field(examples=[EXAMPLE_BATCH])
    jobs: int = Field(description="How many.", examples=[12])
    states: dict[JobState, int] = Field(
        description="How many were in which state.", examples=[{"failed": 10, "dead": 2}]
    )
    canceled_left: int = Field(
        description="Canceled jobs that were left as they are.", examples=[0]
    )


class CallbacksRetried(BaseModel):
    """Callbacks of a batch are sent again."""

    batch_id: str = Field(examples=[EXAMPLE_BATCH])
    callbacks: int = Field(description="How many.", examples=[1])
    warnings: Warnings = []


@router.get(
    "/v1/jobs",
    tags=["jobs"],
    summary="List jobs",
    dependencies=[Depends(requires("read"))],
    responses={
        200: {"description": "A page of them.", "model": JobsShown},
        **answers(401, 403, 422, 503, words={422: "limit: expected 1 to 1000, got 0"}),
    },
)
async def list_jobs(
    request: Request,
    *,
    state: Annotated[JobState | None, Query(description="Only in it.", examples=["dead"])] = None,
    group: Annotated[str | None, Query(description="Only of it.", examples=["shop-a"])] = None,
    batch: Annotated[
        str | None, Query(description="Only of it, in its order.", examples=[EXAMPLE_BATCH])
    ] = None,
    reason: Reason = None,
    custom_id: Annotated[
        str | None,
        Query(min_length=1, description="Only the job of this name.", examples=["order-17"]),
    ] = None,
    namespace: Annotated[str, Query(description="That of the custom_id.", examples=[""])] = "",
    account: Account = None,
    cursor: Annotated[
        str,
        Query(max_length=_LONGEST_CURSOR, description="That of the page before.", examples=[""]),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.", examples=[100])] = 100,
) -> Response:
    """Return a page of jobs of an account, without results; with a `custom_id` that job, or none.

    The work of a page is bounded: one may be empty that is not the last. Without a state or a
    batch jobs come in no order, and some may come twice. Needs the scope `read`.
    """
    whose = tenant_scope_of(request).whose(account)
    async with listing(request) as queue:
        page = await queue.list_jobs(
            state,
            group=group,
            batch=batch,
            reason=reason,
            custom_id=custom_id,
            namespace=namespace,
            account=whose,
            cursor=cursor,
            limit=limit,
        )
        shown = []
        for start in range(0, len(page.jobs), _SHOWN_AT_ONCE):
            some = page.jobs[start : start + _SHOWN_AT_ONCE]
            shown += [job_values(job, result=False) for job in some]
            await asyncio.sleep(0)  # other requests are answered meanwhile
        return json_answer({"jobs": shown, "cursor": page.cursor or None})


@router.post(
    "/v1/batches/{batch_id}/pause",
    tags=["batches"],
    summary="Pause a batch",
    dependencies=[Depends(requires("operate"))],
    responses=_BATCH,
)
async def pause_batch(batch_id: BatchId, request: Request) -> Response:
    """Submit nothing more of a batch; runs that are under way go on. Needs `operate`."""
    return json_answer(batch_values(await queue_of(request).pause_batch(batch_id)))


@router.post(
    "/v1/batches/{batch_id}/resume",
    tags=["batches"],
    summary="Resume a batch",
    dependencies=[Depends(requires("operate"))],
    responses=_BATCH,
)
async def resume_batch(batch_id: BatchId, request: Request) -> Response:
    """Go on with a batch that was paused, or that its rules hold. Needs the scope `operate`."""
    return json_answer(batch_values(await queue_of(request).resume_batch(batch_id)))


@router.post(
    "/v1/batches/{batch_id}/retry-callbacks",
    tags=["batches"],
    summary="Have callbacks of a batch sent again that were given up",
    dependencies=[Depends(requires("operate"))],
    responses={
        200: {"description": "They are due now.", "model": CallbacksRetried},
        **answers(401, 403, 404, 422, 503, words=_WORDS),
    },
)
async def retry_callbacks(
    batch_id: BatchId, request: Request, callback: Callback = None
) -> Response:
    """Send the callbacks of a batch again that were given up; a header names another URL.

    The callbacks keep their ids, and report the batch's present state. Needs the scope `operate`.
    """
    url = callback_of(callback)
    queue = queue_of(request)
    flow = flows.retry_callbacks(await _owner(queue, batch_id), batch_id, url)
    done = await flows.drive_async(flow, queue.send)
    warnings = warning_values(private_callback(url))
    return json_answer({"batch_id": batch_id, "callbacks": done, **warnings})


@router.post(
    "/v1/batches/{batch_id}/retry-failed",
    tags=["batches"],
    summary="Have what failed of a batch done again",
    dependencies=[Depends(requires("operate"))],
    responses={**_BATCH, 200: {"description": "They are ready again.", "model": RetriedShown}},
)
async def retry_failed(
    batch_id: BatchId,
    request: Request,
    *,
    reason: Reason = None,
    canceled: Annotated[bool, Query(description="Its canceled jobs, too.")] = False,
) -> Response:
    """Have the dead and failed jobs of a batch done again. Needs the scope `operate`."""
    queue = queue_of(request)
    account = await _owner(queue, batch_id)

    def note_progress(done: Retried) -> None:
        set_detail(request, f"{done.jobs:,} jobs are ready again{done.words}")

    flow = flows.retry_failed(account, batch_id, note_progress, reason=reason, canceled=canceled)
    done = await flows.drive_async(flow, queue.send)
    return json_answer({"batch_id": batch_id, **done.as_dict()})


async def _owner(queue: AsyncRunQueue, batch_id: str) -> str:
    account = account_of(batch_id, await queue.accounts()) if is_id(batch_id) else None
    if account is None:
        raise BatchNotFound(batch_id)
    return account
