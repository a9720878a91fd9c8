"""Lists of jobs, read page by page from Redis or a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runqueue.operator.operations import Filter
from runqueue.producer.queue import RunQueue
from runqueue.records.job import Job

if TYPE_CHECKING:  # httpx loads slowly, and few commands need it.
    from runqueue.remote.queue import RemoteQueue


def every_job(
    queue: RunQueue | RemoteQueue,
    wanted: Filter,
    account: str,
    *,
    limit: int = 1000,
    unread: list[str] | None = None,
) -> Iterator[Job]:
    """Go through the jobs of a list, page by page; one may come twice.

    Args:
        queue: the queue.
        wanted: the filters, as of `list_jobs`.
        account: whose jobs.
        limit: jobs a page.
        unread: takes the ids of jobs that cannot be read.
    """
    cursor = ""
    while True:
        page = queue.list_jobs(
            wanted.state,
            group=wanted.group,
            batch=wanted.batch,
            reason=wanted.reason,
            custom_id=wanted.custom_id,
            namespace=wanted.namespace,
            since=wanted.since,
            until=wanted.until,
            account=account,
            cursor=cursor,
            limit=limit,
        )
        if unread is not None:
            unread += page.unread
        yield from page.jobs
        if not (cursor := page.cursor):
            return
