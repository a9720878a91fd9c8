"""Actions on whole batches: pausing, resuming, retrying."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from gateway.api.batch_options import Callback, callback_of
from gateway.api.batches import BatchId
from gateway.api.routing import OF_BATCHES, Reason, Routes
from gateway.api.schemas import BATCH, batch_values, record, shape
from gateway.auth.audit import set_detail
from gateway.http.request_body import json_answer
from gateway.tenants.scope import queue_of, tenant_scope_of
from runqueue.errors import BatchNotFound
from runqueue.problem_types import ProblemType
from runqueue.producer.async_queue import retry_pages
from runqueue.records.batch import Retried
from runqueue.store import delivery_calls

router = Routes("batches")

_SHOWN = ("The batch as it is now.", BATCH)
_RETRIED = record(Retried, batch_id=str, jobs=int)


@router.call(
    "POST /v1/batches/{batch_id}/pause", "operate", "Pause a batch", _SHOWN, problems=OF_BATCHES
)
async def pause_batch(batch_id: BatchId, request: Request) -> Response:
    """Submit nothing more of a batch; runs that are under way go on."""
    return json_answer(batch_values(await queue_of(request).pause_batch(batch_id)))


@router.call(
    "POST /v1/batches/{batch_id}/resume", "operate", "Resume a batch", _SHOWN, problems=OF_BATCHES
)
async def resume_batch(batch_id: BatchId, request: Request) -> Response:
    """Go on with a batch that was paused, or that its rules hold."""
    return json_answer(batch_values(await queue_of(request).resume_batch(batch_id)))


@router.call(
    "POST /v1/batches/{batch_id}/retry-callbacks",
    "operate",
    "Have callbacks of a batch sent again that were abandoned",
    ("They are due now.", shape(batch_id=str, callbacks=int)),
    problems={ProblemType.BATCH_NOT_FOUND, ProblemType.INVALID_BATCH},
)
async def retry_callbacks(
    batch_id: BatchId, request: Request, callback: Callback = None
) -> Response:
    """Send the callbacks of a batch again that were abandoned; a header names another URL.

    The callbacks keep their ids, and report the batch's present state.
    """
    url = callback_of(callback)
    tenant_scope = tenant_scope_of(request)
    account = await tenant_scope.owner(batch_id)
    again = account and delivery_calls.callback_again(account, batch_id, url or "")
    done = await tenant_scope.queue.send(again) if again else None
    if done is None:
        raise BatchNotFound(batch_id)
    return json_answer({"batch_id": batch_id, "callbacks": done})


@router.call(
    "POST /v1/batches/{batch_id}/retry-failed",
    "operate",
    "Have what failed of a batch done again",
    ("They are ready again; `canceled_left` are as they were.", _RETRIED),
    problems=OF_BATCHES,
)
async def retry_failed(
    batch_id: BatchId,
    request: Request,
    *,
    reason: Reason = None,
    canceled: Annotated[bool, Query(description="Its canceled jobs, too.")] = False,
) -> Response:
    """Have the dead and failed jobs of a batch done again."""
    done = Retried({})
    async for done in retry_pages(queue_of(request), batch_id, reason, canceled=canceled):
        set_detail(request, f"{done.jobs:,} jobs are ready again{done.words}")
    return json_answer({"batch_id": batch_id, **done.as_dict()})
