"""What a process knows of the runs that the list of live runs shows, and what a list means.

Pure: nothing here calls Redis or Skyvern. An item's own status decides whether its run is live,
never the filter that was sent; a run that is missing only ever gets a GET.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from api_client import ListedRun
from api_client.types import TERMINAL_STATUSES
from runqueue.store.live_run_calls import Joined, ListReading, Shown
from worker.poll_times import is_long_queued

#: Runs that a page shows, and pages that the server has.
PAGE, MAX_PAGES = 100, 100
#: Submissions answered out of order: so many seconds apart two runs may stand the other way round.
ORDER_SECONDS = 10.0
#: A run is too young to be over below that share of what the shortest of late took.
YOUNG_SHARE = 0.9
#: From so many missing on, if they are more than half, a list is not believed at once.
SUSPICIOUS = 20


def young_seconds(reading: ListReading, spaced: float) -> float:
    """Return below which age runs are too young to be over; 0 = not known.

    The shortest of late counts, which is above the truth by the delay of a poll at most.
    """
    return max(0.0, YOUNG_SHARE * reading.floor_us / 1e6 - spaced)


def pages_worth(live: int) -> int:
    """Return how many pages are worth reading for so many runs: each replaces two GETs at least."""
    return min(MAX_PAGES, max(2, live // 2))


class ListPages(NamedTuple):
    """What was read of a list.

    Args:
        first: the number of the first page; those before it hold only runs too young to be over.
        pages: the runs of each page from there on, newest first.
        is_whole: the last page was reached.
        reach_us: where it was not, runs begun before are on no page; 0 = not known.
    """

    first: int
    pages: Sequence[Sequence[ListedRun]]
    is_whole: bool = True
    reach_us: int = 0

    @property
    def last(self) -> int:
        """The number of the last page."""
        return self.first + len(self.pages) - 1


@dataclass
class ListVerdict:
    """What a list means for our runs.

    Attributes:
        missing: those that it should show and does not.
        shown: those with another status than before, and orphans.
        is_suspicious: so many are missing that the list may be wrong.
    """

    missing: list[Joined]
    shown: list[Shown]
    missing_orphans: list[str] = field(default_factory=list)
    is_suspicious: bool = False


class Watchlist:
    """The runs that are left to the list, by their ids."""

    def __init__(self) -> None:
        self._runs: dict[str, Joined] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, joined: Iterable[Joined]) -> None:
        """Take runs on; one that is known is known better now."""
        for run in joined:
            if run.run_id:
                self._runs[run.run_id] = run

    def drop(self, run_ids: Iterable[str]) -> None:
        """Forget runs: they are polled by a GET, or over."""
        for run_id in run_ids:
            self._runs.pop(run_id, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._runs.clear()

    def started(self) -> list[int]:
        """Return when each run was begun, microseconds of the queue's clock."""
        return [run.started_us for run in self._runs.values()]

    def newest(self, page: Iterable[ListedRun]) -> int | None:
        """Return when the newest of our runs on a page was begun; None = none of it is ours."""
        return max(self._on(page), default=None)

    def oldest(self, page: Iterable[ListedRun]) -> int | None:
        """Return when the oldest of our runs on a page was begun; None = none of it is ours."""
        return min(self._on(page), default=None)

    def _on(self, page: Iterable[ListedRun]) -> list[int]:
        return [self._runs[run.run_id].started_us for run in page if run.run_id in self._runs]

    def judge(self, read: ListPages, before_us: int, orphans: Collection[str] = ()) -> ListVerdict:
        """Compare a list with what should be in it; remembers the statuses that it shows.

        Args:
            read: the list.
            before_us: runs that joined later are not expected.
            orphans: runs that no job owns, and that may still run.
        """
        live = {
            run.run_id: run.status
            for page in read.pages
            for run in page
            if run.status not in TERMINAL_STATUSES
        }
        newest_us = self._newest_expected(read)
        expected = [
            run
            for run in self._runs.values()
            if run.joined_us <= before_us and (newest_us is None or run.started_us <= newest_us)
        ]
        missing = [run for run in expected if run.run_id not in live]
        lost = [] if read.first > 1 or not read.is_whole else orphans
        return ListVerdict(
            missing,
            self._changes(live, before_us)
            + [Shown("", run, live[run]) for run in orphans if run in live],
            [run for run in lost if run not in live],
            self._is_suspicious(read, expected, missing),
        )

    def _newest_expected(self, read: ListPages) -> int | None:
        if read.first == 1:
            return None
        newest = self.newest(read.pages[0])
        return 0 if newest is None else newest - int(ORDER_SECONDS * 1e6)

    def _is_suspicious(
        self, read: ListPages, expected: Sequence[Joined], missing: Sequence[Joined]
    ) -> bool:
        """Say whether more than half are missing of what the list reaches back to."""
        oldest = min(self._on(read.pages[-1]), default=0)
        reach = 0 if read.is_whole else read.reach_us or oldest
        gone = sum(run.started_us >= reach for run in missing)
        known = sum(run.started_us >= reach for run in expected)
        return gone >= SUSPICIOUS and 2 * gone > known

    def _changes(self, live: Mapping[str, str], now_us: int) -> list[Shown]:
        changes = []
        for run_id, status in live.items():
            run = self._runs.get(run_id)
            if run is not None and (
                run.run_status != status or is_long_queued(status, now_us - run.started_us)
            ):
                self._runs[run_id] = run._replace(run_status=status)
                changes.append(Shown(run.job_id, run_id, status))
        return changes
