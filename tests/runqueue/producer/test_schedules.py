"""Schedules by the queue's methods: applying at once, files of lines, firing and backfill."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runqueue import AsyncRunQueue, InvalidJob, InvalidRequest, RunQueue, ScheduleNotFound
from runqueue.records.schedule import Firing, FiringState, Schedule, ScheduleSpec
from runqueue.request.time_range import in_microseconds
from runqueue.schedules import applying, calls

JOB = {"kind": "task", "body": {"prompt": "Read {date}."}}
LINE = b'{"kind": "task", "body": {"prompt": "Read {date}."}}\n'


async def test_of_two_who_apply_at_once_one_has_all_of_his_schedules(redis_url: str) -> None:
    files = [
        {f"s{n}": {"cron": f"{minute} 2 * * *", "job": JOB} for n in range(minute, 20)}
        for minute in (1, 2)
    ]
    async with AsyncRunQueue(redis_url) as one, AsyncRunQueue(redis_url) as other:
        await asyncio.gather(
            one.apply_schedules(files[0], remove_others=True),
            other.apply_schedules(files[1], remove_others=True),
        )
        found = {schedule.spec.name: schedule.spec.cron for schedule in await one.list_schedules()}

    assert found in [{name: table["cron"] for name, table in file.items()} for file in files]


async def test_an_apply_goes_on_beside_a_worker_that_writes(redis_url: str) -> None:
    async with AsyncRunQueue(redis_url) as queue:
        await queue.apply_schedules({"a": {"every": "1m", "job": JOB}})
        over = asyncio.Event()

        async def write() -> None:
            while not over.is_set():
                found = await queue.send(calls.read_schedule("default", "a"))
                assert found is not None
                later = replace(found.schedule, mark_us=found.schedule.mark_us + 1)
                await queue.send(calls.write_schedule(found.schedule, later))

        writing = asyncio.create_task(write())
        for minutes in range(2, 12):
            (change,) = await queue.apply_schedules({"a": {"every": f"{minutes}m", "job": JOB}})
            assert change.change == "changed"
        await asyncio.gather(*(queue.fire_schedule("a") for _ in range(5)))
        over.set()
        await writing
        found = await queue.get_schedule("a")

    assert (found.spec.every_seconds, len(found.firings)) == (660, 5)


def test_others_stay_unless_they_are_to_go(redis_url: str) -> None:
    with RunQueue(redis_url) as queue:
        queue.apply_schedules({"a": {"every": "1m", "job": JOB}})
        assert len(queue.apply_schedules({"b": {"every": "1m", "job": JOB}})) == 1
        assert [one.spec.name for one in queue.list_schedules()] == ["a", "b"]
        gone = queue.apply_schedules({}, remove_others=True)
        assert [one.change for one in gone] == ["removed", "removed"]
        with pytest.raises(ScheduleNotFound):
            queue.fire_schedule("a")


def test_lines_are_checked_with_their_numbers_and_stored_once(redis_url: str) -> None:
    with RunQueue(redis_url) as queue:
        with pytest.raises(InvalidJob) as refused:
            queue.store_schedule_lines([b"\n", LINE, b"{}\n", b'{"account": "b", "kind": 1}'])
        fields = {fault.field for fault in refused.value.errors}
        assert {field.partition(":")[0] for field in fields} == {"line 3", "line 4"}

        stored = queue.store_schedule_lines([LINE, b"\n", LINE])
        assert stored == queue.store_schedule_lines([LINE, LINE])
        queue.apply_schedules({"a": {"every": "1h", "lines": stored}})
        assert queue.get_schedule("a").spec.count == 2
        # Another number of lines is another file, which is not there.
        with pytest.raises(InvalidRequest, match=r"schedules\.a\.lines: expected those of a file"):
            queue.apply_schedules({"a": {"every": "1h", "lines": stored.replace("2-", "3-")}})


def test_a_firing_that_waits_has_as_many_jobs_as_the_new_file(redis_url: str) -> None:
    with RunQueue(redis_url) as queue:
        files = [queue.store_schedule_lines([LINE] * count) for count in (3, 5)]
        queue.apply_schedules({"a": {"every": "1h", "lines": files[0]}})
        queue.fire_schedule("a")
        queue.apply_schedules({"a": {"every": "1h", "lines": files[1]}})
        (firing,) = queue.get_schedule("a").firings
    assert (firing.state, firing.jobs) == (FiringState.WAITING, 5)


def test_a_file_that_is_not_stored_changes_nothing(redis_url: str) -> None:
    good = {"every": "1h", "job": JOB}
    with RunQueue(redis_url) as queue:
        for dry_run in (True, False):
            with pytest.raises(InvalidRequest, match=r"schedules\.b\.lines: expected those of a"):
                queue.apply_schedules(
                    {"a": good, "b": {"every": "1h", "lines": f"1-{'0' * 32}"}}, dry_run=dry_run
                )
        assert queue.list_schedules() == []


def test_a_file_that_is_stored_in_part_changes_nothing(redis_url: str) -> None:
    packed = calls.pack_lines([LINE] * 1_500)
    file = {"every": "1h", "lines": packed.name}
    with RunQueue(redis_url) as queue:
        queue.send(calls.put_lines("default", packed, 0))
        with pytest.raises(InvalidRequest, match=r"schedules\.b\.lines: expected those of a"):
            queue.apply_schedules({"a": {"every": "1h", "job": JOB}, "b": file})
        assert queue.list_schedules() == []


def test_a_hundred_faults_are_named_and_no_more() -> None:
    bad: dict[str, dict[str, Any]] = {f"s{n}": {"job": JOB} for n in range(300)}
    with pytest.raises(InvalidRequest) as refused:
        applying.checked(bad)
    assert len(refused.value.errors) == 100


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([LINE] * (calls.MOST_LINES + 1), "expected 200,000 lines"),
        ([b"\n"], "expected at least one job"),
    ],
)
def test_a_file_has_a_quota_of_lines(redis_url: str, lines: list[bytes], words: str) -> None:
    with RunQueue(redis_url) as queue, pytest.raises(InvalidRequest, match=words):
        queue.store_schedule_lines(lines)


def test_more_schedules_than_an_account_may_have_are_refused(redis_url: str) -> None:
    many = {f"s{n}": {"every": "1h", "job": JOB} for n in range(calls.MOST_SCHEDULES + 1)}
    with RunQueue(redis_url) as queue, pytest.raises(InvalidRequest, match="at most 1,000"):
        queue.apply_schedules(many)


def test_a_backfill_makes_up_for_what_came_to_nothing_and_no_more() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    hours = [in_microseconds(start + timedelta(hours=n)) for n in range(6)]
    found = Schedule(ScheduleSpec("a", every_seconds=3600, job=JOB), "default", hours[4], "", 1)
    found = replace(
        found,
        firings=(
            Firing(hours[1], state=FiringState.OVER),
            Firing(hours[0], state=FiringState.MISSED),
        ),
    )

    after = applying.backfilled(found, 0, start, start + timedelta(hours=6))

    waiting = [one.at_us for one in after.firings if one.state is FiringState.WAITING]
    assert waiting == [hours[4], hours[3], hours[2], hours[0]]
    with pytest.raises(InvalidRequest, match="past time that has not fired"):
        applying.backfilled(found, 0, start + timedelta(hours=5), start + timedelta(hours=9))
    with pytest.raises(InvalidRequest, match="at most 100 that wait"):
        applying.backfilled(found, 0, start - timedelta(days=9), start)


def test_other_times_hold_from_now_on_and_other_fields_keep_the_mark() -> None:
    spec = ScheduleSpec("a", cron="0 2 * * *", job=JOB)
    found = applying.applied(None, spec, "default", 10)

    assert applying.applied(found, replace(spec, cron="0 3 * * *"), "default", 20).mark_us == 20
    assert applying.applied(found, replace(spec, pause_after=3), "default", 20).mark_us == 10


def test_what_was_due_when_a_schedule_is_paused_is_missed_and_not_forgotten() -> None:
    spec = ScheduleSpec("a", every_seconds=60, job=JOB)
    done = Firing(180_000_000, state=FiringState.OVER)
    found = Schedule(spec, "default", 60_000_000, "", 1, (done,))
    paused = applying.paused(found, 250_000_000, "")
    states = {firing.at_us // 1_000_000: firing.state.value for firing in paused.firings}
    assert states == {120: "missed", 180: "over", 240: "missed"}
    assert paused.mark_us == 250_000_000
    again = applying.paused(replace(paused, paused="moved"), 400_000_000, "")
    assert (again.paused, again.firings) == ("moved", paused.firings)


def test_a_pause_is_not_made_up_for() -> None:
    found = Schedule(ScheduleSpec("a", cron="0 2 * * *"), "default", 10, "", 1)

    assert applying.resumed(applying.paused(found, 15, "moved"), 20).mark_us == 20
    assert applying.resumed(found, 20) == found
