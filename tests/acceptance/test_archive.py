"""Workers and databases are killed: the archive has each job once, as Redis has it."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from archive.database import engine_of
from archive.reader import Reader
from archive.tables import jobs, sums
from lab.postgres import MISSING, Postgres, postgres
from lab.waiting import until
from runqueue import Job
from tests.acceptance.factory import ENDED, Factory, factory, settled_by_newer_jobs, task
from tests.acceptance.test_crash import FAST

#: `make acceptance` runs the full size.
JOBS = int(os.environ.get("RUNQUEUE_TEST_JOBS", "400"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(MISSING != "", reason=MISSING)),
    ]
)
def database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Postgres | None]]:
    """The URL of an empty archive, and the server that it is in, if there is one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/archive.db", None
        return
    with postgres() as server:
        yield server.create("archive"), server


async def _archived(url: str, ids: list[str]) -> tuple[list[Job | None], int, dict[str, int]]:
    """Return jobs as the archive has them, how many it has, and the sums of their states."""
    engine = engine_of(url)
    try:
        found = await Reader(engine).get_many(ids)
        async with engine.connect() as connection:
            count = await connection.scalar(select(func.count()).select_from(jobs))
            rows = await connection.execute(
                select(sums.c.measure, func.sum(sums.c.amount))
                .where(sums.c.dimension == "")
                .group_by(sums.c.measure)
            )
            return found, int(count or 0), {name: int(n) for name, n in rows}
    finally:
        await engine.dispose()


def _has_ended(parts: Factory, n: float) -> bool:
    return parts.ended() >= n


def _waiting(parts: Factory) -> int:
    archive = parts.queue.stats()["default"].archive
    assert archive is not None
    return archive.waiting


def test_after_kills_of_workers_and_of_the_database_each_job_is_archived_once_as_it_is(
    tmp_path: Path, database: tuple[str, Postgres | None]
) -> None:
    url, server = database
    with ExitStack() as stack:
        settings = FAST | {"RUNQUEUE_ARCHIVE_URL": url}
        parts = stack.enter_context(factory(tmp_path, ("--duration", "1"), **settings))
        # Answers that take a while, so that each kill meets submissions on the wire.
        parts.simulator.faults({"match": {"route": "run_task"}, "action": {"answer_latency": 0.2}})
        retry = {"retry": {"max_attempts": 2}}
        lines = [
            task(
                f"job-{i}",
                "https://shop.test/?sim_end=failed" if i % 10 == 0 else "https://shop.test/",
                **retry,
            )
            for i in range(JOBS)
        ]
        ids = [one.job_id for one in parts.queue.enqueue_many(lines)]
        workers = [parts.start_worker(), parts.start_worker()]
        for number, share in enumerate((0.1, 0.25, 0.4, 0.55, 0.7)):
            until(partial(_has_ended, parts, share * JOBS), 180, f"{share:.0%} of the ends")
            victim = workers.pop(0)
            victim.kill()
            victim.wait()
            if server is not None and number % 2 == 0:
                server.kill()
                server.restart()
            workers.append(parts.start_worker())
        ids += [one.job_id for one in settled_by_newer_jobs(parts, JOBS, ENDED)]
        until(lambda: _waiting(parts) == 0, 60, "the archive to have them all")
        found, count, by_measure = asyncio.run(_archived(url, ids))
        states = Counter(job.state.value for job in found if job)
        assert count == states.total() == len(ids)
        assert found == parts.queue.get_many(ids)
        assert {state: by_measure.get(state) for state in states} == states
        print(f"{len(ids)} jobs: {dict(states)}, after five kills of workers")
