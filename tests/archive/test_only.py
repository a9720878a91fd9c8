"""After a while the archive alone has a job's request and result."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import orjson
import pytest

from archive import retention
from archive.archiver import LEASE_SECONDS
from archive.database import ArchiveAwayError
from runqueue import RunQueue
from runqueue.errors import JobArchived
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import EnqueueStatus
from runqueue.store import delivery_calls, job_calls
from runqueue.store.keys import ACCOUNTS
from tests.archive.archiving import Process
from tests.runqueue.lua.clockwork import Clockwork, spec
from tests.runqueue.lua.packs import over, pack, replay
from tests.runqueue.lua.webhooks import URL, awaited, due, outcome, receive, record, told

HOUR = 3600


@pytest.fixture
def archiver(clock: Clockwork, url: str) -> Iterator[Process]:
    """A process after whose archiving jobs leave Redis after an hour."""
    process = Process(clock, url, archive_only_after="1h")
    yield process
    process.close()


def bytes_of(clock: Clockwork, job_id: str) -> int:
    """What all keys of a job take in Redis."""
    keys = [key for key in clock.client.keys("*") if job_id.encode() in key]
    return sum(cast("int", clock.client.memory_usage(key, samples=0)) for key in keys)


def realistic(clock: Clockwork, n: int) -> list[str]:
    """Jobs of a batch that ended with a webhook, with requests and results of 1.2 kB each."""
    names = random.Random(1)
    words, answer = (" ".join(names.randbytes(4).hex() for _ in range(130)) for _ in range(2))
    _, jobs = clock.batch_of(
        n,
        names=[str(uuid4()) for _ in range(n)],
        body=words,
        group="acme",
        keys=["site:acme"],
        url=URL,
    )
    clock.heartbeat(first=True)
    items = clock.claim(n, receives=True).items
    clock.accept(items)
    raw = orjson.dumps({"status": "failed", "failure_reason": answer})
    receive(clock, *[told(job, state="failed", body=raw) for job in jobs])
    while items := due(clock):
        record(clock, *[outcome(item) for item in items])
    return jobs


def archived(clock: Clockwork, archiver: Process) -> None:
    """Have jobs that ended archived, and leave Redis."""
    archiver.round()
    clock.wait(HOUR)
    assert archiver.round() == 1.0
    assert archiver.round() == 1.0


def test_a_job_takes_500_bytes_of_redis_at_most(clock: Clockwork, archiver: Process) -> None:
    jobs = realistic(clock, 10)
    before = max(bytes_of(clock, job) for job in jobs)
    clock.wait(700)
    pack(clock)
    packed = max(bytes_of(clock, job) for job in jobs)
    archived(clock, archiver)
    after = max(bytes_of(clock, job) for job in jobs)
    assert before > 3_000, "requests and results of 1.2 kB each"
    assert packed > 900
    assert after <= 500, after
    assert archiver.jobs().keys() == set(jobs)


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_the_archive_has_all_and_redis_what_lists_show(
    clock: Clockwork, archiver: Process, state: str
) -> None:
    (job,) = over(clock, state=state)
    plain = clock.job(job)
    archived(clock, archiver)
    (left,) = clock.run(job_calls.get_jobs(clock.account, [job], result=False))
    assert left is not None
    kept = ("id", "kind", "state", "custom_id", "namespace", "run_id", "created_at", "ended_at")
    assert [getattr(left, name) for name in kept] == [getattr(plain, name) for name in kept]
    assert archiver.jobs()[job] == plain
    (again,) = clock.enqueue_specs([spec(plain.custom_id or "", body="another request")])
    assert again.status is EnqueueStatus.CONFLICT


async def test_what_needs_the_result_says_where_it_is(
    clock: Clockwork, archiver: Process, redis_url: str
) -> None:
    (job,) = over(clock, state="failed")
    (canceled,) = clock.enqueue()
    clock.cancel(canceled)
    await asyncio.to_thread(archived, clock, archiver)
    clock.client.sadd(ACCOUNTS, clock.account)
    with RunQueue(redis_url) as queue:
        with pytest.raises(JobArchived, match=job) as found:
            queue.get(job)
        assert found.value.job_id == job
        assert queue.get(canceled).state == "canceled", "it had none"
    async with AsyncRunQueue(redis_url) as queue:
        with pytest.raises(JobArchived):
            await queue.get(job)
    assert replay(clock, job) == [5]
    again = delivery_calls.deliver_again(clock.account, [job], "https://other.example")
    assert clock.run(again) == [2]


def test_a_job_whose_webhook_waits_stays_until_that_is_settled(
    clock: Clockwork, archiver: Process
) -> None:
    (job,) = awaited(clock)
    receive(clock, told(job))
    (other,) = over(clock)
    archived(clock, archiver)
    assert clock.field(other, "archived") == "t"
    assert clock.field(job, "archived") is None
    record(clock, *[outcome(item) for item in due(clock)])
    clock.wait(HOUR)
    archiver.round()
    assert clock.field(job, "archived") == "t"
    assert archiver.jobs()[job].webhook.state == "delivered"


def test_what_is_archived_late_leaves_redis_at_once(clock: Clockwork, archiver: Process) -> None:
    (job,) = over(clock)
    plain = clock.job(job)
    clock.wait(HOUR)
    archiver.round()
    assert clock.field(job, "archived") == "t"
    assert archiver.jobs() == {job: plain}


def test_nothing_leaves_redis_that_the_archive_has_not(clock: Clockwork, archiver: Process) -> None:
    first, second, third = over(clock, 3, "failed")
    archiver.round()
    with sqlite3.connect(archiver.url.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM jobs WHERE id = ?", [first])
    clock.wait(HOUR)
    assert replay(clock, second) == [1]
    clock.end_all("completed")
    for _ in range(2):
        archiver.round()
    assert [clock.field(job, "archived") for job in (first, second, third)] == [None, None, "t"]
    clock.wait(HOUR)
    for _ in range(2):
        archiver.round()
    assert clock.field(second, "archived") == "t"


Looks = list[tuple[int, int]]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """The ranges of the archive that were looked through for what Redis may drop."""
    found: Looks = []
    look = retention.archived_as_final

    async def looked(engine: Any, account: str, low: int, high: int, most: int) -> Sequence[Any]:
        found.append((low, high))
        return await look(engine, account, low, high, most)

    monkeypatch.setattr(retention, "archived_as_final", looked)
    return found


def test_what_is_dropped_begins_anew_after_another_process_had_the_lease(
    clock: Clockwork, archiver: Process, url: str, looks: Looks
) -> None:
    over(clock)
    archived(clock, archiver)
    assert looks[-1][0] > looks[0][0]
    other = Process(clock, url)
    other.round(LEASE_SECONDS + 1)
    assert archiver.round() > 1, "the other one has the lease"
    clock.client.hset(clock.key("archive"), "dropped", "0")  # as a failover may
    archiver.round(LEASE_SECONDS + 1)
    assert looks[-1][0] == looks[0][0]
    other.close()


def test_jobs_of_which_more_may_come_are_not_read_again_and_again(
    clock: Clockwork, archiver: Process, looks: Looks
) -> None:
    (job,) = awaited(clock)
    receive(clock, told(job))
    archived(clock, archiver)
    archiver.round()
    assert clock.field(job, "archived") is None
    assert looks[-1][0] == looks[-2][1] - 1
    record(clock, *[outcome(item) for item in due(clock)])
    archiver.round(HOUR)
    assert clock.field(job, "archived") == "t"


def test_an_archive_that_is_too_slow_to_say_what_may_be_dropped_has_a_pause(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def slow(*_: object) -> Sequence[Any]:
        asked.append(1)
        raise ArchiveAwayError("too slow")

    monkeypatch.setattr(retention, "archived_as_final", slow)
    for _ in range(3):
        archiver.round()
    assert len(asked) == 1


def test_another_archive_gets_what_is_left_and_takes_nothing_for_nothing(
    clock: Clockwork, archiver: Process, tmp_path: Path
) -> None:
    (gone,) = over(clock)
    archived(clock, archiver)
    ended = over(clock, 2)
    clock.client.delete(clock.key("archive"))
    other = Process(clock, f"sqlite:///{tmp_path}/other.sqlite")
    other.round()
    assert other.jobs().keys() == set(ended)
    assert gone in archiver.jobs()
    other.close()
