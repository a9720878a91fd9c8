"""Bulk actions: jobs are chosen by a filter, counted, and acted on once the user confirms.

A count reads a bounded number of jobs, and says if it is not exact. An action runs in the
background, page by page, and is noted when it begins and when it is over.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from runqueue.operator.operations import Filter, Operations
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.store.operator_calls import CancelCounts

#: Jobs after which a count stops, and seconds after which it begins no further page.
MOST, SECONDS = 10_000, 3.0
#: Jobs that are shown beside the count.
SHOWN: Final = 20


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
    "deliver": BulkKind("Send webhooks again", ("gave_up", "unknown", "pending")),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen jobs, and the action on them."""

    what: str
    account: str
    state: str
    wanted: Filter

    @property
    def words(self) -> str:
        """The filter in words."""
        return ", ".join(filter(None, (self.state, self.wanted.words)))

    @property
    def jobs(self) -> Filter:
        """The filter, its state included."""
        if self.what == "deliver":
            return self.wanted._replace(webhook=DeliveryState(self.state))
        if self.state == "open":
            return self.wanted._replace(is_open=True)
        return self.wanted._replace(state=JobState(self.state))


class Count(NamedTuple):
    """The number of chosen jobs.

    Args:
        jobs: their number; there are more if it is not exact.
        exact: whether all were counted.
        first: a few of them.
    """

    jobs: int
    exact: bool
    first: list[Job]


def find(operations: Operations, choice: Choice) -> Iterator[list[Job]]:
    """Iterate over the chosen jobs, page by page; for threads.

    A page reads a bounded number, and may hold no chosen job; a job may come twice.
    """
    return operations.pages(choice.jobs, account=choice.account)


def count(operations: Operations, choice: Choice) -> Count:
    """Count the chosen jobs, as far as that is quick; for threads."""
    until = time.monotonic() + SECONDS
    seen: set[str] = set()
    first: list[Job] = []
    for jobs in find(operations, choice):
        for job in jobs:
            if job.id in seen:
                continue
            if len(seen) >= MOST:
                return Count(len(seen), False, first)
            seen.add(job.id)
            if len(first) < SHOWN:
                first.append(job)
        # Also after a page without chosen jobs: there may be thousands of such pages.
        if time.monotonic() > until:
            return Count(len(seen), False, first)
    return Count(len(seen), True, first)


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
    stop: threading.Event
    came_to: Counter[str] = field(default_factory=Counter)

    @property
    def words(self) -> str:
        """The result so far."""
        parts = [f"{n:,} {what}" for what, n in self.came_to.most_common()]
        return ", ".join(parts) or "no job was met"

    def run(self, operations: Operations) -> None:
        """Run it, page by page; for threads."""
        decide = _DECISIONS[self.choice.what]
        for ids in self._ids(find(operations, self.choice)):
            if self.stop.is_set():
                self.came_to["left when the gateway was stopped"] += len(ids)
                return
            if ids:
                self.came_to.update(decide(operations, ids))

    def _ids(self, pages: Iterable[list[Job]]) -> Iterator[list[str]]:
        """Iterate over the ids of pages: each once if the count was exact, and up to the limit."""
        met: set[str] = set()
        for jobs in pages:
            ids = list(dict.fromkeys(job.id for job in jobs if job.id not in met))
            if self.most is not None:
                ids = ids[: self.most - len(met)]
                met.update(ids)
            yield ids
            if len(met) == self.most:
                return


def _cancel(operations: Operations, ids: list[str]) -> dict[str, int]:
    done: CancelCounts = operations.cancel(ids)
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
