"""Results as an answer: a line a job, JSON or CSV, streamed in constant memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import orjson
from starlette.requests import Request

from gateway.http.counting import taken_by, work_of
from gateway.http.streaming import Streamed
from gateway.tenants.in_flight import STREAM
from runqueue import Job
from runqueue.ids import DEFAULT
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.async_results import AsyncResultReader
from runqueue.producer.listing import ALL, Filter
from runqueue.records.csv_rows import csv_head, csv_rows

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
CRLF: Final = "\r\n"


async def stream_results(
    request: Request,
    queue: AsyncRunQueue,
    batch: str | None,
    chosen: Filter = ALL,
    *,
    errors: bool,
    is_csv: bool,
    after: str | None = None,
    account: str = DEFAULT,
    headers: Mapping[str, str] | None = None,
) -> Streamed:
    """Return the answer with a line for each job.

    Args:
        request: its bearer's bytes in flight are counted.
        queue: as the bearer sees it.
        batch, chosen, errors, after, account: as of `AsyncRunQueue.open_results`.
        is_csv: whether it is a table; otherwise it has lines of JSON.
        headers: of the answer.

    Raises:
        Refused: the bearer has too much in flight.
        BatchNotFound, UnknownAccount, InvalidRequest: as `open_results` raises them.
    """
    taken_by(request).take(STREAM)
    reader = await queue.open_results(batch, chosen, errors=errors, after=after, account=account)
    written = _written(reader, work_of(request), is_csv=is_csv)
    return Streamed(written, headers=headers, media_type=CSV if is_csv else NDJSON)


async def _written(
    reader: AsyncResultReader, work: asyncio.Lock, *, is_csv: bool
) -> AsyncIterator[bytes]:
    write = _csv if is_csv else _ndjson
    if is_csv:
        yield csv_head(CRLF)
    while (ids := await reader.ids()) is not None:
        while ids:
            some, ids = ids[: reader.size], ids[reader.size :]
            async with work:
                written = write(await reader.jobs(some))
            reader.adapt(len(written))
            yield written


def _ndjson(jobs: Sequence[Job]) -> bytes:
    return b"".join(orjson.dumps(job.as_row()) + b"\n" for job in jobs)


def _csv(jobs: Sequence[Job]) -> bytes:
    return csv_rows(map(Job.as_row, jobs), CRLF)
