"""The scripts of schedules: written by compare-and-set, claimed for a time, their files stored."""

from dataclasses import replace
from typing import Any, cast

from runqueue.observe.statistics import read_figures
from runqueue.records.schedule import Firing, FiringState, Schedule, ScheduleSpec
from runqueue.schedules import calls
from runqueue.schedules.calls import ToFire
from runqueue.store import sending
from runqueue.store.scripts import ScriptCall, T
from tests.runqueue.lua.clockwork import LEASE, SECOND, Clockwork

NIGHTLY = ScheduleSpec("nightly", cron="0 2 * * *", job={"kind": "task", "body": {}})
CLAIM_LEASE = 30 * SECOND


def new(spec: ScheduleSpec = NIGHTLY, *firings: Firing) -> Schedule:
    return Schedule(spec, "default", 1, "", 0, firings)


def read(clock: Clockwork, name: str = "nightly") -> ToFire:
    found = clock.run(calls.read_schedule("default", name))
    assert found is not None
    return found


def written(clock: Clockwork, spec: ScheduleSpec = NIGHTLY, *firings: Firing) -> Schedule:
    assert clock.run(calls.write_schedule(None, new(spec, *firings))) > 0
    return read(clock, spec.name).schedule


def claim(clock: Clockwork, process: str = "p1") -> list[str]:
    clock.heartbeat(process, first=True)
    call = calls.schedule_claim("default", process, 10, 0, stay_idle=True, lease_us=CLAIM_LEASE)
    return [one.schedule.spec.name for one in clock.run(call).items]


def count(clock: Clockwork, total: str) -> int:
    return int(clock.client.hget(clock.key("counters"), total) or 0)


def test_a_schedule_reads_as_it_was_written(clock: Clockwork) -> None:
    firings = (
        Firing(5, state=FiringState.WAITING, message="its budget has no room"),
        Firing(4, state=FiringState.OVER, begun_us=4, ended_us=9, jobs=2, completed=2, credits=3),
    )
    written(clock, NIGHTLY, *firings)
    assert read(clock).schedule == replace(new(NIGHTLY, *firings), version=1)
    assert read(clock).uploads is None
    assert clock.run(calls.read_schedule("default", "other")) is None


def test_a_write_to_another_version_changes_nothing(clock: Clockwork) -> None:
    first = written(clock)
    paused = replace(first, paused="by a person")
    assert clock.run(calls.write_schedule(first, paused)) == 2
    late = replace(first, mark_us=7, firings=(Firing(7),))
    assert clock.run(calls.write_schedule(first, late)) == 0
    assert clock.run(calls.write_schedule(None, new())) == 0
    assert read(clock).schedule == replace(paused, version=2)


def test_what_is_left_of_a_schedule_keeps_no_other_from_firing(clock: Clockwork) -> None:
    for name in ("a", "b"):
        written(clock, replace(NIGHTLY, name=name))
    clock.client.delete(clock.key("schedule:a"))
    assert claim(clock) == ["b"]
    page = clock.run(calls.read_schedules("default", "", 10))
    assert [one.spec.name for one in page.schedules] == ["b"]


def test_a_backfill_of_long_ago_is_counted_and_stays_in_the_history(clock: Clockwork) -> None:
    over = [Firing(n, state=FiringState.OVER, begun_us=n, completed=1) for n in range(10, 110)]
    before = written(clock, NIGHTLY, *over, Firing(1))
    done = Firing(1, state=FiringState.OVER, begun_us=500, completed=1)
    after = replace(before, firings=(*over, done))
    assert clock.run(calls.write_schedule(before, after)) > 0
    found = read(clock).schedule.firings
    assert (found[-1], len(found), count(clock, "firings:over")) == (done, 100, 101)


def test_a_removed_schedules_version_matches_no_later_one(clock: Clockwork) -> None:
    first = written(clock)
    assert clock.run(calls.remove_schedule(first))
    assert not clock.run(calls.remove_schedule(first))
    written(clock)
    assert clock.run(calls.write_schedule(first, first)) == 0
    assert not clock.run(calls.remove_schedule(first))


def test_schedules_are_read_page_by_page_in_the_order_of_their_names(clock: Clockwork) -> None:
    for name in ("c", "a", "b", "d", "e"):
        written(clock, replace(NIGHTLY, name=name))
    names, after = [], ""
    while True:
        page = clock.run(calls.read_schedules("default", after, 2))
        names.append([one.spec.name for one in page.schedules])
        after = page.after
        if not after:
            break
    assert names == [["a", "b"], ["c", "d"], ["e"]]


