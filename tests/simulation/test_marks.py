"""Marks of branches, told by what the simulation sees of the product."""

from typing import Any

import pytest

from simulation.marks import KEY_FREED, Marks


@pytest.mark.parametrize(
    ("script", "arguments", "reply", "mark"),
    [
        (
            "mark_running",
            ["2", "job", "1", "tsk_1", "created", 0],
            [1],
            "a run is found by its marker",
        ),
        (
            "mark_running",
            ["0", "job", "1", "tsk_1", "created", 0],
            [0],
            "a webhook comes before the answer",
        ),
        ("give_back", ["limited", 0, "", "", "job", "1"], [1], "given back after a 429"),
        ("claim", ["process", 1], [b"fenced", b"1"], "a claim is refused by a fence"),
        (
            "record_search",
            [0, 0, "job", "1", "not_found", 0, 0, "", ""],
            [2],
            "two searches prove that there is no run",
        ),
        (
            "retry_run",
            ["job", "1", "tsk_1", "failed", "", 0, b"", "", 1],
            [1],
            "a run is retried, for its session was occupied",
        ),
    ],
)
def test_a_call_of_a_script_reaches_a_mark(
    script: str, arguments: list[Any], reply: list[Any], mark: str
) -> None:
    marks = Marks()
    marks.note_reply(script, arguments, reply)
    assert [name for name, count in marks.reached.items() if count] == [mark]


def test_an_orphan_run_that_had_keys_and_has_none_any_more_has_freed_them() -> None:
    marks = Marks()
    marks.note_orphans({b"tsk_1": b"default - - login:a", b"tsk_2": b"default - - "})
    marks.note_orphans({b"tsk_1": b"default - - login:a"})
    assert not marks.reached[KEY_FREED]
    marks.note_orphans({})
    assert marks.reached[KEY_FREED] == 1
