"""A yes at a glance is one that the model would give, and everything else stays the model's."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runqueue.errors import InvalidJob
from runqueue.request import job_spec
from runqueue.request.job_spec import quick_check
from runqueue.request.requests import RunRequest, TaskRunRequest, WorkflowRunRequest

MODELS: list[type[RunRequest]] = [TaskRunRequest, WorkflowRunRequest]
FIELDS = sorted({name for model in MODELS for name in model.model_fields})


class Words(StrEnum):
    """Text of a caller's own class."""

    SOME = "words"
    BLANK = " "
    NUL = "a\0b"


TEXTS = [
    *("", " ", "\n", "\x1c", "\x85", "\u2003", "\ufeff", "a", "\na", "a\n", "é😀", "\\u0000"),
    *(
        "\0",
        "a\0",
        " \0",
        "\ud800",
        "10",
        "true",
        "https://shop.test/a?b#c",
        "http://\0",
        "ftp://a",
    ),
]
VALUE = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            10,
            -1,
            2**63,
            2**70,
            1.0,
            1.5,
            float("nan"),
            b"bytes",
            object(),
        ),
        *Words,
        *({}, {"a": "b"}, {"a": None}, {"a": 1}, {"a": "\0"}, {"\0": "a"}, {"": ""}, {1: "a"}),
        *({"country": "DE"}, {"country": ""}, {"country": "DE", "x": 1}, [], ["a"], ("a",), {"a"}),
        *({"a": {"b": [float("inf"), "\ud800"]}}, {"\ud800": "a"}, {"X-A": "b\nc"}),
    ]
)
BODY = st.dictionaries(
    st.sampled_from(FIELDS) | st.sampled_from(["", "\0", "\ud800", "Prompt", 1, None]),
    st.sampled_from(TEXTS) | VALUE,
    max_size=3,
)
GIVEN = st.sampled_from([{}, {"prompt": "Go."}, {"workflow_id": "wpid_1"}, {"agent_id": "\nw"}])


def takes(model: type[RunRequest], body: dict[Any, Any]) -> bool:
    try:
        model.__pydantic_validator__.validate_python(body)
    except ValidationError:
        return False
    return True


def outcome(line: dict[str, Any]) -> Any:
    """What comes of a line: its job, or every word of its refusal."""
    try:
        return job_spec.parse_line(line)
    except InvalidJob as refusal:
        return refusal.errors


@given(kind=st.sampled_from(["task", "workflow"]), start=GIVEN, more=BODY)
def test_a_line_has_the_same_outcome_without_the_glance(
    kind: str, start: dict[str, Any], more: dict[Any, Any]
) -> None:
    line = {"custom_id": "a", "kind": kind, "body": {**start, **more}}
    with patch.dict(job_spec._QUICK, dict.fromkeys(MODELS, lambda _: False)):
        looked_over = outcome(line)
    assert outcome(line) == looked_over


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_asked_as_the_model_asks_it(model: type[RunRequest], name: str) -> None:
    quick = quick_check(model)
    start = {"prompt": "Go."} if model is TaskRunRequest else {"workflow_id": "wpid_1"}
    for value in (*TEXTS, None, True, 0, 1, 10**6, 1.5, {}, {"a": "b"}, {"a": 1}, [], ["a"]):
        if isinstance(value, str) and ("\0" in value or "\ud800" in value):
            continue
        body = {**start, name: value}
        assert quick(body) == takes(model, body), value


@pytest.mark.parametrize("name", ["prompt", "title", "url", "user_agent", "browser_session_id"])
def test_a_nul_is_found_in_every_text(name: str) -> None:
    line = {"kind": "task", "body": {"prompt": "Go.", name: "a\0b"}}
    assert [fault.field for fault in outcome(line)] == [f"body.{name}"]


@pytest.mark.parametrize("kind", ["task", "workflow"])
def test_usual_bodies_never_come_to_the_model(kind: str) -> None:
    bodies = {
        "task": {"prompt": 'Buy it.\nNow: \\ "é"', "url": "https://shop.test", "max_steps": 3},
        "workflow": {"workflow_id": "wpid_1", "parameters": {"a": [1.5, None]}, "title": None},
    }
    with patch.object(job_spec._SlowCheck, "at_once", side_effect=AssertionError):
        assert job_spec.parse_line({"kind": kind, "body": bodies[kind]}).body == bodies[kind]