def test_an_account_has_so_many_schedules_and_no_more(clock: Clockwork) -> None:
    clock.client.zadd(clock.key("schedules"), {str(n): 1 for n in range(calls.MOST_SCHEDULES)})
    assert clock.run(calls.write_schedule(None, new())) == -1
    assert clock.run(calls.read_schedule("default", "nightly")) is None


def test_the_history_is_trimmed_but_not_what_waits_or_is_under_way(clock: Clockwork) -> None:
    waiting = [Firing(n) for n in range(1, 4)]
    under_way = [Firing(4, state=FiringState.RUNNING, batch="b")]
    ended = [Firing(n, state=FiringState.SKIPPED) for n in range(10, 112)]
    first = written(clock, NIGHTLY, *waiting, *under_way, *ended)
    kept = [one.at_us for one in first.firings]
    assert kept == [*range(111, 11, -1), 4, 3, 2, 1]
    more = replace(first, firings=(Firing(500, state=FiringState.MISSED), *first.firings))
    clock.run(calls.write_schedule(first, more))
    found = read(clock).schedule.firings
    assert [one.at_us for one in found] == [500, *range(111, 12, -1), 4, 3, 2, 1]


def test_ends_of_firings_are_counted_once(clock: Clockwork) -> None:
    ends = (
        Firing(1, state=FiringState.OVER, jobs=1, completed=1),
        Firing(2, state=FiringState.OVER, jobs=1),
        Firing(3, state=FiringState.FAILED),
        Firing(4, state=FiringState.MISSED),
        Firing(5),
    )
    first = written(clock, NIGHTLY, *ends)
    clock.run(calls.write_schedule(first, replace(first, paused="x")))
    counted = [count(clock, f"firings:{end}") for end in ("over", "failed", "missed", "waiting")]
    assert counted == [1, 2, 1, 0]


def test_a_running_firing_has_the_figures_of_its_batch_and_when_it_was_over(
    clock: Clockwork,
) -> None:
    batch, _ = clock.batch_of(2)
    written(clock, NIGHTLY, Firing(4, state=FiringState.RUNNING, batch=batch, jobs=2))
    assert read(clock).schedule.firings[0].ended_us == 0
    clock.end_all("completed", "failed")
    firing = read(clock).schedule.firings[0]
    assert (firing.completed, firing.failed, firing.ended_us) == (1, 1, clock.now)


def test_a_running_firing_whose_batch_is_gone_is_over(clock: Clockwork) -> None:
    written(clock, NIGHTLY, Firing(4, state=FiringState.RUNNING, batch="gone"))
    assert read(clock).schedule.firings[0].ended_us == clock.now


def test_a_due_schedule_is_claimed_once_until_its_lease_is_over(clock: Clockwork) -> None:
    written(clock)
    assert claim(clock) == ["nightly"]
    clock.wait(29)
    assert claim(clock, "p2") == []
    clock.wait(1)
    assert claim(clock, "p2") == ["nightly"]


def test_a_lease_is_renewed_by_who_has_it_alone(clock: Clockwork) -> None:
    written(clock)
    claim(clock)
    clock.wait(29)
    assert clock.run(calls.keep_schedule("default", "p1", "nightly", CLAIM_LEASE))
    assert not clock.run(calls.keep_schedule("default", "p2", "nightly", CLAIM_LEASE))
    assert not clock.run(calls.keep_schedule("default", "p1", "other", CLAIM_LEASE))
    clock.wait(29)
    assert claim(clock, "p2") == []


def test_a_claim_ends_with_its_workers_write_and_not_with_another(clock: Clockwork) -> None:
    first = written(clock)
    claim(clock)
    clock.run(calls.write_schedule(first, replace(first, paused="by a person")))
    assert claim(clock, "p2") == []
    second = read(clock).schedule
    clock.run(calls.write_schedule(second, second, clock.now + 5 * SECOND, process="p1"))
    assert claim(clock, "p2") == []
    clock.wait(5)
    assert claim(clock, "p2") == ["nightly"]


def test_a_tick_starts_the_stage_for_a_due_schedule(clock: Clockwork) -> None:
    first = written(clock)
    clock.run(calls.write_schedule(first, first, clock.now + 5 * SECOND))
    clock.heartbeat(first=True)
    assert "schedules" not in clock.tick().messages
    clock.wait(5)
    clock.heartbeat(first=True)
    assert "schedules" in clock.tick().messages


def store(clock: Clockwork, packed: calls.PackedLines) -> None:
    place = 0
    while place < len(packed.chunks):
        place = clock.run(calls.put_lines("default", packed, place))


def lines_of(clock: Clockwork, file: str) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while some := clock.run(calls.read_lines("default", file, place)):
        found, place = found + some, place + 1
    assert some == []
    return found


