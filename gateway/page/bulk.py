"""Bulk actions: jobs are checked in a list, or chosen by a filter; counted; acted on if confirmed.

A count reads a bounded number of jobs, and says if it is not exact. An action runs in the
background, page by page, and is recorded when it begins and when it is over.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from runqueue.operator.decisions import Settled
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter, JobCount
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState

#: Jobs after which a count stops, and seconds after which it begins no further page.
MOST, SECONDS = 10_000, 3.0
#: Jobs that are shown beside the count.
SHOWN: Final = 100
#: Jobs that the audit names.
_NAMED: Final = 5


class BulkKind(NamedTuple):
    """A kind of bulk action.

    Args:
        verb: the beginning of the question "… 12 jobs".
        states: the states of the jobs; the first is the default.
        warning: shown before; '' = none.
    """

    verb: str
    states: tuple[str, ...]
    warning: str = ""


KINDS: Final = {
    "cancel": BulkKind(
        "Cancel",
        ("open", "scheduled", "ready", "running", "unconfirmed"),
        "Runs under way are canceled at Skyvern.",
    ),
    "replay": BulkKind("Replay", ("dead", "failed", "canceled"), "Each of them may run again."),
    "discard": BulkKind(
        "Discard", ("dead",), "Their records and idempotency keys are gone for good."
    ),
    "resubmit": BulkKind(
        "Submit again",
        ("unconfirmed",),
        "If one of them has a run after all, it runs twice. Search for the runs first.",
    ),
    "fail": BulkKind("Fail", ("unconfirmed",), "Workers stop searching for their runs."),
    "deliver": BulkKind("Send webhooks again", ("abandoned", "unknown", "pending")),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen jobs, and the action on them.

    Args:
        what: one of `KINDS`.
        state, wanted: the filter; without a state it is of a group of errors.
        ids: of the jobs that are checked, instead of a filter; None = none were to be checked.
        left_out: ids or custom_ids of jobs of the filter that are not meant.
    """

    what: str
    account: str
    state: str
    wanted: Filter
    ids: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The choice in words."""
        if self.ids is not None:
            return f"checked jobs {_named(self.ids)}"
        left_out = f"except {_named(self.left_out)}" if self.left_out else ""
        return ", ".join(filter(None, (self.state, self.wanted.words, left_out)))

    @property
    def jobs(self) -> Filter:
        """The filter, its state included."""
        if self.what == "deliver":
            return self.wanted._replace(webhook=DeliveryState(self.state))
        if not self.state:
            return self.wanted
        if self.state == "open":
            return self.wanted._replace(is_open=True)
        return self.wanted._replace(state=JobState(self.state))

    def leaves_out(self, job: Job) -> bool:
        """Say whether a job of the filter is not meant."""
        return job.id in self.left_out or job.custom_id in self.left_out


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more}"


def kinds_of(jobs: Iterable[Job]) -> list[str]:
    """Return the kinds of bulk actions that the states of some of the jobs allow."""
    found = set[str]()
    for job in jobs:
        found |= {job.state.value, job.webhook.state.value}
        found |= set() if job.is_over else {"open"}
    return [what for what, kind in KINDS.items() if found.intersection(kind.states)]


async def count(queue: AsyncRunQueue, choice: Choice) -> tuple[JobCount, list[Job], list[str]]:
    """Count the chosen jobs, as far as that is quick.

    Returns:
        Their number, the first of them, and what of `left_out` was not met.
    """
    until = time.monotonic() + SECONDS
    seen, met, first = set[str](), set[str | None](), list[Job]()
    is_exact = True
    async for page in _pages(queue, choice):
        met.update(name for job in page for name in (job.id, job.custom_id))
        fresh = {job.id: job for job in page if job.id not in seen and not choice.leaves_out(job)}
        first += [*fresh.values()][: SHOWN - len(first)]
        seen.update(fresh)
        # Also after a page without chosen jobs: there may be thousands of such pages.
        if len(seen) > MOST or time.monotonic() > until:
            is_exact = False
            break
    unmet = [name for name in choice.left_out if name not in met]
    return JobCount(min(len(seen), MOST), is_exact), first, unmet


async def _pages(queue: AsyncRunQueue, choice: Choice) -> AsyncIterator[list[Job]]:
    """Yield the chosen jobs; of checked ones those whose state allows the action by now."""
    if choice.ids is None:
        async for page in queue.job_pages(choice.jobs, account=choice.account):
            yield page.jobs
        return
    found = await queue.get_many(choice.ids, result=False)
    jobs = [job for job in found if job is not None and job.account == choice.account]
    yield [job for job in jobs if choice.what in kinds_of([job])]


@dataclass(slots=True)
class BulkWork:
    """A bulk action.

    Args:
        choice: the action, and its jobs.
        most: the limit of jobs, the first that are found; None = all.
        stop: set when the process ends.
    """

    choice: Choice
    most: int | None
    stop: asyncio.Event
    came_to: Counter[str] = field(default_factory=Counter)

    @property
    def words(self) -> str:
        """The result so far."""
        parts = [f"{n:,} {what}" for what, n in self.came_to.most_common()]
        return ", ".join(parts) or "no job was met"

    async def run(self, queue: AsyncRunQueue) -> None:
        """Run it, page by page: each job once if the count was exact, and up to the limit."""
        choice, met = self.choice, set[str]()
        decide: Any = getattr(queue, _METHODS.get(choice.what, choice.what))
        async for page in _pages(queue, choice):
            meant = (job.id for job in page if not choice.leaves_out(job))
            ids = [job_id for job_id in dict.fromkeys(meant) if job_id not in met]
            if self.most is not None:
                ids = ids[: self.most - len(met)]
                met.update(ids)
            if self.stop.is_set():
                self.came_to["left when the gateway was stopped"] += len(ids)
                return
            outcomes: dict[str, Settled] = await decide(ids) if ids else {}
            self.came_to.update(outcome.value for outcome in outcomes.values())
            if len(met) == self.most:
                return


#: The queue's methods for actions that have other names there.
_METHODS: Final = {"cancel": "cancel_jobs", "deliver": "deliver_again"}
