"""Watching a batch until it is over, at a cost that does not grow with its size."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from runqueue.cli.backends.direct import Queue
from runqueue.cli.follow.account_holds import Holds
from runqueue.cli.follow.batch_holds import Held
from runqueue.cli.follow.tracker import SOONEST, be_patient, next_pause
from runqueue.cli.shared.output import display
from runqueue.errors import QueueUnavailable
from runqueue.records.batch import Batch


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """A batch's progress, for the display."""

    total: int
    done: int
    states: Mapping[str, int]

    @classmethod
    def of(cls, batch: Batch) -> "BatchProgress":
        """Return the progress of a batch."""
        done = sum(n for state, n in batch.states.items() if state.is_over)
        return cls(batch.total, done, {state.value: n for state, n in batch.states.items()})


def watch_batch(queue: Queue, name: str) -> Batch:
    """Show a batch's progress until it is over; returns its last state.

    Raises:
        BatchNotFound: there is no such batch.
        QueueUnavailable: the queue was away for too long.
    """
    found = queue.get_batch(name)
    pause, answered = SOONEST, time.monotonic()
    with display() as shown:
        holds, held = Holds(queue, shown.say), Held(shown.say)
        before = 0
        while True:
            moved = 0
            try:
                found = queue.get_batch(name)
                way = BatchProgress.of(found)
                moved, before = way.done - before, way.done
                waits = bool(found.held or found.paused_group)
                shown.show(way, is_held=waits, is_last=found.status.is_final)
                held.look([found])
                if found.status.is_final:
                    return found
                holds.look([found.account])
                answered = time.monotonic()
            except QueueUnavailable as error:
                be_patient(error, answered, shown.say)
            pause = next_pause(pause, moved, 0)
            time.sleep(pause)
