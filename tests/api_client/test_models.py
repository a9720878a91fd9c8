"""The models: what they keep, and what does not make them fail."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from api_client import RunListItem, RunWebhookReplayResponse
from api_client.answers.parsing import (
    parse_replay,
    parse_run,
    parse_run_list,
    parse_task_run,
    parse_workflow_run,
)
from api_client.types import RunStatus, TaskRunResponse, WorkflowRunResponse

RUN: dict[str, Any] = {"run_id": "tsk_1", "status": "completed"}


def test_a_known_status_is_the_enum_s_and_a_new_one_stays_a_string() -> None:
    assert parse_run(RUN).status is RunStatus.COMPLETED
    new = parse_run(RUN | {"status": "a_status_of_tomorrow"})
    assert new.status == "a_status_of_tomorrow"
    assert not new.is_over


def test_a_run_is_frozen() -> None:
    with pytest.raises(ValidationError):
        parse_run(RUN).run_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25T12:00:00.5", datetime(2026, 11, 25, 12, 0, 0, 500_000, UTC)),
        ("2026-11-25T12:00:00.500000", datetime(2026, 11, 25, 12, 0, 0, 500_000, UTC)),
        ("2026-11-25T12:00:00.50000Z", datetime(2026, 11, 25, 12, 0, 0, 500_000, UTC)),
        ("2026-11-25T12:00:00Z", datetime(2026, 11, 25, 12, tzinfo=UTC)),
        ("2026-11-25T14:00:00+02:00", datetime(2026, 11, 25, 12, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_utc_with_or_without_a_zone(text: str, moment: datetime) -> None:
    fields = RUN | {"created_at": text}
    for read in (parse_run(fields), TaskRunResponse.model_validate(fields)):
        created = read.created_at
        assert created == moment
        assert created is not None
        assert created.utcoffset() == timedelta(0)


#: As the server writes them; with a zone, or shorter; of the same length, and yet none of these.
TIMES = (
    st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds"))
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
    | st.sampled_from(
        [
            *("2026-11-25T12:00:00.12345Z", "2026-11-25T12:00:00.123+01", "2026-11-25"),
            *("2026-13-25T12:00:00.123456", "2026-11-25 12:00:00.123456", "1800000000"),
            *("1800000000000000000.123456", "0001-01-01T00:00:00.000000"),
        ]
    )
    | st.text(max_size=26)
)
VALUES = st.none() | st.booleans() | st.integers() | TIMES | st.lists(TIMES, max_size=2)
NAMES = sorted(
    {*TaskRunResponse.model_fields, *RunListItem.model_fields, "new_at"} - {"unreadable_fields"}
)


@given(fields=st.dictionaries(st.sampled_from(NAMES), VALUES | st.just({"a": 1})))
@example(fields={"created_at": "2026-11-25T12:00:00.12345Z"})
@example(fields={"created_at": "2026-11-25T12:00:00.123456", "output": 5})
@example(fields={"queued_at": "2026-11-25T12:00:00.123456"})
def test_a_model_of_its_own_accord_reads_what_the_client_reads(fields: dict[str, Any]) -> None:
    fields = RUN | fields | {"status": "completed", "run_id": "tsk_1"}
    before = copy.deepcopy(fields)
    run, [item] = parse_task_run(fields), parse_run_list([fields])
    assert fields == before
    for read in (run, item):
        assert read.created_at is None or read.created_at.utcoffset() == timedelta(0)
        aside = read.unreadable_fields or {}
        kept = {name: value for name, value in fields.items() if name not in aside}
        assert {name: fields[name] for name in aside} == aside
        own = type(read).model_validate(kept)
        assert own.model_copy(update={"unreadable_fields": read.unreadable_fields}) == read


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"run_type": "task_v1"}, TaskRunResponse),
        ({"run_type": "workflow_run"}, WorkflowRunResponse),
        ({"run_type": "a_type_of_tomorrow"}, TaskRunResponse),
        ({}, TaskRunResponse),
        ({"run_id": "wr_1"}, WorkflowRunResponse),
        ({"run_id": "wr_1", "run_type": "task_v2"}, TaskRunResponse),
        ({"run_id": "wr_1", "run_type": None}, WorkflowRunResponse),
    ],
)
def test_the_kind_of_a_run_is_told_by_its_type_else_by_its_id(
    fields: dict[str, Any], model: type
) -> None:
    assert type(parse_run(RUN | fields)) is model


@pytest.mark.parametrize(
    "fields",
    [
        *({}, [], None, "text", {"run_id": "tsk_1"}, {"status": "completed"}),
        RUN | {"run_id": ""},
        RUN | {"run_id": 5},
        RUN | {"status": 5},
        RUN | {"status": None, "output": 5},
    ],
)
def test_what_cannot_be_a_run_is_refused(fields: Any) -> None:
    with pytest.raises(ValidationError):
        parse_run(fields)


@pytest.mark.parametrize(
    ("fields", "delivered"),
    [
        ({"status_code": 200}, True),
        ({"status_code": 204, "error": None}, True),
        ({"status_code": 204, "error": ""}, True),
        ({"status_code": 200, "error": "it broke"}, False),
        ({"status_code": 302}, False),
        ({"status_code": 500}, False),
        ({"status_code": None, "error": "refused"}, False),
        ({}, False),
    ],
)
def test_a_replay_arrived_when_the_receiver_said_so(
    fields: dict[str, Any], delivered: bool
) -> None:
    replay = parse_replay(fields | {"new": 1})
    assert isinstance(replay, RunWebhookReplayResponse)
    assert replay.delivered is delivered
    assert replay.model_extra == {"new": 1}


ODD = {
    "output": 5,
    "screenshot_urls": [None],
    "downloaded_files": [{"filename": "a file without its url"}],
    "retry_pending": "perhaps",
    "run_request": [],
    "step_count": "many",
    "run_type": {"a": 1},
    "created_at": "yesterday",
    "finished_at": {},
}


@pytest.mark.parametrize("parse", [parse_run, parse_task_run, parse_workflow_run])
def test_a_field_in_an_odd_shape_is_none_and_kept_aside(parse: Callable[[Any], Any]) -> None:
    run = parse(RUN | ODD | {"app_url": "u", "new": 1})
    assert (run.run_id, run.status, run.app_url) == ("tsk_1", RunStatus.COMPLETED, "u")
    assert run.unreadable_fields == ODD
    assert {getattr(run, name) for name in ODD} == {None}
    assert run.model_extra == {"new": 1}
    assert parse(RUN).unreadable_fields is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_out_of_range_in_utc_is_none(text: str) -> None:
    assert parse_run(RUN | {"created_at": text}).created_at is None


def test_a_time_as_unix_seconds_is_read_too() -> None:
    created = parse_run(RUN | {"created_at": 1_800_000_000}).created_at
    assert created == datetime(2027, 1, 15, 8, tzinfo=UTC)
