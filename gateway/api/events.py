"""Server-sent events: the jobs that end, as they end, and from where a listener left off."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from gateway.api.end_log import PAGE, Cursor, NoCursor, Reader
from gateway.api.job_schema import EXAMPLE_ID
from gateway.api.schemas import EXAMPLE_BATCH
from gateway.auth.tokens import requires
from gateway.http.places import hold
from gateway.http.problems import Fault, FieldsRefused, answers
from gateway.http.streaming import Streamed, first_of
from gateway.state.state import Gate, gate_of
from gateway.tenants.scope import Sight, queue_of, sight_of
from runqueue.errors import UnknownAccount
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter
from runqueue.records.job import Job

router = APIRouter(tags=["events"])

#: Seconds after which a word is sent although nothing happened, and between two looks without one.
HEARTBEAT, LOOK_EVERY = 15.0, 2.0
#: Seconds between two looks while much happens: so what ends together is read together.
PAUSE = 0.05
#: Milliseconds after which a browser connects again.
_RETRY = 2_000

_EXAMPLE_EVENT = (
    f'id: default:20782:17\nevent: ended\ndata: {{"job_id":"{EXAMPLE_ID}","state":"completed"}}\n\n'
)

Account = Annotated[str | None, Query(description="Only of this account.", examples=["default"])]
Batch = Annotated[str | None, Query(description="Only of this batch.", examples=[EXAMPLE_BATCH])]
Group = Annotated[str | None, Query(description="Only of this group.", examples=["shop-a"])]
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The `id` of the last event that was seen: what ended since comes first, six"
        " days back at most.",
        examples=["default:20782:17"],
    ),
]


@router.get(
    "/v1/events",
    summary="Listen to the ends of jobs",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events, one a job, for as long as the client stays.",
            "content": {
                "text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE_EVENT}
            },
        },
        **answers(401, 403, 422, 503, words={422: "Last-Event-ID: expected the id of an event"}),
    },
)
async def events(
    request: Request,
    account: Account = None,
    batch: Batch = None,
    group: Group = None,
    last_event_id: LastId = None,
) -> Response:
    """Send `ended` for each job that ends, its data the job without its result.

    A job that is replayed and ends again comes again. After a reconnect some may come twice. Needs
    the scope `read`.
    """
    gate = gate_of(request)
    try:
        cursor = None if last_event_id is None else Cursor.read(last_event_id)
    except NoCursor:
        raise FieldsRefused(Fault("Last-Event-ID", "expected the id of an event")) from None
    queue = queue_of(request)
    if account is not None and account not in await queue.accounts():
        raise UnknownAccount(account)
    hold(request, gate.listeners, sight_of(request).name, "too many listen already; try again")
    reader = Reader(queue, gate.redis, account, cursor)
    await reader.start()
    # Proxies would hold events back until they have enough.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    heard = _listen(gate, sight_of(request), reader, Filter(group=group, batch=batch))
    return Streamed(heard, headers=headers, media_type="text/event-stream")


async def _listen(gate: Gate, sight: Sight, reader: Reader, wanted: Filter) -> AsyncIterator[bytes]:
    """Yield events until the process ends, and a heartbeat where there are none."""
    yield f"retry: {_RETRY}\n\n".encode()
    said = time.monotonic()
    with gate.bell.listen() as told:
        while not gate.closing.is_set():
            told.clear()  # before the look: what is told meanwhile is cause for another
            async with gate.event_reads.of(sight.name):
                ended = await reader.read()
                written = await _events(sight.queue, reader, ended, wanted)
                # Who catches up keeps its turn meanwhile: so it leaves others the process.
                if len(ended) >= PAGE:
                    await first_of(gate.closing, seconds=PAUSE)
            if written or time.monotonic() > said + HEARTBEAT:
                # Without data the id is still taken: what was left out is not read again.
                yield written or f": still here\nid: {reader.cursor}\n\n".encode()
                said = time.monotonic()
            if not ended:
                await first_of(told, gate.closing, seconds=LOOK_EVERY)
            elif len(ended) < PAGE:
                await asyncio.sleep(PAUSE)


async def _events(
    queue: AsyncRunQueue, reader: Reader, ended: list[tuple[str, str]], wanted: Filter
) -> bytes:
    """Return what is sent of jobs that ended: the last event bears where the reader stands now."""
    jobs = await queue.get_many([job_id for job_id, _ in ended], result=False)
    shown = [job for job in jobs if job is not None and job.is_over and wanted.fits(job)]
    parts = [b"event: ended\ndata: " + orjson.dumps(_values(job)) + b"\n\n" for job in shown]
    if parts:
        parts[-1] = f"id: {reader.cursor}\n".encode() + parts[-1]
    return b"".join(parts)


def _values(job: Job) -> dict[str, Any]:
    row = job.as_row()
    del row["output"]  # it was not read
    return {**row, "account": job.account, "namespace": job.namespace}
