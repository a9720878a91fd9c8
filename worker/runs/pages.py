"""Reading the list of live runs, page by page: several at once, and not those of young runs.

Runs come and go while pages are read. One that comes shifts the others towards later pages: a run
may be seen twice. One that goes shifts them towards earlier ones: a run may be skipped, and costs a
GET that says that it goes on. Read at once, the pages leave little time for either.
"""

import asyncio
from collections.abc import Sequence

from api_client import ListClass, RunPage
from worker.runs.listed_runs import Runs
from worker.runs.live_runs import MAX_PAGES, ORDER_SECONDS, PAGE, ListPages, Watchlist

#: The filter of the list; what an item says of itself counts. Skyvern 1.0.40 refuses a list by the
#: last one (`tests/real/test_conformance.py`).
LIVE, PAUSED = ("created", "queued", "running", "paused"), "paused"


class PageFailedError(Exception):
    """A page could not be read; `page` is the answer."""

    def __init__(self, page: RunPage) -> None:
        super().__init__(page.outcome.value)
        self.page = page


class TooLongError(Exception):
    """The list has more pages than are worth reading: other people's runs."""


class Pager:
    """Reads lists, and remembers where the last one began and ended.

    Args:
        runs: reads a page.
        watchlist: our runs, which show how old a page is.
        slots: bounds the pages read at once.
    """

    def __init__(self, runs: Runs, watchlist: Watchlist, slots: asyncio.Semaphore) -> None:
        self._runs = runs
        self._slots = slots
        self._watchlist = watchlist
        self._first = 1
        self._last = 0
        self._statuses: Sequence[str] = LIVE

    def restart(self) -> None:
        """Begin at the first page next time."""
        self._first, self._last = 1, 0

    async def read(self, now_us: int, young_us: int, most: int) -> ListPages:
        """Read the list from the first page that may hold a run which is over.

        Args:
            now_us: the queue's clock.
            young_us: below this age a run is too young to be over; 0 = not known.
            most: pages that are worth reading.

        Raises:
            PageFailedError: a page could not be read; what was read says nothing then.
            TooLongError: there are more.
        """
        first = self._first if young_us else 1
        pages, is_whole = await self._forward(first, most)
        while first > 1 and not self._is_young(pages[0], now_us, young_us):
            first -= 1
            pages.insert(0, await self.page(first))
        reach = 0 if is_whole else reach_of(pages[-1], now_us)
        read = ListPages(first, [page.runs for page in pages], is_whole, reach)
        oldest = self._watchlist.oldest(read.pages[0])
        is_all_young = oldest is not None and now_us - oldest < young_us
        self._first = first + 1 if is_all_young and first < read.last else first
        self._last = read.last
        return read

    def _is_young(self, page: RunPage, now_us: int, young_us: int) -> bool:
        """Say whether what stands before a page is too young: newer than the newest of it is."""
        newest = self._watchlist.newest(page.runs)
        return newest is not None and now_us - newest < young_us

    async def _forward(self, first: int, most: int) -> tuple[list[RunPage], bool]:
        """Read on to the end: as many pages at once as there were last time, then one by one."""
        pages: list[RunPage] = []
        number = first
        expected = self._last or -(-len(self._watchlist) // PAGE)
        while number <= most:
            upto = max(number, min(expected, most))
            some = await asyncio.gather(*map(self.page, range(number, upto + 1)))
            for page in some:
                pages.append(page)
                if page.is_short:
                    return pages, True
            number = upto + 1
        if most < MAX_PAGES:
            raise TooLongError
        return pages, False

    async def page(self, number: int) -> RunPage:
        """Read one page.

        Raises:
            PageFailedError: it could not be read.
        """
        async with self._slots:
            statuses = self._statuses
            page = await self._runs.page(number, status=statuses)
            if page.status_code == 422 and PAUSED in statuses:
                # A paused run is missing in such a list; reading it by itself says that it goes on.
                self._statuses = tuple(status for status in LIVE if status != PAUSED)
                page = await self._runs.page(number, status=self._statuses)
        if page.outcome is not ListClass.DONE:
            raise PageFailedError(page)
        return page


def reach_of(page: RunPage, now_us: int) -> int:
    """Return when a run was begun that is sure to stand on this page or before; 0 = not known.

    By the oldest that it shows, of any owner: where more runs live than the server has pages for,
    none of them may be one that is left to lists. Ages are by the server's own clock.
    """
    made = [run.created for run in page.runs if run.created is not None]
    if not made or page.server_date is None:
        return 0
    age = page.server_date - min(made) - ORDER_SECONDS
    return now_us - int(max(age, 0.0) * 1e6)
