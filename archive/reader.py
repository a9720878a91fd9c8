"""Finds, counts and sums up the jobs of the archive; a `Job` is as Redis gave it.

By its id, a job is its newest life; lists have all of them.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Final, NamedTuple
from zlib import error

from sqlalchemy import ColumnElement, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from archive import charts, error_groups
from archive.database import envelope_of_body, reading
from archive.rows import EndedJob, job_of, unpacked_record
from archive.search import JobSearch, KeyRange, count, days_of
from archive.tables import documents, ended_us, jobs
from runqueue.ids import is_id
from runqueue.producer.listing import Filter, JobCount, check_limit, refused
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.records.batch import Batch, JobPage
from runqueue.records.job import Job, JobState, read_job
from runqueue.request.time_range import MICROSECOND, from_microseconds
from runqueue.store.codec import read_envelope
from runqueue.store.history import JobHistory, JobStep, history_of

#: Seconds after which a page is given as it is.
_SECONDS: Final = 1.0
_MOST_COUNTED: Final = 100_000
#: Jobs that one statement reads.
_READ_AT_ONCE: Final = 100
_newer = jobs.alias()
#: Whether a row is of its job's newest life.
_IS_NEWEST: Final = ~exists().where(
    _newer.c.id == jobs.c.id, _newer.c.created_us > jobs.c.created_us
)
_CURSOR: Final = re.compile(r"archive-([0-9]{1,18}|[1-8][0-9]{18})")
_LIFE: Final = re.compile(r"([a-z2-7]{24}) ([0-9]{1,18})")
#: What a record that cannot be read raises.
_BROKEN: Final = (ValueError, KeyError, TypeError, AttributeError, error)


class Reader:
    """Reads the archive.

    Whatever is asked for, the work of a call is bounded. All methods raise `ArchiveAwayError` if
    the database does not answer, and `InvalidRequest` if an argument is none, which it names.

    Args:
        engine: the archive's.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect.name

    async def get_many(self, ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Return jobs, with or without their results, in the order of their ids.

        One that the archive does not have, or that is broken, is None.
        """
        found: dict[str, Job] = {}
        wanted = [job_id for job_id in dict.fromkeys(ids) if is_id(job_id)]
        async with reading(self._engine) as connection:
            for start in range(0, len(wanted), _READ_AT_ONCE):
                is_meant = jobs.c.id.in_(wanted[start : start + _READ_AT_ONCE]) & _IS_NEWEST
                if result:
                    some = await _read_jobs(connection, is_meant)
                else:
                    keys = (await connection.scalars(select(jobs.c.n).where(is_meant))).all()
                    some = [*(await self._listed(connection, keys)).values()]
                found |= {job.id: job for job in some}
        return [found.get(job_id) for job_id in ids]

    async def lives(self, names: Iterable[str]) -> list[Job]:
        """Return lives of a few hundred jobs at most by their `life_name`, but the broken ones."""
        lives = [(found[1], int(found[2])) for name in names if (found := _LIFE.fullmatch(name))]
        async with reading(self._engine) as connection:
            return await _read_jobs(connection, tuple_(jobs.c.id, jobs.c.created_us).in_(lives))

    async def raw(self, ids: Sequence[str]) -> list[EndedJob]:
        """Return jobs as Redis had them; those that the archive does not have are left out.

        Args:
            ids: a hundred at most.
        """
        async with reading(self._engine) as connection:
            return await _documents(connection, jobs.c.id.in_(list(ids)) & _IS_NEWEST)

    async def timeline(
        self, account: str, job_id: str, known: JobHistory | None = None
    ) -> JobHistory | None:
        """Return what is known of an account's job, and of its earlier lives.

        Args:
            account, job_id: which.
            known: what Redis has of it, which the answer replaces; None = nothing.
        """
        is_of_it = (jobs.c.id == job_id) & (jobs.c.account == account)
        async with reading(self._engine) as connection:
            if is_id(job_id) and (known is None or not known.request):
                is_meant = jobs.c.created_us == known.created_us if known else _IS_NEWEST
                for job in await _documents(connection, is_of_it & is_meant):
                    with suppress(*_BROKEN):
                        found = history_of(dict(job.record), job.body)
                        if known is not None and not known.archived:
                            found = replace(known, request=found.request)
                        known = found
            if known is None:
                return None
            is_earlier = is_of_it & (jobs.c.created_us != known.created_us)
            chosen = select(jobs.c.n).where(is_earlier).order_by(jobs.c.created_us.desc())
            keys = (await connection.scalars(chosen.limit(20))).all()
            lives = await self._listed(connection, keys)
        return replace(known, earlier_lives=tuple(_end_of(lives[n]) for n in keys if n in lives))

    async def find(
        self, account: str, wanted: Filter, cursor: str = "", limit: int = 100
    ) -> JobPage:
        """Return a page of jobs, without results, the newest end first.

        A page may have fewer jobs, or none, that is not the last: its cursor says so.

        Args:
            account: whose jobs.
            wanted: which of them.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1 to 1,000.
        """
        search = self._search(account, wanted)
        check_limit(limit)
        before = _read_cursor(cursor)
        async with reading(self._engine) as connection:
            keys = await search.range(connection, before)
            found = await self._collect(connection, search, keys, limit + 1)
        then = found.then
        if len(found.jobs) > limit:
            then = found.jobs[limit - 1][0]
        shown = [job for _, job in found.jobs[:limit]]
        unread = (job_id for n, job_id in found.unread if n >= then)
        return JobPage(shown, f"archive-{then}" if then else "", tuple(unread))

    async def count(self, account: str, wanted: Filter, most: int = 1000) -> JobCount:
        """Count jobs, up to so many.

        Args:
            account, wanted: as for `find`.
            most: up to how many; 1 to 100,000.
        """
        search = self._search(account, wanted)
        if not 1 <= most <= _MOST_COUNTED:
            raise refused("most", f"expected 1 to {_MOST_COUNTED}, got {most}")
        async with reading(self._engine) as connection:
            keys = await search.range(connection)
            if search.is_judged:
                found = await self._collect(connection, search, keys, most)
                return JobCount(len(found.jobs), not found.then)
            return await count(connection, search, keys, most)

    async def errors(self, account: str, wanted: Filter, limit: int = 50) -> ErrorGroups:
        """Return the groups of the errors that jobs failed with, the largest first.

        Args:
            account: whose jobs.
            wanted: which of them; by no reason and no webhook's state.
            limit: how many groups, 1 to 1,000.
        """
        search = self._search(account, wanted)
        if search.is_judged:
            field = "reason" if wanted.reason else "webhook"
            raise refused(field, "expected none: groups of errors cannot be filtered by it")
        check_limit(limit)
        async with reading(self._engine) as connection:
            return await error_groups.read_groups(connection, search, limit)

    async def chart(
        self,
        account: str,
        since: datetime,
        until: datetime,
        dimension: str = "",
        value: str = "",
        *,
        by: str | None = None,
    ) -> Chart:
        """Return what ended in a range of time: by hours up to 4 days, by days up to 100, by weeks.

        Days and weeks begin at midnight UTC, weeks on Mondays.

        Args:
            account: whose jobs.
            since, until: five years at most; whole hours are read.
            dimension: `group`, `workflow` or `batch`; '' = all jobs.
            value: which of them.
            by: which dimension's values are compared in `top`; None = none.
        """
        asked = charts.asked(account, since, until, dimension, value)
        async with reading(self._engine) as connection:
            chart = await charts.read_chart(connection, asked)
            return replace(chart, top=await charts.read_top(connection, asked, by) if by else [])

    async def new_errors(self, account: str, now_us: int) -> list[tuple[int, int]]:
        """Return the groups of errors that are new and grow: ids, and jobs of the last hour.

        Those are first seen within 24 hours, and have ten jobs or more within one.

        Args:
            account: whose.
            now_us: the time, in microseconds.
        """
        async with reading(self._engine) as connection:
            return await error_groups.new_groups(connection, account, now_us)

    async def batch(self, account: str, batch: str) -> Batch | None:
        """Return what is known of an account's batch; None = the archive has no job of it."""
        async with reading(self._engine) as connection:
            keys = await self._search(account, Filter(batch=batch)).range(connection)
            own = select(jobs.c.created_us).where(jobs.c.n == keys.low, jobs.c.account == account)
            if (created := await connection.scalar(own)) is None:
                return None
            first, last = (from_microseconds(ended_us(n)) for n in (keys.low, keys.high - 1))
            asked = charts.asked(account, first, last + MICROSECOND, "batch", batch)
            whole = (await charts.read_chart(connection, asked)).total
        return Batch(
            *(batch, account, "", True, None),
            total=sum(whole.jobs.values()),
            states={state: whole.jobs[state] for state in JobState if state in whole.jobs},
            created_at=from_microseconds(created),
            finished_at=last,
            steps=whole.steps,
            credits=whole.credits,
            cached_credits=whole.cached_credits,
            archived=True,
        )

    async def _collect(
        self, connection: AsyncConnection, search: JobSearch, keys: KeyRange, limit: int
    ) -> "_Collected":
        """Read jobs, the newest first, until there are so many, or the time is up."""
        found = _Collected([], [], 0)
        begun = monotonic()
        for low, part_high in days_of(keys):
            high = part_high
            while high > low:
                room = limit - len(found.jobs)
                most = max(room, _READ_AT_ONCE) if search.is_judged else room
                chosen = select(jobs.c.n, jobs.c.id).where(*search.conditions(KeyRange(low, high)))
                chosen = chosen.order_by(jobs.c.n.desc()).limit(most)
                rows = (await connection.execute(chosen)).all()
                listed = await self._listed(connection, [row.n for row in rows])
                for n, job_id in rows:
                    job = listed.get(n)
                    if job is None:
                        found.unread.append((n, job_id))
                    elif search.judged.fits(job):
                        found.jobs.append((n, job))
                        if len(found.jobs) == limit:
                            return found._replace(then=n)
                high = rows[-1].n if len(rows) == most else low
                if monotonic() - begun > _SECONDS and high > keys.low:
                    return found._replace(then=high)
        return found

    async def _listed(self, connection: AsyncConnection, keys: Sequence[int]) -> dict[int, Job]:
        """Read jobs without their results, by their keys."""
        found: dict[int, Job] = {}
        columns = (jobs.c.n, jobs.c.account, jobs.c.id, documents.c.record)
        chosen = select(*columns, envelope_of_body(self._dialect).label("envelope")).join(
            documents, documents.c.n == jobs.c.n
        )
        for start in range(0, len(keys), _READ_AT_ONCE):
            some = keys[start : start + _READ_AT_ONCE]
            for row in await connection.execute(chosen.where(jobs.c.n.in_(some))):
                try:
                    record, envelope = unpacked_record(row.record), read_envelope(row.envelope)
                    found[row.n] = read_job(row.account, row.id, record, envelope)
                except _BROKEN:
                    continue
        return found

    def _search(self, account: str, wanted: Filter) -> JobSearch:
        return JobSearch(self._dialect, account, wanted.checked())


class _Collected(NamedTuple):
    """Jobs and ids that cannot be read, with their keys, and behind which key there are more."""

    jobs: list[tuple[int, Job]]
    unread: list[tuple[int, str]]
    then: int


async def _documents(connection: AsyncConnection, is_wanted: ColumnElement[bool]) -> list[EndedJob]:
    """Read jobs as Redis had them, but those that are broken."""
    columns = (jobs.c.account, jobs.c.id, documents.c.record, documents.c.body, documents.c.result)
    chosen = select(*columns).join(documents, documents.c.n == jobs.c.n).where(is_wanted)
    found = []
    for row in await connection.execute(chosen):
        with suppress(*_BROKEN):
            record = unpacked_record(row.record)
            found.append(EndedJob(row.account, row.id, record, row.body, row.result or b""))
    return found


def _end_of(job: Job) -> JobStep:
    run = f", its run {job.run_id}" if job.run_id else ""
    return JobStep(job.ended_at or job.created_at, job.state.value + run, job.failure_reason or "")


async def _read_jobs(connection: AsyncConnection, is_wanted: ColumnElement[bool]) -> list[Job]:
    found = []
    for ended in await _documents(connection, is_wanted):
        with suppress(*_BROKEN):
            found.append(job_of(*ended[:5]))
    return found


def _read_cursor(cursor: str) -> int | None:
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise refused("cursor", "expected one that a page of this list gave")
    return int(found[1])
