"""Jobs come into the archive once, whatever is killed, restored or empty."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import SecretStr
from structlog.testing import capture_logs

from archive import archiver as archiver_module
from archive.archiver import LEASE_SECONDS
from config.settings import Settings, SettingsError, load_settings
from lab import postgres
from lab.postgres import Postgres
from lab.waiting import until
from runqueue import JobState, RunQueue
from runqueue.connection.client import async_client
from runqueue.records.claim_items import Finished
from runqueue.store import worker_calls
from tests.archive.archiving import Process, write_and_be_killed
from tests.archive.test_archiver import HOSTILE, state
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.runqueue.lua.packs import over, replay
from worker.runtime import Runtime, ServedAccounts

needs_postgres = pytest.mark.skipif(bool(postgres.MISSING), reason=postgres.MISSING)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL."""
    with postgres.postgres() as running:
        yield running


class OfPostgres(Process):
    """A process whose archive is a PostgreSQL's."""

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask it."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()


@needs_postgres
def test_a_postgresql_that_is_killed_and_comes_back_has_each_job_once(
    clock: Clockwork, server: Postgres, redis_url: str
) -> None:
    url = server.create("archive")
    archiver = OfPostgres(clock, url)
    ended = over(clock, 30)
    assert archiver.round() == 1.0
    archiver.check(ended)
    server.kill()
    ended += over(clock, 20, "failed")
    assert [archiver.round(60) for _ in range(2)] == [1.0, 2.0]
    assert (state(clock).waiting, bool(state(clock).trouble)) == (20, True)
    assert "postgres@" not in state(clock).trouble
    server.restart()
    asyncio.run(write_and_be_killed_later(clock, redis_url, url))
    assert archiver.round(LEASE_SECONDS) == 1.0
    archiver.check(ended)
    assert state(clock).trouble == ""
    archiver.close()


async def write_and_be_killed_later(clock: Clockwork, redis_url: str, url: str) -> None:
    """A process has the lease once the other's is over, writes, and is killed."""
    clock.wait(LEASE_SECONDS)
    await write_and_be_killed(clock, redis_url, url)


@needs_postgres
def test_a_postgresql_stores_hostile_content_from_two_hosts(
    clock: Clockwork, server: Postgres
) -> None:
    archiver = OfPostgres(clock, server.create("archive"))
    jobs = clock.running(len(HOSTILE), body="\0 hostile \0")
    done = [
        Finished(job, 1, f"r-{job}", "failed", "failed", "why \0", result)
        for job, result in zip(jobs, HOSTILE, strict=True)
    ]
    clock.run(worker_calls.finish(clock.account, done))
    (huge,) = over(clock)
    clock.client.hset(clock.key(f"job:{huge}"), "usage", f"{2**70}:::")
    jobs += over(clock, 2)
    archiver.round()
    archiver.round()
    assert archiver.jobs().keys() == set(jobs)
    assert state(clock).aside == 1
    other = OfPostgres(clock, archiver.url)
    jobs += over(clock, 2)
    archiver.close()
    assert other.round() == 1.0
    assert other.jobs().keys() == set(jobs)
    other.close()


def test_a_redis_restored_from_yesterday_doubles_nothing(
    clock: Clockwork, archiver: Process
) -> None:
    before = over(clock, 3, "failed")
    waiting = clock.running(2)
    archiver.round()
    snapshot = {key: clock.client.dump(key) for key in clock.client.keys("*")}
    clock.wait(DAY / SECOND)
    done = [Finished(i, 1, f"r-{i}", "completed", "completed", "", b"{}") for i in waiting]
    clock.run(worker_calls.finish(clock.account, done))
    since = over(clock, 2)
    archiver.round()
    assert archiver.jobs().keys() == {*before, *waiting, *since}

    clock.client.flushdb()
    for key, value in snapshot.items():
        clock.client.restore(key, 0, value or b"")
    assert replay(clock, before[0]) == [1]
    clock.end_all("completed")
    done = [done[0]._replace(state="failed", run_status="failed"), done[1]]
    clock.run(worker_calls.finish(clock.account, done))
    archiver.round(LEASE_SECONDS)
    found = archiver.jobs()
    assert found.keys() == {*before, *waiting, *since}, "what Redis lost stays in the archive"
    assert [found[job].state for job in (before[0], *waiting)] == [
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.COMPLETED,
    ]
    assert archiver.count() == len(found)


