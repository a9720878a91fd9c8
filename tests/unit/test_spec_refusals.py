"""A line that is refused: where the fault is said to be, and in what words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from runqueue import spec
from runqueue.errors import InvalidJob
from runqueue.requests import SENSITIVE_FIELDS, WorkflowRunRequest
from runqueue.spec import parse_line

SECRET = "hunter2"
BODY: dict[str, Any] = {"prompt": "Read the price.", "max_steps": 10}
LINE: dict[str, Any] = {"custom_id": "order-17", "kind": "task", "body": BODY}


def with_body(**fields: Any) -> dict[str, Any]:
    return {**LINE, "body": {**BODY, **fields}}


def faults(raw: Any) -> dict[str, str]:
    with pytest.raises(InvalidJob) as refusal:
        parse_line(raw)
    return {error.field: error.message for error in refusal.value.errors}


@pytest.mark.parametrize("name", ["redeliver"])
def test_what_is_planned_is_refused_until_it_works(name: str) -> None:
    assert faults({**LINE, name: "auto"}) == {name: "not supported yet"}


def test_a_mistyped_name_is_refused_with_the_name_that_was_meant() -> None:
    assert faults(with_body(max_step=3)) == {
        "body.max_step": "unknown field, did you mean 'max_steps'?"
    }
    assert faults({**LINE, "prioritee": 0}) == {
        "prioritee": "unknown field, did you mean 'priority'?"
    }
    assert faults({**LINE, "kind": "taks"})["kind"].endswith("did you mean 'task'?")


def test_a_name_in_the_wrong_place_is_refused_with_its_right_place() -> None:
    assert faults(with_body(workflow_id="wpid_1")) == {
        "body.workflow_id": "unknown field, 'workflow_id' belongs to kind 'workflow'"
    }
    assert faults(with_body(priority=1)) == {
        "body.priority": "unknown field, 'priority' belongs beside the body"
    }
    assert faults({**LINE, "prompt": "Read."}) == {
        "prompt": "unknown field, 'prompt' belongs in the body"
    }


def test_a_field_name_that_is_no_text_is_refused() -> None:
    assert faults({**LINE, "body": {**BODY, 1: 2}}) == {
        "body.1": "expected text as the name of a field"
    }
    assert faults(with_body(**{"\ud800": 1})) == {
        "body": "expected text as the names of all fields"
    }


def test_all_faults_of_a_line_are_named_at_once() -> None:
    line = {"kind": "task", "body": {"max_steps": "10", "url": "x"}, "group": "A", "delay": -1}
    assert set(faults(line)) == {"body.prompt", "body.max_steps", "body.url", "group", "delay"}


def test_a_thousand_faults_are_not_all_listed() -> None:
    assert len(faults(with_body(**{f"field_{n}": 1 for n in range(1_000)}))) == 21


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"max_steps": "10"}, "max_steps", "expected a whole number from 1 to 100000, got '10'"),
        ({"max_steps": True}, "max_steps", "expected a whole number from 1 to 100000, got true"),
        (
            {"prompt": None},
            "prompt",
            "expected text that is not blank, without NUL characters, got null",
        ),
        ({"publish_workflow": 1}, "publish_workflow", "expected true or false, got a whole number"),
        (
            {"extra_http_headers": {"X-A": "a\nb"}},
            "extra_http_headers.X-A",
            "expected text without line breaks, or null, got text",
        ),
        (
            {"extra_http_headers": {"X A": "b"}},
            "extra_http_headers.X A",
            "expected the name of a header: letters, digits and -, got text",
        ),
        (
            {"proxy_location": {"city": "Boise"}},
            "proxy_location",
            (
                'expected a name such as "RESIDENTIAL", {country, subdivision, city} or {url}, '
                "got an object"
            ),
        ),
        (
            {"data_extraction_schema": 5},
            "data_extraction_schema",
            "expected a JSON schema: an object, an array or text, got a whole number",
        ),
    ],
)
def test_a_refusal_says_what_was_expected_in_a_plain_sentence(
    body: dict[str, Any], field: str, message: str
) -> None:
    assert faults(with_body(**body)) == {f"body.{field}": message}


def test_what_is_missing_is_called_required() -> None:
    assert {field: message.split(", ")[-1] for field, message in faults({}).items()} == {
        "kind": "which is required",
        "body": "which is required",
    }
    assert faults({"kind": "task", "body": {}})["body.prompt"].endswith("which is required")


@pytest.mark.parametrize("ids", [{}, {"workflow_id": "a", "agent_id": "b"}])
def test_a_workflow_is_named_exactly_once(ids: dict[str, str]) -> None:
    assert faults({"kind": "workflow", "body": ids}) == {
        "body.workflow_id": "expected exactly one of workflow_id and agent_id"
    }


@pytest.mark.parametrize("name", sorted(SENSITIVE_FIELDS | {"prompt", "webhook_url", "model"}))
@pytest.mark.parametrize("value", [[SECRET], f"{SECRET}\x00", {"X A": f"{SECRET}\n"}])
def test_a_refusal_never_shows_a_sensitive_value(name: str, value: object) -> None:
    kind = "workflow" if name in WorkflowRunRequest.model_fields else "task"
    body = {"task": {"prompt": "Read."}, "workflow": {"workflow_id": "wpid_1"}}[kind]
    broken = {name: value, "max_screenshot_scrolls": "many"}
    message = str(faults({"kind": kind, "body": {**body, **broken}}))
    assert "max_screenshot_scrolls" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"kind": task}', "at column 10"),
        (b"", "at column 1"),
        (b'{"a": "\xff"}', "expected JSON"),
        (b'{"a": NaN}', "at column 7"),
        (b'{"a": "\\ud800"}', "surrogate"),
        ('{"a": "\ud800"}', "expected JSON"),
        (b"[1]", "expected an object, got an array"),
        (b'"task"', "expected an object, got 'task'"),
        (b"null", "expected an object, got null"),
        (17, "expected an object, got 17"),
        (object(), "expected an object, got a object"),
    ],
)
def test_what_is_no_json_object_is_refused_as_a_line(raw: Any, message: str) -> None:
    assert message in faults(raw)["line"]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**64, -(2**63) - 1, "\ud800", {1: 2}, {"\ud800": 1}]
)
def test_what_json_cannot_carry_is_refused_where_it_stands(value: object) -> None:
    line = {"kind": "workflow", "body": {"workflow_id": "a", "parameters": {"ids": [1, value]}}}
    (field,) = faults(line)
    assert field.startswith("body.parameters.ids.1")


@pytest.mark.parametrize("value", [datetime(2030, 1, 1, tzinfo=UTC), {1, 2}, b"x", 1j, object()])
def test_what_is_no_json_value_is_refused_where_it_stands(value: object) -> None:
    line = {"kind": "workflow", "body": {"workflow_id": "a", "parameters": {"when": value}}}
    assert list(faults(line)) == ["body.parameters.when"]


@pytest.mark.parametrize("is_text", [False, True])
def test_more_values_than_a_body_can_hold_are_refused_before_they_are_parsed(
    is_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec, "orjson", None)  # nobody parses
    raw = b'{"kind": "task", "body": {"prompt": [' + b"[]," * 700_000 + b"1]}}"

    found = faults(raw.decode() if is_text else raw)

    assert found == {"line": "expected at most 1048576 values and names of fields"}


def test_an_integer_over_64_bits_in_a_line_of_text_is_refused_not_rounded() -> None:
    raw = b'{"kind":"workflow","body":{"workflow_id":"a","parameters":{"id":18446744073709551616}}}'
    assert faults(raw) == {
        "body.parameters.id": "expected a whole number of at most 64 bits",
    }


def test_a_value_nested_too_deeply_or_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    line = {"kind": "workflow", "body": {"workflow_id": "a", "parameters": {"loop": loop}}}
    assert any("levels deep" in message for message in faults(line).values())