def test_a_file_of_lines_reads_as_it_was_stored_however_often(clock: Clockwork) -> None:
    lines = [b'{"n": %d}' % n for n in range(2_500)]
    packed = calls.pack_lines([*lines, b" \n"])
    assert (packed.name.partition("-")[0], len(packed.chunks)) == ("2500", 4)
    store(clock, packed)
    store(clock, packed)
    assert lines_of(clock, packed.name) == lines
    assert clock.run(calls.put_lines("default", packed, 1)) == 4
    assert clock.run(calls.read_lines("default", "other", 0)) is None


def test_a_schedule_is_refused_whose_file_is_not_stored_as_a_whole(clock: Clockwork) -> None:
    packed = calls.pack_lines([b"a", b"b"])
    spec = replace(NIGHTLY, job=None, lines=packed.name)
    assert clock.run(calls.write_schedule(None, new(spec))) == -2
    clock.run(calls.put_lines("default", packed))
    assert clock.run(calls.write_schedule(None, new(spec))) == -2
    store(clock, packed)
    assert clock.run(calls.write_schedule(None, new(spec))) > 0


def test_a_file_lasts_while_a_schedule_names_it_and_then_two_days(clock: Clockwork) -> None:
    packed = calls.pack_lines([b"a"])
    key = clock.key(f"schedule_lines:{packed.name}")
    two_days = 2 * 86_400_000
    store(clock, packed)
    assert 0 < clock.client.pttl(key) <= two_days
    spec = replace(NIGHTLY, job=None, lines=packed.name)
    first, second = written(clock, spec), written(clock, replace(spec, name="other"))
    store(clock, packed)
    assert clock.client.pttl(key) == -1
    clock.run(calls.write_schedule(first, replace(first, spec=NIGHTLY)))
    assert clock.client.pttl(key) == -1
    clock.run(calls.remove_schedule(second))
    assert 0 < clock.client.pttl(key) <= two_days


def test_an_upload_under_way_has_the_spec_that_it_began_with(clock: Clockwork) -> None:
    first = written(clock)
    begun = replace(first, firings=(Firing(4, state=FiringState.UPLOADING, batch="b"),))
    clock.run(calls.write_schedule(first, begun, uploads=NIGHTLY))
    changed = replace(NIGHTLY, cron="0 3 * * *")
    found = read(clock)
    clock.run(calls.write_schedule(found.schedule, replace(found.schedule, spec=changed)))
    assert (read(clock).schedule.spec, read(clock).uploads) == (changed, NIGHTLY)
    found = read(clock)
    is_over = replace(found.schedule, firings=(Firing(4, state=FiringState.OVER, batch="b"),))
    clock.run(calls.write_schedule(found.schedule, is_over))
    assert read(clock).uploads is None


def test_a_lease_of_the_process_is_needed_to_claim(clock: Clockwork) -> None:
    written(clock)
    clock.heartbeat("p1", first=True)
    clock.wait(LEASE / SECOND + 1)
    call = calls.schedule_claim("default", "p1", 10, 0, stay_idle=True, lease_us=CLAIM_LEASE)
    assert clock.run(call).answer == "fenced"


def test_figures_say_how_many_are_paused_and_how_late_the_most_overdue_is(clock: Clockwork) -> None:
    assert clock.run(read_figures("default")).schedules == {"active": 0, "paused": 0}
    first, other = written(clock), written(clock, replace(NIGHTLY, name="other"))
    clock.run(calls.write_schedule(first, replace(first, paused="by Ann"), clock.now + 5 * SECOND))
    clock.run(calls.write_schedule(other, other, clock.now + 10 * SECOND))
    assert clock.run(read_figures("default")).schedule_late == 0
    clock.wait(12)
    found = clock.run(read_figures("default"))
    assert (found.schedules, found.schedule_late) == ({"active": 1, "paused": 1}, 7)


def test_a_step_ahead_that_is_not_believed_yet_moves_no_mark_look_or_lease(
    clock: Clockwork,
) -> None:
    first, then = written(clock), clock.now
    assert claim(clock) == ["nightly"]
    clock.client.hset(clock.key("meta"), "clock", then)

    def an_hour_ahead(call: ScriptCall[T]) -> T:
        return sending.run(clock.client, call, cast(Any, f"={then + 3_600 * SECOND}"))

    found = an_hour_ahead(calls.read_schedule("default", "nightly"))
    assert found is not None
    assert found.now_us == then
    assert an_hour_ahead(calls.keep_schedule("default", "p1", "nightly", CLAIM_LEASE))
    assert clock.client.zscore(clock.key("schedules"), "nightly") == then + CLAIM_LEASE
    assert an_hour_ahead(calls.write_schedule(first, first, process="p1")) == 2
    assert clock.client.zscore(clock.key("schedules"), "nightly") == then
