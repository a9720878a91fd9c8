"""`runqueue cancel` of what a filter leaves: counted first, at every stage, by the thousand."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue import RunQueue
from runqueue.ids import job_id_for
from runqueue.store.scripts import ScriptCall
from tests.runqueue.cli.commanding import Desk, batch_of, counts, line, ready, running


def test_a_namespace_is_not_taken_for_a_filter(desk: Desk) -> None:
    ready(desk, line("a"))

    result = desk.run("cancel", "--all", "--namespace", "shop", "--yes")

    assert result.exit_code == 2
    assert "--namespace" in result.stderr
    assert desk.states() == {"ready": 1}


@pytest.mark.parametrize("command", [["cancel"], ["dead", "discard"], ["unconfirmed", "fail"]])
@pytest.mark.parametrize("option", ["--group", "--batch", "--reason", "--account"])
def test_a_filter_that_was_given_nothing_does_not_mean_everything(
    desk: Desk, command: list[str], option: str
) -> None:
    desk.dead([line("a")])
    ready(desk, line("b"))

    result = desk.run(*command, option, "", "--yes")

    assert result.exit_code == 2
    assert option in result.stderr
    assert desk.states() == {"dead": 1, "ready": 1}


def everywhere(desk: Desk) -> None:
    """Leave a job in each state that is not over, and some that are."""
    done, submitting, lost, follows = (line(name) for name in ("done", "submitting", "b", "c"))
    desk.end([running(desk, done)])
    desk.dead([line("dead")])
    desk.unconfirmed([lost])
    desk.run("unconfirmed", "adopt", *desk.unconfirmed([follows]), "tsk_1", "--yes")
    running(desk, submitting)
    ready(desk, line("scheduled", delay=60), line("ready"), line("shop", group="shop"))


def test_by_filter_jobs_of_every_stage_are_canceled_but_none_that_is_over(desk: Desk) -> None:
    everywhere(desk)
    assert desk.states() == {
        "scheduled": 1,
        "ready": 2,
        "submitting": 1,
        "unconfirmed": 1,
        "running": 1,
        "completed": 1,
        "dead": 1,
    }

    assert desk.json("cancel", "--all", "--yes") == counts(canceled=3, will_be=3)

    assert desk.states() == {
        "submitting": 1,
        "unconfirmed": 1,
        "running": 1,
        "completed": 1,
        "canceled": 3,
        "dead": 1,
    }


@pytest.mark.parametrize(("answer", "hint"), [(b"n\n", ""), (b"", "give --yes")])
def test_what_a_filter_leaves_is_counted_before_anything_is_canceled(
    desk: Desk, answer: bytes, hint: str
) -> None:
    everywhere(desk)
    before = desk.states()

    result = desk.run("cancel", "--all", stdin=answer)

    assert result.exit_code == 2
    assert "cancel 6 jobs?" in result.stderr
    assert hint in result.stderr
    assert desk.states() == before


@pytest.mark.parametrize("agreed", [["--yes"], []], ids=["yes given", "yes said"])
def test_filters_choose_what_is_canceled(desk: Desk, agreed: list[str]) -> None:
    ready(desk, line("a", group="shop"), line("b", group="shop", delay=60), line("c"))

    result = desk.run("cancel", "--group", "shop", *agreed, stdin=b"y\n")

    assert result.exit_code == 0
    assert result.stdout == ("2 canceled at once, the runs of 0 will be canceled, 0 over already\n")
    assert desk.states() == {"canceled": 2, "ready": 1}


def test_jobs_of_one_open_state_are_chosen_by_it(desk: Desk) -> None:
    everywhere(desk)
    before = desk.states()

    ended = desk.run("cancel", "--state", "failed", "--yes")
    shown = desk.json("cancel", "--state", "ready", "--yes")

    assert ended.exit_code == 2
    assert "expected a state of open jobs, got failed" in " ".join(ended.stderr.split())
    assert shown == counts(canceled=before["ready"])
    left = {**before, "canceled": before.get("canceled", 0) + before["ready"]}
    del left["ready"]
    assert desk.states() == left
    assert desk.queue.audit()[0].detail.endswith("ready")


def test_jobs_of_one_batch_are_chosen_by_it_and_other_filters(desk: Desk) -> None:
    batch = batch_of(desk, line("a"), line("b", group="shop"))
    ready(desk, line("c", group="shop"))

    shown = desk.json("cancel", "--batch", batch, "--group", "shop", "--yes")

    assert shown == counts(canceled=1)
    assert desk.json("status", "b")["state"] == "canceled"


def test_jobs_are_chosen_by_why_they_are_unconfirmed(desk: Desk) -> None:
    everywhere(desk)

    assert desk.json("cancel", "--reason", "NO answer", "--yes") == counts(will_be=1)
    assert desk.json("status", "b")["cancel_requested"] is True


def test_jobs_of_one_account_are_chosen_by_it(desk: Desk) -> None:
    desk.know("second")
    ready(desk, line("a"), line("b", account="second"))

    assert desk.json("cancel", "--account", "second", "--yes") == counts(canceled=1)
    assert desk.states() == {"ready": 1}


def test_jobs_of_a_file_that_is_still_being_submitted_are_canceled_too(desk: Desk) -> None:
    desk.queue.enqueue_many([line("a")], batch=desk.queue.open_batch())

    assert desk.json("cancel", "--all", "--yes") == counts(canceled=1)


@pytest.mark.parametrize(
    "wanted",
    [
        ["--group", "nobody"],
        ["--batch", "nonsense"],
        ["--batch", job_id_for("default", "", "unknown")],
        ["--all"],
    ],
)
def test_a_filter_that_leaves_nothing_asks_nothing(desk: Desk, wanted: list[str]) -> None:
    desk.dead([line("a")])

    result = desk.run("cancel", *wanted)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "none\n", "")
    assert desk.json("cancel", *wanted) == counts()


def test_an_account_that_nobody_knows_is_told(desk: Desk) -> None:
    result = desk.run("cancel", "--account", "nobody", "--yes")

    assert result.exit_code == 3
    assert "nobody" in result.stderr


@pytest.mark.parametrize("way", ["--all", "--batch", "names"])
def test_thousands_of_jobs_are_canceled_in_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    batch = batch_of(desk, *({**line(f"k{n}"), "group": f"g{n % 7}"} for n in range(2_345)))
    sent: list[str] = []
    send = RunQueue.send

    def counted(queue: RunQueue, call: ScriptCall[Any]) -> Any:
        sent.append(call.script.name)
        return send(queue, call)

    monkeypatch.setattr(RunQueue, "send", counted)
    named = [f"k{n}" for n in range(2_345)]
    chosen = {"--all": ["--all"], "--batch": ["--batch", batch], "names": named}[way]

    assert desk.json("cancel", *chosen, *([] if way == "names" else ["--yes"])) == counts(2_345)

    assert desk.states() == {"canceled": 2_345}
    assert len(sent) < 80, sent


def test_what_is_excepted_is_not_canceled(desk: Desk, either: Desk) -> None:
    ready(desk, line("a", namespace="shop"), line("b"), line("c"))

    result = either.run("cancel", "--all", "--except", "a", "--namespace", "shop", "--yes")

    assert result.exit_code == 0
    assert desk.states() == {"ready": 1, "canceled": 2}
