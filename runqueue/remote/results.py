"""The results of a batch over HTTP, row by row; a connection that breaks is made again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson

from runqueue.errors import BatchNotFound, GatewayUnavailable
from runqueue.ids import is_id
from runqueue.remote.connection import TRIES, GatewayLink, words_of

#: Says that an answer begins behind the job that was named.
AFTER_HEADER = "runqueue-after"
#: Seconds before a broken stream is requested again.
_PAUSE = 0.5


def result_rows(
    link: GatewayLink, batch: str, *, errors: bool = False, after: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what the gateway has of a batch's jobs, in the order of the upload.

    Args:
        link: the connection to the gateway.
        batch: its id.
        errors: only what did not go well; else all that has ended.
        after: only what comes behind this job, which was in an answer before.

    Raises:
        BatchNotFound: no such batch is on record.
        GatewayUnavailable: the answer broke off again and again, without a row between; or an older
            gateway's has not the job to go on behind.
    """
    tries = 0
    while True:
        try:
            for row in _rows(link, batch, "errors" if errors else "results", after):
                yield row
                after, tries = row["job_id"], 0
        except httpx.RequestError as error:
            words = words_of(error)
        else:
            return
        tries += 1
        if tries >= TRIES:
            raise GatewayUnavailable(link.url, f"the results broke off: {words}")
        time.sleep(_PAUSE)


def _rows(link: GatewayLink, batch: str, what: str, after: str | None) -> Iterator[dict[str, Any]]:
    if not is_id(batch):
        raise BatchNotFound(batch)
    params = {"format": "jsonl", **({"after": after} if after else {})}
    path, meant = f"/v1/batches/{batch}/{what}", {404: BatchNotFound(batch)}
    with link.stream(path, params, meant) as answer:
        # An older gateway begins at the beginning.
        skip = after is not None and answer.headers.get(AFTER_HEADER) != after
        for line in _lines(link, answer):
            row = _row(link, line)
            if not skip:
                yield row
            elif row["job_id"] == after:
                skip = False
        if skip:
            words = "it is older than this client, and the job to go on behind has ended no more"
            raise GatewayUnavailable(link.url, f"{words} (a replay?): begin anew")


def _lines(link: GatewayLink, answer: httpx.Response) -> Iterator[bytes]:
    """Yield whole lines."""
    rest = b""
    for part in answer.iter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        yield from lines
    if rest:
        raise link.strange()


def _row(link: GatewayLink, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("job_id"), str):
        raise link.strange()
    return row
