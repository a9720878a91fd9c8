"""What becomes of firings: due, late, overlapping, paused."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.records.schedule import (
    CatchUp,
    Firing,
    FiringKind,
    FiringState,
    Overlap,
    Schedule,
    ScheduleSpec,
)
from runqueue.schedules.firings import firings, jitter_us
from runqueue.schedules.plan import MOST_DECIDED, MOST_WAITING, FiringPlan, batch_id, plan
from simulation.schedules.cron_walk import us
from tests.runqueue.schedules.test_firings import ZONES

_SECOND, _HOUR, _DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NOON = us(datetime(2026, 6, 1, 12, tzinfo=UTC))
HOURLY = ScheduleSpec("s", cron="0 * * * *")
Waiting, Uploading, Running = FiringState.WAITING, FiringState.UPLOADING, FiringState.RUNNING
Over, Skipped, Missed = FiringState.OVER, FiringState.SKIPPED, FiringState.MISSED


@dataclass
class Driven:
    """A schedule that is looked at; each batch is over when the test says so."""

    spec: ScheduleSpec
    mark: int = NOON
    paused: str = ""
    now: int = NOON
    firings: dict[int, Firing] = field(default_factory=dict)
    uploads: list[int] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)

    def look(self, at: int, *, dies: bool = False) -> FiringPlan:
        """Look at a time; what is to be uploaded is, unless the worker dies at that."""
        self.now = at
        firings = tuple(self.firings.values())
        found = plan(Schedule(self.spec, "default", self.mark, self.paused, 0, firings), at)
        assert found.mark_us >= self.mark
        self.mark, self.paused = found.mark_us, found.paused
        self.firings |= {firing.at_us: firing for firing in found.changed}
        assert sum(firing.state.is_under_way for firing in self.firings.values()) <= 1
        self.canceled += found.cancel
        if found.upload and not dies:
            assert self.firings[found.upload.at_us] == found.upload
            self.uploads.append(found.upload.at_us)
            self.firings[found.upload.at_us] = found.upload._replace(state=Running)
        return found

    def end(self, *, completed: int = 1) -> None:
        """End the batch that is under way."""
        for one in self.firings.values():
            if one.state is Running:
                over = one._replace(state=Over, ended_us=self.now, completed=completed)
                self.firings[one.at_us] = over
                return

    def ask(self, kind: FiringKind, *times: int) -> None:
        """Add what an operator asks for."""
        self.firings |= {at: Firing(at, kind) for at in times}

    @property
    def states(self) -> list[FiringState]:
        return [firing.state for _, firing in sorted(self.firings.items())]


@pytest.mark.parametrize(("zone", "year"), ZONES)
def test_in_a_year_of_looks_each_firing_is_uploaded_once_in_its_time(zone: str, year: int) -> None:
    begin = us(datetime(year, 1, 1, tzinfo=UTC))
    spec = ScheduleSpec("s", cron="30 2 * * *", timezone=zone, jitter_seconds=90)
    driven = Driven(spec, mark=begin, now=begin)
    while driven.now < begin + 365 * _DAY:
        found = driven.look(driven.now)
        driven.now, looked = found.look_us, driven.now
        assert driven.now > looked
        driven.end()
    expected = firings(spec, begin, looked, 1_000)
    assert driven.uploads == expected
    assert Counter(driven.states) == {Over: len(expected)}
    lates = {
        driven.firings[at].begun_us - at - jitter_us("default", "s", at, spec) for at in expected
    }
    assert lates == {0}


@given(st.lists(st.tuples(st.integers(-_HOUR, 2_700 * _SECOND), st.booleans()), max_size=30))
def test_whenever_it_is_looked_at_and_workers_die_no_firing_is_lost_or_doubled(
    looks: list[tuple[int, bool]],
) -> None:
    spec = replace(HOURLY, overlap=Overlap.QUEUE, catch_up=CatchUp.ALL, jitter_seconds=600)
    driven = Driven(spec)
    for (
        step,
        dies,
    ) in looks:  # also back: clocks are set; no day in all, after which an upload is given up
        driven.look(driven.now + step, dies=dies)
        driven.end()
    last = max(driven.now, driven.mark) + _HOUR
    for at in range(last, last + 40 * _SECOND, _SECOND):
        driven.look(at)
        driven.end()
    assert driven.uploads == firings(spec, NOON, driven.mark, 1_000)
    assert set(driven.states) <= {Over}


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.NONE, [Missed] * 4),
        (CatchUp.LAST, [Missed, Missed, Missed, Uploading]),
        (CatchUp.ALL, [Uploading, Waiting, Waiting, Waiting]),
    ],
)
@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE])
def test_firings_that_no_worker_was_there_for_are_caught_up_for_as_said(
    catch_up: CatchUp, overlap: Overlap, expected: list[FiringState]
) -> None:
    driven = Driven(replace(HOURLY, catch_up=catch_up, overlap=overlap))
    driven.look(NOON + 4 * _HOUR + 61 * _SECOND, dies=True)
    assert driven.states == expected
    said = {one.message for one in driven.firings.values() if one.state is Missed}
    assert said <= {"no worker was there in time"}


def test_a_firing_that_is_a_minute_late_is_in_time() -> None:
    driven = Driven(replace(HOURLY, catch_up=CatchUp.NONE))
    driven.look(NOON + _HOUR + 60 * _SECOND)
    assert driven.states == [Running]


def test_with_a_newer_one_in_time_the_last_one_that_is_late_is_missed() -> None:
    driven = Driven(replace(HOURLY, catch_up=CatchUp.LAST))
    driven.look(NOON + 3 * _HOUR)
    assert driven.states == [Missed, Missed, Running]


@pytest.mark.parametrize("catch_up", CatchUp)
def test_after_a_long_time_without_a_worker_each_look_decides_some(catch_up: CatchUp) -> None:
    driven = Driven(ScheduleSpec("s", every_seconds=60, catch_up=catch_up))
    times, looks = 10 * MOST_DECIDED, 0
    more = True
    while more:
        found = driven.look(NOON + times * 60 * _SECOND + 90 * _SECOND, dies=True)
        looks, more = looks + 1, found.look_us == driven.now
    assert looks == 11
    waiting = {CatchUp.NONE: 1, CatchUp.LAST: 1, CatchUp.ALL: MOST_WAITING + 1}[catch_up]
    counts = Counter(driven.states)
    assert counts.pop(Uploading) + counts.pop(Waiting, 0) == waiting
    assert counts == {Missed: times + 1 - waiting}


def test_when_the_clock_is_set_back_nothing_fires_again() -> None:
    driven = Driven(HOURLY)
    driven.look(NOON + 2 * _HOUR)
    driven.end()
    for at in range(NOON, NOON + 3 * _HOUR - 1, _HOUR // 10):
        assert driven.look(at).upload is None
    assert driven.look(NOON + 3 * _HOUR).upload


def test_what_overlaps_is_skipped_and_says_with_what() -> None:
    driven = Driven(HOURLY)
    driven.look(NOON + _HOUR)
    driven.look(NOON + 2 * _HOUR)
    assert driven.states == [Running, Skipped]
    assert (
        driven.firings[NOON + 2 * _HOUR].message == "the firing of 2026-06-01T13:00:00Z is not over"
    )
    driven.end()
    driven.look(NOON + 3 * _HOUR)
    assert driven.states == [Over, Skipped, Running]


def test_what_overlaps_waits_its_turn() -> None:
    driven = Driven(replace(HOURLY, overlap=Overlap.QUEUE))
    for hour in (1, 2, 3):
        found = driven.look(NOON + hour * _HOUR)
    assert driven.states == [Running, Waiting, Waiting]
    assert found.look_us == NOON + 3 * _HOUR + 10 * _SECOND
    for _ in range(3):
        driven.end()
        driven.look(driven.now + 10 * _SECOND)
    assert driven.uploads == [NOON + hour * _HOUR for hour in (1, 2, 3)]


def test_no_more_than_a_hundred_firings_wait() -> None:
    driven = Driven(replace(HOURLY, overlap=Overlap.QUEUE))
    for hour in range(1, 104):
        driven.look(NOON + hour * _HOUR)
    assert driven.states == [Running] + [Waiting] * 100 + [Missed] * 2
    assert driven.firings[NOON + 103 * _HOUR].message == "100 firings waited already"


def test_what_overlaps_cancels_and_only_the_newest_waits() -> None:
    driven = Driven(replace(HOURLY, overlap=Overlap.CANCEL))
    for hour in (1, 2, 3):
        driven.look(NOON + hour * _HOUR)
    assert driven.states == [Running, Skipped, Waiting]
    assert set(driven.canceled) == {batch_id("default", "s", NOON + _HOUR)}
    driven.end(completed=0)
    driven.look(NOON + 3 * _HOUR + 10 * _SECOND)
    assert driven.states == [Over, Skipped, Running]


@pytest.mark.parametrize("overlap", Overlap)
def test_backfill_waits_its_turn_and_gives_way_to_the_clock(overlap: Overlap) -> None:
    driven = Driven(replace(HOURLY, overlap=overlap))
    driven.ask(FiringKind.BACKFILL, NOON - 3 * _HOUR, NOON - 2 * _HOUR)
    driven.look(NOON + 1)
    driven.look(NOON + _HOUR)
    assert driven.states == [Running, Waiting, Waiting]
    for _ in range(3):
        driven.end()
        driven.look(driven.now + 10 * _SECOND)
    assert driven.uploads == [NOON - 3 * _HOUR, NOON + _HOUR, NOON - 2 * _HOUR]
    assert driven.canceled == []


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [(Overlap.SKIP, Skipped), (Overlap.QUEUE, Waiting), (Overlap.CANCEL, Waiting)],
)
def test_a_firing_that_was_asked_for_is_subject_to_the_rule(
    overlap: Overlap, expected: FiringState
) -> None:
    driven = Driven(replace(HOURLY, overlap=overlap))
    driven.look(NOON + _HOUR)
    driven.ask(FiringKind.NOW, NOON + _HOUR + 5)
    driven.look(NOON + _HOUR + 6)
    assert driven.states == [Running, expected]
    assert bool(driven.canceled) == (overlap is Overlap.CANCEL)


def test_while_it_is_paused_time_passes_and_only_what_is_asked_for_fires() -> None:
    driven = Driven(replace(HOURLY, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE))
    for hour in (1, 2):
        driven.look(NOON + hour * _HOUR)
    driven.paused = "by a person"
    driven.end()
    for hour in (3, 4):
        assert driven.look(NOON + hour * _HOUR).upload is None
    assert driven.states == [Over, Waiting]
    driven.ask(FiringKind.NOW, NOON + 4 * _HOUR + 5)
    assert driven.look(NOON + 4 * _HOUR + 6).upload
    driven.end()
    driven.paused = ""
    driven.look(NOON + 4 * _HOUR + 7)
    assert driven.uploads == [NOON + _HOUR, NOON + 4 * _HOUR + 5, NOON + 2 * _HOUR]


def test_it_pauses_itself_after_firings_without_a_completed_job_and_again_after_as_many() -> None:
    driven = Driven(replace(HOURLY, pause_after=3))
    paused_at = []
    for hour, completed in enumerate([0, 0, 1, 0, 0, 0, 0, 0, 0, 1], 1):
        assert driven.look(NOON + hour * _HOUR).upload
        driven.end(completed=completed)
        if driven.look(NOON + hour * _HOUR + _SECOND).paused:
            assert driven.paused == "its last 3 firings completed no job"
            paused_at.append(hour)
            driven.paused = ""
    assert paused_at == [6, 9]
    assert [one.at_us for one in driven.firings.values() if one.paused] == [
        NOON + hour * _HOUR for hour in paused_at
    ]


def test_an_upload_that_a_dead_worker_began_is_repeated() -> None:
    driven = Driven(HOURLY)
    first = driven.look(NOON + _HOUR, dies=True).upload
    assert first is not None
    assert (first.state, first.begun_us) == (Uploading, NOON + _HOUR)
    for later in (_SECOND, _DAY):
        schedule = Schedule(HOURLY, "default", driven.mark, "", 0, (first,))
        found = plan(schedule, NOON + _HOUR + later)
        assert found.upload == first


def test_the_next_look_is_when_something_is_to_be_done() -> None:
    spec = replace(HOURLY, jitter_seconds=600)
    begin = NOON + _HOUR + jitter_us("default", "s", NOON + _HOUR, spec)
    assert begin > NOON + _HOUR
    driven = Driven(spec)
    assert driven.look(NOON).look_us == begin
    assert driven.look(begin - 1).look_us == begin
    assert driven.look(begin).look_us == begin + 10 * _SECOND
    driven.end()
    assert driven.look(begin + 1).look_us > NOON + 2 * _HOUR
    ended = replace(HOURLY, end=datetime(2026, 6, 1, tzinfo=UTC))
    assert Driven(ended).look(NOON).look_us == NOON + _DAY


def test_a_firing_is_late_by_when_it_begins_with_jitter() -> None:
    spec = replace(HOURLY, catch_up=CatchUp.NONE, jitter_seconds=3_000)
    begin = NOON + _HOUR + jitter_us("default", "s", NOON + _HOUR, spec)
    assert begin > NOON + _HOUR + 60 * _SECOND
    driven = Driven(spec)
    driven.look(begin)
    assert driven.states == [Running]


def test_what_a_pause_holds_cancels_nothing() -> None:
    driven = Driven(replace(HOURLY, overlap=Overlap.CANCEL))
    driven.look(NOON + _HOUR)
    driven.ask(FiringKind.TIMED, NOON + 2 * _HOUR)
    driven.paused = "by a person"
    assert driven.look(NOON + 2 * _HOUR).cancel == ()
    assert driven.states == [Running, Waiting]


def test_a_firing_that_was_asked_for_at_a_scheduled_time_is_the_one_of_that_time() -> None:
    driven = Driven(HOURLY)
    driven.ask(FiringKind.NOW, NOON + _HOUR)
    driven.look(NOON + _HOUR - 1)
    driven.look(NOON + _HOUR)
    assert driven.states == [Running]
    assert driven.uploads == [NOON + _HOUR]
