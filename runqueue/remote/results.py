"""Results over HTTP, row by row; a connection that breaks is made again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx
import orjson

from runqueue.errors import GatewayUnavailable
from runqueue.remote.connection import TRIES, GatewayLink, words_of
from runqueue.request.time_range import MICROSECOND, in_microseconds

#: Seconds before a broken stream is requested again.
_PAUSE = 0.5


def result_rows(
    link: GatewayLink,
    path: str,
    params: Mapping[str, Any],
    *,
    after: str | None = None,
    by_end: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the rows that a route of the gateway sends.

    Args:
        link: the connection to the gateway.
        path: the route.
        params: which rows are wanted.
        after: only what comes behind this job, which was in an answer before.
        by_end: the newest end comes first: a broken answer is continued at the end of its last row,
            whatever that job does meanwhile; else behind its job.

    Raises:
        GatewayUnavailable: the answer broke off again and again, without a row between.
    """
    tries = 0
    end: datetime | None = None
    of_end: set[tuple[str, datetime | None]] = set()  # what ended then, and was yielded
    while True:
        try:
            for row in _rows(link, path, {**params, "after": after}):
                ended = _time(link, row, "ended_at") if by_end else None
                line = row["job_id"], ended
                if line in of_end:
                    continue
                yield row
                tries = 0
                if ended is None:
                    created = in_microseconds(_time(link, row, "created_at"))
                    after = f"{row['job_id']} {created}"  # its `life_name`
                    continue
                if end is not None and ended != end:
                    of_end.clear()
                    after = None
                of_end.add(line)
                end = ended
                if after is None:
                    params = {**params, "until": (end + MICROSECOND).isoformat()}
        except httpx.RequestError as error:
            words = words_of(error)
        else:
            return
        tries += 1
        if tries >= TRIES:
            raise GatewayUnavailable(link.url, f"the results broke off: {words}")
        time.sleep(_PAUSE)


def _rows(link: GatewayLink, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    given = {name: value for name, value in params.items() if value is not None}
    with link.stream(path, {"format": "jsonl", **given}) as answer:
        for line in _lines(link, answer):
            yield _row(link, line)


def _lines(link: GatewayLink, answer: httpx.Response) -> Iterator[bytes]:
    """Yield whole lines."""
    rest = b""
    for part in answer.iter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        yield from lines
    if rest:
        raise link.strange()


def _time(link: GatewayLink, row: Mapping[str, Any], name: str) -> datetime:
    try:
        return datetime.fromisoformat(row[name])
    except (KeyError, TypeError, ValueError):
        raise link.strange() from None


def _row(link: GatewayLink, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("job_id"), str):
        raise link.strange()
    return row
