"""The archive: what writing takes, and how long searches, error groups and charts take."""

import asyncio
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import func, select

from archive.database import engine_of, set_up
from archive.reader import Reader
from archive.rows import rows_of
from archive.tables import jobs
from archive.writer import Writer
from bench.archived_jobs import ACCOUNT, BATCH, BEGUN_US, LASTING_US, batch_id, made
from bench.cost import Side
from bench.stack import running
from lab.postgres import MISSING, postgres
from runqueue.producer.listing import Filter

Row = tuple[str, str, str]

_WRITTEN_AT_ONCE: Final = 500
_ROUNDS: Final = 5
_DAY: Final = timedelta(days=1)
#: Pairs of batches of which a worker's whole lives are compared: their jobs, and seconds of a run.
_PAIRS, _LIVES, _RUN_SECONDS = 5, 5_000, 30
BEGUN: Final = datetime.fromtimestamp(BEGUN_US / 1e6, UTC)
ENDED: Final = BEGUN + timedelta(microseconds=LASTING_US)


class Asked(NamedTuple):
    """One of the thirty: which jobs, and which page of them."""

    wanted: Filter
    page: int = 0


async def fill(url: str, count: int, first: int | None = None) -> float:
    """Write so many jobs into an empty archive, and return the seconds of writing.

    Args:
        url, count: which archive, and how many jobs.
        first: how many of them are written, the first ones; None = all.
    """
    engine = engine_of(url)
    await set_up(engine)
    writer, took = Writer(engine), 0.0
    numbers = range(count if first is None else first)
    for start in range(0, len(numbers), _WRITTEN_AT_ONCE):
        some = [made(n, count) for n in numbers[start : start + _WRITTEN_AT_ONCE]]
        begun = time.perf_counter()
        assert not await writer.write(some)
        took += time.perf_counter() - begun
    await engine.dispose()
    return took


