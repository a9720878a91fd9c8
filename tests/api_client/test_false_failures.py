"""Which runs that are called failed may have completed, by what their bodies show."""

from typing import Any

import pytest

from api_client.answers.false_failures import looks_completed, reason_for

REASON = "Failed to run task 2.0: Failed to send webhook. task_v2_id=tsk_v2_1"
FALSELY = {
    "status": "failed",
    "run_type": "task_v2",
    "failure_reason": REASON,
    "output": {"price": 3},
}


def test_a_run_with_its_webhooks_reason_and_its_output_looks_completed() -> None:
    assert looks_completed(FALSELY)
    assert looks_completed({name: FALSELY[name] for name in FALSELY if name != "run_type"})


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "terminated"},
        {"run_type": "workflow_run"},
        {"failure_reason": None},
        {"failure_reason": "Failed to run task 2.0: out of steps"},
        {"failure_reason": f"Because: {REASON}"},
        {"output": None},
    ],
)
def test_a_run_that_lacks_any_of_it_is_what_it_is_called(fields: dict[str, Any]) -> None:
    assert not looks_completed({**FALSELY, **fields})


def test_the_note_names_the_version_that_calls_it_failed() -> None:
    assert "1.0.40" in reason_for("1.0.40")
