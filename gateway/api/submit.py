"""Submitting jobs: one, or up to 1,000 of which all are accepted or none."""

from collections import Counter
from functools import partial
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from gateway.api import job_schema
from gateway.api.routing import OF_BATCHES, OF_JOBS, Routes
from gateway.api.schemas import ENQUEUED, EXAMPLE_BATCH, answer_values, each, shape
from gateway.checks.jobs import MAX_BYTES, MAX_JOBS, MORE_JOBS, read_job, read_jobs
from gateway.http.counting import taken_by, working
from gateway.http.request_body import body_of, json_answer, read_json
from gateway.state.state import state_of
from gateway.tenants.in_flight import SMALL
from gateway.tenants.scope import tenant_scope_of
from runqueue.problem_types import ProblemType
from runqueue.producer.async_queue import enqueue_packets
from runqueue.producer.chunks import accepted, traced
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES
from runqueue.tracing import ambient, enqueuing

router = Routes("jobs")

#: Bytes of one job: what one line of a batch file may have.
MAX_BODY = 8 * MAX_PAYLOAD_BYTES
#: Bytes above which a job is checked in a thread: they may take milliseconds.
_LARGE = 8 * 1024
#: Bytes of the answer to one job of many, what it repeats of the body apart.
_ANSWERED = 512

OpenBatch = Annotated[
    str | None, Query(description="An open batch that they belong to.", examples=[EXAMPLE_BATCH])
]
_BODY = {"schema": job_schema.REFERENCE, "example": job_schema.EXAMPLE}
_JOBS = {"type": "array", "items": job_schema.REFERENCE, "minItems": 1, "maxItems": MAX_JOBS}
_BULK = {"schema": _JOBS, "example": [job_schema.EXAMPLE]}


@router.call(
    "POST /v1/jobs",
    "enqueue",
    "Submit a job",
    ("It is in the queue.", ENQUEUED),
    status=202,
    problems=OF_JOBS | {ProblemType.IDEMPOTENCY_CONFLICT},
    body=body_of(_BODY),
)
async def submit(request: Request) -> Response:
    """Submit one run request: the body is a line of a batch file.

    The job is in the queue once this is answered. With a `custom_id` submitting it again makes no
    second job; without, it does.
    """
    gate, tenant_scope = state_of(request), tenant_scope_of(request)
    raw = await read_json(request, MAX_BODY)
    with enqueuing() as step:
        check = partial(read_job, raw, tenant_scope.default, ambient())
        if len(raw) > _LARGE:
            async with working(request):
                packets = await gate.in_thread(check)
        else:
            packets = check()
        (answer,) = traced(await enqueue_packets(tenant_scope.queue, packets), step)
    return json_answer(answer_values(accepted(answer)), 202, f"/v1/jobs/{answer.job_id}")


@router.call(
    "POST /v1/jobs:bulk",
    "enqueue",
    f"Submit up to {MAX_JOBS:,} jobs",
    ("They are in the queue.", shape(counts=dict[str, int], jobs=each(ENQUEUED))),
    status=202,
    problems=OF_JOBS | OF_BATCHES,
    body=body_of(_BULK),
)
async def submit_many(request: Request, batch: OpenBatch = None) -> Response:
    """Submit an array of lines of a batch file.

    All of them are accepted, or, if a field of one is wrong, none. A job whose key was used for
    another request is reported among the answers as `conflict`; the others are accepted. More jobs
    go as an upload (`POST /v1/batches`).
    """
    gate, tenant_scope = state_of(request), tenant_scope_of(request)
    raw = await read_json(request, MAX_BYTES, MORE_JOBS)
    with enqueuing() as step:
        async with working(request):
            check = partial(read_jobs, raw, tenant_scope.default, ambient())
            packets = await gate.in_thread(check)
            count = sum(len(packet.keys) for packet in packets)
            if (answered := len(raw) + count * _ANSWERED) > SMALL:
                # Before they are stored: their answer is not refused any more.
                taken_by(request).take(answered)
            if len(packets) > 1:  # otherwise one call, without a batch
                packets = [part for packet in packets for part in packet.cut_short()]
            found = traced(await enqueue_packets(tenant_scope.queue, packets, batch), step)
            return await gate.in_thread(partial(_many, found))


def _many(found: list[Enqueued]) -> Response:
    counts = Counter(answer.status for answer in found)
    return json_answer(
        {
            "counts": {status.value: counts[status] for status in EnqueueStatus},
            "jobs": [answer_values(answer) for answer in found],
        },
        202,
    )
