"""Jobs: lists of them, and one: reading it, waiting for its end, canceling it."""

import asyncio
from contextlib import nullcontext, suppress
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from gateway.api.job_schema import EXAMPLE_ID
from gateway.api.routing import Limit, Routes, Wanted, one_at_a_time
from gateway.api.schemas import JOB, each, job_values, shape, shape_of
from gateway.http.counting import taken_by, working
from gateway.http.request_body import json_answer
from gateway.refused import Refused
from gateway.state.state import state_of
from gateway.tenants.in_flight import LARGEST
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.errors import JobNotFound
from runqueue.ids import is_id
from runqueue.operator.decisions import Settled
from runqueue.problem_types import ProblemType
from runqueue.producer.listing import Dimension
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.records.as_json import json_value
from runqueue.records.job import JobState
from runqueue.store.history import Attempt, JobStep

router = Routes("jobs")

#: Seconds that a request may wait for the end of a job.
LONGEST_WAIT = 60.0

#: A cursor may hold ids of jobs that did not fit into the page before.
_LONGEST_CURSOR = 16_000
#: Jobs that are encoded at a time: a millisecond of the event loop.
_SHOWN_AT_ONCE = 50

JobId = Annotated[str, Path(description="The job's id.", examples=[EXAMPLE_ID])]
Wait = Annotated[
    float, Query(ge=0, le=60, description="Seconds to wait for the job's end.", examples=[30])
]
WithResult = Annotated[
    bool, Query(description="Whether the answer holds the result, which may be large.")
]


@router.call(
    "GET /v1/jobs",
    "read",
    "List jobs",
    (
        "A page of them.",
        shape(jobs=each(JOB), cursor=str | None, unread=list[str], lacks_archive=bool),
    ),
)
async def list_jobs(
    request: Request,
    jobs: Wanted,
    account: Account = None,
    cursor: Annotated[
        str,
        Query(max_length=_LONGEST_CURSOR, description="That of the page before.", examples=[""]),
    ] = "",
    limit: Limit = 100,
) -> Response:
    """Return a page of jobs of an account, without results; with a `custom_id` that job, or none.

    The work of a page is bounded: one may be empty that is not the last. With an archive, a list
    that is by no open state, webhook's state, `custom_id` or batch is of ended jobs, the newest end
    first; what ended in the last seconds may be missing. Without one, jobs without a state or a
    batch come in no order, and some may come twice.
    """
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        page = await queue.list_jobs(jobs.wanted, account=whose, cursor=cursor, limit=limit)
        shown = []
        for start in range(0, len(page.jobs), _SHOWN_AT_ONCE):
            some = page.jobs[start : start + _SHOWN_AT_ONCE]
            shown += [job_values(job, result=False) for job in some]
            await asyncio.sleep(0)  # other requests are answered meanwhile
        return json_answer(
            {
                "jobs": shown,
                "cursor": page.cursor or None,
                "unread": page.unread,
                "lacks_archive": page.lacks_archive,
            }
        )


@router.call(
    "GET /v1/count",
    "read",
    "Count jobs",
    ("How many there are; not exact = at least so many.", shape(jobs=int, is_exact=bool)),
)
async def count_jobs(request: Request, jobs: Wanted, account: Account = None) -> Response:
    """Count the jobs of a list, up to 1,000 of them."""
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        found = await queue.count_jobs(jobs.wanted, account=whose)
        return json_answer(found._asdict())


@router.call(
    "GET /v1/errors",
    "read",
    "Group the failures of an archive",
    ("The largest first.", shape_of(ErrorGroups)),
)
async def list_errors(
    request: Request, jobs: Wanted, account: Account = None, limit: Limit = 50
) -> Response:
    """Return failures with the same category and words, but for numbers, ids and URLs.

    `GET /v1/jobs?error=<id>` has the jobs of one. Needs an archive.
    """
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        found = await queue.list_errors(jobs.wanted, account=whose, limit=limit)
        return json_answer(json_value(found))


