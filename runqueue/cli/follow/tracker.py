"""Following jobs to their ends: batches by their counts, other jobs by their ids."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from runqueue import ids
from runqueue.cli.follow.batch_counts import GONE, Counted
from runqueue.cli.follow.job_id_store import COUNTED, SINGLE, JobList, Listed, Which
from runqueue.cli.shared.queues import Queue, find
from runqueue.errors import BatchNotFound
from runqueue.producer.listing import Filter
from runqueue.records.batch import Batch
from runqueue.records.job import JobState

#: Seconds between two polls, the least and the most.
SOONEST, LATEST = 0.1, 1.0
#: The pause is at least so many times the length of a poll, and at most so many seconds.
_SHARE, _LONGEST = 3.0, 30.0
#: Jobs polled in one call, and jobs passed on at once: their results may be large.
_PAGE, _SOME = 1000, 100
#: Takes the ids of jobs that have ended.
Take = Callable[[list[str]], None]


class _SeenJob(NamedTuple):
    """A job as the last poll saw it.

    Args:
        name: of its state.
        unconfirmed_seconds: seconds for which it has been unconfirmed.
    """

    job: Listed
    name: str
    unconfirmed_seconds: float

    @property
    def is_over(self) -> bool:
        return self.name == GONE or JobState(self.name).is_over


class Following:
    """Follows jobs to their ends.

    Args:
        queue: the queue.
        batches: the batches followed by their counts, with the numbers of their jobs.
        jobs: the other jobs; and those of the batches, if `take` gets them as they end.
        accounts: the accounts of the jobs.
        grace: seconds a job may be unconfirmed before it counts as stuck.
    """

    def __init__(
        self,
        queue: Queue,
        batches: Mapping[str, int],
        jobs: JobList,
        accounts: Collection[str],
        grace: float,
    ) -> None:
        self._queue = queue
        self._accounts = accounts
        self._jobs = jobs
        self._grace = grace
        self._batches = {name: Counted(total) for name, total in batches.items()}
        self._taken = 0
        self._ended: Counter[str] = Counter()
        self._standing: Counter[str] = Counter()
        #: The first characters of the ids of open jobs: they encode the account.
        self._tags: set[str] = set()
        self._stuck = 0
        self.sizes = batches
        self.total = sum(batches.values()) + jobs.left[SINGLE]

    @property
    def batches(self) -> list[Batch]:
        """The batches that are followed by their counts."""
        return [found.batch for found in self._batches.values() if found.batch]

    @property
    def accounts(self) -> list[str]:
        """The accounts whose jobs are still open."""
        counted = self._batches.values()
        owners = {one.batch.account for one in counted if one.batch and not one.is_settled}
        return [a for a in self._accounts if a in owners or ids.account_tag(a) in self._tags]

    @property
    def left(self) -> int:
        """How many jobs are polled one by one."""
        return self._jobs.left[SINGLE]

    @property
    def states(self) -> Counter[str]:
        """How many jobs are in which state, as of the last poll."""
        return sum((one.states for one in self._batches.values()), self._ended + self._standing)

    @property
    def done(self) -> int:
        """How many jobs have ended, or are stuck."""
        return sum(one.done for one in self._batches.values()) + self._single

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        others = self.total - sum(one.total for one in self._batches.values())
        return self._single >= others and all(one.is_settled for one in self._batches.values())

    @property
    def _single(self) -> int:
        return self._ended.total() + self._stuck

    @property
    def stuck(self) -> int:
        """How many have been unconfirmed for too long; a late answer can still free them."""
        return self._stuck + sum(one.stuck for one in self._batches.values())

    def poll(self, take: Take | None = None) -> None:
        """Poll the jobs.

        Args:
            take: gets the ids of those that have ended since the last poll, some at a time; if it
                raises, it gets them again.

        Raises:
            QueueUnavailable: nothing is forgotten; poll again.
        """
        for name, counted in self._batches.items():
            self._count(name, counted)
        standing, tags, stuck = Counter[str](), set[str](), 0
        for some in self._pages(SINGLE):
            found = self._ask(some)
            self._hand_on(SINGLE, [one for one in found if one.is_over], take)
            open_ones = [one for one in found if not one.is_over]
            standing.update(one.name for one in open_ones)
            tags.update(one.job.job_id[: ids.TAG_LENGTH] for one in open_ones)
            stuck += sum(one.unconfirmed_seconds > self._grace for one in open_ones)
        self._standing, self._tags, self._stuck = standing, tags, stuck
        if take:
            self._take_counted(take)

    def take_rest(self, take: Take) -> None:
        """Pass on the jobs that are stuck, and those that ended since; the others had no run."""
        for which in (COUNTED, SINGLE):
            for some in self._pages(which):
                found = self._ask(some)
                rest = [one for one in found if one.is_over or one.name == JobState.UNCONFIRMED]
                self._hand_on(which, rest, take)
                if which == SINGLE:
                    self._standing.subtract(one.name for one in rest)

    def _count(self, name: str, counted: Counted) -> None:
        if counted.is_gone:
            return
        try:
            counted.batch = self._queue.get_batch(name)
        except BatchNotFound:
            counted.is_gone = True
            return
        counted.stuck = 0
        left = counted.total - counted.over
        if left and left == counted.unconfirmed:
            counted.stuck = self._stuck_in(counted.batch)

    def _stuck_in(self, batch: Batch) -> int:
        """Count the jobs of a batch that have been unconfirmed for too long."""
        found = find(self._queue, Filter(state=JobState.UNCONFIRMED), batch.account)
        states = self._queue.states([job.id for job in found if job.batch == batch.id])
        return sum(
            state is JobState.UNCONFIRMED and seconds > self._grace for state, seconds in states
        )

    def _take_counted(self, take: Take) -> None:
        """Pass on the ended jobs of counted batches, nearly in the order of the file."""
        expected = sum(one.over for one in self._batches.values()) - self._taken
        for some in self._pages(COUNTED) if expected > 0 else ():
            over = [one for one in self._ask(some) if one.is_over]
            self._hand_on(COUNTED, over, take)
            expected -= len(over)
            if expected <= 0:
                return

    def _pages(self, which: Which) -> Iterator[list[Listed]]:
        after = 0
        while some := self._jobs.page(which, after, _PAGE):
            yield some
            after = some[-1].place

    def _ask(self, jobs: list[Listed]) -> list[_SeenJob]:
        states = self._queue.states([job.job_id for job in jobs])
        return [
            _SeenJob(job, state.value if state else GONE, unconfirmed_seconds)
            for job, (state, unconfirmed_seconds) in zip(jobs, states, strict=True)
        ]

    def _hand_on(self, which: Which, seen: list[_SeenJob], take: Take | None) -> None:
        """Pass jobs on, then remove them."""
        for start in range(0, len(seen), _SOME):
            some = seen[start : start + _SOME]
            if take:
                take([one.job.job_id for one in some])
            self._jobs.remove(which, [one.job for one in some])
            if which == SINGLE:
                self._ended.update(one.name for one in some)
            else:
                self._taken += len(some)


def next_pause(pause: float, moved: int, left: int, took: float = 0.0) -> float:
    """Return the seconds until the next poll: few while jobs end, more the more jobs are polled.

    Args:
        pause: the last pause.
        moved: how many jobs ended since.
        left: how many are still open and polled one by one.
        took: seconds that the poll took.
    """
    wish = SOONEST if moved else pause * 1.5
    usual = min(max(wish, left / 20_000, SOONEST), LATEST)
    return max(usual, min(_SHARE * took, _LONGEST))
