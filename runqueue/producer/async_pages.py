# From this file `make generate` writes pages.py.
"""Lists of jobs, page by page, each page of bounded work; `listing.py` says which jobs are meant.

A page's cursor says by which index the list is read, and how far it is.
"""

import re
from collections.abc import Awaitable, Callable

from runqueue.ids import ID_LENGTH, is_id, job_id_for
from runqueue.producer.listing import (
    INDEXES,
    NO_ARCHIVE,
    READ_AT_ONCE,
    Filter,
    check_limit,
    refused,
)
from runqueue.records.batch import JobPage
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls, operator_calls
from runqueue.store.accounts import account_of
from runqueue.store.scripts import AsyncSend

#: Entries that one page reads, at most.
_MOST_READ = 1000
_SCANS = 10

_ENDED = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELED}
_FORMS = {
    "name": re.compile(r"(?!)"),  # there is no second page
    "batch": re.compile(r"\d{1,15}"),
    "ended": re.compile(r"\d{1,9}:\d{0,15}:\d{1,16}:\d{0,15}:[a-z2-7]{0,24}"),
    "scan": re.compile(rf"\d{{1,20}}(?::[a-z2-7]{{{ID_LENGTH}}})*"),
    "index": re.compile(r"\d:(?:\d{1,16} \S{1,40})?"),
}

#: One reading: the jobs it brought, how far it is ('' = that was all), and ids that cannot be read.
_Read = tuple[list[Job], str, list[str]]


async def list_jobs(
    send: AsyncSend, account: str, wanted: Filter, cursor: str, limit: int
) -> JobPage:
    """Read a page of jobs.

    Args:
        send: sends a call.
        account: whose jobs.
        wanted: which of them.
        cursor: '' = the first page.
        limit: how many.

    Raises:
        InvalidRequest: a cursor that is none of this list, a limit out of its range, or a filter
            that only an archive answers.
    """
    if field := wanted.archived_field:
        raise refused(field, NO_ARCHIVE)
    check_limit(limit)
    route = _route(wanted)
    at = _parse(route, cursor)
    if wanted.batch is not None and not (is_id(wanted.batch) and _owns(account, wanted.batch)):
        return JobPage([], "")
    jobs, then, unread = await _ROUTES[route](send, account, wanted, at, limit)
    return JobPage(jobs, f"{route}-{then}" if then else "", tuple(dict.fromkeys(unread)))


async def _fitting(
    send: AsyncSend, account: str, job_ids: list[str], wanted: Filter
) -> tuple[list[tuple[int, Job]], list[str]]:
    """Read jobs; return those that fit, each with its position, and those that cannot be read."""
    jobs: list[Job | None] = []
    unread: list[str] = []
    for start in range(0, len(job_ids), READ_AT_ONCE):
        some = job_ids[start : start + READ_AT_ONCE]
        found, left_out = await send(job_calls.readable_jobs(account, some))
        jobs += found
        unread += left_out
    fitting = [(n, job) for n, job in enumerate(jobs) if job is not None and wanted.fits(job)]
    return fitting, unread


def _owns(account: str, batch: str) -> bool:
    return account_of(batch, [account]) is not None


def _route(wanted: Filter) -> str:
    if wanted.custom_id is not None:
        return "name"
    if wanted.webhook is not None or wanted.is_paused:
        return "index"
    if wanted.batch is not None:
        return "batch"
    if wanted.state in _ENDED:
        return "ended"
    return "index" if wanted.state in INDEXES else "scan"


def _parse(route: str, cursor: str) -> str:
    if not cursor:
        return ""
    name, _, at = cursor.partition("-")
    if name != route or not _FORMS[route].fullmatch(at):
        raise refused("cursor", "expected one that a page of this list gave")
    return at


async def _of_name(send: AsyncSend, account: str, wanted: Filter, _at: str, _limit: int) -> _Read:
    """The one job of a custom_id, if it is there; its id is derived from the name."""
    job_id = job_id_for(account, wanted.namespace, wanted.custom_id or "")
    found, unread = await _fitting(send, account, [job_id], wanted)
    return [job for _, job in found], "", unread


async def _of_batch(send: AsyncSend, account: str, wanted: Filter, at: str, limit: int) -> _Read:
    """In the order of the upload; where few may fit, a page reads further."""
    start = int(at or 0)
    is_all = wanted == Filter(batch=wanted.batch)
    most = limit if is_all else _MOST_READ
    job_ids = await send(job_calls.list_batch(account, wanted.batch or "", start, most))
    found, unread = await _fitting(send, account, job_ids, wanted)
    then = start + len(job_ids) if len(job_ids) == most else 0
    if len(found) > limit:
        then = start + found[limit][0]
    return [job for _, job in found[:limit]], str(then or ""), unread


async def _of_ended(send: AsyncSend, account: str, wanted: Filter, at: str, limit: int) -> _Read:
    """The newest end first."""
    then, job_ids = await send(
        job_calls.page_ended(
            account,
            [str(wanted.state)],
            at,
            limit,
            _MOST_READ,
            since=wanted.since,
            until=wanted.until,
        )
    )
    found, unread = await _fitting(send, account, job_ids, wanted)
    return [job for _, job in found], then, unread


async def _of_index(send: AsyncSend, account: str, wanted: Filter, at: str, limit: int) -> _Read:
    """The first in time first, index by index."""
    indexes = INDEXES[
        wanted.webhook or (wanted.is_paused and "paused") or wanted.state or JobState.DEAD
    ]
    number, _, after = at.partition(":")
    position = min(int(number or 0), len(indexes) - 1)
    then, job_ids = await send(operator_calls.page_jobs(account, indexes[position], after, limit))
    found, unread = await _fitting(send, account, job_ids, wanted)
    if then or position + 1 < len(indexes):
        then = f"{position}:{then}" if then else f"{position + 1}:"
    return [job for _, job in found], then, unread


async def _of_all(send: AsyncSend, account: str, wanted: Filter, at: str, limit: int) -> _Read:
    """In no order, through all keys; a job may come twice.

    A step of Redis' SCAN may bring more than requested. What is over the limit is kept in the
    cursor: the same step taken again may bring others.
    """
    which = str(wanted.state) if wanted.state else "open" if wanted.is_open else "any"
    cursor, *job_ids = at.split(":") if at else ["0"]
    is_through = at != "" and cursor == "0"
    for _ in range(_SCANS):
        if is_through or len(job_ids) >= limit:
            break
        keys = limit - len(job_ids)
        cursor, some = await send(operator_calls.open_jobs(account, cursor, keys, which))
        job_ids += some
        is_through = cursor == "0"
    found, unread = await _fitting(send, account, list(dict.fromkeys(job_ids)), wanted)
    jobs = [job for _, job in found]
    left = [job.id for job in jobs[limit:]]
    then = "" if is_through and not left else ":".join([cursor, *left])
    return jobs[:limit], then, unread


_ROUTES: dict[str, Callable[[AsyncSend, str, Filter, str, int], Awaitable[_Read]]] = {
    "name": _of_name,
    "batch": _of_batch,
    "ended": _of_ended,
    "index": _of_index,
    "scan": _of_all,
}
