"""The operator's actions on jobs: settle unconfirmed, replay or discard dead ones, cancel orphans.

Everything works by filter as well as by id, and a filter is counted before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from runqueue.errors import BatchNotFound
from runqueue.ids import is_id
from runqueue.operator.deliveries import Deliveries
from runqueue.operator.selection import PAGE, Settled, named
from runqueue.producer.listing import Filter
from runqueue.records.job import Job, JobState, Stray
from runqueue.store import job_calls, operator_calls
from runqueue.store.accounts import account_of
from runqueue.store.operator_calls import CancelCounts, Seen
from runqueue.store.scripts import ScriptCall

__all__ = ["PAGE", "Filter", "Operations", "Settled"]


class Operations(Deliveries):
    """The operator's actions on the queue.

    Args:
        queue: the queue; closed by its owner.
    """

    def find(
        self,
        state: JobState,
        wanted: Filter | None = None,
        *,
        account: str | None = None,
    ) -> Iterator[Job]:
        """Go through the jobs of a state, in constant memory; in which order, `pages` says.

        Args:
            state: which.
            wanted: which of them; None = all.
            account: of one account; None = of every one.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        which = (wanted or Filter())._replace(state=state)
        return chain.from_iterable(self.pages(which, account=account))

    def adopt(self, job_id: str, run_id: str) -> Settled:
        """Give an unconfirmed job the run that is its own; it is followed from now on.

        Raises:
            JobNotFound: no such job is on record.
        """
        job = self.queue.get(job_id)
        if job.state is not JobState.UNCONFIRMED:
            done = job.state is JobState.RUNNING and job.run_id == run_id
            return Settled.DONE if done else Settled.NOT_UNCONFIRMED
        code = self.queue.send(operator_calls.adopt(job.account, job_id, job.attempts, run_id))
        return {0: Settled.DONE, 1: Settled.DONE, 3: Settled.RUN_TAKEN, 5: Settled.DONE}.get(
            code, Settled.NOT_UNCONFIRMED
        )

    def resubmit(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that unconfirmed jobs have no run: they are submitted again."""
        return self._settle(job_ids, "resubmit", "")

    def fail(self, job_ids: Iterable[str], reason: str = "") -> dict[str, Settled]:
        """End the search for the runs of unconfirmed jobs: they are dead.

        Args:
            job_ids: the jobs.
            reason: shown on them.
        """
        words = f"failed by a person{': ' if reason else ''}{reason}"
        return self._settle(job_ids, "fail", words[:500])

    def _settle(self, job_ids: Iterable[str], what: str, reason: str) -> dict[str, Settled]:
        def settle(account: str, jobs: Sequence[Seen]) -> ScriptCall[list[int]]:
            return operator_calls.settle(account, jobs, what, reason)

        others = {0: Settled.NOT_UNCONFIRMED, 2: Settled.CANCEL_ASKED}
        return named(self._each_seen(job_ids, settle), others)

    def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each."""
        others = {
            0: Settled.NOT_ENDED_BADLY,
            2: Settled.BATCH_CANCELED,
            3: Settled.FILES_USED,
            4: Settled.REQUEST_GONE,
        }
        return named(self._each_seen(job_ids, operator_calls.replay), others)

    def discard(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Remove dead jobs for good, their idempotency keys included; returns what came of each."""
        return named(self._each(job_ids, operator_calls.discard), {0: Settled.NOT_DEAD})

    def find_open(
        self, wanted: Filter | None = None, *, account: str | None = None
    ) -> Iterator[Job]:
        """Go through the jobs that have not ended, in no order and constant memory.

        A job may come twice. Of a batch its jobs are read, else every key of the database.
        Arguments and errors as for `find`.
        """
        which = (wanted or Filter())._replace(is_open=True)
        return chain.from_iterable(self.pages(which, account=account))

    def cancel(self, job_ids: Iterable[str]) -> CancelCounts:
        """Cancel jobs, in pages; returns the counts."""
        codes = list(self._each(job_ids, job_calls.cancel).values())
        at_once, flagged = codes.count(1), codes.count(2)
        return CancelCounts(at_once, flagged, len(codes) - at_once - flagged)

    def cancel_batch(self, batch: str) -> CancelCounts:
        """Cancel every job of a batch, whatever its size, in one step; returns what it came to.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        account = account_of(batch, self.queue.accounts()) if is_id(batch) else None
        done = self.queue.send(operator_calls.cancel_batch(account, batch)) if account else None
        if done is None:
            raise BatchNotFound(batch)
        return done

    def strays(self, *, account: str | None = None) -> Iterator[Stray]:
        """Go through the runs of ours that no job owns."""
        for name in self._accounts(account):
            cursor = "0"
            while True:
                cursor, found = self.queue.send(operator_calls.list_strays(name, cursor, PAGE))
                yield from found
                if cursor == "0":
                    break

    def cancel_strays(self, strays: Iterable[Stray]) -> int:
        """Have orphan runs canceled by the workers; returns how many will be."""
        by_account: dict[str, list[str]] = {}
        for stray in strays:
            by_account.setdefault(stray.account, []).append(stray.run_id)
        done = 0
        for account, run_ids in by_account.items():
            for start in range(0, len(run_ids), PAGE):
                part = operator_calls.cancel_strays(account, run_ids[start : start + PAGE])
                done += self.queue.send(part).count(1)
        return done
