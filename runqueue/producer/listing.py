"""Lists of jobs, page by page, each page of bounded work: of a batch, of a state, or of all.

A page's cursor says by which index the list is read, and how far it is.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from runqueue.errors import FieldError, InvalidRequest
from runqueue.ids import ID_LENGTH, is_id, is_name, job_id_for
from runqueue.producer.flows import Flow
from runqueue.records.batch import JobPage
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.records.reasons import check_words, has_words
from runqueue.records.waits import utc
from runqueue.request.job_options import read_custom_id
from runqueue.request.time_range import check_range
from runqueue.store import job_calls, operator_calls
from runqueue.store.accounts import account_of

#: Jobs of a page, at most.
MOST = 1000
#: Entries that one page reads, at most.
_MOST_READ = 1000
_SCANS = 10
#: Jobs that one call reads: others wait for it, at Redis and for the reply to be taken in.
READ_AT_ONCE = 100
#: The same for operators, who read all pages.
_READ_IN_FULL = 500

#: Where jobs of a state, or whose webhook is in a state, are indexed by time; unconfirmed ones
#: without a slot are apart, and so are webhooks that Skyvern sends.
INDEXES: dict[JobState | DeliveryState, tuple[str, ...]] = {
    JobState.SCHEDULED: ("due",),
    JobState.UNCONFIRMED: ("unconfirmed", "parked"),
    JobState.RUNNING: ("poll",),
    JobState.DEAD: ("dead",),
    DeliveryState.PENDING: ("relays", "watches"),
    DeliveryState.GAVE_UP: ("gave_up",),
    DeliveryState.UNKNOWN: ("unknown",),
}
_ENDED = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELED}
_FORMS = {
    "name": re.compile(r"(?!)"),  # there is no second page
    "batch": re.compile(r"\d{1,15}"),
    "ended": re.compile(r"\d{1,9}:\d{0,15}:\d{1,16}:\d{0,15}:[a-z2-7]{0,24}"),
    "scan": re.compile(rf"\d{{1,20}}(?::[a-z2-7]{{{ID_LENGTH}}})*"),
    "index": re.compile(r"\d:(?:\d{1,16} \S{1,40})?"),
}

#: One reading: the jobs that it brought, and how far it is ('' = that was all).
_Read = Flow[tuple[list[Job], str]]


class Filter(NamedTuple):
    """Which jobs are meant; a field that is None does not matter. New fields go to the end.

    Args:
        group, batch: as the job names them.
        reason: text that the job's reason contains, whatever its case.
        webhook: the state of its webhook.
        since, until: it ended then or later, and before; one that has not ended was enqueued then.
        is_open: only jobs that have not ended.
    """

    group: str | None = None
    batch: str | None = None
    reason: str | None = None
    state: JobState | None = None
    custom_id: str | None = None
    namespace: str = ""
    webhook: DeliveryState | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_open: bool = False
    #: Whether all pages are to be read.
    in_full: bool = False

    @property
    def words(self) -> str:
        """The group, batch, reason and times in words; '' = all are meant."""
        parts = [f"group {self.group}"] if self.group else []
        parts += [f"batch {self.batch}"] if self.batch else []
        parts += [f"reason with “{self.reason}”"] if self.reason else []
        parts += [f"since {utc(self.since)}"] if self.since else []
        parts += [f"until {utc(self.until)}"] if self.until else []
        return ", ".join(parts)

    def fits(self, job: Job) -> bool:
        """Return whether a job is one of them."""
        return (
            self.state in {None, job.state}
            and self.group in {None, job.group}
            and self.batch in {None, job.batch}
            and has_words(job.reason, self.reason)
            and self.webhook in {None, job.webhook.state}
            and not (self.is_open and job.is_over)
            and self._is_of_time(job)
        )

    def _is_of_time(self, job: Job) -> bool:
        at = (job.is_over and job.ended_at) or job.created_at
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


#: Every job.
ALL = Filter()


def wanted(
    state: JobState | str | None,
    group: str | None,
    batch: str | None,
    custom_id: str | None = None,
    namespace: str = "",
    *,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Filter:
    """Return which jobs are meant.

    Raises:
        InvalidRequest: a state, a custom_id, a namespace, a reason or a time that is none.
    """
    check_words(reason)
    check_range(since, until)
    try:
        which = None if state is None else JobState(state)
    except ValueError:
        expected = f"expected one of {', '.join(JobState)}, got {str(state)[:40]!r}"
        raise _refused("state", expected) from None
    if custom_id is None and namespace:
        raise _refused("namespace", "expected with a custom_id only")
    errors: list[FieldError] = []
    read_custom_id({"custom_id": custom_id}, "custom_id", errors)
    if errors:
        raise InvalidRequest(errors)
    if namespace and not is_name(namespace):
        raise _refused("namespace", f"expected the name of a namespace, got {namespace[:40]!r}")
    return Filter(group, batch, reason, which, custom_id, namespace, since=since, until=until)


def list_jobs(
    account: str,
    wanted: Filter,
    cursor: str,
    limit: int,
    *,
    in_full: bool = False,
) -> Flow[JobPage]:
    """Read a page of jobs.

    Args:
        account: whose jobs.
        wanted: which of them.
        cursor: '' = the first page.
        limit: how many.
        in_full: for callers that read all pages: by the index of the state where there is one, also
            of a batch, and in larger steps.

    Raises:
        InvalidRequest: a cursor that is none of this list, or a limit out of its range.
    """
    if not 1 <= limit <= MOST:
        raise _refused("limit", f"expected 1 to {MOST}, got {limit}")
    route = _route(wanted, in_full=in_full)
    at = _parse(route, cursor)
    if wanted.batch is not None and not (is_id(wanted.batch) and _owns(account, wanted.batch)):
        return JobPage([], "")
    unread: list[str] = []
    wanted = wanted._replace(in_full=in_full)
    jobs, then = yield from _ROUTES[route](account, wanted, at, limit, unread)
    return JobPage(jobs, f"{route}-{then}" if then else "", tuple(dict.fromkeys(unread)))


def _fitting(
    account: str, job_ids: list[str], wanted: Filter, unread: list[str]
) -> Flow[list[tuple[int, Job]]]:
    """Read jobs, and return those that fit, each with its position.

    Args:
        account, job_ids, wanted: whose jobs, and which.
        unread: takes the ids of those that cannot be read.
    """
    jobs: list[Job | None] = []
    at_once = _READ_IN_FULL if wanted.in_full else READ_AT_ONCE
    for start in range(0, len(job_ids), at_once):
        some = job_ids[start : start + at_once]
        found, left_out = yield job_calls.readable_jobs(account, some)
        jobs += found
        unread += left_out
    return [(n, job) for n, job in enumerate(jobs) if job is not None and wanted.fits(job)]


def _refused(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, message)])


def _owns(account: str, batch: str) -> bool:
    return account_of(batch, [account]) is not None


def _route(wanted: Filter, *, in_full: bool) -> str:
    if wanted.custom_id is not None:
        return "name"
    if wanted.webhook is not None or (in_full and wanted.state in INDEXES):
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
        raise _refused("cursor", "expected one that a page of this list gave")
    return at


def _of_name(account: str, wanted: Filter, _at: str, _limit: int, unread: list[str]) -> _Read:
    """The one job of a custom_id, if it is there; its id is derived from the name."""
    job_id = job_id_for(account, wanted.namespace, wanted.custom_id or "")
    found = yield from _fitting(account, [job_id], wanted, unread)
    return [job for _, job in found], ""


def _of_batch(account: str, wanted: Filter, at: str, limit: int, unread: list[str]) -> _Read:
    """In the order of the upload; where few may fit, a page reads further."""
    start = int(at or 0)
    is_all = wanted == Filter(batch=wanted.batch, in_full=wanted.in_full)
    most = limit if is_all else _MOST_READ
    job_ids: list[str] = yield job_calls.list_batch(account, wanted.batch or "", start, most)
    found = yield from _fitting(account, job_ids, wanted, unread)
    then = start + len(job_ids) if len(job_ids) == most else 0
    if len(found) > limit:
        then = start + found[limit][0]
    return [job for _, job in found[:limit]], str(then or "")


def _of_ended(account: str, wanted: Filter, at: str, limit: int, unread: list[str]) -> _Read:
    """The newest end first."""
    then, job_ids = yield job_calls.page_ended(
        account,
        [str(wanted.state)],
        at,
        limit,
        _MOST_READ,
        since=wanted.since,
        until=wanted.until,
    )
    found = yield from _fitting(account, job_ids, wanted, unread)
    return [job for _, job in found], then


def _of_index(account: str, wanted: Filter, at: str, limit: int, unread: list[str]) -> _Read:
    """The first in time first, index by index."""
    indexes = INDEXES[wanted.webhook or wanted.state or JobState.DEAD]
    number, _, after = at.partition(":")
    position = min(int(number or 0), len(indexes) - 1)
    then, job_ids = yield operator_calls.page_jobs(account, indexes[position], after, limit)
    found = yield from _fitting(account, job_ids, wanted, unread)
    if then or position + 1 < len(indexes):
        then = f"{position}:{then}" if then else f"{position + 1}:"
    return [job for _, job in found], then


def _of_all(account: str, wanted: Filter, at: str, limit: int, unread: list[str]) -> _Read:
    """In no order, through all keys; a job may come twice.

    A step of Redis' SCAN may bring more than requested. What is over the limit is kept in the
    cursor: the same step taken again may bring others.
    """
    which = wanted.state.value if wanted.state else "open" if wanted.is_open else "any"
    cursor, *job_ids = at.split(":") if at else ["0"]
    is_through = at != "" and cursor == "0"
    for _ in range(_SCANS):
        if is_through or len(job_ids) >= limit:
            break
        # Most jobs have two keys; a page may be overfull where the rest is read next.
        keys = 2 * limit if wanted.in_full else limit - len(job_ids)
        cursor, some = yield operator_calls.open_jobs(account, cursor, keys, which)
        job_ids += some
        is_through = cursor == "0"
    found = yield from _fitting(account, list(dict.fromkeys(job_ids)), wanted, unread)
    jobs = [job for _, job in found]
    left = [job.id for job in jobs[limit:]]
    return jobs[:limit], "" if is_through and not left else ":".join([cursor, *left])


_ROUTES: dict[str, Callable[[str, Filter, str, int, list[str]], _Read]] = {
    "name": _of_name,
    "batch": _of_batch,
    "ended": _of_ended,
    "index": _of_index,
    "scan": _of_all,
}
