"""The pace at which jobs end, and the spacing of the looks."""

from runqueue.cli.follow.tracker import LATEST, SOONEST, next_pause
from runqueue.cli.shared.pace import Pace


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    for second, done in enumerate([0, *[100] * 30, 110, 120]):
        pace.note(done, float(second))

    assert 0.5 < pace.per_second < 2.0


def test_there_is_no_telling_before_the_first_job_has_ended() -> None:
    pace = Pace()
    pace.note(0, 0.0)
    pace.note(0, 1.0)

    assert pace.seconds_for(10) is None


def test_the_rest_takes_as_long_as_the_pace_says() -> None:
    pace = Pace()
    pace.note(0, 0.0)
    pace.note(20, 10.0)

    assert pace.seconds_for(40) == 20


def test_looks_are_soon_while_jobs_end_and_rarer_while_none_does() -> None:
    assert next_pause(0.8, moved=1, left=10) == SOONEST
    assert next_pause(SOONEST, moved=0, left=10) > SOONEST
    assert next_pause(LATEST, moved=0, left=10) == LATEST


def test_a_million_open_jobs_are_looked_at_once_a_second_at_most() -> None:
    assert next_pause(SOONEST, moved=500, left=1_000_000) == LATEST
