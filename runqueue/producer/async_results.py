# From this file `make generate` writes results.py.
"""The results of jobs that have ended, of a batch or by filter, in steps of bounded size."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from runqueue.errors import FieldError, InvalidRequest
from runqueue.ids import ID_LENGTH
from runqueue.producer.listing import READ_AT_ONCE, Filter, life_name
from runqueue.records.batch import Batch, JobPage
from runqueue.records.job import Job, JobState
from runqueue.request.time_range import MICROSECOND
from runqueue.store import job_calls
from runqueue.store.scripts import AsyncSend

#: What did not go well, or may not have.
BAD = frozenset({JobState.FAILED, JobState.CANCELED, JobState.DEAD, JobState.UNCONFIRMED})
#: Ids polled in one step; jobs read in one, at least and at most, and bytes of their lines to aim
#: at: results may have some megabytes each.
_IDS, _LEAST, _MOST, _AIM = 1000, 4, 256, 4 * 1024 * 1024

_Jobs = list[Job | None]
#: Reads jobs by their ids or `life_name`, without their results if `result=False`.
Reads = Callable[..., Awaitable[_Jobs]]
#: Finds the jobs of a filter behind a cursor.
Finds = Callable[[Filter, str], Awaitable[JobPage]]


class AsyncResultReader(ABC):
    """Reads the results of jobs: `ids` until there are no more, and the `jobs` of these.

    Args:
        send: sends a call.
        read: reads jobs.
        account: whose jobs.
        wanted: which of them.
        errors: only what did not go well; else all that has ended.

    Raises:
        InvalidRequest: the state is none in which jobs have ended.
    """

    def __init__(
        self, send: AsyncSend, read: Reads, account: str, wanted: Filter, *, errors: bool
    ) -> None:
        #: How many jobs to read next.
        self.size = _LEAST
        self._send, self._read, self._account, self._wanted = send, read, account, wanted
        states = [state for state in JobState if state.is_over]
        if wanted.state not in {None, *states}:
            words = f"expected {', '.join(states[:-1])} or {states[-1]}, got {wanted.state}"
            raise InvalidRequest([FieldError("state", words)])
        states = [state for state in states if wanted.state in {None, state}]
        self._states = [state for state in states if state in BAD] if errors else states

    @abstractmethod
    async def go_behind(self, name: str) -> None:
        """Begin behind a job; the name is its id, or its `life_name`.

        Raises:
            InvalidRequest: it is none of these.
        """

    @abstractmethod
    async def ids(self) -> list[str] | None:
        """Return the ids of the next jobs that are wanted; None = that was all."""

    async def jobs(self, job_ids: list[str]) -> list[Job]:
        """Read jobs with their results; those that are not wanted any more are left out."""
        found = await self._read(job_ids)
        return [job for job in found if job is not None and self._is_wanted(job)]

    def _is_wanted(self, job: Job) -> bool:
        """Say whether a job that was read is still one of these."""
        return job.state in self._states and self._wanted.fits(job)

    async def _fitting(self, job_ids: list[str]) -> list[str]:
        """Return the ids of the jobs that are wanted."""
        found: list[Job | None] = []
        for start in range(0, len(job_ids), READ_AT_ONCE):
            some = job_ids[start : start + READ_AT_ONCE]
            read = await self._send(job_calls.get_jobs(self._account, some, result=False))
            found += read
        return [job.id for job in found if job is not None and self._is_wanted(job)]

    def adapt(self, weight: int) -> None:
        """Choose the size of the next step by the bytes of the last one's lines."""
        is_small = weight < _AIM // 2
        self.size = min(self.size * 2, _MOST) if is_small else max(self.size // 2, _LEAST)


class AsyncBatchResults(AsyncResultReader):
    """Reads the results of a batch, in the order of the upload.

    Args:
        send, read: as for `AsyncResultReader`.
        batch: the batch, as it was when the reading began.
        wanted: which of its jobs.
        errors: as for `AsyncResultReader`; unconfirmed jobs are among them.
    """

    def __init__(
        self, send: AsyncSend, read: Reads, batch: Batch, wanted: Filter, *, errors: bool
    ) -> None:
        # One that another upload has taken over belongs to that batch.
        wanted = wanted._replace(batch=batch.id)
        super().__init__(send, read, batch.account, wanted, errors=errors)
        if errors and wanted.state is None:
            self._states.append(JobState.UNCONFIRMED)
        #: Of a batch that is over nearly all are wanted.
        self._are_all = batch.is_over and not errors and wanted == Filter(batch=batch.id)
        self._is_by_state = wanted == Filter(batch=batch.id, state=wanted.state)
        self._batch = batch
        self._start = 0

    async def go_behind(self, name: str) -> None:
        """Begin behind a job of the batch."""
        job_id = name[:ID_LENGTH]
        while job_ids := await self._list():
            if job_id in job_ids:
                self._start += job_ids.index(job_id) + 1 - len(job_ids)
                return
        raise InvalidRequest([FieldError("after", "expected the id of a job of this batch")])

    async def ids(self) -> list[str] | None:
        """Return the ids of the next jobs that are wanted; None = that was all."""
        job_ids = await self._list()
        if not job_ids or self._are_all:
            return job_ids or None
        states = await self._send(job_calls.job_states(self._account, job_ids))
        both = zip(job_ids, states, strict=True)
        found = [job_id for job_id, (state, _) in both if state in self._states]
        return found if self._is_by_state else await self._fitting(found)

    async def _list(self) -> list[str]:
        batch = self._batch
        found = await self._send(job_calls.list_batch(batch.account, batch.id, self._start, _IDS))
        self._start += len(found)
        return found


class AsyncEndedResults(AsyncResultReader):
    """Reads the results of an account's jobs, of any batch or none, the newest end first.

    Args:
        send, read: as for `AsyncResultReader`.
        account: whose jobs.
        wanted: which of them.
        errors: as for `AsyncResultReader`.
        find: finds them in an archive; None = Redis has them.
    """

    def __init__(
        self,
        send: AsyncSend,
        read: Reads,
        account: str,
        wanted: Filter,
        *,
        errors: bool,
        find: Finds | None = None,
    ) -> None:
        super().__init__(send, read, account, wanted, errors=errors)
        self._find = find
        self._cursor, self._is_through = "", not self._states
        #: The name of the job to begin behind; None = it was passed.
        self._after: str | None = None

    async def go_behind(self, name: str) -> None:
        """Begin behind a job, at the time when it ended."""
        (job,) = await self._read([name if self._find else name[:ID_LENGTH]], result=False)
        if not (job and job.ended_at and name in {job.id, life_name(job)} and self._is_wanted(job)):
            raise _nothing_to_go_behind()
        self._after = life_name(job) if self._find else job.id
        self._wanted = self._wanted._replace(until=job.ended_at + MICROSECOND)

    async def ids(self) -> list[str] | None:
        """Return the ids of the next jobs that are wanted; None = that was all.

        Raises:
            InvalidRequest: the job to begin behind was not met: it was submitted again meanwhile.
        """
        if self._is_through:
            return None
        self._cursor, job_ids = await self._page(self._wanted, self._cursor)
        self._is_through = not self._cursor
        if self._after in job_ids:
            job_ids = job_ids[job_ids.index(self._after) + 1 :]
            self._after = None
        elif self._after is not None:
            if self._is_through:
                raise _nothing_to_go_behind()
            return []
        return job_ids

    async def _page(self, wanted: Filter, cursor: str) -> tuple[str, list[str]]:
        """Read the ids of some jobs; returns the next cursor, too."""
        if self._find is not None:
            page = await self._find(wanted, cursor)
            return page.cursor, [life_name(job) for job in page.jobs if self._is_wanted(job)]
        then, job_ids = await self._send(
            job_calls.page_ended(
                self._account,
                self._states,
                cursor,
                _IDS,
                _IDS,
                since=wanted.since,
                until=wanted.until,
            )
        )
        if wanted == Filter(state=wanted.state, since=wanted.since, until=wanted.until):
            return then, job_ids
        return then, await self._fitting(job_ids)

    def _is_wanted(self, job: Job) -> bool:
        if self._find is None:
            return super()._is_wanted(job)
        # What the archive found it by may not be in its record.
        times = Filter(since=self._wanted.since, until=self._wanted.until)
        return job.state in self._states and times.fits(job)


def _nothing_to_go_behind() -> InvalidRequest:
    words = "expected the id of a job that has ended and matches the filters"
    return InvalidRequest([FieldError("after", words)])
