"""When schedules fire, held against a walk through the year."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.records.schedule import ScheduleSpec
from runqueue.schedules.firings import firings, jitter_us, upcoming
from simulation.schedules.cron_walk import fired, us, walk

_HOUR, _DAY = 3_600_000_000, 86_400_000_000
#: Zones, each with a year in which its clocks do something of their own.
ZONES = [
    ("UTC", 2026),
    ("Europe/Berlin", 2026),
    ("Europe/Dublin", 2026),  # summer is its standard time
    ("America/New_York", 2028),  # has a 29 February
    ("America/St_Johns", 2026),
    ("America/Santiago", 2026),  # lacks a midnight
    ("America/Havana", 2026),  # has a midnight twice
    ("America/Sao_Paulo", 2018),
    ("America/Nuuk", 2026),
    ("Africa/Cairo", 2026),
    ("Africa/Casablanca", 2026),  # back for Ramadan
    ("Asia/Beirut", 2026),
    ("Asia/Kathmandu", 2026),
    ("Asia/Kolkata", 2026),
    ("Asia/Tehran", 2022),
    ("Australia/Lord_Howe", 2026),  # by half an hour
    ("Pacific/Auckland", 2026),
    ("Pacific/Chatham", 2026),
    ("Pacific/Apia", 2011),  # lacks 30 December
    ("Antarctica/Troll", 2026),  # by two hours
]
CRONS = [
    "*/30 * * * *",
    "*/20 0-3 * * *",
    "*/15 2 * * *",
    "5 */6 * * *",
    "30 * 1,31 * *",
    "0 0 * * *",
    "30 2 * * *",
    "15,45 0-4 * * 1-5",
    "0 1,3,23 29-31 * *",
    "10 0 13 * 0,5",
]


@pytest.mark.parametrize(("zone", "year"), ZONES)
def test_in_a_year_each_firing_comes_once_whatever_the_looks(zone: str, year: int) -> None:
    year_of = walk(
        datetime(year - 1, 12, 30, tzinfo=UTC),
        datetime(year + 1, 1, 3, tzinfo=UTC),
        zone,
        timedelta(minutes=5),
    )
    first, last = us(datetime(year, 1, 1, tzinfo=UTC)), us(datetime(year + 1, 1, 1, tzinfo=UTC))
    random = Random(f"{zone} {year}")
    for cron in CRONS:
        spec = ScheduleSpec("s", cron=cron, timezone=zone)
        found, mark = list[int](), first
        while mark < last:
            most = random.choice([1, 7, 1_000])
            now = min(last, mark + random.choice([90, 9_000, 86_400, 3_000_000]) * 1_000_000)
            times = firings(spec, mark, now, most)
            found += times
            mark = times[-1] if len(times) == most else now
        assert found == [at for at in fired(cron, year_of) if first < at <= last], cron


@pytest.mark.parametrize(
    ("zone", "day", "cron", "expected"),
    [
        # 2 o'clock is 3 o'clock.
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", "03:00+02:00"),
        ("Europe/Berlin", "2026-03-29", "0,30 2,3 * * *", "03:00+02:00 03:30+02:00"),
        ("Europe/Berlin", "2026-03-29", "*/30 2 * * *", ""),
        ("Europe/Berlin", "2026-03-29", "30 1-3 * * *", "01:30+01:00 03:00+02:00 03:30+02:00"),
        ("Europe/Berlin", "2026-03-29", "30 */2 * 3 0", "*11"),
        ("America/New_York", "2026-03-08", "15 2 * * *", "03:00-04:00"),
        # 3 o'clock is 2 o'clock again.
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", "02:30+02:00"),
        ("Europe/Berlin", "2026-10-25", "0 1-3 * * *", "01:00+02:00 02:00+02:00 03:00+01:00"),
        (
            "Europe/Berlin",
            "2026-10-25",
            "*/30 2 * * *",
            "02:00+02:00 02:30+02:00 02:00+01:00 02:30+01:00",
        ),
        ("America/New_York", "2026-11-01", "15 1 * * *", "01:15-04:00"),
        ("America/New_York", "2026-11-01", "*/30 * * * *", "*50"),
        # By half an hour.
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", "02:30+11:00"),
        ("Australia/Lord_Howe", "2026-10-04", "*/15 3 * * *", "*4"),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", "01:45+11:00"),
        ("Australia/Lord_Howe", "2026-04-05", "*/15 1 * * *", "*6"),
        ("Australia/Lord_Howe", "2026-04-05", "*/15 2 * * *", "*4"),
        # Midnight is 1 o'clock; midnight comes twice.
        ("America/Santiago", "2026-09-06", "0 0 * * *", "01:00-03:00"),
        ("America/Santiago", "2026-09-06", "*/30 0 * * *", ""),
        ("America/Havana", "2026-11-01", "0 0 * * *", "00:00-04:00"),
        ("America/Havana", "2026-11-01", "*/30 0 * * *", "*4"),
        # Ramadan begins and ends.
        ("Africa/Casablanca", "2026-02-15", "30 2 * * *", "02:30+01:00"),
        ("Africa/Casablanca", "2026-03-22", "30 2 * * *", "03:00+01:00"),
        # There is no 30 December 2011.
        ("Pacific/Apia", "2011-12-30", "0 12 * * *", ""),
        ("Pacific/Apia", "2011-12-31", "0 12 * * *", "00:00+14:00 12:00+14:00"),
        ("Pacific/Apia", "2011-12-31", "0 */12 * * *", "00:00+14:00 12:00+14:00"),
    ],
)
def test_on_the_day_of_a_change_a_firing_is_neither_lost_nor_doubled(
    zone: str, day: str, cron: str, expected: str
) -> None:
    spec = ScheduleSpec("s", cron=cron, timezone=zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    mark, until = us(midnight - timedelta(days=1)), us(midnight + timedelta(days=2))
    whole = firings(spec, mark, until, 1_000)
    looks = range(mark, until, 300_000_000)
    assert [at for look in looks for at in firings(spec, look, look + 300_000_000, 9)] == whole
    local = [datetime.fromtimestamp(at / 1e6, ZoneInfo(zone)) for at in whole]
    of_day = [f"{at:%H:%M}{at.isoformat()[-6:]}" for at in local if f"{at:%Y-%m-%d}" == day]
    assert expected in (" ".join(of_day), f"*{len(of_day)}")


def test_an_interval_goes_on_evenly_from_its_start() -> None:
    start = datetime(2026, 10, 24, 22, 10, tzinfo=UTC)
    spec = ScheduleSpec("s", every_seconds=5_400, timezone="Europe/Berlin", start=start)
    found = firings(spec, 0, us(start) + _DAY, 100)
    assert found == [us(start) + number * 5_400_000_000 for number in range(17)]
    from_1970 = firings(ScheduleSpec("s", every_seconds=5_400), us(start), us(start) + _DAY, 100)
    assert len(from_1970) == 16
    assert all(at % 5_400_000_000 == 0 for at in from_1970)


@pytest.mark.parametrize("when", [{"cron": "0 * * * *"}, {"every_seconds": 3_600}])
def test_a_firing_may_be_at_its_start_but_not_at_its_end(when: dict[str, str | int]) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    bounds = {"start": start, "end": start + timedelta(hours=3)}
    spec = ScheduleSpec("s", **when, **bounds)  # type: ignore[arg-type]
    assert firings(spec, 0, us(start) + _DAY, 100) == [us(start) + n * _HOUR for n in range(3)]
    assert len(upcoming(spec, "default", us(start) + _HOUR, 5)) == 1


SPECS = st.builds(
    ScheduleSpec,
    st.just("s"),
    cron=st.sampled_from(CRONS),
    timezone=st.sampled_from([zone for zone, _ in ZONES]),
    every_seconds=st.sampled_from([0, 0, 0, 60, 5_400, 86_400]),
    jitter_seconds=st.sampled_from([0, 1, 60, 86_400]),
)
#: Near a change of many zones' clocks.
MARKS = st.sampled_from(["2026-03-29", "2026-10-25", "2026-04-05", "2026-09-06"]).map(
    lambda day: us(datetime.fromisoformat(day).replace(tzinfo=UTC))
)


@given(SPECS, MARKS, st.lists(st.integers(-_DAY, _DAY), max_size=20))
def test_however_the_time_is_split_the_firings_are_the_same(
    spec: ScheduleSpec, mark: int, looks: list[int]
) -> None:
    whole = firings(spec, mark - _DAY, mark + _DAY, 10_000)
    found, upto = list[int](), mark - _DAY
    for look in [*sorted(looks), _DAY]:
        found += firings(spec, upto, mark + look, 10_000)
        upto = mark + look
    assert found == whole
    assert all(one < other for one, other in pairwise(whole))


@given(SPECS, MARKS)
def test_jitter_ends_before_the_next_firing_and_is_the_same_each_time(
    spec: ScheduleSpec, mark: int
) -> None:
    times = firings(spec, mark, mark + _DAY, 100)
    begins = [at + jitter_us("default", "s", at, spec) for at in times]
    assert begins == [at + jitter_us("default", "s", at, spec) for at in times]
    assert all(
        at <= begin <= at + spec.jitter_seconds * 1_000_000
        for at, begin in zip(times, begins, strict=True)
    )
    assert all(begin < at for begin, at in zip(begins, times[1:], strict=False))


def test_jitter_spreads_schedules_over_all_of_its_time() -> None:
    spec = ScheduleSpec("s", cron="0 0 * * *", jitter_seconds=100)
    found = {jitter_us("default", f"s{n}", 0, spec) // 10_000_000 for n in range(200)}
    assert found == set(range(10))


def test_the_next_firings_are_in_the_schedules_zone_with_jitter() -> None:
    spec = ScheduleSpec("s", cron="0 14 * * 1-5", timezone="Europe/Berlin", jitter_seconds=600)
    friday = us(datetime(2026, 10, 23, 13, tzinfo=UTC))
    found = upcoming(spec, "default", friday, 5)
    assert [f"{at:%a %H}" for at in found] == ["Mon 14", "Tue 14", "Wed 14", "Thu 14", "Fri 14"]
    assert any(at.second for at in found)
