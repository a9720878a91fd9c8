"""`runqueue cancel` of what is named: one job or many, and whole batches."""

from __future__ import annotations

import pytest

from runqueue import JobState
from runqueue.ids import job_id_for
from tests.runqueue.cli.commanding import (
    BOTH_WAYS,
    NOTHING_CHOSEN,
    Desk,
    batch_of,
    counts,
    line,
    lines,
    ready,
    running,
)


@pytest.mark.parametrize(
    ("is_under_way", "shown"),
    [
        (False, {"state": "canceled", "cancel_requested": False, **counts(canceled=1)}),
        (True, {"state": "submitting", "cancel_requested": True, **counts(will_be=1)}),
    ],
)
def test_a_waiting_job_ends_at_once_and_one_under_way_is_asked_to(
    desk: Desk, is_under_way: bool, shown: dict[str, object]
) -> None:
    job = running(desk, line("a")).job_id if is_under_way else ready(desk, line("a"))[0]

    assert desk.json("cancel", job) == {"job_id": job, **shown}


def test_a_batch_is_taken_whole(desk: Desk) -> None:
    batch = batch_of(desk, *lines(3))

    assert desk.json("cancel", batch) == {
        "batch": batch,
        "jobs": 3,
        "cancel_requested": True,
        **counts(canceled=3),
    }
    assert desk.claim() == []


def test_of_a_batch_it_says_what_waited_what_may_run_and_what_was_over(desk: Desk) -> None:
    batch = batch_of(desk, line("a"), line("b"), line("c", delay=60), line("d", delay=60))
    first, _ = desk.claim()
    desk.end([first])

    shown = desk.json("cancel", batch)

    assert shown == {
        "batch": batch,
        "jobs": 4,
        "cancel_requested": True,
        **counts(canceled=2, will_be=1, over=1),
    }


def test_canceling_a_batch_twice_tells_the_same_until_its_jobs_were_walked(desk: Desk) -> None:
    batch = batch_of(desk, *lines(3))
    assert desk.json("cancel", batch)["canceled"] == 3

    assert desk.json("cancel", batch)["canceled"] == 3, "as when only the first answer was lost"


def test_many_jobs_are_canceled_by_id_or_custom_id_without_a_question(desk: Desk) -> None:
    done = running(desk, line("done"))
    desk.end([done])
    running(desk, line("b"))
    first, _ = ready(desk, line("a"), line("left"))

    result = desk.run("cancel", first, "b", done.job_id)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == ("1 canceled at once, the runs of 1 will be canceled, 1 over already\n")
    assert desk.states() == {"canceled": 1, "submitting": 1, "completed": 1, "ready": 1}


def test_jobs_and_batches_are_canceled_together_each_counted_once(desk: Desk) -> None:
    batch = batch_of(desk, *lines(2))
    single, _ = ready(desk, line("a"), line("b"))

    shown = desk.json("cancel", batch, single, "a", "order-0", batch)

    assert shown == counts(canceled=3)
    assert len(desk.claim()) == 1


def test_jobs_of_several_accounts_are_canceled_by_one_command(desk: Desk) -> None:
    desk.know("second")
    ready(desk, line("a"), line("b", account="second"))

    assert desk.json("cancel", "a", "b") == counts(canceled=2)


def test_a_custom_id_is_looked_for_in_its_namespace(desk: Desk) -> None:
    ready(desk, line("a"), line("a", namespace="shop"))

    desk.run("cancel", "a", "--namespace", "shop")

    assert desk.queue.get(desk.json("status", "a")["job_id"]).state is JobState.READY


@pytest.mark.parametrize(
    "unknown",
    ["nonsense", "", job_id_for("default", "", "unknown"), job_id_for("elsewhere", "", "x")],
)
def test_if_one_name_is_unknown_it_is_named_and_nothing_is_canceled(
    desk: Desk, unknown: str
) -> None:
    batch = batch_of(desk, *lines(2))
    ready(desk, line("a"))

    result = desk.run("cancel", batch, "a", unknown, "other")

    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        f"runqueue: no job, batch or custom_id {name!r} on record" for name in (unknown, "other")
    ]
    assert result.stdout == ""
    assert desk.queue.get_batch(batch).held is None
    assert desk.states() == {"ready": 3}


def test_a_name_that_is_no_text_is_unknown_like_any_other(desk: Desk) -> None:
    result = desk.run("cancel", "\udcff")

    assert result.exit_code == 3
    assert "no job, batch or custom_id '\\udcff' on record" in result.stderr


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], NOTHING_CHOSEN),
        (["--yes"], NOTHING_CHOSEN),
        (["--namespace", "x"], NOTHING_CHOSEN),
        (["a", "--all"], BOTH_WAYS),
        (["a", "--group", "shop"], BOTH_WAYS),
    ],
    ids=str,
)
def test_without_names_or_a_filter_or_with_both_nothing_is_canceled(
    desk: Desk, chosen: list[str], words: str
) -> None:
    ready(desk, line("a", group="shop"))

    result = desk.run("cancel", *chosen)

    assert result.exit_code == 2
    assert words in result.stderr
    assert desk.states() == {"ready": 1}
