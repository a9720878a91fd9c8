"""Waiting for batches, and for single jobs, until nothing more happens to them by itself."""

import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import typer

from runqueue.cli.follow.batch_holds import held_words
from runqueue.cli.shared.account_holds import hold_words
from runqueue.cli.shared.formatting import printable
from runqueue.cli.shared.output import progress_line, span_words, state_words
from runqueue.cli.shared.queues import Queue
from runqueue.errors import QueueUnavailable
from runqueue.records.batch import Batch
from runqueue.records.job import JobState

#: Seconds between two polls, between two plain lines of progress, and between two checks of what
#: holds the jobs.
_POLL, _LINE_EVERY, _HOLDS_EVERY = 0.5, 5.0, 5.0
#: Seconds that Redis may be away while jobs are followed, as in a failover.
_PATIENCE = 60.0
#: Jobs polled in one call.
_PAGE = 1000
_GRACE = "RUNQUEUE_UNCONFIRMED_GRACE_SECONDS"
#: Two searches half a minute apart, the first after the grace, find an unconfirmed job's run or let
#: it be submitted again. The wait lasts so many graces, or so many seconds beyond one.
_GRACES, _BEYOND = 2.5, 60.0


class FollowedJobs:
    """Batches that are followed by their counts, and other jobs by their ids.

    Args:
        queue: the queue.
        batches: ids of batches.
        job_ids: ids of other jobs.
        accounts: the accounts of these jobs.
    """

    def __init__(
        self,
        queue: Queue,
        batches: Iterable[str],
        job_ids: Collection[str] = (),
        accounts: Iterable[str] = (),
    ) -> None:
        self._queue = queue
        self._open = list(job_ids)
        self._single: Counter[str] = Counter({"": len(self._open)})
        self.batches = {name: queue.get_batch(name) for name in batches}
        self.accounts = {*accounts, *(batch.account for batch in self.batches.values())}

    def poll(self) -> None:
        """Poll what is not over."""
        for name in self.batches:
            self.batches[name] = self._queue.get_batch(name)
        still = []
        for name in _OPEN:
            self._single.pop(name, None)
        for start in range(0, len(self._open), _PAGE):
            some = self._open[start : start + _PAGE]
            for job_id, (state, _) in zip(some, self._queue.states(some), strict=True):
                self._single[state.value if state else "gone"] += 1
                if state and not state.is_over:
                    still.append(job_id)
        self._open = still

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(batch.total for batch in self.batches.values()) + self._single.total()

    @property
    def states(self) -> Counter[str]:
        """How many jobs are in which state; those whose record was removed are `gone`."""
        return sum((_counts(batch) for batch in self.batches.values()), +self._single)

    @property
    def live(self) -> Counter[str]:
        """How many jobs that something may still happen to by itself are in which state."""
        live = [_counts(one) for one in self.batches.values() if not one.status.is_final]
        counts = sum(live, +self._single)
        return Counter({state: n for state, n in counts.items() if state in _OPEN})

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens by itself any more."""
        return not self._open and all(one.status.is_final for one in self.batches.values())

    @property
    def seconds_left(self) -> float | None:
        """How long the batches take yet; None = unknown."""
        spans = [one.seconds_left for one in self.batches.values() if not one.status.is_final]
        known = [span for span in spans if span is not None]
        return max(known) if known and len(known) == len(spans) and not self._open else None


#: States of jobs that have not ended; '' = not polled yet.
_OPEN = {"", *(state.value for state in JobState if not state.is_over)}


def _counts(batch: Batch) -> Counter[str]:
    return Counter({state.value: n for state, n in batch.states.items() if n})


def watch(queue: Queue, jobs: FollowedJobs) -> None:
    """Show the progress of jobs until nothing more happens to them by itself.

    That is also so if all that have not ended were unconfirmed for longer than the search for a run
    takes.

    Raises:
        BatchNotFound: a batch was removed.
        QueueUnavailable: the queue was away for too long.
    """
    grace = unconfirmed_grace()
    answered = changed = time.monotonic()
    next_check, said, before = answered + _HOLDS_EVERY, set[str](), Counter[str]()
    with progress_line(every=_LINE_EVERY) as shown:
        while True:
            try:
                jobs.poll()
                answered = now = time.monotonic()
                if jobs.live != before or set(before) != {JobState.UNCONFIRMED.value}:
                    before, changed = jobs.live, now
                is_last = jobs.is_settled or now - changed > grace
                done = sum(n for state, n in jobs.states.items() if state not in _OPEN)
                words = f"{done}/{jobs.total} done, {shown.per_second:,.1f}/s, ETA "
                words += f"{span_words(jobs.seconds_left)}, {state_words(jobs.states)}"
                shown.show(done, jobs.total, words, is_last=is_last)
                if is_last or now >= next_check:
                    next_check = now + _HOLDS_EVERY
                    holds = dict(_holds(queue, jobs, is_last=is_last))
                    for cause in holds.keys() - said:
                        shown.say(holds[cause])
                    said = set(holds)
                if is_last:
                    return
            except QueueUnavailable as error:
                if time.monotonic() - answered > _PATIENCE:
                    raise
                shown.say(f"{error}; trying again")
            time.sleep(_POLL)


def unconfirmed_grace() -> float:
    """Return the seconds after which an unconfirmed job is not waited for."""
    try:
        seconds = float(os.environ.get(_GRACE) or 30)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise typer.BadParameter("expected a number of seconds", param_hint=_GRACE)
    return max(_GRACES * seconds, seconds + _BEYOND)


def _holds(queue: Queue, jobs: FollowedJobs, *, is_last: bool) -> Iterator[tuple[str, str]]:
    """Yield what keeps jobs waiting: the cause, and words."""
    for batch in jobs.batches.values():
        if words := held_words(batch):
            yield f"{batch.id} {words}", f"batch {batch.id}: {words}"
    for account, stats in queue.stats().items() if not is_last else ():
        if account not in jobs.accounts:
            continue
        if stats.damage:
            yield account, f"account {account} is stopped: {printable(stats.damage)}"
        elif stats.hold_reason:
            yield f"{account} {stats.hold_reason}", hold_words(stats)
        elif not stats.processes:
            yield account, f"no worker process serves account {account}"
