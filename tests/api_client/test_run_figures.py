"""What an answer tells of a run's own times, whatever stands in it."""

from typing import Any

import pytest

from api_client.answers.parts import NO_FIGURES, RunFigures, attempt_age, ended_ago, run_figures
from runqueue.records.run_figures import FigureRules

CREATED, QUEUED = "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"
STARTED, FINISHED = "2026-01-01T00:00:05.500000+00:00", "2026-01-01T01:00:05.500000"


def run(**fields: Any) -> dict[str, Any]:
    whole = {"created_at": CREATED, "queued_at": QUEUED, "started_at": STARTED}
    return {**whole, "finished_at": FINISHED, "step_count": 7, **fields}


def test_a_run_waited_until_its_start_and_ran_until_its_end() -> None:
    assert run_figures(run()) == RunFigures(3.5, 3600.0, 7)
    assert run_figures(run(queued_at=None)) == RunFigures(5.5, 3600.0, 7)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"started_at": None}, RunFigures(steps=7)),
        ({"finished_at": None}, RunFigures(3.5, None, 7)),
        ({"finished_at": CREATED}, RunFigures(3.5, None, 7)),
        ({"started_at": "soon"}, RunFigures(steps=7)),
        ({"started_at": 17}, RunFigures(steps=7)),
        ({"queued_at": [], "created_at": {}}, RunFigures(None, 3600.0, 7)),
        ({"step_count": None}, RunFigures(3.5, 3600.0, None)),
        ({"step_count": True}, RunFigures(3.5, 3600.0, None)),
        ({"step_count": -1}, RunFigures(3.5, 3600.0, None)),
        ({"step_count": 10**9}, RunFigures(3.5, 3600.0, None)),
        ({"step_count": "7"}, RunFigures(3.5, 3600.0, None)),
    ],
)
def test_what_is_not_told_is_none(fields: dict[str, Any], expected: RunFigures) -> None:
    assert run_figures(run(**fields)) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (NO_FIGURES, ""),
        (RunFigures(3.5, 3600.0, 7), "3500:3600000:7"),
        (RunFigures(None, 0.0, None), ":0:"),
        (RunFigures(1e12, -1.0, 0), "::0"),
    ],
)
def test_the_scripts_are_told_in_milliseconds(times: RunFigures, expected: str) -> None:
    assert FigureRules().encode("tsk_1", "completed", times) == expected


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


CATEGORIES = [{"category": "LLM_ERROR", "confidence_float": 0.9}, {"category": "UNKNOWN"}]
BILLED: dict[str, Any] = {
    "run_id": "wr_1",
    "credits_used": 5,
    "cached_credits_used": 2,
    "failure_category": CATEGORIES,
}


def test_a_workflow_run_reports_its_credits_and_category() -> None:
    found = run_figures(run(**BILLED))
    assert found == RunFigures(3.5, 3600.0, 7, 5, 2, "LLM_ERROR", "wr_1")


@pytest.mark.parametrize("value", [None, True, -1, 10**9, 1.5, "5", [5], {}, 10**30])
def test_credits_that_are_none_are_not_known(value: object) -> None:
    found = run_figures({"credits_used": value, "cached_credits_used": value})
    assert (found.credits, found.cached_credits) == (None, None)


@pytest.mark.parametrize(
    "value",
    [None, "LLM_ERROR", [], ["LLM_ERROR"], [{}], [{"category": None}], {"category": "X"}]
    + [[{"category": text}] for text in ("", "llm", "A" * 41, "A:B", "A B", "A\n", "É", 7)],
)
def test_a_category_that_is_none_is_not_known(value: object) -> None:
    assert run_figures({"failure_category": value}).category is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run_id": "wr_1"}, "wr_1"),
        ({"run_id": "tsk_v2_1", "workflow_run_id": "wr_2"}, "wr_2"),
        ({"run_id": "tsk_v2_1", "app_url": "https://app.test/runs/wr_3"}, "wr_3"),
        ({"run_id": "tsk_1", "app_url": "https://app.test/tasks/tsk_1"}, None),
        ({"run_id": "tsk_v2_1", "workflow_run_id": ["wr_2"], "app_url": 7}, None),
        ({"run_id": "wr_1 2"}, None),
        ({"run_id": "wr_" + "1" * 200}, None),
    ],
)
def test_the_workflow_run_of_a_run(fields: dict[str, Any], expected: str | None) -> None:
    assert run_figures(fields).workflow_run_id == expected


FAILED_POLL = RunFigures(1.0, 2.0, 7, workflow_run_id="wr_1")


@pytest.mark.parametrize(
    ("rules", "run_id", "state", "figures", "expected"),
    [
        (FigureRules(), "wr_1", "failed", run_figures(run(**BILLED)), ":5:2::LLM_ERROR:wr_1"),
        (FigureRules(), "wr_1", "failed", FAILED_POLL, ":::::wr_1"),
        (FigureRules(), "wr_1", "completed", FAILED_POLL, ""),
        (FigureRules(details="all"), "wr_1", "completed", FAILED_POLL, ":::::wr_1"),
        (FigureRules(details="never"), "wr_1", "failed", FAILED_POLL, ""),
        (FigureRules(), "tsk_v2_1", "failed", FAILED_POLL, ":::::wr_1"),
        (FigureRules(), "tsk_1", "failed", FAILED_POLL, ""),
        (FigureRules(1.5), "tsk_1", "completed", FAILED_POLL, ":11::1::"),
        (FigureRules(0.1), "tsk_1", "completed", RunFigures(1.0, 2.0, 30), ":3::1::"),
        (FigureRules(1e6), "tsk_1", "completed", FAILED_POLL._replace(steps=999_999), None),
        (FigureRules(1.5), "tsk_1", "completed", RunFigures(1.0, 2.0), ""),
        (FigureRules(1.5), "tsk_v2_1", "completed", FAILED_POLL, ""),
    ],
)
def test_what_the_scripts_are_told(
    rules: FigureRules, run_id: str, state: str, figures: RunFigures, expected: str | None
) -> None:
    told = rules.encode(run_id, state, figures)
    more = told.split(":", 3)[3:]
    wanted = "999999999::1::" if expected is None else expected.removeprefix(":")
    assert (more[0] if more else "") == wanted
