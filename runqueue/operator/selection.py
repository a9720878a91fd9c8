"""Which jobs an operator's decision is for, page by page, and the outcome of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from runqueue.errors import UnknownAccount
from runqueue.producer.listing import Filter
from runqueue.producer.pages import list_jobs
from runqueue.producer.queue import RunQueue
from runqueue.records.job import Job
from runqueue.request.private_targets import VARIABLE
from runqueue.store.accounts import pages
from runqueue.store.operator_calls import Seen
from runqueue.store.scripts import ScriptCall

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Jobs read in one script call, and jobs acted on: each may have a group and a batch of its own.
PAGE, ACTS = 500, 200


class Settled(StrEnum):
    """What a decision on one job came to."""

    DONE = "done"
    NOT_UNCONFIRMED = "not unconfirmed"
    NOT_DEAD = "not dead"
    NOT_ENDED_BADLY = "not dead, failed or canceled"
    NO_SUCH_JOB = "no such job"
    CANCEL_ASKED = "a cancel was requested"
    RUN_TAKEN = "the run is another job's"
    BATCH_CANCELED = "its batch was canceled"
    FILES_USED = "its uploaded files served a run, and each serves one"
    REQUEST_GONE = "its request was dropped, as it ended before it was submitted"
    NO_WEBHOOK = "its run has not ended, or it has no webhook"
    NO_ENDED_RUN = "no run of it has ended"
    TARGET_REFUSED = f"its target is a private address, which workers refuse unless {VARIABLE}=true"


class JobSelector:
    """Finds many jobs and acts on them, in pages.

    Args:
        queue: the queue; closed by its owner.
    """

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue

    def _accounts(self, account: str | None) -> list[str]:
        known = self.queue.accounts()
        if account is None:
            return known
        if account not in known:
            raise UnknownAccount(account)
        return [account]

    def pages(self, wanted: Filter, *, account: str | None = None) -> Iterator[list[Job]]:
        """Go through jobs a page at a time, for callers that cannot wait for all of them.

        A page is bounded work, and may hold no job that is meant. Jobs of a state with an index
        come the first in time first, ended ones the newest end first, others in no order; of these,
        and of webhooks that are tried meanwhile, one may come twice.

        Args:
            wanted: which jobs.
            account: of one account; None = of every one.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        for name in self._accounts(account):
            cursor = ""
            while True:
                page = list_jobs(self.queue.send, name, wanted, cursor, PAGE, in_full=True)
                yield page.jobs
                if not (cursor := page.cursor):
                    break

    def _each_seen(
        self, job_ids: Iterable[str], call: Callable[[str, Sequence[Seen]], ScriptCall[list[int]]]
    ) -> dict[str, int]:
        """Do as `_each`, to the attempt that each job is at now, and to its end.

        A call whose reply was lost is sent again, and may come after the job went on: by these the
        script sees that what was decided has been done.
        """
        ids = list(dict.fromkeys(job_ids))
        jobs = self.queue.get_many(ids, result=False)
        seen = {job.id: (job.id, job.attempts, _ended_us(job)) for job in jobs if job is not None}
        return self._each(
            ids, lambda account, some: call(account, [seen.get(i, (i, -1, 0)) for i in some])
        )

    def _each(
        self, job_ids: Iterable[str], call: Callable[[str, Sequence[str]], ScriptCall[list[int]]]
    ) -> dict[str, int]:
        """Make one script call for each `ACTS` jobs of one account, and return each job's code."""
        ids = list(dict.fromkeys(job_ids))
        codes = dict.fromkeys(ids, -1)
        for account, positions in pages(ids, self.queue.accounts(), ACTS):
            some = [ids[position] for position in positions]
            answers: list[int] = self.queue.send(call(account, some))
            codes.update(zip(some, answers, strict=True))
        return codes


def _ended_us(job: Job) -> int:
    return (job.ended_at - _EPOCH) // timedelta(microseconds=1) if job.ended_at else 0


def named(codes: Mapping[str, int], others: Mapping[int, Settled]) -> dict[str, Settled]:
    """Say what each job's code means.

    Args:
        codes: by job id.
        others: what those mean that one script has for itself.
    """
    meanings = {1: Settled.DONE, -1: Settled.NO_SUCH_JOB, **others}
    return {job_id: meanings[code] for job_id, code in codes.items()}
