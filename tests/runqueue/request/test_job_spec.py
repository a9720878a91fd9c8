"""One line, one job: what is taken as what, and what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.errors import FieldError, InvalidJob
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES, JobSpec, Priority, When, parse_line
from runqueue.request.requests import TaskRunRequest, WorkflowRunRequest

SECRET = "hunter2"
BODY: dict[str, Any] = {"prompt": "Read the price.", "max_steps": 10}
LINE: dict[str, Any] = {"custom_id": "order-17", "kind": "task", "body": BODY}


def with_body(**fields: Any) -> dict[str, Any]:
    return {**LINE, "body": {**BODY, **fields}}


def faults(raw: Any) -> dict[str, str]:
    with pytest.raises(InvalidJob) as refusal:
        parse_line(raw)
    return {error.field: error.message for error in refusal.value.errors}


def test_a_line_may_be_bytes_text_or_parsed() -> None:
    text = json.dumps(LINE)
    frozen: Mapping[str, Any] = MappingProxyType({**LINE, "body": MappingProxyType(BODY)})
    specs = [parse_line(raw) for raw in (text.encode(), text, LINE, frozen)]
    assert all(spec == specs[0] for spec in specs)


def test_what_is_left_out_has_the_defaults() -> None:
    assert parse_line(LINE) == JobSpec(
        kind="task",
        body=BODY,
        canonical=orjson.dumps(BODY, option=orjson.OPT_SORT_KEYS),
        custom_id="order-17",
        priority=Priority.NORMAL,
        group="default",
        run_at=None,
        deadline=None,
        account="default",
        namespace="",
    )


class Team(str, Enum):  # noqa: UP042 - a StrEnum would hide the fault that this guards against
    """What a caller may use for names; str() of it would be `Team.ERP`."""

    ERP = "erp"
    KIND = "task"


def test_a_text_enum_is_taken_as_its_text() -> None:
    names = {"custom_id": Team.ERP, "group": Team.ERP, "account": Team.ERP, "namespace": Team.ERP}
    spec = parse_line({"kind": Team.KIND, "body": BODY, **names})
    texts = (spec.kind, spec.custom_id, spec.group, spec.account, spec.namespace)
    assert [f"{text}" for text in texts] == ["task", "erp", "erp", "erp", "erp"]


def test_null_beside_the_body_means_not_given() -> None:
    names = ["priority", "group", "run_at", "delay", "deadline", "account", "namespace"]
    assert parse_line({**LINE, **dict.fromkeys(names)}) == parse_line(LINE)


def test_the_body_keeps_the_given_fields_in_the_given_order() -> None:
    body = {"url": "https://a.test", "title": None, "prompt": "Read."}
    spec = parse_line({"kind": "task", "body": body})
    assert list(spec.body.items()) == list(body.items())
    assert spec.request == TaskRunRequest(prompt="Read.", url="https://a.test", title=None)
    assert spec.request.model_fields_set == body.keys()


def test_changing_the_given_dict_afterwards_changes_no_job() -> None:
    line = with_body()
    spec = parse_line(line)
    line["body"]["max_steps"] = 99
    assert spec.body["max_steps"] == 10


def test_equal_bodies_have_one_canonical_form_whatever_their_order() -> None:
    backwards = dict(reversed(BODY.items()))
    assert parse_line({**LINE, "body": backwards}).canonical == parse_line(LINE).canonical


@pytest.mark.parametrize(
    ("given_", "meant"),
    [("urgent", 0), ("high", 1), ("normal", 2), ("low", 3), (0, 0), (3, 3), (Priority.LOW, 3)],
)
def test_a_priority_is_a_name_or_a_number(given_: object, meant: int) -> None:
    assert parse_line({**LINE, "priority": given_}).priority is Priority(meant)


@pytest.mark.parametrize(
    ("name", "value", "microseconds", "relative"),
    [
        ("run_at", 2, 2_000_000, True),
        ("run_at", 0.25, 250_000, True),
        ("run_at", timedelta(minutes=1), 60_000_000, True),
        ("delay", 1.5, 1_500_000, True),
        ("delay", timedelta(seconds=3), 3_000_000, True),
        ("run_at", "2030-01-01T00:00:00Z", 1_893_456_000_000_000, False),
        ("run_at", "2030-01-01T01:00:00.000001+01:00", 1_893_456_000_000_001, False),
        ("run_at", datetime(2030, 1, 1, tzinfo=UTC), 1_893_456_000_000_000, False),
    ],
)
def test_a_start_is_kept_as_given_from_now_or_as_a_moment(
    name: str, value: object, microseconds: int, relative: bool
) -> None:
    assert parse_line({**LINE, name: value}).run_at == When(microseconds, relative)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", "High"),
        ("priority", 4),
        ("priority", -1),
        ("priority", True),
        ("priority", 1.0),
        ("priority", [1]),
        ("group", "Shop"),
        ("group", ""),
        ("group", "-a"),
        ("group", "a" * 33),
        ("group", "a\n"),
        ("account", "a.b"),
        ("namespace", "a b"),
        ("custom_id", ""),
        ("custom_id", "x" * 257),
        ("custom_id", "a\nb"),
        ("custom_id", "\ud800"),
        # What shows other text than is there: C1 controls, breaks of lines, directions of text.
        *(("custom_id", f"a{sign}b") for sign in "\x9b\u2028\u2029\u202a\u202e\u2066\u2069"),
        ("custom_id", 17),
        ("kind", "Task"),
        ("kind", 1),
        ("kind", None),
        ("body", None),
        ("body", []),
        ("delay", -1),
        ("delay", True),
        ("delay", float("nan")),
        ("delay", float("inf")),
        ("delay", "5"),
        ("delay", 315_360_001),
        ("delay", 10**400),
        ("delay", timedelta(days=-1)),
        ("delay", "2030-01-01T00:00:00Z"),
        ("run_at", "2030-01-01T00:00:00"),
        ("run_at", "2030-01-01"),
        ("run_at", "soon"),
        ("run_at", "1969-12-31T23:59:59Z"),
        ("run_at", "9999-12-31T23:59:59-23:59"),
        ("run_at", datetime(2030, 1, 1)),  # noqa: DTZ001 - the missing zone is what is refused
        ("deadline", 0),
        ("deadline", "tomorrow"),
    ],
)
def test_a_fault_beside_the_body_is_refused_under_its_name(name: str, value: object) -> None:
    assert list(faults({**LINE, name: value})) == [name]


def test_an_id_may_be_long_and_in_any_script() -> None:
    for custom_id in ("x" * 256, "заказ №17", "👩‍🔧", "الطلب 17", "הזמנה\u200f 17"):
        assert parse_line({**LINE, "custom_id": custom_id}).custom_id == custom_id


def test_run_at_and_delay_exclude_each_other() -> None:
    assert faults({**LINE, "run_at": 1, "delay": 1}) == {
        "delay": "expected either run_at or delay, got both"
    }


@pytest.mark.parametrize(
    ("start", "deadline"),
    [(60, 60), (60, 30), ("2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00")],
)
def test_a_deadline_that_is_not_after_the_start_is_refused(start: object, deadline: object) -> None:
    assert list(faults({**LINE, "run_at": start, "deadline": deadline})) == ["deadline"]


def test_a_deadline_of_the_other_sort_is_left_to_the_servers_clock() -> None:
    spec = parse_line({**LINE, "delay": 60, "deadline": "2030-01-01T00:00:00Z"})
    assert spec.deadline == When(1_893_456_000_000_000, relative=False)


def test_repr_shows_neither_body_nor_canonical_form() -> None:
    spec = parse_line({"kind": "workflow", "body": {"agent_id": "a", "parameters": {"p": SECRET}}})
    assert SECRET not in repr(spec)


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    room = MAX_PAYLOAD_BYTES - len(orjson.dumps({"prompt": ""}))
    assert parse_line({"kind": "task", "body": {"prompt": "x" * room}}).custom_id is None
    assert faults({"kind": "task", "body": {"prompt": "x" * (room + 1)}}) == {
        "body": "expected at most 1 MiB of JSON, got 1,048,577 bytes"
    }


def test_a_line_far_too_long_is_refused_unread() -> None:
    assert list(faults(b" " * (8 * MAX_PAYLOAD_BYTES + 1))) == ["line"]


def test_large_numbers_that_fit_are_taken() -> None:
    parameters = {"a": 2**64 - 1, "b": 1e300, "c": "e+"}
    raw = json.dumps({"kind": "workflow", "body": {"agent_id": "a", "parameters": parameters}})
    assert parse_line(raw).body["parameters"] == parameters


def test_a_request_object_makes_the_same_job_as_its_line() -> None:
    made = JobSpec.of(
        TaskRunRequest(prompt="Read the price.", max_steps=10),
        priority="high",
        group="shop",
        delay=timedelta(seconds=1),
        deadline=60,
        idempotency_key="order-17",
        namespace="erp",
    )
    options = {"priority": 1, "group": "shop", "delay": 1, "deadline": 60, "namespace": "erp"}
    assert made == parse_line({**LINE, **options})


def test_a_request_object_hands_on_only_what_was_given() -> None:
    request = WorkflowRunRequest.model_validate(
        {"agent_id": "a", "webhook_url": None, "proxy_location": {"country": "DE"}}
    )
    body = {"webhook_url": None, "proxy_location": {"country": "DE"}, "agent_id": "a"}
    assert JobSpec.of(request).body == body


def test_a_bad_idempotency_key_is_refused_under_that_name() -> None:
    with pytest.raises(InvalidJob, match=r"^idempotency_key: "):
        JobSpec.of(TaskRunRequest(prompt="Read."), idempotency_key="")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
BODY_FIELDS = sorted(TaskRunRequest.model_fields.keys() | WorkflowRunRequest.model_fields.keys())
TIMES = st.datetimes(timezones=st.none() | st.just(timezone(timedelta(hours=14))))
OPTION = JSON | TIMES | TIMES.map(datetime.isoformat) | st.timedeltas()
LINES = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["task", "workflow"]) | JSON,
        "body": st.dictionaries(st.sampled_from(BODY_FIELDS) | st.text(), JSON, max_size=5) | JSON,
        "custom_id": JSON,
        "priority": st.sampled_from(["low", 0, 3]) | JSON,
        "run_at": OPTION,
        "delay": OPTION,
        "deadline": OPTION,
        "group": JSON,
        "x": JSON,
    },
)


@given(LINES | st.dictionaries(st.text(), JSON))
def test_any_object_is_a_job_or_is_refused_with_the_fields_at_fault(line: dict[str, Any]) -> None:
    errors: list[FieldError] = []
    try:
        spec = parse_line(line)
    except InvalidJob as refusal:
        errors = refusal.errors
        printable = str(refusal).encode()
    else:
        printable = spec.canonical
    assert errors or orjson.loads(printable) == line["body"]


@given(st.binary() | st.text(st.characters(codec=None)) | JSON.map(repr))
def test_any_text_is_a_job_or_is_refused_with_the_fields_at_fault(raw: bytes | str) -> None:
    with pytest.raises(InvalidJob) as refusal:
        parse_line(raw)
    assert refusal.value.errors
