# Generated from async_handles.py by tools/generate.py: change that, and run `make generate`.
"""What `enqueue` returns: the answer, with the queue that gave it, so that it can be waited for."""

from typing import Any, Protocol, Self

from runqueue.records.job import Enqueued, Job, JobState


class JobQueue(Protocol):
    """The calls of its queue that a handle needs."""

    def get(self, job_id: str) -> Job:
        """Read a job."""

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait for a job's end."""

    def cancel(self, job_id: str) -> JobState:
        """Request a job's cancel."""


class QueuedJob(Enqueued):
    """A job that was enqueued.

    Each method does what the queue's of that name does. It is the answer, a tuple, and is pickled
    and compared as that.
    """

    _queue: JobQueue

    @classmethod
    def of(cls, answer: Enqueued, queue: JobQueue) -> Self:
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

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job has ended and return it.

        Args:
            timeout: seconds; None = for ever.

        Raises:
            JobNotFound: it is on record no more.
            TimeoutError: it has not ended in time; it goes on.
        """
        return self._queue.wait(self.job_id, timeout)

    def get(self) -> Job:
        """Read the job as it is now, with its result once it has one."""
        return self._queue.get(self.job_id)

    def cancel(self) -> JobState:
        """Request the job's cancel and return its state."""
        return self._queue.cancel(self.job_id)
