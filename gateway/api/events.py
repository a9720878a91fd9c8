"""Server-sent events: the jobs that end, as they end, or from where a listener left off."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import Header, Query, Request
from starlette.responses import Response

from gateway.api.end_log import Cursor, EndLogReader, NoCursor
from gateway.api.job_schema import EXAMPLE_ID
from gateway.api.routing import Routes
from gateway.api.schemas import EXAMPLE_BATCH
from gateway.http.counting import work_of
from gateway.http.streaming import Streamed, first_of
from gateway.state.state import state_of
from gateway.tenants.scope import queue_of
from runqueue.errors import FieldError, InvalidRequest, UnknownAccount
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter
from runqueue.records.job import Job

router = Routes("events")

#: Seconds between two heartbeats, and between two reads without a notification.
HEARTBEAT, POLL_SECONDS = 15.0, 2.0
#: Seconds between two reads under load: jobs that end together are read together.
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


@router.call(
    "GET /v1/events",
    "read",
    "Listen to the ends of jobs",
    {
        "description": "Server-sent events, one a job, for as long as the client stays.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE_EVENT}},
    },
    response_class=Response,
)
async def events(
    request: Request,
    account: Account = None,
    batch: Batch = None,
    group: Group = None,
    last_event_id: LastId = None,
) -> Response:
    """Send `ended` for each job that ends, its data the job without its result.

    A job that is replayed and ends again comes again. After a reconnect some may come twice.
    """
    try:
        cursor = None if last_event_id is None else Cursor.read(last_event_id)
    except NoCursor:
        words = "expected the id of an event"
        raise InvalidRequest([FieldError("Last-Event-ID", words)]) from None
    queue = queue_of(request)
    if account is not None and account not in await queue.accounts():
        raise UnknownAccount(account)
    reader = EndLogReader(queue, state_of(request).redis, account, cursor)
    await reader.start()
    # Proxies would hold events back until they have enough.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    heard = _listen(request, reader, Filter(group=group, batch=batch))
    return Streamed(heard, headers=headers, media_type="text/event-stream")


async def _listen(request: Request, reader: EndLogReader, wanted: Filter) -> AsyncIterator[bytes]:
    """Yield events until the process ends, and heartbeats while there are none."""
    yield f"retry: {_RETRY}\n\n".encode()
    gate, queue, work = state_of(request), queue_of(request), work_of(request)
    said = time.monotonic()
    with gate.end_notifier.listen() as job_ended:
        while not gate.closing.is_set():
            job_ended.clear()  # before the read: a job that ends meanwhile causes another
            async with work:
                ended = await reader.read()
                written = await _events(queue, reader, ended, wanted)
            if written or time.monotonic() > said + HEARTBEAT:
                # Browsers take the id without data, too: entries left out are not read again.
                yield written or f": still here\nid: {reader.cursor}\n\n".encode()
                said = time.monotonic()
            if not ended:
                await first_of(job_ended, gate.closing, seconds=POLL_SECONDS)
            else:
                await first_of(gate.closing, seconds=PAUSE)


async def _events(
    queue: AsyncRunQueue, reader: EndLogReader, ended: list[tuple[str, str]], wanted: Filter
) -> bytes:
    """Return the events of jobs that ended; the last one has the reader's new position."""
    jobs = await queue.get_many([job_id for job_id, _ in ended], result=False)
    shown = [job for job in jobs if job is not None and job.is_over and wanted.fits(job)]
    parts = [b"event: ended\ndata: " + orjson.dumps(_values(job)) + b"\n\n" for job in shown]
    if parts:
        parts[-1] = f"id: {reader.cursor}\n".encode() + parts[-1]
    return b"".join(parts)


def _values(job: Job) -> dict[str, Any]:
    row = job.as_row()
    del row["output"]  # not read here
    return {**row, "account": job.account, "namespace": job.namespace}
