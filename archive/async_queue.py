# From this file `make generate` writes queue.py.
"""The queue with an archive: what Redis does not have, or not any more, is read there."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from archive.opened import AsyncOpenArchive
from archive.replayed import spec_again
from runqueue.errors import ArchiveUnavailable, BatchNotFound, JobArchived
from runqueue.ids import ID_LENGTH
from runqueue.operator.decisions import ACTS, Settled
from runqueue.producer import listing
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.async_results import AsyncEndedResults, AsyncResultReader
from runqueue.producer.listing import (
    MOST,
    READ_AT_ONCE,
    Filter,
    JobCount,
    charted,
    check_limit,
    life_name,
    refused,
)
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.records.batch import Batch, JobPage
from runqueue.records.job import EnqueueStatus, Job, JobState
from runqueue.request.request_checks import RequestChecks
from runqueue.store import job_calls, operator_calls
from runqueue.store.accounts import pages
from runqueue.store.history import JobHistory
from runqueue.store.keys import COMPARED_SECONDS

if TYPE_CHECKING:  # SQLAlchemy loads slowly
    from archive.rows import EndedJob

#: How the cursors of pages begin that are read in the archive.
_ARCHIVED: Final = "archive-"
_A_WEEK: Final = timedelta(days=7)
#: Jobs whose requests are read at once: they may be large.
_REPLAYED = 20
#: What the answer to a job that is enqueued again says of its replay.
_AGAIN: Final = {
    EnqueueStatus.NEW: Settled.ENQUEUED_AGAIN,
    EnqueueStatus.REFUSED: Settled.NOT_ACCEPTED,
}


class AsyncArchivedQueue(AsyncRunQueue):
    """`AsyncRunQueue` with an archive, for coroutines of one event loop.

    Jobs are read in Redis; those that it does not have, and the bodies and results that have left
    it, in the archive. Lists of ended jobs come from the archive: what ended in the last seconds
    may not be there yet.

    Args:
        url, request_checks: as for `AsyncRunQueue`.
        archive: which; None = there is none.

    Raises (from every method that needs the archive): `ArchiveUnavailable` when it does not answer,
    or is another than the account's workers write to.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        archive: AsyncOpenArchive | None = None,
        request_checks: RequestChecks | str | None = None,
    ) -> None:
        super().__init__(url, request_checks=request_checks)
        self._archive = archive
        #: Until when the archive is known to be an account's, monotonic seconds.
        self._compared: dict[str, float] = {}

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        if self._archive is not None:
            await self._archive.close()

    async def _archive_of(self, account: str) -> AsyncOpenArchive | None:
        """Return the archive; None = there is none, or nothing of the account is in it yet."""
        if self._archive is None or time.monotonic() < self._compared.get(account, -math.inf):
            return self._archive
        if (written := await self._archive_id(account)) is None:
            return None
        found = await self._archive.id()
        if found != written:
            raise ArchiveUnavailable(
                f"the workers of account {account} write to archive {written}, and"
                f" RUNQUEUE_ARCHIVE_URL leads to {found}"
            )
        self._compared[account] = time.monotonic() + COMPARED_SECONDS
        return self._archive

    async def _needed(self, account: str) -> AsyncOpenArchive:
        """Return the archive of an account, for what Redis cannot answer."""
        await self._know({account})
        if self._archive is None:
            raise refused("archive", listing.NO_ARCHIVE)
        if (archive := await self._archive_of(account)) is None:
            raise ArchiveUnavailable(f"no worker has archived jobs of account {account} yet")
        return archive

    async def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results; None where there is no such job."""
        if self._archive is None:
            return await super().get_many(job_ids, result=result)
        found = await self._in_redis(job_ids, result=result)
        both = list(zip(job_ids, found, strict=True))
        try:
            left = [name for name, job in both if not job or job.archived]
            jobs = await self._archived(left, result=result)
        except ArchiveUnavailable:
            if result or None in found:
                raise
            return found
        return [jobs.get(name, job) for name, job in both]

    async def _in_redis(self, job_ids: Sequence[str], *, result: bool) -> list[Job | None]:
        """Read jobs in Redis, without the results that have left it."""
        try:
            return await super().get_many(job_ids, result=result)
        except JobArchived:
            found = await super().get_many(job_ids, result=False)
        here = [job.id for job in found if job and not job.archived]
        whole = dict(zip(here, await super().get_many(here), strict=True))
        return [whole.get(name, job) for name, job in zip(job_ids, found, strict=True)]

    async def _archived(self, job_ids: Sequence[str], *, result: bool) -> dict[str, Job]:
        """Read jobs in the archive, those that it has."""
        jobs: dict[str, Job] = {}
        for account, positions in pages(job_ids, await self._owners(job_ids), ACTS):
            if (archive := await self._archive_of(account)) is None:
                continue
            some = [job_ids[n] for n in positions]
            found = await archive.read(
                lambda reader, some=some: reader.get_many(some, result=result)  # type: ignore[misc]
            )
            jobs |= {job.id: job for job in found if job and job.account == account}
        return jobs

    async def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        both = list(zip(job_ids, await super().states(job_ids), strict=True))
        left = [name for name, (state, _) in both if state is None]
        jobs = await self._archived(left, result=False)
        return [(jobs[name].state, 0.0) if name in jobs else one for name, one in both]

    async def _history(self, job_id: str) -> JobHistory | None:
        history = await super()._history(job_id)
        try:
            account = await self._account(job_id)
            if (archive := await self._archive_of(account)) is None:
                return history
            return await archive.read(lambda reader: reader.timeline(account, job_id, history))
        except ArchiveUnavailable:
            if history is None:
                raise
            return history

    async def list_jobs(
        self,
        wanted: Filter = listing.ALL,
        *,
        account: str = "default",
        cursor: str = "",
        limit: int = 100,
    ) -> JobPage:
        """Read a page of jobs, without their results; those that cannot be read are named apart.

        Redis has jobs by an open state, `is_open`, `is_paused`, a webhook's state or a custom_id,
        in the order of `AsyncRunQueue`, and so a batch that it has, of which group, state and
        reason alone choose. All else finds ended jobs in the archive, the newest end first, but for
        those that go on since; or in Redis while the archive does not answer.
        """
        await self._know({account})
        wanted = wanted.checked()
        check_limit(limit)
        try:
            if await self._is_of_archive(wanted, account, cursor):
                return await self._ended(account, wanted, cursor, limit)
        except ArchiveUnavailable:
            if wanted.archived_field or cursor:
                raise
            page = await super().list_jobs(wanted, account=account, limit=limit)
            return replace(page, lacks_archive=True)
        page = await super().list_jobs(wanted, account=account, cursor=cursor, limit=limit)
        return page if self._archive is None else replace(page, lacks_archive=False)

    async def _is_of_archive(self, wanted: Filter, account: str, cursor: str) -> bool:
        """Whether jobs are found in the archive; raises `InvalidRequest` if nothing finds them."""
        if self._archive is None:
            return False
        if field := wanted.archived_field:
            if not wanted.is_of_ended:
                raise refused(field, "finds jobs that have ended: expected no filter of open ones")
            return True
        if not wanted.is_of_ended or wanted.webhook is not None:
            return False
        if cursor:
            return cursor.startswith(_ARCHIVED)
        return not await self._is_in_redis(wanted, account)

    async def _is_in_redis(self, wanted: Filter, account: str) -> bool:
        """Whether Redis has the job, or the batch, that a filter names."""
        if wanted.custom_id is not None:
            named = Filter(custom_id=wanted.custom_id, namespace=wanted.namespace)
            page = await super().list_jobs(named, account=account)
            return bool(page.jobs or page.unread)
        return await self._has_batch(wanted)

    async def _has_batch(self, wanted: Filter) -> bool:
        """Whether Redis has the batch of a filter by which it can judge its jobs."""
        few = Filter(wanted.group, wanted.batch, wanted.reason, wanted.state)
        if wanted.batch is None or wanted != few:
            return False
        try:
            await super().get_batch(wanted.batch)
        except BatchNotFound:
            return False
        return True

    async def _ended(self, account: str, wanted: Filter, cursor: str, limit: int) -> JobPage:
        """Find lives of jobs in the archive, without those that are in another state in Redis."""
        archive, asked = await self._needed(account), wanted._replace(webhook=None)
        page = await archive.read(lambda reader: reader.find(account, asked, cursor, limit))
        states, jobs = Filter(state=wanted.state, webhook=wanted.webhook), []
        for start in range(0, len(page.jobs), READ_AT_ONCE):
            some = page.jobs[start : start + READ_AT_ONCE]
            call = job_calls.readable_jobs(account, [job.id for job in some])
            now, _ = await self.send(call)
            for job, here in zip(some, now, strict=True):
                job_now = here if here and here.created_at == job.created_at else job
                if job_now.is_over and states.fits(job_now):
                    jobs.append(job if job_now.archived else job_now)
        return replace(page, jobs=jobs)

    async def count_jobs(
        self, wanted: Filter = listing.ALL, *, account: str = "default"
    ) -> JobCount:
        """Count jobs, up to 1,000 of them; raises as `list_jobs`."""
        await self._know({account})
        wanted = wanted.checked()
        if wanted.webhook is None and await self._is_of_archive(wanted, account, ""):
            archive = await self._needed(account)
            return await archive.read(lambda reader: reader.count(account, wanted, MOST))
        return await super().count_jobs(wanted, account=account)

    async def list_errors(
        self, wanted: Filter = listing.ALL, *, account: str = "default", limit: int = 50
    ) -> ErrorGroups:
        """Group failures by category and words, the largest group first."""
        archive, wanted = await self._needed(account), wanted.checked()
        check_limit(limit)
        return await archive.read(lambda reader: reader.errors(account, wanted, limit))

    async def chart(
        self, wanted: Filter = listing.ALL, *, by: str | None = None, account: str = "default"
    ) -> Chart:
        """Sum up what ended, by the hour, the day or the week; raises as `list_errors`."""
        archive, (what, value) = await self._needed(account), charted(wanted, by)
        wanted = wanted.checked()
        until = wanted.until or datetime.now(UTC)
        since = wanted.since or until - _A_WEEK
        return await archive.read(lambda one: one.chart(account, since, until, what, value, by=by))

    async def get_batch(self, batch: str) -> Batch:
        """Read a batch; of one that Redis has no more, what the archive has of its jobs."""
        try:
            return await super().get_batch(batch)
        except BatchNotFound:
            account = await self._owner(batch)
            archive = await self._archive_of(account)
            if archive and (found := await archive.read(lambda one: one.batch(account, batch))):
                return found
            raise

    async def _results(self, account: str, wanted: Filter, *, errors: bool) -> AsyncResultReader:
        # Reasons leave Redis before their jobs do.
        is_here = wanted.reason is None and await self._has_batch(wanted)
        if is_here or await self._archive_of(account) is None:
            return await super()._results(account, wanted, errors=errors)
        if wanted.batch is not None:
            await self.get_batch(wanted.batch)  # raises if there is none

        async def find(filtered: Filter, cursor: str) -> JobPage:
            return await self._ended(account, filtered, cursor, MOST)

        read = partial(self._read_lives, account)
        return AsyncEndedResults(self.send, read, account, wanted, errors=errors, find=find)

    async def _read_lives(
        self, account: str, names: Sequence[str], *, result: bool = True
    ) -> list[Job | None]:
        """Read jobs by their ids; where a name says when it was created, that life of the job."""
        newest = await self.get_many([name[:ID_LENGTH] for name in names], result=result)
        found = {name: job for job in newest if job for name in (job.id, life_name(job))}
        if left := [name for name in names if name not in found]:
            archive = await self._needed(account)
            lives = await archive.read(lambda reader: reader.lives(left))
            found |= {life_name(job): job for job in lives}
        return [found.get(name) for name in names]

    async def discard(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Remove dead jobs for good, from the archive, too; returns what came of each.

        What is not in Redis any more, and in the archive is dead, is removed there.
        """
        settled = await super().discard(job_ids)
        gone = {Settled.DONE, Settled.NO_SUCH_JOB}
        left = [job_id for job_id, outcome in settled.items() if outcome in gone]
        for account, positions in pages(left, await self._owners(left), ACTS):
            if (archive := await self._archive_of(account)) is not None:
                removed = await archive.discard(account, [left[n] for n in positions])
                settled |= dict.fromkeys(removed, Settled.DONE)
        return settled

    async def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each.

        A job whose request has left Redis gets it back first. One that Redis has no more is
        enqueued again, without its batch: under its custom_id, so with the same id; without one, as
        a new job that is named by the old one's id in the namespace `replay`, so that a second
        replay finds it.
        """
        settled = await super().replay(job_ids)
        for what, act in (
            (Settled.ARCHIVED, self._put_back),
            (Settled.NO_SUCH_JOB, self._enqueue_again),
        ):
            left = [job_id for job_id, outcome in settled.items() if outcome is what]
            owners = await self._owners(left) if left else ()
            for account, positions in pages(left, owners, _REPLAYED):
                try:
                    settled |= await act(await self._raw(account, [left[n] for n in positions]))
                except ArchiveUnavailable:
                    if what is not Settled.ARCHIVED:
                        raise
        return settled

    async def _raw(self, account: str, job_ids: Sequence[str]) -> "list[EndedJob]":
        if (archive := await self._archive_of(account)) is None:
            return []
        found = await archive.read(lambda reader: reader.raw(job_ids))
        return [job for job in found if job.account == account]

    async def _put_back(self, found: "Sequence[EndedJob]") -> dict[str, Settled]:
        """Give jobs in Redis their requests back, and replay them."""
        for job in found:
            await self.send(operator_calls.put_back(*job[:5]))
        done = await super().replay([job.id for job in found])
        return {
            job_id: Settled.PUT_BACK if outcome is Settled.DONE else outcome
            for job_id, outcome in done.items()
        }

    async def _enqueue_again(self, found: "Sequence[EndedJob]") -> dict[str, Settled]:
        settled, specs = {}, {}
        for job in found:
            spec = spec_again(job)
            if isinstance(spec, Settled):
                settled[job.id] = spec
            else:
                specs[job.id] = spec
        answers = await self.enqueue_many(specs.values())
        for job_id, answer in zip(specs, answers, strict=True):
            settled[job_id] = _AGAIN.get(answer.status, Settled.NOT_ENDED_BADLY)
        return settled