@router.call(
    "GET /v1/charts",
    "read",
    "Sum up what ended, by the hour, the day or the week",
    ("A point for each step of time.", shape_of(Chart)),
)
async def read_chart(
    request: Request,
    jobs: Wanted,
    by: Annotated[
        Dimension | None, Query(description="What is compared.", examples=["group"])
    ] = None,
    account: Account = None,
) -> Response:
    """Return jobs, failure share, durations, steps and credits; of a week by default.

    Of all jobs, or without `by` of one `group`, `workflow` or `batch`; other filters are refused.
    Needs an archive.
    """
    whose = tenant_scope_of(request).whose(account)
    async with one_at_a_time(request) as queue:
        found = await queue.chart(jobs.wanted, by=by, account=whose)
        return json_answer(json_value(found))


@router.call(
    "GET /v1/jobs/{job_id}",
    "read",
    "Read a job, or wait for its end",
    ("The job as it is now.", JOB),
    problems={ProblemType.JOB_ARCHIVED},
)
async def read_job(
    job_id: JobId, request: Request, wait: Wait = 0.0, result: WithResult = True
) -> Response:
    """Read a job. With `wait` the answer comes once it has ended, or when the time is up."""
    if wait > 0:
        await _wait(request, job_id, min(wait, LONGEST_WAIT))
    if not is_id(job_id):
        raise JobNotFound(job_id)
    # A result may be large: one at a time is read, and made an answer of.
    async with working(request) if result else nullcontext():
        if result:
            # Refuse early if the largest answer would not fit; the answer itself is counted when
            # it is sent.
            taken_by(request).check_room(LARGEST)
        (job,) = await queue_of(request).get_many([job_id], result=result)
        if job is None:
            raise JobNotFound(job_id)
        return json_answer(job_values(job, result=result))


@router.call(
    "GET /v1/jobs/{job_id}/timeline",
    "read",
    "Read what was requested, and what became of it",
    (
        "The steps, in their order; `request_hidden` names fields that may hold secrets.",
        shape(
            job_id=str,
            request=dict[str, str | int],
            request_hidden=list[str],
            timeline=list[JobStep],
            attempts=list[Attempt],
            earlier_runs=list[str],
            earlier_lives=list[JobStep],
        ),
    ),
)
async def read_timeline(job_id: JobId, request: Request) -> Response:
    """Read the steps of a job's life with their causes, and the request without its secrets."""
    return json_answer({"job_id": job_id, **await queue_of(request).timeline(job_id)})


async def _wait(request: Request, job_id: str, seconds: float) -> None:
    """Wait until a job has ended, the time is up, the client has gone, or the process ends."""
    waiting = asyncio.create_task(queue_of(request).wait(job_id, seconds))
    others = [
        asyncio.create_task(state_of(request).closing.wait()),
        asyncio.create_task(_gone(request)),
    ]
    try:
        await asyncio.wait([waiting, *others], return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            with suppress(TimeoutError):
                waiting.result()
    finally:
        for task in (waiting, *others):
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.call(
    "POST /v1/jobs/{job_id}/cancel",
    "operate",
    "Cancel a job",
    ("The cancellation was requested.", shape(job_id=str, state=JobState)),
)
async def cancel_job(job_id: JobId, request: Request) -> Response:
    """Request the cancellation of a job; repeating it is harmless.

    One that was not submitted is `canceled` at once. One that may have a run keeps its state until
    that run is known to have ended; one that has ended keeps it for good.
    """
    state = await queue_of(request).cancel(job_id)
    return json_answer({"job_id": job_id, "state": state.value})


@router.call(
    "POST /v1/jobs/{job_id}/webhook/ack",
    "enqueue",
    "Confirm that the result has arrived",
    ("Its webhook counts as delivered.", shape(job_id=str, webhook=str)),
    problems={ProblemType.NOT_CONFIRMABLE},
)
async def acknowledge(job_id: JobId, request: Request) -> Response:
    """Confirm that you have the result of a job, so that its webhook is not sent (again).

    Repeating it is harmless.
    """
    (outcome,) = (await queue_of(request).confirm_delivery([job_id])).values()
    if outcome is Settled.NO_SUCH_JOB:
        raise JobNotFound(job_id)
    if outcome is not Settled.DONE:
        raise Refused(ProblemType.NOT_CONFIRMABLE, "the job has not ended, or it has no webhook")
    return json_answer({"job_id": job_id, "webhook": "delivered"})
