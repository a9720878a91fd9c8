"""Following jobs to their ends: which are open, how they stand, when to look again."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from runqueue.errors import QueueUnavailable
from runqueue.job import JobState
from runqueue.queue import RunQueue

#: Seconds between two looks, the least and the most.
SOONEST, LATEST = 0.1, 1.0
#: Seconds over which the rate is measured.
_RATE_SECONDS = 15.0
#: Seconds that Redis may be away while jobs are followed, a failover say.
_PATIENCE = 60.0
#: What a job is called whose record is gone: its batch expired, or its retention is over.
GONE = "gone"


class Following:
    """Jobs on their way; each look asks only for those that are still open.

    Args:
        queue: the queue.
        job_ids: the jobs, by account.
        grace: seconds a job may be unconfirmed before there is no use in waiting for it.
    """

    def __init__(self, queue: RunQueue, job_ids: Mapping[str, Sequence[str]], grace: float) -> None:
        self.total = sum(map(len, job_ids.values()))
        self._queue = queue
        self._grace = grace
        self._open = {account: list(ids) for account, ids in job_ids.items()}
        self._ended: Counter[str] = Counter()
        self._standing: Counter[str] = Counter()
        self._stuck: list[str] = []

    @property
    def states(self) -> Counter[str]:
        """How many jobs stand where, as of the last look."""
        return self._ended + self._standing

    @property
    def done(self) -> int:
        """How many jobs there is nothing to wait for any more."""
        return self._ended.total() + len(self._stuck)

    @property
    def accounts(self) -> list[str]:
        """The accounts whose jobs are still open."""
        return [account for account, ids in self._open.items() if ids]

    @property
    def stuck(self) -> list[str]:
        """The jobs that have been unconfirmed for too long; a late answer can still free them."""
        return self._stuck

    def look(self) -> list[str]:
        """Look at every open job once; returns those that have ended since the last look.

        Raises:
            QueueUnavailable: nothing is forgotten; look again.
        """
        answers = {account: self._queue.states(ids) for account, ids in self._open.items() if ids}
        ended: list[str] = []
        self._standing.clear()
        self._stuck = []
        for account, states in answers.items():
            still = []
            for job_id, (state, seconds) in zip(self._open[account], states, strict=True):
                if state is None or state.is_over:
                    self._ended[state.value if state else GONE] += 1
                    ended.append(job_id)
                    continue
                still.append(job_id)
                self._standing[state.value] += 1
                if state is JobState.UNCONFIRMED and seconds > self._grace:
                    self._stuck.append(job_id)
            self._open[account] = still
        return ended


class Pace:
    """How fast jobs end, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float | None = None) -> None:
        """Note how many are done by now (seconds on any clock that only goes on)."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """Jobs a second; 0 while there is no telling."""
        if len(self._seen) < 2:
            return 0.0
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def seconds_for(self, left: int) -> float | None:
        """Return how long the rest takes at this pace; None while there is no telling."""
        rate = self.per_second
        return left / rate if rate > 0 else None


def be_patient(error: QueueUnavailable, answered: float, say: Callable[[str], None]) -> None:
    """Say that Redis is away; once it has been for too long, the error goes on.

    Args:
        error: what a look came to.
        answered: when it answered last (`time.monotonic`).
        say: told the words.
    """
    if time.monotonic() - answered > _PATIENCE:
        raise error
    say(f"{error}; trying again")


def next_pause(pause: float, moved: int, left: int) -> float:
    """Return the seconds until the next look: soon while jobs end, longer the more are asked for.

    Args:
        pause: the last pause.
        moved: how many jobs ended since.
        left: how many are still open.
    """
    wish = SOONEST if moved else pause * 1.5
    return min(max(wish, left / 20_000, SOONEST), LATEST)
