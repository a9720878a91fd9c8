"""What a server's words, and its sessions, say of a browser session that is occupied."""

from typing import Any

import pytest

from api_client.answers.occupied import found_occupied, occupant_of

REASON = (
    "Browser session pbs_1 is already occupied by tsk_2. Wait for that run to finish or cancel it,"
    " then retry."
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"failure_reason": REASON, "step_count": 1}, True),
        ({"failure_reason": REASON, "step_count": 0}, True),
        ({"failure_reason": REASON, "step_count": 2}, False),
        ({"failure_reason": REASON, "step_count": None}, False),
        ({"failure_reason": REASON}, False),
        ({"failure_reason": "The browser crashed.", "step_count": 1}, False),
        ({"failure_reason": None, "step_count": 1}, False),
        ({"failure_reason": [REASON], "step_count": "1"}, False),
    ],
)
def test_a_run_found_its_session_occupied_if_it_failed_for_that_in_its_first_step(
    shown: dict[str, Any], expected: bool
) -> None:
    assert found_occupied(shown) is expected


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
