"""The models: what they keep, and what does not make them fail."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

import api_client
from api_client.errors import NotSentError, RateLimitError
from api_client.retrying import FIRST_PAUSE, MAX_PAUSE, pause
from api_client.types import RunStatus, TaskRunResponse, WorkflowRunResponse, parse_run

RUN: dict[str, Any] = {"run_id": "tsk_1", "status": "completed"}


def test_a_known_status_is_the_enum_s_and_a_new_one_stays_a_string() -> None:
    assert parse_run(RUN).status is RunStatus.COMPLETED
    new = parse_run(RUN | {"status": "a_status_of_tomorrow"})
    assert new.status == "a_status_of_tomorrow"
    assert not new.is_over


def test_fields_nobody_knows_are_kept() -> None:
    assert parse_run(RUN | {"new_field": [1]}).model_dump()["new_field"] == [1]


def test_a_run_is_frozen() -> None:
    with pytest.raises(ValidationError):
        parse_run(RUN).run_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25T12:00:00.5", datetime(2026, 11, 25, 12, 0, 0, 500_000, UTC)),
        ("2026-11-25T12:00:00Z", datetime(2026, 11, 25, 12, tzinfo=UTC)),
        ("2026-11-25T14:00:00+02:00", datetime(2026, 11, 25, 12, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_utc_with_or_without_a_zone(text: str, moment: datetime) -> None:
    created = parse_run(RUN | {"created_at": text}).created_at
    assert created == moment
    assert created is not None
    assert created.tzinfo is UTC


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"run_type": "task_v1"}, TaskRunResponse),
        ({"run_type": "workflow_run"}, WorkflowRunResponse),
        ({"run_type": "a_type_of_tomorrow"}, TaskRunResponse),
        ({}, TaskRunResponse),
        ({"run_id": "wr_1"}, WorkflowRunResponse),
    ],
)
def test_the_kind_of_a_run_is_told_by_its_type_else_by_its_id(
    fields: dict[str, Any], model: type
) -> None:
    assert type(parse_run(RUN | fields)) is model


@pytest.mark.parametrize("output", [None, {"a": 1}, [1, {"b": 2}], "text"])
def test_an_output_is_kept_in_the_shape_it_has(output: Any) -> None:
    assert parse_run(RUN | {"output": output}).output == output


def test_a_run_with_a_retry_pending_is_not_over() -> None:
    assert parse_run(RUN | {"status": "failed"}).is_over
    assert not parse_run(RUN | {"status": "failed", "retry_pending": True}).is_over


def test_the_pause_before_a_retry_is_full_jitter_over_what_the_server_asks() -> None:
    error = NotSentError("refused")
    assert pause(1, error, lambda: 0.0) == 0.0
    assert pause(1, error, lambda: 1.0) == FIRST_PAUSE
    assert pause(3, error, lambda: 0.5) == FIRST_PAUSE * 4 / 2
    assert pause(50, error, lambda: 1.0) == MAX_PAUSE
    asked = RateLimitError("slow down", status_code=429, retry_after=5.0)
    assert pause(1, asked, lambda: 1.0) == 5.0 + FIRST_PAUSE


def test_the_public_names_are_these() -> None:
    assert sorted(api_client.__all__) == [
        "AiohttpTransport",
        "AnswerLostError",
        "ApiError",
        "AsyncAgentClient",
        "AsyncSkyvern",
        "BadRequestError",
        "BodyTooLargeError",
        "CancelClass",
        "Cancellation",
        "ConflictError",
        "Environment",
        "ForbiddenError",
        "NotFoundError",
        "NotSentError",
        "OMIT",
        "ProxyLocation",
        "RateLimitError",
        "RawClient",
        "ReadClass",
        "RequestOptions",
        "RunEngine",
        "RunKind",
        "RunReading",
        "RunResponse",
        "RunStatus",
        "ServerError",
        "SkyvernError",
        "Submission",
        "SubmissionClass",
        "TaskRunResponse",
        "UnprocessableEntityError",
        "WorkflowRunResponse",
    ]
    assert all(hasattr(api_client, name) for name in api_client.__all__)
