"""What a reader says of an archive, compared with a plain list of its jobs."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archive.reader import Reader
from bench.archived_jobs import ACCOUNT
from runqueue.producer.listing import Filter
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.request.time_range import from_microseconds
from tests.archive.plain import Plain, expected


async def ids_of(
    reader: Reader, wanted: Filter, limit: int = 1000, most: float = math.inf
) -> list[str]:
    """The ids on all pages, or on those that have so many."""
    found, cursor = [], ""
    for _ in range(1000):
        page = await reader.find(ACCOUNT, wanted, cursor, limit)
        assert len(page.jobs) <= limit
        found += [job.id for job in page.jobs]
        cursor = page.cursor
        if not cursor or len(found) >= most:
            return found
    raise AssertionError("no end")


@dataclass(frozen=True)
class Compared:
    """A reader, and the jobs that its archive has: each method compares what it says of them."""

    reader: Reader
    jobs: Sequence[Plain]
    _found: dict[str, list[Plain]] = field(default_factory=dict)

    def expected(self, wanted: Filter) -> list[Plain]:
        """Return the jobs that a filter means; it is looked for once."""
        key = repr(wanted)
        if key not in self._found:
            self._found[key] = expected(self.jobs, ACCOUNT, wanted)
        return self._found[key]

    async def errors(self, wanted: Filter, limit: int = 50) -> ErrorGroups:
        """Compare the groups of errors, and return them."""
        failed = [job for job in self.expected(wanted) if job.error is not None]
        of_error: defaultdict[int, list[Plain]] = defaultdict(list)
        for job in failed:
            of_error[job.error or 0].append(job)
        firsts: dict[int | None, int] = {}
        for job in self.jobs:
            firsts[job.error] = min(job.ended_us, firsts.get(job.error, job.ended_us))
        read = await self.reader.errors(ACCOUNT, wanted, limit)
        assert (read.failures, read.is_all) == (len(failed), True)
        assert read.credits == sum(job.credits for job in failed)
        sizes = sorted(map(len, of_error.values()), reverse=True)
        assert [group.jobs for group in read.groups] == sizes[:limit]
        for group in read.groups:
            own = of_error[int(group.id)]
            assert group.jobs == len(own)
            assert group.credits == sum(job.credits for job in own)
            assert group.share_of_failures == len(own) / len(failed)
            first = from_microseconds(firsts[int(group.id)])
            assert (group.first_seen, group.last_seen) == (first, own[0].ended)
            assert set(group.examples) <= {job.id for job in own}
            assert group.examples[0] == own[0].id
            assert len(group.trend) <= 60
            assert read.trend_from is not None
            step = timedelta(seconds=read.trend_seconds)
            points = Counter((job.ended - read.trend_from) // step for job in own)
            assert list(group.trend) == [points[n] for n in range(len(group.trend))]
            if wanted.since:
                assert group.is_new == (first >= wanted.since)
        return read

    async def chart(
        self, since: datetime, until: datetime, dimension: str = "", value: str = ""
    ) -> Chart:
        """Compare a chart, and return it."""
        wanted = Filter(since=since, until=until)
        if dimension:
            wanted = wanted._replace(**{dimension: value})  # type: ignore[arg-type]
        chart = await self.reader.chart(ACCOUNT, since, until, dimension, value)
        first, step = chart.points[0].at, timedelta(seconds=chart.seconds)
        assert first <= since
        jobs_at: defaultdict[int, list[Plain]] = defaultdict(list)
        for job in self.expected(wanted):
            jobs_at[(job.ended - first) // step].append(job)
        assert all(n < len(chart.points) for n in jobs_at)
        for n, point in enumerate(chart.points):
            assert point.at == first + n * step
            assert point.at.hour == 0 or chart.seconds == 3600
            assert point.at.weekday() == 0 or chart.seconds != 604_800
            assert point.is_partial == (point.at < since or point.at + step > until)
            own = jobs_at[n]
            assert point.jobs == Counter(job.state for job in own)
            assert point.credits == sum(job.credits for job in own)
            failed = sum(job.error is not None for job in own)
            assert point.failure_share == (failed / len(own) if own else None)
            ran = sorted((job.ended_us - job.started_us) / 1e6 for job in own if job.started_us)
            assert (point.running is None) == (not ran)
            if point.running and ran:
                assert ran[0] / 1.5 <= point.running.p50 <= point.running.p95 <= ran[-1] * 1.5
                exact = ran[(len(ran) - 1) // 2]
                assert len(ran) < 5 or exact / 1.5 <= point.running.p50 <= exact * 1.5
        jobs, whole = self.expected(wanted), chart.total
        ends = sum(job.error is not None for job in jobs)
        assert (whole.at, whole.jobs) == (since, Counter(job.state for job in jobs))
        assert whole.failure_share == (ends / len(jobs) if jobs else None)
        assert whole.credits == sum(job.credits for job in jobs)
        return chart

    async def top(self, since: datetime, until: datetime, dimension: str) -> None:
        """Compare the largest values of a dimension."""
        found: defaultdict[str | None, list[Plain]] = defaultdict(list)
        for job in self.expected(Filter(since=since, until=until)):
            found[getattr(job, dimension)].append(job)
        found.pop(None, None)
        top = (await self.reader.chart(ACCOUNT, since, until, by=dimension)).top
        costs = [(sum(job.credits for job in jobs), len(jobs)) for jobs in found.values()]
        assert [(one.credits, one.jobs) for one in top] == sorted(costs, reverse=True)[:1000]
        for one in top:
            own = found[one.value]
            assert one.jobs == len(own)
            assert one.failures == sum(job.error is not None for job in own)
            assert one.credits == sum(job.credits for job in own)

    async def count(self, wanted: Filter, most: int = 1000) -> None:
        """Compare how many jobs are counted, up to so many."""
        found = len(self.expected(wanted))
        assert await self.reader.count(ACCOUNT, wanted, most) == (min(most, found), found < most)
