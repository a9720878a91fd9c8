"""How long a run may take: the option, then the body, then the account."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from runqueue import TaskRunRequest, WorkflowRunRequest
from runqueue.errors import InvalidJob
from runqueue.producer.upload import line_of
from runqueue.request.job_spec import JobSpec, parse_line
from runqueue.request.run_limits import MARGIN_SECONDS, own_limit_us
from runqueue.store.job_calls import encode_job

TASK = TaskRunRequest(prompt="Read it.")


@pytest.mark.parametrize(
    ("option", "body", "seconds"),
    [
        (None, {}, 0),
        (30, {}, 30),
        (0.5, {"max_elapsed_time_minutes": 60}, 0.5),
        (None, {"max_elapsed_time_minutes": 60}, 3_600 + MARGIN_SECONDS),
        (None, {"max_elapsed_time_minutes": 480}, 29_700),
        (None, {"max_elapsed_time_minutes": None}, 0),
        (None, {"max_elapsed_time_minutes": True}, 0),
        (None, {"max_elapsed_time_minutes": "60"}, 0),
    ],
)
def test_the_option_comes_before_what_the_body_asks_of_skyvern(
    option: float | None, body: dict[str, Any], seconds: float
) -> None:
    assert own_limit_us(option, body) == seconds * 1_000_000


@pytest.mark.parametrize("given", [60, 60.0, timedelta(minutes=1)])
def test_a_limit_is_given_in_seconds_or_as_a_timedelta(given: Any) -> None:
    spec = JobSpec.of(TASK, max_run_seconds=given)

    assert (spec.max_run_seconds, spec.max_run_us) == (60, 60_000_000)
    assert encode_job(spec).options == b'{"max_run":"60000000"}'
    assert parse_line(line_of(spec)).max_run_seconds == 60


def test_the_limit_of_a_body_is_stored_and_not_said_twice() -> None:
    request = WorkflowRunRequest(workflow_id="wpid_1", max_elapsed_time_minutes=10)
    spec = JobSpec.of(request)

    assert spec.max_run_seconds is None
    assert orjson.loads(encode_job(spec).options) == {
        "max_run": str((600 + MARGIN_SECONDS) * 1_000_000)
    }
    assert b"max_run_seconds" not in line_of(spec)


@pytest.mark.parametrize("given", [0, -1, 2_592_001, True, "60", [60], float("nan")])
def test_any_other_limit_is_refused_by_its_name(given: Any) -> None:
    with pytest.raises(InvalidJob) as refusal:
        JobSpec.of(TASK, max_run_seconds=given)

    (error,) = refusal.value.errors
    assert error.field == "max_run_seconds"
    assert error.message.startswith("expected seconds (a number above 0, 2592000 at most), got")
