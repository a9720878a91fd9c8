# From this file `make generate` writes handles.py.
"""What `enqueue` returns: the answer, with the queue that gave it, so that it can be waited for."""

from collections.abc import Generator
from typing import Any, Protocol, Self

from runqueue.records.job import Enqueued, Job, JobState


class AsyncJobQueue(Protocol):
    """The calls of its queue that a handle needs."""

    async def get(self, job_id: str) -> Job:
        """Read a job."""

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait for a job's end."""

    async def cancel(self, job_id: str) -> JobState:
        """Request a job's cancel."""


class AwaitableJob(Enqueued):
    """A job that was enqueued, for coroutines: `await job` gives it once it has ended.

    Each method does what the queue's of that name does. It is the answer, a tuple, and is pickled
    and compared as that.
    """

    _queue: AsyncJobQueue

    @classmethod
    def of(cls, answer: Enqueued, queue: AsyncJobQueue) -> Self:
        """Return an answer with the queue that gave it."""
        job = cls(*answer)
        job._queue = queue
        return job

    def _replace(self, **fields: Any) -> Self:
        """Return it with other fields, of the same queue."""
        return self.of(super()._replace(**fields), self._queue)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the queue, which holds connections, behind."""
        return Enqueued, tuple(self)

    if True:  # ASYNC

        def __await__(self) -> Generator[Any, None, Job]:
            """Wait until the job has ended and return it."""
            return self.wait().__await__()

    async def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job has ended and return it.

        Args:
            timeout: seconds; None = for ever.

        Raises:
            JobNotFound: it is on record no more.
            TimeoutError: it has not ended in time; it goes on.
        """
        return await self._queue.wait(self.job_id, timeout)

    async def get(self) -> Job:
        """Read the job as it is now, with its result once it has one."""
        return await self._queue.get(self.job_id)

    async def cancel(self) -> JobState:
        """Request the job's cancel and return its state."""
        return await self._queue.cancel(self.job_id)
