"""Ended jobs come into the archive, each once and as it was, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from archive import calls
from archive.archiver import LEASE_SECONDS
from archive.database import ArchiveAwayError
from runqueue.records.account import ArchiveState
from runqueue.records.claim_items import Finished
from runqueue.store import delivery_calls, job_calls, operator_calls, worker_calls
from runqueue.store.scripts import ScriptCall
from tests.archive.archiving import Process, write_and_be_killed
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.runqueue.lua.packs import over, pack, replay
from tests.runqueue.lua.webhooks import awaited, due, outcome, receive, record, told


def state(clock: Clockwork) -> ArchiveState:
    """How far the archive is, as statistics say."""
    found = clock.run(job_calls.stats(clock.account)).archive
    assert found is not None
    return found


def test_jobs_come_into_the_archive_as_they_are_and_each_once(
    clock: Clockwork, archiver: Process
) -> None:
    assert clock.run(job_calls.stats(clock.account)).archive is None
    ended = [*over(clock, 3), *over(clock, 2, "failed")]
    batch, jobs = clock.batch_of(2)
    clock.client.hset(clock.key(f"batch:{batch}"), "metadata", '{"order": "17"}')
    ended += jobs
    clock.cancel(*ended[5:])
    assert archiver.round(1) == 1.0
    assert archiver.jobs() == {}, "they ended just now"
    assert state(clock).waiting == 7
    assert archiver.round() == 1.0
    archiver.check(ended)
    labels = archiver.rows("SELECT name, value, count(*) FROM labels WHERE name LIKE 'meta%'")
    assert labels == [("metadata.order", "17", 2)]
    archiver.round()
    assert state(clock).waiting == 0
    assert clock.run(job_calls.stats(clock.account)).totals["archive:written"] == 7
    assert archiver.calls[-1].script.name == "unarchived"


def test_packed_jobs_and_those_of_many_calls_come_in_order(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.archiver.CALL_JOBS", 3)
    monkeypatch.setattr("archive.archiver.GROUP_JOBS", 5)
    ended = over(clock, 8)
    pack(clock)
    ended += over(clock, 3)
    pauses = [archiver.round(2), archiver.round(0), archiver.round(0)]
    assert pauses[0] == 0.0
    archiver.check(ended)


def test_a_process_that_is_killed_before_it_records_doubles_nothing(
    clock: Clockwork, archiver: Process, redis_url: str
) -> None:
    ended = over(clock, 5)
    clock.wait(2)
    asyncio.run(write_and_be_killed(clock, redis_url, archiver.url))
    archiver.check(ended)
    assert archiver.round(2) > 1, "the dead one has the lease"
    ended += over(clock, 2)
    assert archiver.round(LEASE_SECONDS) == 1.0
    archiver.check(ended)


def test_a_position_that_a_failover_lost_has_jobs_replaced(
    clock: Clockwork, archiver: Process
) -> None:
    ended = over(clock, 4)
    archiver.round()
    for lost in ("at", "id", "lease"):
        clock.client.hdel(clock.key("archive"), lost)
        archiver.round()
        archiver.check(ended)
    clock.client.delete(clock.key("archive"))
    ended += over(clock, 1)
    archiver.round()
    archiver.check(ended)


def test_a_slow_process_records_nothing_once_another_has_archived(
    clock: Clockwork, archiver: Process, url: str
) -> None:
    ended = over(clock, 2)
    other = Process(clock, url)

    async def the_other_writes() -> None:
        ended.extend(over(clock, 2))
        assert await other.once(LEASE_SECONDS) == 1.0

    archiver.meanwhile = the_other_writes
    archiver.round()
    archiver.check(ended)
    assert state(clock).waiting == 0
    assert archiver.round() > 1, "the other one has the lease"
    other.close()
    assert archiver.round(0) == 1.0, "which ended, and left it"


def test_a_webhook_that_is_delivered_later_and_what_operators_do_reach_the_archive(
    clock: Clockwork, archiver: Process
) -> None:
    (job,) = awaited(clock)
    receive(clock, told(job))
    archiver.round()
    assert [row[0] for row in archiver.rows("SELECT is_final FROM jobs")] == [0]
    record(clock, *[outcome(item) for item in due(clock)])
    archiver.round(30)
    assert archiver.jobs()[job].webhook.state == "pending"
    archiver.round(30)
    archiver.check([job])
    assert [row[0] for row in archiver.rows("SELECT is_final FROM jobs")] == [1]
    assert archiver.jobs()[job].webhook.state == "delivered"
    again = delivery_calls.deliver_again(clock.account, [job], "")
    assert clock.run(again) == [1]
    archiver.round(0)
    assert archiver.jobs()[job].webhook.state == "pending"
    assert clock.run(delivery_calls.confirm_delivery(clock.account, [job])) == [1]
    archiver.round(0)
    assert archiver.jobs()[job].webhook.state == "delivered"
    archiver.check([job])
    assert not clock.client.exists(clock.key("archive_again"))


def test_a_job_that_is_replayed_comes_again_by_its_next_end(
    clock: Clockwork, archiver: Process
) -> None:
    (job, other) = over(clock, 2, "failed")
    archiver.round()
    assert replay(clock, job) == [1]
    archiver.round()
    assert archiver.jobs()[job].state == "failed"
    clock.end_all("completed")
    archiver.round()
    archiver.check([job, other])


def test_another_archive_and_a_second_host_are_refused_with_the_reason(
    clock: Clockwork, archiver: Process, tmp_path: Path, url: str
) -> None:
    ended = over(clock, 2)
    archiver.round()
    other = Process(clock, f"sqlite:///{tmp_path}/other.sqlite")
    assert other.round() > 0
    assert f"writes to archive {archiver.archive.id}" in state(clock).trouble
    assert other.jobs() == {}
    other.close()
    second = Process(clock, url)
    second.archive.host = "another-host"
    archiver.round()
    second.round(LEASE_SECONDS + 1)
    assert "used by host" in state(clock).trouble
    assert second.round(60) == 1.0, "the first one is gone"
    archiver.round()
    assert "used by host another-host" in state(clock).trouble
    clock.wait(61)
    assert state(clock).trouble == "", "nothing is tried any more"
    second.close()
    archiver.check(ended)


def test_a_database_that_is_away_loses_nothing_and_is_logged_once(
    clock: Clockwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not there"
    archiver = Process(clock, f"sqlite:///{folder}/archive.sqlite")
    ended = over(clock, 3)
    pauses = [archiver.round(600) for _ in range(7)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    found = state(clock)
    assert (found.waiting, found.id, found.is_late) == (3, "", True)
    assert "unable to open" in found.trouble
    folder.mkdir()
    assert archiver.round() == 1.0
    archiver.check(ended)
    assert (state(clock).trouble, state(clock).waiting) == ("", 0)
    archiver.close()


HOSTILE = [
    b'{"output": "a\\u0000b", "failure_reason": "\\u0000"}',
    b'{"output": "\\ud800 alone", "failure_reason": "\\udfff"}',
    b"\xff\xfe no JSON \x00",
    b"",
    b'{"output": "' + b"x" * 1_048_576 + b'"}',
    b'{"failure_reason": ["no", "text"], "step_count": 99999999999999999999}',
]


def test_hostile_content_is_stored_or_put_aside_and_stops_nothing(
    clock: Clockwork, archiver: Process
) -> None:
    ended = clock.running(len(HOSTILE), body="\0\ud83d"[:1] + "hostile")
    done = [
        Finished(job, 1, f"r-{job}", "failed", "failed", "why \0", result)
        for job, result in zip(ended, HOSTILE, strict=True)
    ]
    clock.run(worker_calls.finish(clock.account, done))
    (broken, unstorable, *_) = over(clock, 3)
    clock.client.hset(clock.key(f"job:{broken}"), "created", "no time")
    clock.client.hset(clock.key(f"job:{unstorable}"), "usage", f"{2**70}:::")
    ended += over(clock, 2)
    archiver.round()
    archiver.round(0)
    found = archiver.jobs()
    assert set(ended) <= found.keys()
    assert found.keys() & {broken, unstorable} == set()
    assert state(clock).aside == 2
    assert (state(clock).waiting, clock.client.zcard(clock.key("archive_again"))) == (0, 2)
    clock.client.hset(clock.key(f"job:{broken}"), "created", str(clock.now))
    archiver.round(3600)
    assert state(clock).aside == 1
    assert broken in archiver.jobs()


def test_an_end_while_the_clock_was_ahead_is_archived_too(
    clock: Clockwork, archiver: Process
) -> None:
    clock.wait(3600)
    (early,) = over(clock)
    clock.wait(-3600)
    ended = [early, *over(clock, 2)]
    archiver.round()
    archiver.check(ended)


def test_days_follow_each_other(clock: Clockwork, archiver: Process) -> None:
    ended = []
    for _ in range(3):
        ended += over(clock, 2)
        clock.wait(DAY / SECOND)
    midnight = DAY - clock.now % DAY
    clock.wait((midnight - 1 * SECOND) / SECOND)
    archiver.round(0)
    ended += over(clock)
    clock.wait(2)
    ended += over(clock)
    archiver.round(2)
    archiver.round(10)
    archiver.check(ended)


def test_a_discarded_job_that_is_not_archived_is_not(clock: Clockwork, archiver: Process) -> None:
    first, second = clock.enqueue(2)
    clock.claimed()
    clock.refuse(first)
    archiver.round()
    clock.refuse(second)
    assert clock.run(operator_calls.discard(clock.account, [first, second])) == [1, 1]
    archiver.round()
    assert archiver.jobs().keys() == {first}


def test_a_job_that_is_discarded_while_it_is_archived_is_not_in_the_archive(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, gone = clock.enqueue(2)
    clock.claimed()
    for job in (left, gone):
        clock.refuse(job)
    write = archiver.archive.write

    async def discarded_before(*given: Any) -> list[str]:
        assert clock.run(operator_calls.discard(clock.account, [gone])) == [1]
        return await write(*given)

    monkeypatch.setattr(archiver.archive, "write", discarded_before)
    archiver.round()
    assert archiver.jobs().keys() == {left}


def test_a_dead_job_that_retention_takes_while_it_is_archived_stays_in_the_archive(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver.round()
    (job,) = clock.enqueue()
    clock.claimed()
    clock.refuse(job)
    clock.wait((7 + 31) * DAY / SECOND)
    write = archiver.archive.write

    async def retired_before(*given: Any) -> list[str]:
        for _ in range(5):
            clock.sweep("retire")
        assert clock.state(job) is None
        return await write(*given)

    monkeypatch.setattr(archiver.archive, "write", retired_before)
    archiver.round()
    assert archiver.jobs().keys() == {job}


@pytest.mark.parametrize("keep", [{}, {"keep_completed": 1, "keep_failed": 30}])
def test_retention_waits_for_the_archive_but_not_for_ever(
    clock: Clockwork, archiver: Process, keep: dict[str, int]
) -> None:
    clock.limit(**keep)
    first = over(clock, 3)
    archiver.round()
    second = over(clock, 3)
    longest = max([7, *keep.values()])
    clock.wait(longest * DAY / SECOND)
    for _ in range(5):
        clock.sweep("retire")
    assert clock.states(first) == {None}
    assert clock.states(second) == {"completed"}
    third = over(clock, 2)
    archiver.round(60)
    assert archiver.jobs().keys() == {*first, *second, *third}, "nothing was skipped"
    assert archiver.count() == 8
    clock.sweep("retire")
    assert clock.states(second) == {None}
    fourth = over(clock, 2)
    clock.wait((longest + 31) * DAY / SECOND)
    for _ in range(5):
        clock.sweep("retire")
    assert clock.states(fourth) == {None}
    assert clock.run(job_calls.stats(clock.account)).totals["archive:lost"] == 2
    last = over(clock)
    archiver.round()
    assert archiver.jobs().keys() == {*first, *second, *third, *last}


@pytest.mark.parametrize("keep", [{}, {"keep_completed": 1, "keep_failed": 30}])
def test_a_webhook_that_is_pending_keeps_no_other_job(
    clock: Clockwork, archiver: Process, keep: dict[str, int]
) -> None:
    clock.limit(**keep)
    (pending,) = awaited(clock)
    receive(clock, told(pending))
    others = over(clock, 3)
    archiver.round()
    assert clock.client.zcard(clock.key("archive_again")) == 1
    clock.wait(keep.get("keep_completed", 7) * DAY / SECOND)
    clock.sweep("retire")
    assert clock.states(others) == {None}
    assert clock.state(pending) == ("completed" if keep else None)
    assert "archive:lost" not in clock.run(job_calls.stats(clock.account)).totals


def test_an_archive_that_was_never_reached_and_one_that_is_turned_off_keep_nothing(
    clock: Clockwork, archiver: Process, tmp_path: Path
) -> None:
    away = Process(clock, f"sqlite:///{tmp_path}/not there/archive.sqlite")
    away.round()
    assert state(clock).trouble
    ended = over(clock, 2)
    clock.wait(7 * DAY / SECOND)
    clock.sweep("retire")
    assert clock.states(ended) == {None}
    archiver.round()
    ended = over(clock, 2)
    clock.wait(7 * DAY / SECOND)
    clock.sweep("retire")
    assert clock.states(ended) == {"completed"}
    clock.client.delete(clock.key("archive"))
    away.round()
    clock.sweep("retire")
    assert clock.states(ended) == {None}
    away.close()


def test_a_pass_of_retention_moves_what_is_read_meanwhile(
    clock: Clockwork, archiver: Process
) -> None:
    clock.limit(keep_completed=1)
    first, second = over(clock, 3), over(clock, 3)
    archiver.round()
    third = over(clock, 2)

    async def retire() -> None:
        clock.wait(7 * DAY / SECOND)
        clock.sweep("retire")

    archiver.meanwhile = retire
    archiver.round()
    archiver.round()
    archiver.round()
    assert clock.states([*first, *second]) == {None}
    assert archiver.jobs().keys() == {*first, *second, *third}
    assert orjson.dumps(state(clock).as_dict())


def test_groups_of_errors_that_are_new_and_grow_are_counted(
    clock: Clockwork, archiver: Process
) -> None:
    def count(failures: int) -> int:
        over(clock, failures, "failed")
        archiver.archiver._errors_at = 0.0
        archiver.round()
        return len(state(clock).new_errors)

    assert count(9) == 0
    assert count(1) == 1
    assert [*state(clock).new_errors.values()] == [10]
    assert state(clock).errors_words() == "1 new group of errors grows: 10 jobs in the last hour"
    clock.wait(3_700)
    assert count(5) == 0, "those before are longer ago than an hour"
    assert count(5) == 1
    clock.wait(DAY / SECOND)
    assert count(20) == 0, "it is not new any more"


def test_new_groups_of_errors_are_of_the_process_that_archives_and_stay_while_it_is_away(
    clock: Clockwork, archiver: Process
) -> None:
    over(clock, 10, "failed")
    archiver.round()
    clock.run(calls.new_errors("default", "another", []))
    clock.wait(3_700)
    assert len(state(clock).new_errors) == 1
    archiver.archiver._errors_at = 0.0
    archiver.round()
    assert state(clock).new_errors == {}


def test_a_file_that_is_deleted_is_noticed_and_nothing_goes_into_another(
    clock: Clockwork, archiver: Process
) -> None:
    ended = over(clock, 2)
    archiver.round()
    path = Path(archiver.url.removeprefix("sqlite:///"))
    first = archiver.archive.id
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    for file in files:
        file.rename(f"{file}.away")
    ended += over(clock)
    archiver.round()
    assert f"writes to archive {first}" in state(clock).trouble
    assert archiver.jobs() == {}
    for file in files:
        file.unlink(missing_ok=True)
        Path(f"{file}.away").rename(file)
    assert archiver.round() == 1.0
    archiver.check(ended)


def test_another_archive_behind_the_same_url_gets_nothing(
    clock: Clockwork, archiver: Process
) -> None:
    archiver.round()
    with sqlite3.connect(archiver.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE archive SET id = 'other'")
    over(clock, 2)
    archiver.round()
    assert "another archive has come in its place" in state(clock).trouble
    archiver.round()
    assert "this one is other" in state(clock).trouble
    assert archiver.jobs() == {}


def test_what_is_no_archiving_delays_none_when_it_fails(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object) -> list[object]:
        raise ArchiveAwayError("too slow")

    monkeypatch.setattr("archive.reader.Reader.new_errors", slow)
    monkeypatch.setattr("archive.retention.remove_older", slow)
    monkeypatch.setattr("archive.archiver.ERRORS_EVERY", 0.0)
    ended = []
    with capture_logs() as logged:
        for _ in range(3):
            ended += over(clock)
            assert archiver.round() == 1.0
            archiver.check(ended)
    assert [line["why"] for line in logged] == ["too slow"]
    assert state(clock).trouble == ""


async def test_a_stop_while_it_reads_gives_the_lease_up(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read = asyncio.Event()

    async def send(call: ScriptCall[Any]) -> Any:
        found = clock.run(call)
        if call.script.name == "unarchived":
            is_read.set()
            await asyncio.sleep(3600)
        return found

    monkeypatch.setattr(archiver.archiver, "_send", send)
    archiver.archiver.start()
    await is_read.wait()
    assert clock.client.hexists(clock.key("archive"), "lease")
    await archiver.archiver.stop()
    assert not clock.client.hexists(clock.key("archive"), "lease")


def test_groups_of_errors_are_counted_among_so_many_failures_at_most(
    clock: Clockwork, archiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.error_groups.MOST_FAILURES", 11)
    over(clock, 10, "failed", group="a")
    archiver.round()
    assert len(state(clock).new_errors) == 1
    monkeypatch.setattr("archive.error_groups.MOST_FAILURES", 9)
    archiver.archiver._errors_at = 0.0
    archiver.round()
    assert state(clock).new_errors == {}
