"""A batch that is followed by its counts: what they say of its jobs."""

from collections import Counter
from dataclasses import dataclass

from runqueue.records.batch import Batch
from runqueue.records.job import JobState

#: What a job is called whose record is gone: its batch expired, or its retention is over.
GONE = "gone"


@dataclass(slots=True)
class Counted:
    """A batch that is followed by its counts, as of the last poll.

    Args:
        total: how many jobs it has.
        batch: its last state; None = nothing is known yet.
        is_gone: whether its record is gone: its jobs ended longer ago than they are kept.
        stuck: how many of its jobs have been unconfirmed for too long.
    """

    total: int
    batch: Batch | None = None
    is_gone: bool = False
    stuck: int = 0

    @property
    def states(self) -> Counter[str]:
        """How many of its jobs are in which state."""
        states = Counter({s.value: n for s, n in self.batch.states.items()} if self.batch else {})
        if self.is_gone:
            states = Counter({state: states[state] for state in states if JobState(state).is_over})
            states[GONE] = self.total - states.total()
        return states

    @property
    def over(self) -> int:
        """How many of its jobs have ended."""
        if self.is_gone:
            return self.total
        return sum(n for s, n in self.batch.states.items() if s.is_over) if self.batch else 0

    @property
    def done(self) -> int:
        """How many have ended, or are stuck."""
        return self.over + self.stuck

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for any more: aborted, say, the rest stays as it is."""
        return self.done >= self.total or (self.batch is not None and self.batch.status.is_final)

    @property
    def unconfirmed(self) -> int:
        """How many jobs may have an unknown run."""
        return self.batch.states.get(JobState.UNCONFIRMED, 0) if self.batch else 0
