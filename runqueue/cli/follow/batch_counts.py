"""A batch that is followed by its counts."""

from collections import Counter
from dataclasses import dataclass

from runqueue.records.batch import Batch
from runqueue.records.job import JobState

#: The name for jobs whose record is gone: the batch expired, or its retention is over.
GONE = "gone"


@dataclass(slots=True)
class Counted:
    """A batch that is followed by its counts, as of the last poll.

    Args:
        total: how many jobs it has.
        batch: its last state; None = not read yet.
        is_gone: whether its record is gone: its jobs' retention is over.
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
        """Whether there is nothing left to wait for, for example after an abort."""
        return self.done >= self.total or (self.batch is not None and self.batch.status.is_final)

    @property
    def unconfirmed(self) -> int:
        """How many jobs may have an unknown run."""
        return self.batch.states.get(JobState.UNCONFIRMED, 0) if self.batch else 0
