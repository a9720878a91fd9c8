"""What an archive tells of many jobs: groups of errors, and charts."""

from datetime import datetime
from typing import NamedTuple


class ErrorGroup(NamedTuple):
    """Failures with the same category and the same words, but for numbers, ids, times and URLs.

    Args:
        id: the group's, as text: it has too many digits for some readers of JSON.
        category: Skyvern's word for them; '' = none is known.
        words: the reason, with names in place of what varies.
        jobs: how many.
        share: of all jobs that failed, percent.
        credits: that their runs took.
        trend: jobs by equal parts of the time, the oldest first.
        first_at: the end of the first one ever; last_at: of the last one of these.
        examples: ids of some, the newest first.
        is_new: whether the first one ever is one of these.
    """

    id: str
    category: str
    words: str
    jobs: int
    share: float
    credits: int
    trend: list[int]
    first_at: datetime
    last_at: datetime
    examples: list[str]
    is_new: bool


class ChartPoint(NamedTuple):
    """What ended in a part of the time, or in all of it.

    Args:
        at: when it begins.
        states: jobs by the state that they ended in.
        waited, ran: seconds from creation to the last run's start, and from there to the end: half
            of the jobs took at most the first, 95 % the second; None = not known.
        steps, credits: that their runs took.
    """

    at: datetime
    states: dict[str, int]
    waited: tuple[float | None, float | None]
    ran: tuple[float | None, float | None]
    steps: int
    credits: int

    @property
    def jobs(self) -> int:
        """How many ended."""
        return sum(self.states.values())

    @property
    def failed(self) -> int:
        """How many failed, or are dead."""
        return self.states.get("failed", 0) + self.states.get("dead", 0)

    @property
    def failure_share(self) -> float | None:
        """Percent of them that failed or are dead; None = there are none."""
        return 100 * self.failed / self.jobs if self.jobs else None


class Chart(NamedTuple):
    """What ended over time.

    Args:
        step_seconds: of each point.
        points: the oldest first.
        total: of the whole time.
    """

    step_seconds: int
    points: list[ChartPoint]
    total: ChartPoint
