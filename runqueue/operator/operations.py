"""The operator's actions: settle unconfirmed jobs, replay dead ones, cancel, deliver again.

Everything works by filter as well as by id, and a filter is counted before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from runqueue.errors import BatchNotFound
from runqueue.ids import is_id
from runqueue.operator.selection import PAGE, JobSelector, Settled, named
from runqueue.producer.listing import Filter
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState, Stray
from runqueue.request.requests import WEB_URL_WORDS, is_web_url
from runqueue.store import delivery_calls, job_calls, operator_calls
from runqueue.store.accounts import account_of
from runqueue.store.operator_calls import CancelCounts, Seen
from runqueue.store.scripts import ScriptCall

__all__ = ["PAGE", "Filter", "Operations", "Settled"]

#: Webhooks that are found by their state; the others have no index.
FOUND = (DeliveryState.PENDING, DeliveryState.GAVE_UP, DeliveryState.UNKNOWN)


class Operations(JobSelector):
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
        """Go through the jobs of a state; arguments and errors as for `pages`."""
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

    def find_deliveries(
        self,
        state: DeliveryState,
        wanted: Filter | None = None,
        *,
        account: str | None = None,
    ) -> Iterator[Job]:
        """Go through the jobs whose webhook is in a state, in constant memory.

        Given up and unknown ones come in the order in which that was decided, pending ones as they
        are due; of these, one that is tried meanwhile may come twice.

        Args:
            state: pending, gave_up or unknown; the others have no index.
            wanted, account: as `find` takes them.

        Raises:
            ValueError: a state without an index.
        """
        if state not in FOUND:
            raise ValueError(f"state: expected one of {', '.join(FOUND)}, got {state}")
        which = (wanted or Filter())._replace(webhook=state)
        return chain.from_iterable(self.pages(which, account=account))

    def deliver_again(self, job_ids: Iterable[str], url: str = "") -> dict[str, Settled]:
        """Have webhooks sent again, whatever came of them; returns what came of each job.

        Args:
            job_ids: the jobs.
            url: where to, from now on; '' = where they were to go. With it jobs without a
                receiver have a webhook, too.

        Raises:
            ValueError: the url is none; nothing was done.
        """
        if url:
            check_url(url)
        codes = self._each(
            job_ids, lambda account, some: delivery_calls.deliver_again(account, some, url)
        )
        return named(codes, {0: Settled.NO_ENDED_RUN if url else Settled.NO_WEBHOOK})

    def confirm_delivery(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that the results of jobs have arrived, however; returns what came of each job."""
        codes = self._each(job_ids, delivery_calls.confirm_delivery)
        return named(codes, {0: Settled.NO_WEBHOOK})


def check_url(url: str) -> None:
    """Make sure that a webhook can be sent to a URL; it is not shown, as it may hold a password.

    Raises:
        ValueError: it cannot.
    """
    if not is_web_url(url):
        raise ValueError(f"url: expected {WEB_URL_WORDS}")
