"""Polling jobs, or one batch, until there is nothing left to wait for.

A batch is watched at a cost that does not grow with its size.
"""

import time
from collections.abc import Callable

from runqueue.cli.follow.account_holds import Holds
from runqueue.cli.follow.batch_counts import Counted
from runqueue.cli.follow.batch_holds import held_words
from runqueue.cli.follow.tracker import SOONEST, Following, next_pause
from runqueue.cli.shared.output import display
from runqueue.cli.shared.queues import Queue
from runqueue.cli.shared.saying import Saying
from runqueue.errors import QueueUnavailable
from runqueue.records.batch import Batch

#: Seconds that Redis may be away while jobs are followed, as in a failover.
_PATIENCE = 60.0


class WatchedBatch(Counted):
    """A batch that is watched, as of the last poll."""

    __slots__ = ()
    #: No job is polled by itself.
    left = 0

    @property
    def batches(self) -> list[Batch]:
        """The batch."""
        return [self.batch] if self.batch else []

    @property
    def accounts(self) -> list[str]:
        """Its account."""
        return [batch.account for batch in self.batches]

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens by itself any more."""
        return all(batch.status.is_final for batch in self.batches)


def watch_batch(queue: Queue, name: str) -> Batch:
    """Show a batch's progress until it is over; returns its last state.

    Raises:
        BatchNotFound: there is no such batch.
        QueueUnavailable: the queue was away for too long.
    """
    found = queue.get_batch(name)
    watched = WatchedBatch(found.total, found)

    def poll() -> None:
        nonlocal found
        watched.batch = found = queue.get_batch(name)
        watched.total = found.total

    follow_jobs(queue, watched, poll)
    return found


def follow_jobs(
    queue: Queue,
    jobs: Following | WatchedBatch,
    poll: Callable[[], None],
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Poll jobs until there is nothing left to wait for.

    Args:
        queue: the queue.
        jobs: what is shown of them.
        poll: polls them.
        finish: called at the end, and again if Redis was away.

    Raises:
        QueueUnavailable: the queue was away for too long.
    """
    pause, answered = SOONEST, time.monotonic()
    with display() as shown:
        messages = Saying(shown.say)
        holds = Holds(queue, messages)
        while True:
            before, began = jobs.done, time.monotonic()
            try:
                poll()
                is_held = any(one.held or one.paused_group for one in jobs.batches)
                shown.show(jobs, is_held=is_held, is_last=jobs.is_settled)
                for batch in jobs.batches:
                    if words := held_words(batch):
                        messages.print((batch.id, words), f"batch {batch.id}: {words}")
                if jobs.is_settled:
                    finish()
                    return
                holds.poll(jobs.accounts)
                answered = time.monotonic()
            except QueueUnavailable as error:
                if time.monotonic() - answered > _PATIENCE:
                    raise
                shown.say(f"{error}; trying again")
            took = time.monotonic() - began
            pause = next_pause(pause, jobs.done - before, jobs.left, took)
            time.sleep(pause)
