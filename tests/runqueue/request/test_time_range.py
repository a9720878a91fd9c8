"""Times that choose jobs."""

from datetime import UTC, datetime, timedelta

import pytest

from runqueue.errors import InvalidRequest
from runqueue.request.time_range import check_range, read_time


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
    ],
)
def test_a_time_has_its_zone_and_a_date_is_one_of_utc(given: str, expected: datetime) -> None:
    assert read_time(given) == expected


@pytest.mark.parametrize(
    ("given", "ago"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("3d", timedelta(days=3)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_how_long_ago_counts_from_now(given: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    assert before - ago <= read_time(given) <= datetime.now(UTC) - ago


@pytest.mark.parametrize(("day", "ago"), [("today", 0), ("yesterday", 1)])
def test_a_day_is_its_midnight_in_utc(day: str, ago: int) -> None:
    def midnight() -> datetime:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=ago)

    assert midnight() <= read_time(day) <= midnight()


@pytest.mark.parametrize(
    "given",
    ["", "7200", "-5h", "1.5h", "12 h", "2030-01-31T12:00:00", "20300131", "2030-02-31", "999999w"],
)
def test_what_is_no_time_is_refused_with_what_was_expected(given: str) -> None:
    with pytest.raises(ValueError, match=r'expected a time with its zone .* "12h" or "3d", got'):
        read_time(given)


def test_times_without_a_zone_and_empty_ranges_are_refused() -> None:
    at = datetime(2030, 1, 31, tzinfo=UTC)
    with pytest.raises(InvalidRequest, match="until: expected a time with its zone"):
        check_range(None, at.replace(tzinfo=None))
    with pytest.raises(InvalidRequest, match="until: expected a time after since"):
        check_range(at, at)
