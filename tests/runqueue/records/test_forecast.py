"""How long jobs take, by what an account can do and by what was seen."""

import random

import pytest

from runqueue.records.forecast import (
    Capacity,
    EndRate,
    UsageStatistics,
    seconds_at,
    seconds_left,
    usage_for,
)

#: Two submissions a second, ten runs at once of five minutes each.
USUAL = Capacity(2.0, 10, 300.0)


@pytest.mark.parametrize(
    ("jobs", "capacity", "seconds"),
    [
        (100, USUAL, 3_000.0),  # the runs at once are what limits
        (100, Capacity(0.02, 10, 300.0), 5_000.0),  # the submissions are
        (100, Capacity(0.02, 0, None), 5_000.0),
        (100, Capacity(2.0, 10, None), None),
        (100, Capacity(), None),
        (100, Capacity(0.0, 0, 300.0), 300.0),  # all at once
        (1, USUAL, 300.0),  # nothing is faster than a run
        (0, USUAL, 0.0),
        (0, Capacity(), 0.0),
        (100, Capacity(0.0, 10, 0.0), 0.0),
    ],
)
def test_jobs_take_what_the_tighter_limit_asks(
    jobs: int, capacity: Capacity, seconds: float | None
) -> None:
    assert seconds_at(jobs, capacity) == seconds


def test_a_batch_ends_as_fast_as_was_seen() -> None:
    assert seconds_left(100, EndRate(20, 40.0, 0.0)) == 200.0


@pytest.mark.parametrize(
    "seen", [EndRate(9, 40.0, 0.0), EndRate(0, 0.0, 0.0), EndRate(20, 0.0, 0.0)]
)
def test_too_little_that_was_seen_says_nothing(seen: EndRate) -> None:
    assert seconds_left(100, seen) is None


@pytest.mark.parametrize(("jobs", "longest"), [(100, 200.0), (1, 60.0)])
def test_a_silence_longer_than_the_rest_should_take_leaves_no_time(
    jobs: int, longest: float
) -> None:
    assert seconds_left(jobs, EndRate(20, 40.0, longest)) is not None
    assert seconds_left(jobs, EndRate(20, 40.0, longest + 1)) is None


def test_a_silence_shorter_than_usual_says_nothing_and_a_longer_one_slows_down() -> None:
    assert EndRate(20, 40.0, 2.0).rate == EndRate(20, 40.0, 0.0).rate == 0.5
    assert EndRate(20, 40.0, 380.0).rate == 0.05


def test_steps_are_forecast_by_the_mean_of_those_seen() -> None:
    found = usage_for(10, UsageStatistics(runs=4, amount=40, squares=440))
    assert found is not None
    assert found.amount == 100
    assert (round(found.least, 1), round(found.most, 1)) == (57.7, 142.3)
    assert usage_for(10, UsageStatistics()) is None
    assert usage_for(10, UsageStatistics(1, 7, 49)) == (70, 70, 70)


def test_nineteen_of_twenty_forecasts_hold() -> None:
    chance, held = random.Random(1), 0
    for _ in range(1_000):
        seen = [chance.randint(1, 20) for _ in range(50)]
        squares = sum(steps**2 for steps in seen)
        found = usage_for(100, UsageStatistics(len(seen), sum(seen), squares))
        assert found is not None
        held += found.least <= sum(chance.randint(1, 20) for _ in range(100)) <= found.most
    assert 920 <= held <= 980
