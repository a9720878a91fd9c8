"""A job that is enqueued again under its id, once Redis had it no more: both of its lives stay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from archive.database import engine_of, writing
from archive.opened import OpenArchive
from archive.queue import ArchivedQueue
from archive.replayed import spec_again
from runqueue.cli.commands.status import _print_life
from runqueue.errors import InvalidRequest
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import Filter, life_name
from runqueue.records.claim_items import Finished, Lost
from runqueue.records.job import JobState
from runqueue.store import worker_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.scripts import ScriptCall
from tests.archive.archiving import Process
from tests.archive.filling import NOW, ended
from tests.gateway.browsing import browsing
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork

OPS = "operate-secret"


class Lives:
    """A queue whose jobs end, are archived, and leave Redis, at the times of a clock.

    Args:
        clock: the account.
        redis_url, archive_url: where they are.
    """

    def __init__(self, clock: Clockwork, redis_url: str, archive_url: str) -> None:
        class QueueOfClock(ArchivedQueue):
            def send(self, call: ScriptCall[Any]) -> Any:
                return clock.run(call)

        self.clock, self.archiver = clock, Process(clock, archive_url)
        self.queue = QueueOfClock(redis_url, archive=OpenArchive(archive_url))
        clock.client.sadd(ACCOUNTS, clock.account)

    def end(self, state: str, why: str = "") -> str:
        """Have the job that waits run, and end; returns its id."""
        clock = self.clock
        clock.heartbeat(first=True)
        (item,) = clock.claim(1).items
        if state == "dead":
            assert clock.run(
                worker_calls.mark_dead(clock.account, [Lost(item.job_id, item.attempt, why)])
            ) == [1]
        else:
            run_id = f"r-{clock.now}"
            assert clock.found(item.job_id, item.attempt, run_id) == 1
            result = orjson.dumps({"output": why, "failure_reason": why})
            done = Finished(item.job_id, item.attempt, run_id, state, state, why, result)
            assert clock.run(worker_calls.finish(clock.account, [done])) == [1]
        return str(item.job_id)

    def leave(self) -> None:
        """Have what ended archived, and removed from Redis."""
        self.archiver.round()
        self.clock.wait(7 * DAY / SECOND + 60)
        for _ in range(3):
            self.clock.sweep("retire")

    def twice(self, first: str = "failed", second: str = "completed") -> str:
        """A job of two lives, the first of which only the archive has."""
        self.clock.enqueue(names=["order-17"], group="acme")
        job = self.end(first, "No such seat 7")
        self.leave()
        assert self.clock.state(job) is None
        assert self.queue.replay([job]) == {job: Settled.ENQUEUED_AGAIN}
        assert self.end(second, "again") == job
        self.archiver.round()
        return job

    def close(self) -> None:
        """Close them."""
        self.queue.close()
        self.archiver.close()


@pytest.fixture
def lives(clock: Clockwork, redis_url: str, archive_url: str) -> Iterator[Lives]:
    """A queue, and its archive of each kind."""
    made = Lives(clock, redis_url, archive_url)
    yield made
    made.close()


def states(lives: Lives, wanted: Filter) -> list[str]:
    """The states of a list of jobs."""
    return [job.state.value for job in lives.queue.list_jobs(wanted).jobs]


@pytest.mark.parametrize("is_in_redis", [True, False])
def test_lists_files_groups_of_errors_and_sums_have_both_lives(
    lives: Lives, is_in_redis: bool
) -> None:
    job, queue = lives.twice(), lives.queue
    if not is_in_redis:
        lives.leave()
        assert lives.clock.state(job) is None
    group = Filter(group="acme")
    assert states(lives, group) == ["completed", "failed"]
    assert states(lives, group._replace(state="failed")) == ["failed"]
    assert queue.count_jobs(group).jobs == 2
    found = [(one.id, one.state, one.output) for one in queue.iter_results(None, group)]
    assert found == [(job, "completed", "again"), (job, "failed", "No such seat 7")]
    assert [one.output for one in queue.iter_results(None, group, after=job)] == ["No such seat 7"]
    (errors,) = queue.list_errors(group).groups
    assert (errors.words, errors.jobs, errors.examples) == ("No such seat <n>", 1, (job,))
    now = datetime.fromtimestamp(lives.clock.now / 1e6, UTC)
    points = queue.chart(group._replace(since=now - timedelta(20), until=now)).points
    assert [one.jobs for one in points if one.jobs] == [{"failed": 1}, {"completed": 1}]


@pytest.mark.parametrize("is_in_redis", [True, False])
def test_by_its_id_a_job_is_its_newest_life(lives: Lives, is_in_redis: bool) -> None:
    job, queue = lives.twice(), lives.queue
    if not is_in_redis:
        lives.leave()
    assert (queue.get(job).state, queue.get(job).output) == ("completed", "again")
    assert queue.states([job])[0][0] is JobState.COMPLETED
    assert queue.get_many([job], result=False)[0] == queue.list_jobs(Filter(group="acme")).jobs[0]
    assert queue.replay([job]) == {job: Settled.NOT_ENDED_BADLY}
    assert set(queue.discard([job]).values()) <= {Settled.NOT_DEAD, Settled.NO_SUCH_JOB}
    assert states(lives, Filter(group="acme")) == ["completed", "failed"]


def test_results_go_on_behind_a_life_whatever_its_job_does_meanwhile(lives: Lives) -> None:
    job, queue, group = lives.twice("failed", "failed"), lives.queue, Filter(group="acme")
    newer, older = queue.iter_results(None, group)

    def behind(name: str) -> list[str | None]:
        return [one.failure_reason for one in queue.iter_results(None, group, after=name)]

    for _ in range(2):
        assert behind(life_name(newer)) == ["No such seat 7"]
        assert behind(life_name(older)) == []
        lives.leave()
        assert queue.replay([job]) == {job: Settled.ENQUEUED_AGAIN}
        assert behind(life_name(newer)) == ["No such seat 7"]
        lives.end("canceled")
        lives.archiver.round()
    for name in (f"{job} 7", f"{job} x", f"{job} "):
        with pytest.raises(InvalidRequest, match="after"):
            behind(name)


def test_its_life_has_those_before_also_while_it_is_open(
    lives: Lives, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, queue = lives.clock, lives.queue
    clock.enqueue(names=["order-17"])
    job = lives.end("failed", "No such seat 7")
    first_end, run = clock.now, f"r-{clock.now}"
    assert queue.timeline(job)["earlier_lives"] == []
    lives.leave()
    assert queue.timeline(job)["earlier_lives"] == []
    queue.replay([job])
    expected = {
        "at": datetime.fromtimestamp(first_end / 1e6, UTC).isoformat(),
        "what": f"failed, its run {run}",
        "cause": "No such seat 7",
        "attempt": None,
        "ahead": False,
    }
    assert queue.timeline(job)["earlier_lives"] == [expected], "it is open"
    lives.end("canceled")
    lives.leave()
    assert queue.timeline(job)["earlier_lives"] == [expected], "the archive alone has it"
    queue.replay([job])
    life = queue.timeline(job)
    ends = [one["what"].partition(",")[0] for one in life["earlier_lives"]]
    assert ends == ["canceled", "failed"]
    _print_life(life)
    shown = capsys.readouterr().out
    assert "earlier under this id (UTC):" in shown
    assert f"  failed, its run {run}: No such seat 7\n" in shown


def test_a_request_that_is_too_large_to_be_shown_takes_no_life_for_another(lives: Lives) -> None:
    clock = lives.clock
    clock.enqueue(names=["order-17"])
    job = lives.end("failed", "No such seat 7")
    lives.leave()
    assert clock.enqueue(names=["order-17"], body="x" * 70_000) == [job]
    life = lives.queue.timeline(job)
    assert life["request"] == {}
    assert "failed" not in str(life["timeline"])
    assert len(life["earlier_lives"]) == 1
    assert lives.end("completed") == job
    lives.archiver.round()
    clock.client.hset(clock.key(f"job:{job}"), "run_status", "newer in Redis")
    assert "newer in Redis" in str(lives.queue.timeline(job)["timeline"])


async def test_the_page_of_a_job_shows_its_earlier_lives(
    lives: Lives, redis_url: str, archive_url: str
) -> None:
    job = await asyncio.to_thread(lives.twice)
    async with browsing(redis_url, OPS, archive_url=archive_url) as browser:
        shown = await browser.open(f"/jobs/{job}")
        listed = await browser.open("/jobs?group=acme")
        csv = await browser.open("/jobs/results?group=acme&format=csv")
    before, _, after = shown.words.partition("Earlier under this id")
    assert "completed" in before
    assert "failed" in after.partition("Timeline")[0]
    assert "No such seat 7" in after.partition("Timeline")[0]
    assert listed.text.count(f'href="/jobs/{job}') == 2
    assert len(csv.text.splitlines()) == 3


def test_a_discarded_job_goes_with_its_dead_lives(lives: Lives) -> None:
    job = lives.twice("dead", "dead")
    assert states(lives, Filter(state="dead", group="acme")) == ["dead", "dead"]
    assert lives.queue.discard([job]) == {job: Settled.DONE}
    assert states(lives, Filter(group="acme")) == []
    assert lives.queue.list_errors(Filter(group="acme")).groups == []


def test_a_life_that_cannot_be_read_does_not_give_its_place_to_an_earlier_one(
    lives: Lives, archive_url: str
) -> None:
    job = lives.twice("failed", "failed")
    lives.leave()

    async def break_newest() -> None:
        engine = engine_of(archive_url)
        async with writing(engine) as connection:
            newest = "n = (SELECT max(n) FROM jobs)"
            statement = text(f"UPDATE documents SET record = :none WHERE {newest}")
            await connection.execute(statement, {"none": b""})
        await engine.dispose()

    asyncio.run(break_newest())
    assert lives.queue.get_many([job]) == [None]
    assert lives.queue.replay([job]) == {job: Settled.NO_SUCH_JOB}, "it may have run since"
    page = lives.queue.list_jobs()
    assert ([one.state for one in page.jobs], page.unread) == (["failed"], (job,))


@pytest.mark.parametrize("body", [b"", b"{", b'{"k":"t"}\n{"prompt":', b'{"k":"t"}'])
def test_a_request_that_was_archived_broken_is_not_replayed(body: bytes) -> None:
    job = ended(1, NOW, "failed")._replace(body=body)
    assert spec_again(job) is Settled.REQUEST_GONE
