"""Watching a batch until it is over; what it costs does not grow with the batch."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from runqueue.batches import Batch
from runqueue.cli.follow import SOONEST, be_patient, next_pause
from runqueue.cli.holds import Holds
from runqueue.cli.show import Display, display
from runqueue.cli.words import printable
from runqueue.errors import QueueUnavailable
from runqueue.queue import RunQueue

#: What holds a batch, in words that say what ends it.
_HELD = {
    "paused": "it is paused: `runqueue batch resume {}` goes on",
    "canary": "its first jobs go; the others wait for them, or for `runqueue batch resume {}`",
    "aborted": "its rules aborted it: {why}; `runqueue batch resume {}` goes on",
    "canceled": "it was canceled",
}


@dataclass(frozen=True, slots=True)
class BatchWay:
    """How far a batch is, for the display."""

    total: int
    done: int
    states: Mapping[str, int]

    @classmethod
    def of(cls, batch: Batch) -> "BatchWay":
        """Return how far it is."""
        done = sum(n for state, n in batch.states.items() if state.is_over)
        return cls(batch.total, done, {state.value: n for state, n in batch.states.items()})


def watch_batch(queue: RunQueue, name: str) -> Batch:
    """Show how far a batch is, until it is over; returns how it ended.

    Raises:
        BatchNotFound: no such batch is on record.
        QueueUnavailable: Redis was away for too long.
    """
    found = queue.get_batch(name)
    pause, answered, said = SOONEST, time.monotonic(), ""
    with display(found.total) as shown:
        holds = Holds(queue, shown.say)
        before = 0
        while True:
            moved = 0
            try:
                found = queue.get_batch(name)
                way = BatchWay.of(found)
                moved, before = way.done - before, way.done
                shown.show(way)
                said = _say_held(found, said, shown)
                if found.status.is_final:
                    return found
                holds.look([found.account])
                answered = time.monotonic()
            except QueueUnavailable as error:
                be_patient(error, answered, shown.say)
            pause = next_pause(pause, moved, 0)
            time.sleep(pause)


def _say_held(batch: Batch, said: str, shown: Display) -> str:
    """Say what holds the batch, where that is news; returns what was said last."""
    held = batch.held or ""
    if held and held != said:
        words = _HELD.get(held, held).format(batch.id, why=printable(batch.held_reason or ""))
        shown.say(f"batch {batch.id}: {words}")
    return held
