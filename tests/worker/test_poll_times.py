"""When a run is polled next, by a GET of its own or by a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.store.live_run_calls import ListReading
from worker.poll_times import LIST_CALLS_A_RUN, duration_of, list_spacing, spacing

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("age", "wait"), [(0, 2), (5, 2), (20, 2), (60, 6), (299, 29.9), (300, 30), (7_200, 30)]
)
def test_a_run_is_polled_again_after_a_tenth_of_its_age_within_the_bounds(
    age: float, wait: float
) -> None:
    assert spacing(age, 2, 30, 0.5) == pytest.approx(wait)


@given(
    age=st.floats(0, 1e6), least=st.floats(0, 60), extra=st.floats(0, 3_600), chance=st.floats(0, 1)
)
def test_no_age_brings_a_wait_outside_the_bounds_and_their_spread(
    age: float, least: float, extra: float, chance: float
) -> None:
    wait = spacing(age, least, least + extra, chance)

    assert 0.9 * least - 1e-6 <= wait <= 1.1 * (least + extra) + 1e-6
    assert spacing(age + 1, least, least + extra, chance) >= wait


@pytest.mark.parametrize(
    ("duration", "live", "pages", "seconds"),
    [
        (300, 1_000, 10, 10.7),
        (1_800, 1_000, 10, 64.3),
        (300, 1_000, 3, 3.2),  # the others hold only young runs
        (300, 1_000, 110, 12),  # other people's runs: as late as that, no later
        (1_800, 20, 1, 72),
        (300, 20, 1, 12),
        (30, 20, 1, 3),
        (30, 1_000, 10, 2),
        (0, 1_000, 10, 2),
    ],
)
def test_the_spacing_of_lists_grows_with_what_runs_take(
    duration: float, live: int, pages: int, seconds: float
) -> None:
    assert list_spacing(duration, live, pages, 2, 0) == pytest.approx(seconds, rel=0.01)


def test_the_pages_of_lists_take_half_of_the_calls_that_the_account_may_make() -> None:
    assert list_spacing(300, 1_000, 110, 2, 10) == 22


@given(duration=st.floats(20, 1e5), live=st.integers(10, 10_000), others=st.integers(0, 10_000))
def test_a_run_waits_no_longer_than_it_may_and_costs_no_more_than_its_budget(
    duration: float, live: int, others: int
) -> None:
    pages = -(-(live + others) // 100)
    spaced = list_spacing(duration, live, pages, 2, 0)

    delay, calls = spaced / 2, duration / spaced * pages / live
    assert delay <= max(6, 0.02 * duration) + 1e-9
    most = max(min(0.1 * duration, 12), 0.04 * duration)
    assert calls <= LIST_CALLS_A_RUN + 1e-9 or spaced == pytest.approx(max(most, 2))


@pytest.mark.parametrize(
    ("mean", "ended_ago", "ages", "duration"),
    [
        (300, 5, [10, 20, 7_000], 300),
        (0, None, [10, 20, 30], 40),  # never seen to end: twice the median of their ages
        (30, 400, [500, 600, 700], 400),  # now they take longer: no end for so long
        (30, 86_400, [5, 10, 7_000], 30),  # nothing was there to end
        (30, 86_400, [], 30),
    ],
)
def test_what_runs_take_is_the_mean_unless_none_ended_for_longer(
    mean: float, ended_ago: float | None, ages: list[float], duration: float
) -> None:
    started = [NOW - round(age * SECOND) for age in ages]
    ended = 0 if ended_ago is None else NOW - round(ended_ago * SECOND)
    reading = ListReading(NOW, round(mean * SECOND), 0, ended)

    assert duration_of(reading, NOW, started) == pytest.approx(duration)