def searches(count: int) -> list[Asked]:
    """Return the thirty searches, for so many jobs."""
    middle = count // 2
    order, batch = f"order {middle}", batch_id(BATCH * (middle // BATCH | 1))
    week = Filter(since=ENDED - 7 * _DAY)
    month_ago = Filter(since=BEGUN + 28 * _DAY, until=BEGUN + 30 * _DAY)
    errors = [rows_of(made(n, count)).error for n in range(400)]
    common, *_, rare = [e.id for e in sorted(set(filter(None, errors)), key=errors.count)[::-1]]
    return [
        # Common words, rare ones, and beginnings of words.
        Asked(Filter(text="search register")),
        Asked(Filter(text="timeout")),
        Asked(Filter(text=order)),
        Asked(Filter(text="zeppelin")),
        Asked(Filter(text=f"item {count // 3}")),
        Asked(Filter(text="p")),
        Asked(Filter(text="invoi")),
        Asked(Filter(text="zepp")),
        Asked(Filter(text="nowhere at all")),
        # Words, and more.
        Asked(Filter(text="register", state="failed")),
        Asked(Filter(text="register", state="dead", group="g29")),
        Asked(week._replace(text="captcha")),
        Asked(month_ago._replace(text="parcel", group="g3")),
        Asked(week._replace(text="zeppelin", state="completed")),
        Asked(Filter(text="item", batch=batch)),
        Asked(Filter(text="order", metadata={"order": str(middle)})),
        # Names and entries.
        Asked(Filter(metadata={"order": str(middle)})),
        Asked(Filter(metadata={"env": "prod"}, state="failed")),
        Asked(Filter(custom_id=f"order-{middle}")),
        Asked(Filter(batch=batch)),
        Asked(Filter(batch=batch, state="failed")),
        # Columns.
        Asked(week._replace(group="g7", state="failed")),
        Asked(Filter(group="g29", state="dead")),
        Asked(Filter(workflow="wpid_3", state="canceled")),
        Asked(Filter(since=ENDED - _DAY)),
        Asked(Filter(error=common)),
        Asked(Filter(error=rare, group="g1")),
        # Pages that lie deep.
        Asked(Filter(state="failed"), 40),
        Asked(Filter(text="register"), 20),
        Asked(month_ago._replace(group="g0"), 30),
    ]


class _Times(NamedTuple):
    """Milliseconds of each kind, and the most that each call took."""

    of: dict[str, list[float]]
    slowest: dict[str, float]


def sums(reader: Reader) -> Iterator[tuple[str, str, partial[Any]]]:
    """Yield what is summed up: its kind, what it is in words, and the call."""
    for wanted in (
        Filter(since=ENDED - _DAY),
        Filter(),
        Filter(group="g2", since=ENDED - 7 * _DAY),
        Filter(workflow="wpid_1"),
        Filter(text="captcha", since=ENDED - 7 * _DAY),
    ):
        call = partial(reader.errors, ACCOUNT, wanted)
        yield "errors and charts", f"errors, {wanted.words or 'all'}", call
    for days in (1, 7, 60):
        since = ENDED - days * _DAY
        for name, value in (("", ""), ("group", "g0"), ("workflow", "wpid_2")):
            chart = partial(reader.chart, ACCOUNT, since, ENDED, name, value)
            yield "errors and charts", f"chart of {days} days, {name or 'all'}", chart
        for name in ("group", "batch"):
            top = partial(reader.chart, ACCOUNT, since, ENDED, by=name)
            yield "errors and charts", f"chart of {days} days by {name}", top
    for wanted in (Filter(), Filter(text="captcha"), Filter(group="g3", state="failed")):
        yield "counts", f"count, {wanted.words or 'all'}", partial(reader.count, ACCOUNT, wanted)


async def measure(url: str, count: int) -> _Times:
    """Time all searches, groups of errors and charts, in turns."""
    engine = engine_of(url)
    reader = Reader(engine)
    times = _Times(defaultdict(list), defaultdict(float))

    def took(kind: str, what: str, begun: float) -> None:
        times.of[kind].append(1000 * (time.perf_counter() - begun))
        times.slowest[what] = max(times.slowest[what], times.of[kind][-1])

    for _ in range(_ROUNDS):
        for search in searches(count):
            cursor = ""
            for _ in range(search.page + 1):  # each page is a search of its own
                begun = time.perf_counter()
                page = await reader.find(ACCOUNT, search.wanted, cursor, 50)
                took("searches", f"{search.wanted.words} {search.wanted.state or ''}", begun)
                cursor = page.cursor
        for kind, what, call in sums(reader):
            begun = time.perf_counter()
            await call()
            took(kind, what, begun)
    await engine.dispose()
    return times


def lives(url: str) -> str:
    """Say what whole lives take with an archive, in terms of without, by the medians of pairs.

    Both sides run at the same time, with the usual settings of polling, until all is archived.
    """
    with _side() as plain, _side(RUNQUEUE_ARCHIVE_URL=url) as archived:
        pairs = []
        for number in range(_PAIRS + 1):  # the first one warms
            before = plain.cpu(), archived.cpu()
            for driver in [side.drive(_LIVES) for side in (plain, archived)]:
                assert driver.wait(600) == 0
            while asyncio.run(_count(url)) < (number + 1) * _LIVES:
                time.sleep(0.2)
            pairs.append((plain.cpu() - before[0], archived.cpu() - before[1]))
    worker = statistics.median(ours.worker / old.worker for old, ours in pairs[1:])
    redis = statistics.median(ours.redis / old.redis for old, ours in pairs[1:])
    return f"{worker:.2f} times the worker's CPU, {redis:.2f} times that of Redis"


@contextmanager
def _side(**settings: str) -> Iterator[Side]:
    settings["RUNQUEUE_POLL_MIN_SECONDS"] = "2"
    with (
        running("--duration", str(_RUN_SECONDS), as_usual=True) as stack,
        stack.workers(1, **settings) as (worker,),
    ):
        yield Side(Path(__file__).parents[1], stack, worker)


async def _count(url: str) -> int:
    engine = engine_of(url)
    async with engine.connect() as connection:
        found = await connection.scalar(select(func.count()).select_from(jobs))
    await engine.dispose()
    return int(found or 0)


@contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str]]:
    """Give the URLs of empty databases, by what they are."""
    found = {"SQLite": f"sqlite:///{folder}/archive.sqlite"}
    if MISSING:
        yield found
        return
    with postgres() as server:
        yield found | {"PostgreSQL": server.create("archive")}


def _bytes_of(url: str) -> int:
    if url.startswith("sqlite:///"):
        return sum(path.stat().st_size for path in Path(url[10:]).parent.iterdir())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(found[0]) if found else 0


def percentile(times: list[float], share: float) -> float:
    """Return a percentile: so large a share of the times is not longer."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)]


def rows() -> list[Row]:
    """Write `BENCH_JOBS` jobs (100,000 by default) into each database, and search them."""
    count = int(os.environ.get("BENCH_JOBS", "100000"))
    reach = {"searches": "p95 at most 300 ms", "errors and charts": "p95 at most 500 ms"}
    life, found = f"jobs of {_RUN_SECONDS} s into", list[Row]()
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as urls:
        found += ((f"{life} {name}", lives(url), "worker: 1.5") for name, url in urls.items())
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as urls:
        for name, url in urls.items():
            took = asyncio.run(fill(url, count))
            found.append((f"{count:,} jobs into {name}", f"{count / took:,.0f} jobs/s", "1,000"))
            found.append(("… bytes a job", f"{_bytes_of(url) / count:,.0f} B", ""))
            times = asyncio.run(measure(url, count))
            for kind, each in times.of.items():
                p50, p95 = percentile(each, 0.5), percentile(each, 0.95)
                words = f"p50 {p50:.0f} ms, p95 {p95:.0f} ms"
                found.append((f"… {kind} (n={len(each)})", words, reach.get(kind, "")))
            what, most = max(times.slowest.items(), key=lambda item: item[1])
            found.append(("… the slowest", f"{most:.0f} ms: {what}", ""))
    return found
