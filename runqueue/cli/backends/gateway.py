"""The queue behind a gateway, as the commands need it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import orjson

from runqueue.cli.backends.job_pages import every_job
from runqueue.cli.shared.result_lines import ResultLine
from runqueue.errors import JobNotFound, RunQueueError, UnknownAccount
from runqueue.ids import DEFAULT
from runqueue.operator.operations import Filter
from runqueue.producer.listing import ALL
from runqueue.records.job import Job, JobState
from runqueue.remote.queue import RemoteQueue
from runqueue.store.operator_calls import CancelCounts

#: The most lines, and bytes of lines, that are yielded at once.
_LINES, _BYTES = 500, 1024 * 1024
_WAITING = (JobState.READY, JobState.SCHEDULED)


class GatewayQueue(RemoteQueue):
    """A `RemoteQueue` that finds many jobs, and cancels them by one call each."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        #: When a job was first seen to be unconfirmed.
        self._since: dict[str, float] = {}

    def home(self) -> str:
        """Return the account where none is named: `default`, or the token's first."""
        names = self.accounts()
        return names[0] if names and DEFAULT not in names else DEFAULT

    def timeline(self, job_id: str) -> dict[str, Any]:
        """Return a job's request, as far as it may be shown, and its steps; {} = unknown."""
        try:
            found = self._link.ask(
                "GET", f"/v1/jobs/{job_id}/timeline", dict, meant={404: JobNotFound(job_id)}
            )
        except JobNotFound:
            return {}
        found.pop("job_id", None)
        return found

    def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Return how long each job has been unconfirmed, measured from its first call here."""
        now = time.monotonic()
        return [
            (JobState.UNCONFIRMED, now - self._since.setdefault(job_id, now)) for job_id in job_ids
        ]

    def find_open(self, wanted: Filter, *, account: str | None = None) -> Iterator[Job]:
        """Go through the jobs that have not ended, page by page.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        known = self.accounts()
        if account is not None and account not in known:
            raise UnknownAccount(account)
        for name in known if account is None else [account]:
            yield from (job for job in every_job(self, wanted, name) if not job.is_over)

    def cancel_jobs(self, job_ids: Iterable[str]) -> CancelCounts:
        """Cancel jobs; returns the counts."""
        done = CancelCounts()
        for job_id in dict.fromkeys(job_ids):
            (job,) = self.get_many([job_id], result=False)
            state = None if job is None or job.is_over else self.cancel(job_id)
            at_once = state is JobState.CANCELED
            asked = state is not None and not state.is_over
            done += CancelCounts(int(at_once), int(asked), int(not (at_once or asked)))
        return done

    def cancel_all_of(self, batch: str) -> CancelCounts:
        """Cancel every job of a batch; the counts are from the states just before."""
        before = self.get_batch(batch)
        jobs = self.cancel_batch(batch)
        waiting = sum(before.states.get(state, 0) for state in _WAITING)
        over = sum(n for state, n in before.states.items() if state.is_over)
        return CancelCounts(waiting, max(jobs - waiting - over, 0), over)

    def lines(
        self,
        batch: str | None,
        wanted: Filter = ALL,
        *,
        account: str = DEFAULT,
        errors: bool = False,
        after: str | None = None,
    ) -> Generator[list[ResultLine]]:
        """Go through results as `iter_rows`, as they arrive; those before an error come first."""
        found: list[ResultLine] = []
        weight = 0
        try:
            for row in self.iter_rows(
                batch,
                errors=errors,
                after=after,
                group=wanted.group,
                state=wanted.state,
                since=wanted.since,
                until=wanted.until,
                account=account,
            ):
                found.append(ResultLine(row["job_id"], orjson.dumps(row) + b"\n"))
                weight += len(found[-1].text)
                if len(found) >= _LINES or weight >= _BYTES:
                    yield found
                    found, weight = [], 0
        except RunQueueError:
            yield found
            raise
        yield found
