"""The results of a batch in the order of the upload, in steps of bounded size.

Each step is a flow of calls: the command line drives them with threads, the gateway with asyncio.
"""

from runqueue.errors import FieldError, InvalidRequest
from runqueue.producer.flows import Flow
from runqueue.records.batch import Batch
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls

#: What did not go well, or may not have.
BAD = frozenset({JobState.FAILED, JobState.CANCELED, JobState.DEAD, JobState.UNCONFIRMED})
#: Ids polled in one step; jobs read in one, at least and at most, and bytes of their lines to aim
#: at: results may have some megabytes each.
_IDS, _LEAST, _MOST, _AIM = 1000, 4, 256, 4 * 1024 * 1024


class BatchResults:
    """Reads the results of a batch.

    Args:
        batch: the batch, as it was when the reading began.
        errors: only what did not go well; else all that has ended.
    """

    def __init__(self, batch: Batch, *, errors: bool) -> None:
        #: How many jobs to read next.
        self.size = _LEAST
        self._batch, self._errors = batch, errors
        self._start = 0

    def go_behind(self, job_id: str) -> Flow[None]:
        """Begin behind a job.

        Raises:
            InvalidRequest: it is no job of the batch.
        """
        while job_ids := (yield from self._list()):
            if job_id in job_ids:
                self._start += job_ids.index(job_id) + 1 - len(job_ids)
                return
        raise InvalidRequest([FieldError("after", "expected the id of a job of this batch")])

    def ids(self) -> Flow[list[str] | None]:
        """Return the ids of the next jobs that are wanted; None = that was all."""
        job_ids = yield from self._list()
        # Of a batch that is over nearly all are wanted.
        if not job_ids or (self._batch.is_over and not self._errors):
            return job_ids or None
        states: list[tuple[JobState | None, float]]
        states = yield job_calls.job_states(self._batch.account, job_ids)
        return [
            job_id
            for job_id, (state, _) in zip(job_ids, states, strict=True)
            if state is not None and (state in BAD if self._errors else state.is_over)
        ]

    def jobs(self, job_ids: list[str]) -> Flow[list[Job]]:
        """Read jobs; one that another upload has taken over belongs to that batch."""
        found: list[Job | None] = yield job_calls.get_jobs(self._batch.account, job_ids)
        return [
            job
            for job in found
            if job is not None and job.batch == self._batch.id and (job.is_over or self._errors)
        ]

    def adapt(self, weight: int) -> None:
        """Choose the size of the next step by the bytes of the last one's lines."""
        is_small = weight < _AIM // 2
        self.size = min(self.size * 2, _MOST) if is_small else max(self.size // 2, _LEAST)

    def _list(self) -> Flow[list[str]]:
        batch = self._batch
        found: list[str]
        found = yield job_calls.list_batch(batch.account, batch.id, self._start, _IDS)
        self._start += len(found)
        return found
