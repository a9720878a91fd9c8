"""What an answer tells of a run's own times, whatever stands in it."""

from typing import Any

import pytest

from api_client.answers.parts import (
    NO_TIMES,
    RunTimes,
    attempt_age,
    ended_ago,
    run_times,
)
from runqueue.records.times import encode_times

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
    assert encode_times(*times) == expected


def attempt(started: str | None, next_at: str | None = None) -> dict[str, Any]:
    return {"started_at": started, "next_attempt_at": next_at}


FIRST, SECOND = "2026-01-01T00:00:00.25", "2026-01-01T00:10:00"
NOW = 1767226200.0  # 00:10:00


@pytest.mark.parametrize(
    ("shown", "age"),
    [
        (attempt(FIRST), 599.75),
        ({**attempt(FIRST), "attempts": [attempt(FIRST)]}, 599.75),
        # A failed attempt, whose next one is due in a minute.
        (
            {
                **attempt(FIRST, "2026-01-01T00:11:00Z"),
                "attempts": [attempt(FIRST, "2026-01-01T00:11:00Z")],
            },
            -60,
        ),
        # The second attempt waits: only the first one tells that it was due.
        ({**attempt(None), "attempts": [attempt(FIRST, "2026-01-01T00:09:00"), attempt(None)]}, 60),
        ({**attempt(SECOND), "attempts": [attempt(FIRST), attempt(SECOND)]}, 0),
        (attempt(None), None),
        ({}, None),
        ({"started_at": 17, "attempts": {"started_at": FIRST}}, None),
        ({"started_at": "soon", "attempts": [None, "x", {}, []]}, None),
    ],
)
def test_an_attempt_counts_from_the_latest_start_that_is_told(
    shown: dict[str, Any], age: float | None
) -> None:
    assert attempt_age(shown, NOW) == age


def test_without_the_server_s_clock_no_age_is_told() -> None:
    assert attempt_age(attempt(FIRST), None) is None


@pytest.mark.parametrize(
    ("finished", "ago"),
    [
        ("2026-01-01T00:00:00", 90.0),
        ("2026-01-01T00:00:00Z", 90.0),
        ("2026-01-01T01:00:00+01:00", 90.0),
        ("2026-01-01T00:01:31", -1.0),
        (None, None),
        ("soon", None),
    ],
)
def test_the_end_of_a_run_is_told_by_the_servers_clock(
    finished: str | None, ago: float | None
) -> None:
    assert ended_ago({"finished_at": finished}, 1767225690.0) == ago
    assert ended_ago({"finished_at": finished}, None) is None
