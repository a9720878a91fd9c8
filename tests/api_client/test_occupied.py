"""What a server's words, and its sessions, say of a browser session that is occupied."""

from typing import Any

import pytest

from api_client.answers.occupied import found_occupied, occupant_of

REASON = (
    "Browser session pbs_1 is already occupied by tsk_2. Wait for that run to finish or cancel it,"
    " then retry."
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"step_count": 0}, True),
        ({"step_count": 2}, False),
        ({"step_count": None}, False),
        ({"step_count": "1"}, False),
        ({"browser_session_id": None}, False),
        ({"failure_reason": "The browser crashed."}, False),
        ({"failure_reason": "The table is already occupied by another guest."}, False),
        ({"failure_reason": f"It says: {REASON}"}, False),
        ({"failure_reason": None}, False),
        ({"failure_reason": [REASON]}, False),
    ],
)
def test_a_run_found_its_session_occupied_if_it_failed_for_that_in_its_first_step(
    changed: dict[str, Any], expected: bool
) -> None:
    shown = {"browser_session_id": "pbs_1", "failure_reason": REASON, "step_count": 1, **changed}
    assert found_occupied(shown) is expected


def test_a_task_is_shown_without_its_session_which_its_request_names() -> None:
    shown = {"browser_session_id": None, "failure_reason": REASON, "step_count": 1}
    assert found_occupied(shown, "pbs_1")
    assert not found_occupied({**shown, "step_count": 2}, "pbs_1")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"runnable_id": "tsk_1"}', "tsk_1"),
        (b'{"runnable_id": null}', None),
        (b'{"runnable_id": 7}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_a_session_names_the_run_that_has_it(body: bytes, expected: str | None) -> None:
    assert occupant_of(body) == expected
