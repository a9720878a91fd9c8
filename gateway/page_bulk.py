"""What is done to many jobs at once: chosen by a filter, counted, and done once that is confirmed.

A count looks at so much and no more, and says so. What is done goes on beside the requests, in
pages, and is noted when it begins and when it is over.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from runqueue.delivery import DeliveryState
from runqueue.job import Job, JobState
from runqueue.operate import PAGE, Filter, Operations
from runqueue.operator_calls import Canceled

#: Jobs that a count goes to, and seconds that it takes, at most.
MOST, SECONDS = 10_000, 3.0
#: Jobs that are shown beside the count.
SHOWN: Final = 20


class Kind(NamedTuple):
    """Something that can be done to many.

    Args:
        verb: in words: what is asked, "… 12 jobs".
        states: of which jobs; the first is chosen if none is named.
        warning: what to know before; '' = nothing.
    """

    verb: str
    states: tuple[str, ...]
    warning: str = ""


KINDS: Final = {
    "cancel": Kind(
        "Cancel",
        ("open", "scheduled", "ready", "running", "unconfirmed"),
        "Runs under way are canceled at Skyvern.",
    ),
    "replay": Kind("Replay", ("dead", "failed", "canceled"), "Each of them may run again."),
    "discard": Kind("Discard", ("dead",), "Their records and idempotency keys are gone for good."),
    "resubmit": Kind(
        "Submit again",
        ("unconfirmed",),
        "If one of them has a run after all, it runs twice. Look for the runs first.",
    ),
    "fail": Kind("Fail", ("unconfirmed",), "Nobody looks for their runs any more."),
    "deliver": Kind("Send webhooks again", ("gave_up", "unknown", "pending")),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs are meant, and what is to be done to them."""

    what: str
    account: str
    state: str
    wanted: Filter

    @property
    def words(self) -> str:
        """The filter in words."""
        named = {"group": self.wanted.group, "batch": self.wanted.batch}
        parts = [self.state, *(f"{name} {value}" for name, value in named.items() if value)]
        if self.wanted.reason:
            parts.append(f"reason with “{self.wanted.reason}”")
        return ", ".join(parts)


class Count(NamedTuple):
    """How many jobs a choice means.

    Args:
        jobs: so many, or more if it is not exact.
        exact: whether all were counted.
        first: a few of them.
    """

    jobs: int
    exact: bool
    first: list[Job]


def find(operations: Operations, choice: Choice) -> Iterator[Job]:
    """Go through the jobs that are meant, in constant memory; for threads."""
    if choice.what == "deliver":
        state = DeliveryState(choice.state)
        return operations.find_deliveries(state, choice.wanted, account=choice.account)
    if choice.state in {"open", "ready"}:
        found = operations.find_open(choice.wanted, account=choice.account)
        return (job for job in found if choice.state in {"open", job.state.value})
    if choice.state in {"failed", "canceled"}:
        return _ended(operations, choice)
    return operations.find(JobState(choice.state), choice.wanted, account=choice.account)


def _ended(operations: Operations, choice: Choice) -> Iterator[Job]:
    wanted, cursor = choice.wanted, ""
    while True:
        page = operations.queue.list_jobs(
            choice.state,
            group=wanted.group,
            batch=wanted.batch,
            account=choice.account,
            cursor=cursor,
            limit=PAGE,
        )
        yield from (job for job in page.jobs if wanted.fits(job))
        cursor = page.cursor
        if not cursor:
            return


def count(operations: Operations, choice: Choice) -> Count:
    """Count the jobs that are meant, as far as that is quick; for threads."""
    until = time.monotonic() + SECONDS
    seen: set[str] = set()
    first: list[Job] = []
    for job in find(operations, choice):
        if len(seen) >= MOST or time.monotonic() > until:
            return Count(len(seen), False, first)
        if job.id not in seen and len(first) < SHOWN:
            first.append(job)
        seen.add(job.id)
    return Count(len(seen), True, first)


@dataclass(slots=True)
class Work:
    """Something that is done to many jobs.

    Args:
        choice: what, and to which.
        most: how many at most, the first that are met; None = all.
        stop: set when the process ends.
    """

    choice: Choice
    most: int | None
    stop: threading.Event
    came_to: Counter[str] = field(default_factory=Counter)

    @property
    def words(self) -> str:
        """What it came to so far."""
        parts = [f"{n:,} {what}" for what, n in self.came_to.most_common()]
        return ", ".join(parts) or "no job was met"

    def run(self, operations: Operations) -> None:
        """Do it, page by page; for threads."""
        decide = _DECISIONS[self.choice.what]
        found = find(operations, self.choice)
        for some in _pages(found if self.most is None else islice(found, self.most)):
            if self.stop.is_set():
                self.came_to["left when the gateway was stopped"] += len(some)
                return
            self.came_to.update(decide(operations, some))


def _pages(jobs: Iterable[Job]) -> Iterator[list[str]]:
    jobs = iter(jobs)
    while some := [job.id for job in islice(jobs, PAGE)]:
        yield list(dict.fromkeys(some))


def _cancel(operations: Operations, ids: list[str]) -> dict[str, int]:
    done: Canceled = operations.cancel(ids)
    counts = {"canceled": done.at_once, "will be canceled": done.asked, "over already": done.over}
    return {words: n for words, n in counts.items() if n}


def _settled(name: str) -> Callable[[Operations, list[str]], dict[str, int]]:
    def decide(operations: Operations, ids: list[str]) -> dict[str, int]:
        settled: dict[str, Any] = getattr(operations, name)(ids)
        return Counter(what.value for what in settled.values())

    return decide


_DECISIONS: Final[dict[str, Callable[[Operations, list[str]], dict[str, int]]]] = {
    "cancel": _cancel,
    "replay": _settled("replay"),
    "discard": _settled("discard"),
    "resubmit": _settled("resubmit"),
    "fail": _settled("fail"),
    "deliver": _settled("deliver_again"),
}
