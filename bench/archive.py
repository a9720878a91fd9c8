"""The archive: what writing takes, and how long searches, error groups and charts take."""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from archive.database import engine_of, set_up
from archive.reader import Reader
from archive.rows import rows_of
from archive.writer import Writer
from bench.archived_jobs import ACCOUNT, BATCH, BEGUN_US, LASTING_US, job_id, made
from runqueue.producer.listing import Filter

Row = tuple[str, str, str]

_WRITTEN_AT_ONCE: Final = 500
_ROUNDS: Final = 5
_DAY: Final = timedelta(days=1)
BEGUN: Final = datetime.fromtimestamp(BEGUN_US / 1e6, UTC)
ENDED: Final = BEGUN + timedelta(microseconds=LASTING_US)


class Search(NamedTuple):
    """One of the thirty: which jobs, and which page of them."""

    wanted: Filter
    page: int = 0


async def fill(url: str, count: int) -> float:
    """Write so many jobs into an empty archive, and return the seconds of writing."""
    engine = engine_of(url)
    await set_up(engine)
    writer, took = Writer(engine), 0.0
    for start in range(0, count, _WRITTEN_AT_ONCE):
        some = [made(n, count) for n in range(start, min(count, start + _WRITTEN_AT_ONCE))]
        begun = time.perf_counter()
        assert not await writer.write(some)
        took += time.perf_counter() - begun
    await engine.dispose()
    return took


def searches(count: int) -> list[Search]:
    """Return the thirty searches, for so many jobs."""
    middle = count // 2
    order, batch = f"order {middle}", job_id(10**15 + (middle // BATCH | 1))
    week, day = {"since": ENDED - 7 * _DAY}, {"since": ENDED - _DAY}
    month_ago = {"since": BEGUN + 28 * _DAY, "until": BEGUN + 30 * _DAY}
    errors = [rows_of(made(n, count)).error for n in range(400)]
    common, *_, rare = [e.id for e in sorted(set(filter(None, errors)), key=errors.count)[::-1]]
    return [
        # Common words, rare ones, and beginnings of words.
        Search(Filter(text="search register")),
        Search(Filter(text="timeout")),
        Search(Filter(text=order)),
        Search(Filter(text="zeppelin")),
        Search(Filter(text=f"item {count // 3}")),
        Search(Filter(text="p")),
        Search(Filter(text="invoi")),
        Search(Filter(text="zepp")),
        Search(Filter(text="nowhere at all")),
        # Words, and more.
        Search(Filter(text="register", state="failed")),
        Search(Filter(text="register", state="dead", group="g29")),
        Search(Filter(text="captcha", **week)),
        Search(Filter(text="parcel", group="g3", **month_ago)),
        Search(Filter(text="zeppelin", state="completed", **week)),
        Search(Filter(text="item", batch=batch)),
        Search(Filter(text="order", metadata={"order": str(middle)})),
        # Names and entries.
        Search(Filter(metadata={"order": str(middle)})),
        Search(Filter(metadata={"env": "prod"}, state="failed")),
        Search(Filter(custom_id=f"order-{middle}")),
        Search(Filter(batch=batch)),
        Search(Filter(batch=batch, state="failed")),
        # Columns.
        Search(Filter(group="g7", state="failed", **week)),
        Search(Filter(group="g29", state="dead")),
        Search(Filter(workflow="wpid_3", state="canceled")),
        Search(Filter(**day)),
        Search(Filter(error=common)),
        Search(Filter(error=rare, group="g1")),
        # Pages that lie deep.
        Search(Filter(state="failed"), 40),
        Search(Filter(text="register"), 20),
        Search(Filter(group="g0", **month_ago), 30),
    ]


async def run(reader: Reader, search: Search, limit: int = 50) -> list[str]:
    """Return the ids of the page that a search is of."""
    cursor, ids = "", []
    for _ in range(search.page + 1):
        page = await reader.find(ACCOUNT, search.wanted, cursor, limit)
        ids, cursor = [job.id for job in page.jobs], page.cursor
    return ids


class _Times(NamedTuple):
    """Milliseconds of each kind, and what each took at most."""

    of: dict[str, list[float]]
    slowest: dict[str, float]


async def measure(url: str, count: int) -> _Times:
    """Time all searches, error groups and charts, in turns."""
    engine = engine_of(url)
    reader = Reader(engine)
    times = _Times(defaultdict(list), defaultdict(float))

    async def timed(kind: str, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        begun = time.perf_counter()
        found = await call()
        took = 1000 * (time.perf_counter() - begun)
        times.of[kind].append(took)
        times.slowest[what] = max(times.slowest[what], took)
        return found

    async def page_of(search: Search) -> None:
        # Each page of a deep one is a search of its own.
        cursor = ""
        for _ in range(search.page + 1):
            what = repr({k: v for k, v in search.wanted._asdict().items() if v})
            page = await timed(
                "searches", what, lambda: reader.find(ACCOUNT, search.wanted, cursor, 50)
            )
            cursor = page.cursor

    for _ in range(_ROUNDS):
        for search in searches(count):
            await page_of(search)
        for wanted in (
            Filter(since=ENDED - _DAY),
            Filter(),
            Filter(group="g2", since=ENDED - 7 * _DAY),
            Filter(workflow="wpid_1"),
            Filter(text="captcha", since=ENDED - 7 * _DAY),
        ):
            what = f"errors of {wanted.words}"
            await timed("errors and charts", what, lambda: reader.errors(ACCOUNT, wanted))
        for days in (1, 7, 60):
            since = ENDED - days * _DAY
            for name, value in (("", ""), ("group", "g0"), ("workflow", "wpid_2")):
                await timed(
                    "errors and charts",
                    f"chart of {days} days, {name}",
                    lambda: reader.chart(ACCOUNT, since, ENDED, name, value),
                )
            for name in ("group", "batch"):
                await timed(
                    "errors and charts",
                    f"top of {days} days, {name}",
                    lambda: reader.top(ACCOUNT, since, ENDED, name),
                )
        await timed("counts", "count of all", lambda: reader.count(ACCOUNT, Filter()))
        await timed(
            "counts", "count of a word", lambda: reader.count(ACCOUNT, Filter(text="captcha"))
        )
    await engine.dispose()
    return times
