"""A job's `retry` and `on_unconfirmed`: what is taken, and what is refused in which words."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from runqueue import EnqueueStatus, RunQueue, TaskRunRequest
from runqueue.errors import InvalidJob
from runqueue.request.job_options import MAX_ATTEMPTS, MAX_BACKOFF
from runqueue.request.job_spec import JobSpec, parse_line
from runqueue.request.retry_policy import Retry

LINE: dict[str, Any] = {"custom_id": "order-17", "kind": "task", "body": {"prompt": "Read it."}}
TASK = TaskRunRequest(prompt="Read it.")


def faults(**options: Any) -> dict[str, str]:
    """What is wrong with options, in a line and from Python alike."""
    with pytest.raises(InvalidJob) as of_line:
        parse_line({**LINE, **options})
    with pytest.raises(InvalidJob) as of_request:
        JobSpec.of(TASK, **options)
    assert of_request.value.errors == of_line.value.errors
    found = {error.field: error.message for error in of_line.value.errors}
    assert len(found) == len(of_line.value.errors)
    return found


def taken(retry: Any) -> Retry | None:
    spec = parse_line({**LINE, "retry": retry})
    assert JobSpec.of(TASK, retry=retry).retry == spec.retry
    return spec.retry


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, Retry()),
        ({"max_attempts": 3}, Retry(3)),
        ({"max_attempts": None, "retry_on": None}, Retry()),
        ({"max_attempts": 1}, Retry(1)),
        ({"max_attempts": MAX_ATTEMPTS}, Retry(MAX_ATTEMPTS)),
        ({"retry_on": ["terminated"]}, Retry(retry_on=("terminated",))),
        ({"retry_on": ("failed", "terminated")}, Retry(retry_on=("failed", "terminated"))),
        ({"retry_on": ["failed"] * 100}, Retry(retry_on=("failed",) * 100)),
        ({"min_backoff": 0, "max_backoff": 0}, Retry(min_backoff=0, max_backoff=0)),
        ({"min_backoff": 1.5, "max_backoff": 1.5}, Retry(min_backoff=1.5, max_backoff=1.5)),
        ({"max_backoff": MAX_BACKOFF}, Retry(max_backoff=MAX_BACKOFF)),
        ({"max_doublings": 0}, Retry(max_doublings=0)),
        ({"max_doublings": 64}, Retry(max_doublings=64)),
        (MappingProxyType({"max_attempts": 2}), Retry(2)),
        (Retry(4, ("timed_out",), 1, 2, 3), Retry(4, ("timed_out",), 1, 2, 3)),
    ],
)
def test_a_good_policy_is_read_with_defaults_for_what_it_leaves_out(
    given: Any, read: Retry
) -> None:
    assert taken(given) == read


def test_a_policy_stands_in_a_line_of_text_too() -> None:
    text = json.dumps({**LINE, "retry": {"max_attempts": 3}, "on_unconfirmed": "hold"})

    spec = parse_line(text)

    assert (spec.retry, spec.on_unconfirmed) == (Retry(3), "hold")


def test_no_policy_and_null_mean_never_again() -> None:
    assert parse_line(LINE).retry is None
    assert taken(None) is None


WHOLE = f"expected a whole number from 1 to {MAX_ATTEMPTS}"
DOUBLINGS = "expected a whole number from 0 to 64"
SECONDS = f"expected seconds from 0 to {MAX_BACKOFF}"
NAMES = "expected a list of failed, timed_out, terminated and error codes, not empty"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_attempts", 0, f"{WHOLE}, got 0"),
        ("max_attempts", MAX_ATTEMPTS + 1, f"{WHOLE}, got {MAX_ATTEMPTS + 1}"),
        ("max_attempts", 3.0, f"{WHOLE}, got 3.0"),
        ("max_attempts", "3", f"{WHOLE}, got '3'"),
        ("max_attempts", True, f"{WHOLE}, got true"),
        ("max_doublings", -1, f"{DOUBLINGS}, got -1"),
        ("max_doublings", 65, f"{DOUBLINGS}, got 65"),
        ("min_backoff", -0.5, f"{SECONDS}, got -0.5"),
        ("min_backoff", float("nan"), f"{SECONDS}, got nan"),
        ("min_backoff", float("inf"), f"{SECONDS}, got inf"),
        ("min_backoff", {}, f"{SECONDS}, got an object"),
        ("max_backoff", MAX_BACKOFF + 1, f"{SECONDS}, got {MAX_BACKOFF + 1}"),
        ("max_backoff", 10**400, f"{SECONDS}, got a whole number"),
        ("retry_on", [], f"{NAMES}, got an array"),
        ("retry_on", "failed", f"{NAMES}, got 'failed'"),
        ("retry_on", {"failed": True}, f"{NAMES}, got an object"),
        ("retry_on", ["failed", 500], f"{NAMES}, got an array"),
        ("retry_on", [""], f"{NAMES}, got an array"),
        ("retry_on", ["x" * 257], f"{NAMES}, got an array"),
        ("retry_on", ["x"] * 101, f"{NAMES}, got an array"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_value_is_named_with_what_was_expected(field: str, value: Any, message: str) -> None:
    assert faults(retry={field: value}) == {f"retry.{field}": message}


def with_codes(retry_on: list[str], codes: Any) -> dict[str, Any]:
    """A task that defines error codes."""
    body = {**LINE["body"], "error_code_mapping": codes}
    return {**LINE, "body": body, "retry": {"retry_on": retry_on}}


def test_a_task_s_own_error_codes_are_taken() -> None:
    line = with_codes(["failed", "out_of_stock", "x" * 256], {"out_of_stock": "", "x" * 256: ""})

    retry = parse_line(line).retry

    assert retry == Retry(retry_on=("failed", "out_of_stock", "x" * 256))


OF_A_TASK = "expected failed, timed_out, terminated or a code of error_code_mapping, got "


@pytest.mark.parametrize(
    ("retry_on", "codes", "message"),
    [
        (["faild"], None, f"{OF_A_TASK}'faild', did you mean 'failed'?"),
        (["failed", "timeout"], {}, f"{OF_A_TASK}'timeout', did you mean 'timed_out'?"),
        (["FAILED"], {"OTHER": ""}, f"{OF_A_TASK}'FAILED', did you mean 'failed'?"),
        (["sold_aut"], {"sold_out": ""}, f"{OF_A_TASK}'sold_aut', did you mean 'sold_out'?"),
        (["completed"], None, f"{OF_A_TASK}'completed'"),
        (["no_such", "other"], {"sold_out": ""}, f"{OF_A_TASK}'no_such'"),
        (["a\x1b"], None, f"{OF_A_TASK}'a\\x1b'"),
    ],
)
def test_what_is_neither_a_status_nor_a_code_of_the_task_is_refused(
    retry_on: list[str], codes: Any, message: str
) -> None:
    with pytest.raises(InvalidJob) as refused:
        parse_line(with_codes(retry_on, codes))

    assert [(e.field, e.message) for e in refused.value.errors] == [("retry.retry_on", message)]


def of_workflow(name: str) -> dict[str, Any]:
    """A workflow, whose error codes stand elsewhere."""
    body = {"workflow_id": "wpid_1"}
    return {"kind": "workflow", "body": body, "retry": {"retry_on": [name]}}


@pytest.mark.parametrize("name", ["failed", "OUT_OF_STOCK", "TIMEOUT", "login_failed"])
def test_of_a_workflow_any_error_code_is_taken(name: str) -> None:
    assert parse_line(of_workflow(name)).retry == Retry(retry_on=(name,))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("faild", "failed"),
        ("FAILED", "failed"),
        ("timeout", "timed_out"),
        ("terminate", "terminated"),
    ],
)
def test_of_a_workflow_what_is_nearly_a_status_is_refused(name: str, meant: str) -> None:
    expected = "expected failed, timed_out, terminated or an error code"

    with pytest.raises(InvalidJob) as refused:
        parse_line(of_workflow(name))

    assert (
        str(refused.value) == f"retry.retry_on: {expected}, got {name!r}, did you mean {meant!r}?"
    )


@pytest.mark.parametrize("value", [3, "3", True, [], ["failed"], 1.5, ""])
def test_what_is_no_object_is_no_policy(value: Any) -> None:
    found = faults(retry=value)

    assert found.keys() == {"retry"}
    assert found["retry"].startswith('expected an object such as {"max_attempts": 3}, got ')


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("max_attempt", "max_attempt", "unknown field, did you mean 'max_attempts'?"),
        ("nonsense", "nonsense", "unknown field"),
        ("a\x1b[31m", "a\\x1b[31m", "unknown field"),
        (7, "7", "unknown field"),
    ],
)
def test_an_unknown_field_is_named_with_the_one_that_was_meant(
    name: Any, field: str, message: str
) -> None:
    assert faults(retry={name: 1}) == {f"retry.{field}": message}


@pytest.mark.parametrize(
    ("retry", "least"),
    [
        ({"min_backoff": 10, "max_backoff": 9.5}, 10),
        ({"min_backoff": 7_200}, 7200),
        ({"max_backoff": 1}, 5),
        (Retry(min_backoff=2, max_backoff=1), 2),
    ],
)
def test_the_longest_wait_is_not_shorter_than_the_first(retry: Any, least: int) -> None:
    assert faults(retry=retry) == {"retry.max_backoff": f"expected at least min_backoff ({least})"}


def test_a_policy_object_is_checked_like_a_line() -> None:
    found = faults(retry=Retry(max_attempts=0, retry_on=(), max_doublings=-1))

    assert found.keys() == {"retry.max_attempts", "retry.retry_on", "retry.max_doublings"}


@pytest.mark.parametrize("value", ["auto", "hold", "resubmit"])
def test_each_policy_for_unconfirmed_jobs_is_taken(value: str) -> None:
    assert parse_line({**LINE, "on_unconfirmed": value}).on_unconfirmed == value
    assert JobSpec.of(TASK, on_unconfirmed=value).on_unconfirmed == value


@pytest.mark.parametrize("value", ["", "AUTO", "parked", 1, True, ["auto"], {"auto": 1}])
def test_another_policy_for_unconfirmed_jobs_is_refused(value: Any) -> None:
    (field, message), *rest = faults(on_unconfirmed=value).items()

    assert (field, rest) == ("on_unconfirmed", [])
    assert message.startswith("expected auto, hold or resubmit, got ")


def test_the_same_key_with_another_policy_is_the_same_job(queue: RunQueue) -> None:
    first = queue.enqueue(TASK, idempotency_key="order-17", retry={"max_attempts": 2})

    again = queue.enqueue(
        TASK, idempotency_key="order-17", retry=Retry(5), on_unconfirmed="resubmit"
    )

    assert (again.job_id, again.status) == (first.job_id, EnqueueStatus.KNOWN)