def test_jobs_of_a_clock_that_was_a_day_ahead_come_once_that_day_has_come(
    clock: Clockwork, archiver: Process
) -> None:
    (first,) = over(clock)
    archiver.round()
    clock.wait(DAY / SECOND)
    (early,) = over(clock)
    clock.wait(-DAY / SECOND)
    (last,) = over(clock)
    archiver.round()
    assert archiver.jobs().keys() == {first, last}
    clock.wait(DAY / SECOND + LEASE_SECONDS)
    archiver.round()
    archiver.check([first, early, last])


def test_what_the_archive_has_had_for_long_goes_from_every_table(
    clock: Clockwork, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.retention.CHUNK", 4)
    monkeypatch.setattr("archive.retention.CHUNK_OF_SUMS", 2)
    archiver = Process(clock, url, archive_keep="24h")
    over(clock, 6, "failed", group="old", keys=("k",))
    archiver.round()
    clock.wait(DAY / SECOND + 3600)
    young = over(clock, 3, group="young", keys=("k",))
    archiver.archiver._retire_at, left = 0.0, list[int]()
    for _ in range(5):
        archiver.round()
        left += archiver.rows("SELECT count(*) FROM sums")[0]
    assert left == [12, 10, 8, 6, 6]
    assert archiver.jobs().keys() == set(young)
    tables = {
        name: archiver.rows(f"SELECT count(*) FROM {name}")[0][0]
        for name in ("jobs", "documents", "words", "labels", "errors")
    }
    assert (tables["jobs"], tables["documents"], tables["words"], tables["errors"]) == (3, 3, 3, 0)
    groups = "SELECT DISTINCT value FROM sums WHERE dimension = 'group'"
    assert archiver.rows(groups) == [("young",)]
    archiver.close()


def test_groups_of_errors_without_a_job_go_so_many_at_a_time(
    clock: Clockwork, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.retention.CHUNK", 2)
    archiver = Process(clock, url, archive_keep="24h")
    over(clock, 1, "failed")
    archiver.round()
    clock.wait(DAY / SECOND + 3600)
    over(clock, 1, "failed")
    archiver.round()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for n in range(3):
            connection.execute("INSERT INTO errors VALUES (?, 'default', '', ?, 0)", (n, str(n)))
    left = []
    archiver.archiver._retire_at = 0.0
    for _ in range(3):
        archiver.round()
        left.append(archiver.rows("SELECT count(*) FROM errors")[0][0])
    assert left == [2, 1, 1], "one has a job still"
    archiver.close()


async def test_a_worker_that_cannot_begin_to_archive_says_so_without_the_url_and_tries_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.ARCHIVE_RETRY", 0.0)
    served = ServedAccounts(Settings(SKYVERN_API_KEY=SecretStr("key")), async_client(redis_url))
    begun = archiver_module.Archive
    urls = iter(["mysql://me:s3cr3t@db.test/runqueue"] * 3)
    monkeypatch.setattr(archiver_module, "Archive", lambda url: begun(next(urls, url)))
    with capture_logs() as logged:
        await served._start_archivers("postgresql://127.0.0.1:1/runqueue")
    said = [(line["event"], line["why"]) for line in logged]
    assert said == [("archive_not_started", "ValueError")], "each reason once"
    assert served._archive is not None
    await served._archive.close()
    await served._redis.aclose()


def test_a_worker_archives_and_says_no_password(
    queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(
        SKYVERN_API_KEY=SecretStr("key"), archive_url=f"sqlite:///{tmp_path}/archive.sqlite"
    )
    runtime = Runtime(settings, redis_url)
    runtime.start()
    line = {"kind": "task", "body": {"prompt": "x"}}
    (job,) = queue.enqueue_many([line])
    queue.cancel(job.job_id)
    try:
        until(lambda: queue.stats()["default"].totals.get("archive:written") == 1, 30, "the job")
    finally:
        runtime.stop()
    with redis.Redis.from_url(redis_url) as client:
        assert client.hget("runqueue:{default}:archive", "lease") is None, "it left at once"
    secret = Settings(
        SKYVERN_API_KEY=SecretStr("key"), archive_url="postgresql://me:s3cr3t@db.test/runqueue"
    )
    assert "s3cr3t" in secret.secrets()
    assert "s3cr3t" not in repr(secret)


@pytest.mark.parametrize(
    "url",
    ["sqlite://h/f", "sqlite:///:memory:", "mysql://a/b", "postgresql://h", "postgresql://h:x/d"],
)
def test_what_is_no_archive_is_refused_without_showing_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    monkeypatch.setenv("RUNQUEUE_ARCHIVE_URL", url)
    with pytest.raises(
        SettingsError, match=r"RUNQUEUE_ARCHIVE_URL: .*expected sqlite:///"
    ) as found:
        load_settings()
    assert url not in str(found.value)
