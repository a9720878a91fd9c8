"""A line that is refused: where the fault is said to be, and in what words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from runqueue.errors import InvalidJob
from runqueue.request import job_options, job_spec, validation_errors
from runqueue.request.job_spec import parse_line
from runqueue.request.request_checks import RequestChecks
from runqueue.request.requests import SENSITIVE_FIELDS, WorkflowRunRequest
from runqueue.request.validation_errors import body_errors, did_you_mean
from tests.runqueue.request.test_job_spec import BODY, LINE, SECRET, faults, with_body


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


def test_options_that_disagree_are_named_beside_others_that_are_at_fault() -> None:
    times = {"run_at": 20, "delay": 30, "deadline": 10}
    retry = {"max_attempts": 0, "retry_on": ["faild"], "max_backoff": 1, "nope": 1}

    assert faults({**LINE, **times, "retry": retry, "group": "A"}).keys() == {
        *("delay", "deadline", "group"),
        *("retry.max_attempts", "retry.retry_on", "retry.max_backoff", "retry.nope"),
    }


@pytest.mark.parametrize("name", ["prompt", "title", "url", "user_agent", "browser_session_id"])
def test_a_nul_is_found_in_every_text(name: str) -> None:
    assert list(faults(with_body(**{name: "a\0b"}))) == [f"body.{name}"]


def test_a_thousand_faults_are_not_all_listed() -> None:
    assert len(faults(with_body(**{f"field_{n}": 1 for n in range(100)}))) == 21


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"max_steps": "10"}, "max_steps", "expected a whole number from 1 to 100000, got '10'"),
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
    ],
)
def test_a_refusal_says_what_was_expected_in_a_plain_sentence(
    body: dict[str, Any], field: str, message: str
) -> None:
    assert faults(with_body(**body)) == {f"body.{field}": message}


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ({}, "kind", 'required, expected "task", "workflow", "login" or "download_files"'),
        ({}, "body", "required, expected an object of run request fields"),
        ({"kind": "task", "body": {}}, "body.prompt", "required, expected text that is not blank"),
        (
            {"kind": "workflow", "body": {}},
            "body.workflow_id",
            "required, expected exactly one of workflow_id and agent_id",
        ),
        (
            {"kind": "login", "body": {"credential_type": "skyvern"}},
            "body.credential_id",
            "required with the credential_type skyvern",
        ),
    ],
)
def test_what_is_missing_is_called_required_first(
    line: dict[str, Any], field: str, message: str
) -> None:
    assert faults(line)[field].startswith(message)


def test_a_workflow_is_named_only_once() -> None:
    named = {"kind": "workflow", "body": {"workflow_id": "a", "agent_id": "b"}}
    assert faults(named) == {
        "body.workflow_id": "expected exactly one of workflow_id and agent_id, got both"
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
        (b'{"a": "\\ud800"}', "got an escape of half of a surrogate pair at column 8"),
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
@pytest.mark.parametrize(
    "raw",
    [
        b'{"kind": "task", "body": {"prompt": [' + b"[]," * 400_000 + b"1]}}",
        b'{"kind": "task", %s}' % b",".join(b'"f%d":1' % n for n in range(400_000)),
    ],
    ids=["empty lists", "unknown fields"],
)
def test_more_values_than_a_body_can_hold_are_refused_before_they_are_parsed(
    is_text: bool, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_spec, "orjson", None)  # nobody parses

    found = faults(raw.decode() if is_text else raw)

    assert found == {"line": "expected at most 700,000 values and names of fields"}


def test_a_body_as_large_as_it_may_be_may_hold_the_smallest_values() -> None:
    raw = b'{"kind":"workflow","body":{"workflow_id":"w","parameters":{"a":[%s[]]}}}'

    assert len(parse_line(raw % (b"[]," * 349_500)).canonical) > job_spec.MAX_PAYLOAD_BYTES - 100


def test_an_integer_over_64_bits_in_a_line_of_text_is_refused_not_rounded() -> None:
    raw = b'{"kind":"workflow","body":{"workflow_id":"a","parameters":{"id":18446744073709551616}}}'
    assert faults(raw) == {"body.parameters.id": "expected a whole number of at most 64 bits"}


def test_a_value_nested_too_deeply_or_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    line = {"kind": "workflow", "body": {"workflow_id": "a", "parameters": {"loop": loop}}}
    assert any("levels deep" in message for message in faults(line).values())


_BAD: dict[str, dict[str, Any]] = {
    "names of headers": with_body(extra_http_headers={f"h {n}": "v" for n in range(150)}),
    "values of headers": with_body(cdp_connect_headers={f"h{n}": 1 for n in range(150)}),
    "error codes": with_body(error_code_mapping={f"C{n}": 1 for n in range(150)}),
    "parts of a proxy": with_body(proxy_location={f"c{n}": 1 for n in range(150)}),
    "fields of the body": with_body(**{f"max_ste{n}": 1 for n in range(150)}),
    "fields of the line": {**LINE, **{f"priorit{n}": 1 for n in range(3_500)}},
    "fields of the retry": {**LINE, "retry": {f"max_attempt{n}": 1 for n in range(3_500)}},
    "codes to retry on": {
        **with_body(error_code_mapping={f"CODE_{n}": "so" for n in range(150)}),
        "retry": {"retry_on": ["CODE-1"]},
    },
}


@pytest.mark.parametrize("line", _BAD.values(), ids=_BAD)
def test_of_very_many_faults_no_more_are_looked_for_than_are_told_of(
    line: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[int] = []
    compared: list[int] = []

    def describe(*args: Any) -> Any:
        described.append(args[-1].error_count())
        return body_errors(*args)

    def guess(name: str, known: Iterable[str]) -> str:
        names = list(known)
        compared.append(len(names))
        return did_you_mean(name, names)

    monkeypatch.setattr(job_spec, "body_errors", describe)
    for module in (validation_errors, job_options):
        monkeypatch.setattr(module, "did_you_mean", guess)
    found = faults(line)

    assert 1 <= len(found) <= 21
    assert sum(described) <= 410  # a proxy is tried as two types
    assert len(compared) <= 21
    assert max(compared, default=0) <= 100


def test_a_line_of_more_faults_than_are_told_of_says_so() -> None:
    found = faults(_BAD["names of headers"])

    assert len(found) == 21
    assert found["line"] == "at least 130 more fields are at fault"


def test_more_entries_than_are_checked_are_refused() -> None:
    headers = {f"h{n}": "v" for n in range(200)}

    assert parse_line(with_body(extra_http_headers=headers)).body["extra_http_headers"] == headers
    assert faults(with_body(extra_http_headers={**headers, "h": "v"})) == {
        "body.extra_http_headers": "expected at most 200 entries, got 201"
    }
    unknown = {f"new_{n}": n for n in range(3_500)}
    assert faults(with_body(**unknown)).keys() == {"body"}


def test_very_many_unknown_fields_are_let_pass_where_the_checks_say_so() -> None:
    unknown = {f"new_{n}": n for n in range(100)}
    line = with_body(**unknown)

    assert parse_line(line, checks=RequestChecks.PASS).body == {**BODY, **unknown}
    with pytest.raises(InvalidJob, match="new_0: unknown field"):
        parse_line(line, checks=RequestChecks.REFUSE)
    with pytest.raises(InvalidJob, match="prompt"):
        parse_line(with_body(**unknown, prompt=" "), checks=RequestChecks.PASS)
