"""How a run whose answer was lost is recognised, and when it is looked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue import ids, wire
from runqueue.items import Doubtful
from runqueue.spec import parse_line
from worker.finding import Wanted, is_run_of, kind_of, markers_of, next_look, wanted

JOB, OTHER = "a" * ids.ID_LENGTH, "b" * ids.ID_LENGTH
SECOND = 1_000_000
TASK = {"prompt": "Read it.", "url": "https://shop.test/", "max_steps": 4}
FLOW = {"workflow_id": "wpid_1", "parameters": {"order": 17, "gift": None}}


def doubt(body: dict[str, Any], kind: str = "task", *, attempt: int = 2) -> Doubtful:
    _, stored = wire.pack(parse_line({"kind": kind, "body": body}))
    return Doubtful(JOB, attempt, 1_000 * SECOND, 990 * SECOND, True, "auto", "", stored)


def job(body: dict[str, Any], kind: str = "task", *, attempt: int = 2) -> Wanted:
    """A job that has been unconfirmed for five seconds, in its given attempt."""
    return wanted(doubt(body, kind, attempt=attempt), 1_005 * SECOND, 500.0)


def test_a_job_is_read_with_its_age_and_all_its_fields() -> None:
    body = {**TASK, "title": "Prices", "user_agent": "me", "webhook_url": "https://app.test/"}

    found = job(body)

    assert (found.age, found.since) == (5.0, 500.0 - 15 - 60)
    assert (found.kind, found.fields) == ("task", body)
    assert found.marker == (JOB, 2)


@pytest.mark.parametrize("stored", [b"", b"{}", b"nonsense", b'{"k":"t"}\nnonsense', b"{}\n{}"])
def test_a_broken_request_is_said_to_be_one(stored: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        wanted(Doubtful(JOB, 1, 0, 0, True, "auto", "", stored), SECOND, 0.0)


@pytest.mark.parametrize("engine", ["skyvern-1.0", "skyvern-3.0", "openai-cua", "anthropic-cua"])
def test_a_task_whose_title_is_kept_is_searched_by_the_marker_in_it(engine: str) -> None:
    assert job({**TASK, "engine": engine}).search_key == f"[rq:{JOB}.2]"


@pytest.mark.parametrize("engine", ["skyvern-2.0", "ui-tars", "skyvern-9.0", None])
def test_a_task_whose_title_may_be_overwritten_cannot_be_searched(engine: str | None) -> None:
    body = {**TASK, "engine": engine, "title": "mine", "webhook_url": "https://app.test/"}

    assert job(body).search_key is None
    assert job(TASK).search_key is None


def test_a_workflow_is_searched_by_the_marker_in_its_webhook() -> None:
    body = {**FLOW, "webhook_url": "https://app.test/hook"}

    assert job(body, "workflow").search_key == f"rq_job={JOB}.2."


@pytest.mark.parametrize("more", [{}, {"title": "mine"}, {"webhook_url": None}])
def test_a_workflow_without_a_webhook_cannot_be_searched(more: dict[str, Any]) -> None:
    assert job({**FLOW, **more}, "workflow").search_key is None


@given(attempt=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_a_search_key_stands_in_no_other_attempt_s_request(attempt: int, other: int) -> None:
    body = {**TASK, "engine": "skyvern-1.0", "title": "Prices"}
    sent = wire.submission(doubt(body).stored, JOB, other).content.decode()

    key = job(body, attempt=attempt).search_key

    assert key is not None
    assert (key in sent) is (attempt == other)


@pytest.mark.parametrize(
    ("echoed", "found"),
    [
        ({}, set()),
        ({"title": None, "webhook_url": None}, set()),
        ({"title": 5, "webhook_url": ["rq_job"]}, set()),
        ({"title": "Prices"}, set()),
        ({"title": f"Prices [rq:{JOB}.2]"}, {(JOB, 2)}),
        ({"webhook_url": f"https://a.test/?x=1&rq_job={JOB}.11.#top"}, {(JOB, 11)}),
        (
            {"title": f"[rq:{JOB}.1]", "webhook_url": f"https://a.test/?rq_job={OTHER}.3."},
            {(JOB, 1), (OTHER, 3)},
        ),
        ({"title": f"[rq:{JOB}.]"}, set()),
        ({"title": f"[rq:{JOB[:-1]}.1]"}, set()),
        ({"title": f"[rq:{JOB.upper()}.1]"}, set()),
        ({"prompt": f"[rq:{JOB}.1]"}, set()),
    ],
)
def test_markers_are_read_from_title_and_webhook(
    echoed: dict[str, Any], found: set[tuple[str, int]]
) -> None:
    assert markers_of(echoed) == found


@pytest.mark.parametrize(
    ("run_type", "kind"),
    [("workflow_run", "workflow"), ("task_v2", "task"), ("openai_cua", "task"), (None, None)],
)
def test_a_listed_run_s_kind_is_told_by_its_type(run_type: str | None, kind: str) -> None:
    assert kind_of(run_type) == kind


@pytest.mark.parametrize(
    ("echoed", "is_ours"),
    [
        (TASK, True),
        ({**TASK, "engine": "skyvern-2.0", "proxy_location": "RESIDENTIAL", "title": None}, True),
        ({**TASK, "title": "Read the price of a thing"}, True),
        ({**TASK, "webhook_url": "https://elsewhere.test/"}, True),
        ({**TASK, "max_steps": 5}, False),
        ({**TASK, "max_steps": None}, None),
        ({**TASK, "max_steps": None, "prompt": "Other."}, False),
        ({**TASK, "max_steps": "4"}, False),
        ({name: TASK[name] for name in ("prompt", "url")}, None),
        ({}, None),
    ],
)
def test_an_unmarked_task_is_recognised_by_every_field_that_was_sent_and_shown(
    echoed: dict[str, Any], is_ours: bool | None
) -> None:
    assert is_run_of(job(TASK), "task", echoed) is is_ours


@pytest.mark.parametrize("echoed", [TASK, {**TASK, "totp_url": None}])
def test_a_null_that_was_sent_may_be_left_out(echoed: dict[str, Any]) -> None:
    assert is_run_of(job({**TASK, "totp_url": None}), "task", echoed)


def test_what_travels_outside_the_body_need_not_be_echoed() -> None:
    sent = {**FLOW, "user_agent": "me", "max_steps_override": 9, "template": True, "title": "t"}

    assert is_run_of(job(sent, "workflow"), "workflow", FLOW)


def test_a_run_of_another_kind_is_not_the_job_s() -> None:
    assert not is_run_of(job(TASK), "workflow", TASK)
    assert not is_run_of(job(FLOW, "workflow"), "task", FLOW)


@pytest.mark.parametrize("sent", ["workflow_id", "agent_id"])
@pytest.mark.parametrize("echoed", ["workflow_id", "agent_id"])
@pytest.mark.parametrize(("name", "is_ours"), [("wpid_1", True), ("wpid_2", False)])
def test_a_workflow_is_the_same_under_either_name_of_its_id(
    sent: str, echoed: str, name: str, is_ours: bool
) -> None:
    ours = job({sent: "wpid_1", "parameters": {"a": 1}}, "workflow")

    assert is_run_of(ours, "workflow", {echoed: name, "parameters": {"a": 1}}) is is_ours


@pytest.mark.parametrize(
    "parameters", [{"order": 18, "gift": None}, {"order": 17}, {}, None, [17], {"gift": None}]
)
def test_a_workflow_with_other_parameters_is_not_the_job_s(parameters: Any) -> None:
    echoed = {**FLOW, "parameters": parameters}

    assert not is_run_of(job(FLOW, "workflow"), "workflow", echoed)


@pytest.mark.parametrize(
    "marker", [f"[rq:{JOB}.1]", f"[rq:{JOB}.3]", f"[rq:{JOB}.22]", f"[rq:{OTHER}.2]"]
)
def test_a_marker_of_another_attempt_or_job_decides_against_equal_fields(marker: str) -> None:
    assert not is_run_of(job(TASK), "task", {**TASK, "title": marker})


def test_our_own_marker_decides_for_it_though_fields_differ() -> None:
    echoed = {"webhook_url": f"https://app.test/?rq_job={JOB}.2.", "prompt": "rewritten"}

    assert is_run_of(job(TASK), "task", echoed)


def looks(grace: float, until: float) -> list[float]:
    """At which ages a job is looked for, the first look being two seconds after the loss."""
    ages, age = [], 2.0
    while age < until:
        ages.append(age)
        age += next_look(age, grace)
    return ages


def test_a_job_is_looked_for_soon_at_the_grace_and_half_a_minute_later() -> None:
    ages = looks(30.0, 3_600)

    assert [age for age in ages if age < 5] == [2.0, 4.0]
    assert {30.0, 60.0} <= {round(age, 6) for age in ages}
    assert 4 <= sum(age < 30 for age in ages) <= 8


def test_looks_become_rarer_and_never_rarer_than_five_minutes() -> None:
    gaps = [next_look(age, 30.0) for age in looks(30.0, 4 * 3_600) if age >= 30]

    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (30.0, 300.0)


@given(age=st.floats(0, 1e7), grace=st.floats(0, 3_600))
def test_a_look_is_never_due_at_once_nor_far_away(age: float, grace: float) -> None:
    assert 0.05 <= next_look(age, grace) <= max(300.0, grace * 0.7)


@given(age=st.floats(0, 1e6), grace=st.floats(0.1, 3_600))
def test_no_look_skips_the_end_of_the_grace(age: float, grace: float) -> None:
    if age < grace:
        assert age + next_look(age, grace) <= grace + 0.051
