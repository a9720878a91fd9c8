"""What an answer tells of a run's own times, whatever stands in it."""

from typing import Any

import pytest

from api_client.run_times import NO_TIMES, RunTimes, run_times
from runqueue.times import packed

CREATED, QUEUED = "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"
STARTED, FINISHED = "2026-01-01T00:00:05.500000+00:00", "2026-01-01T01:00:05.500000"


def run(**fields: Any) -> dict[str, Any]:
    whole = {"created_at": CREATED, "queued_at": QUEUED, "started_at": STARTED}
    return {**whole, "finished_at": FINISHED, "step_count": 7, **fields}


def test_a_run_waited_until_its_start_and_ran_until_its_end() -> None:
    assert run_times(run()) == RunTimes(3.5, 3600.0, 7)
    assert run_times(run(queued_at=None)) == RunTimes(5.5, 3600.0, 7)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"started_at": None}, RunTimes(steps=7)),
        ({"finished_at": None}, RunTimes(3.5, None, 7)),
        ({"finished_at": CREATED}, RunTimes(3.5, None, 7)),
        ({"started_at": "soon"}, RunTimes(steps=7)),
        ({"started_at": 17}, RunTimes(steps=7)),
        ({"queued_at": [], "created_at": {}}, RunTimes(None, 3600.0, 7)),
        ({"step_count": None}, RunTimes(3.5, 3600.0, None)),
        ({"step_count": True}, RunTimes(3.5, 3600.0, None)),
        ({"step_count": -1}, RunTimes(3.5, 3600.0, None)),
        ({"step_count": 10**9}, RunTimes(3.5, 3600.0, None)),
        ({"step_count": "7"}, RunTimes(3.5, 3600.0, None)),
    ],
)
def test_what_is_not_told_is_none(fields: dict[str, Any], expected: RunTimes) -> None:
    assert run_times(run(**fields)) == expected


def test_nothing_is_told_of_an_empty_answer() -> None:
    assert run_times({}) == NO_TIMES


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (NO_TIMES, ""),
        (RunTimes(3.5, 3600.0, 7), "3500:3600000:7"),
        (RunTimes(None, 0.0, None), ":0:"),
        (RunTimes(1e12, -1.0, 0), "::0"),
    ],
)
def test_the_scripts_are_told_in_milliseconds(times: RunTimes, expected: str) -> None:
    assert packed(*times) == expected
