"""The list of runs: what a search looks into, filters and pages."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, Field

from simulator.runs import LIVE_STATUSES, Run
from simulator.store import Store

#: A search sees no further than this many matches.
MAX_MATCHES = 1000

Status = Literal[
    "created",
    "queued",
    "running",
    "paused",
    "completed",
    "failed",
    "terminated",
    "timed_out",
    "canceled",
]


class ListQuery(BaseModel):
    """The query of `GET /v1/runs`; `page` counts from 1."""

    search_key: Annotated[str, Field(min_length=3)] | None = None
    status: frozenset[Status] = frozenset()
    page: Annotated[int, Field(ge=1, le=100)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 10


def task_haystack(
    title: str | None, url: str | None, extra_http_headers: Mapping[str, str] | None
) -> str:
    """All that a search looks into for a task; its webhook URL and prompt are no part of it."""
    return _joined(title, url, *(extra_http_headers or {}).values())


def workflow_haystack(
    webhook_url: str | None,
    parameters: Mapping[str, object],
    declared: frozenset[str],
    extra_http_headers: Mapping[str, str] | None,
) -> str:
    """All that a search looks into for a workflow run; its title is no part of it.

    Args:
        declared: the parameters that are looked into; empty means all.
    """
    values = (
        value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in parameters.items()
        if not declared or name in declared
    )
    return _joined(webhook_url, *values, *(extra_http_headers or {}).values())


def find(store: Store, query: ListQuery, now: float) -> list[Run]:
    """One page of the runs that match, newest first."""
    only_live = query.status and query.status <= LIVE_STATUSES
    runs = store.live_newest_first() if only_live else store.newest_first()
    needle = query.search_key.lower() if query.search_key else ""
    matches = (
        run
        for run in runs
        if needle in run.submission.haystack
        and (not query.status or run.status(now) in query.status)
    )
    first = (query.page - 1) * query.page_size
    last = first + query.page_size
    if needle:
        first, last = min(first, MAX_MATCHES), min(last, MAX_MATCHES)
    return list(islice(matches, first, last))


def _joined(*texts: str | None) -> str:
    # A line feed between them, so that no search matches across two of them.
    return "\n".join(text for text in texts if text).lower()
