"""What commands do is noted: who did it, what, and to how many; in one note an account."""

from __future__ import annotations

import json
import os
import pwd
import socket
import syslog
from collections.abc import Callable
from typing import Any

import pytest

from runqueue import RunQueue
from runqueue.errors import QueueUnavailable
from runqueue.ids import new_id
from runqueue.producer.inbox import InboxLine, check_lines
from runqueue.store.inbox_calls import inbox_done
from runqueue.store.scripts import ScriptCall
from tests.runqueue.cli import delivering
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines, ready
from tests.runqueue.cli.delivering import told

CANCELED = "{} canceled at once, the runs of {} will be canceled, {} over already"


def noted(desk: Desk, account: str = "default") -> list[tuple[str, str, str]]:
    """What an account's notes say, the oldest first."""
    return [(n.what, n.target, n.detail) for n in reversed(desk.queue.audit(account))]


def dead(desk: Desk) -> list[str]:
    return desk.dead([line("a", group="shop"), line("b", group="shop"), line("c")])


def unconfirmed(desk: Desk) -> list[str]:
    return desk.unconfirmed([line("a", group="shop"), line("b", group="shop"), line("c")])


def waiting(desk: Desk) -> list[str]:
    return ready(desk, *lines(3))


def abandoned(desk: Desk) -> list[str]:
    return delivering.abandoned(desk, told("a"), told("b", group="shop"))


def refused(desk: Desk) -> list[str]:
    """Have lines refused, as a worker would."""
    rows = [json.dumps({**line(f"k-{n}"), "account": "late"}) for n in range(3)]
    checked = check_lines([InboxLine(row, "k") for row in rows], "celery", ["default"])
    desk.queue.send(inbox_done("default", [("", checked.kept(n, 1)) for n in checked.refused]))
    desk.know("late")
    return []


def orphans(desk: Desk) -> list[str]:
    desk.orphan("tsk_1", new_id("default"))
    return []


@pytest.mark.parametrize(
    ("given", "command", "what", "detail"),
    [
        (dead, "dead replay --group shop --yes", "replay", "dead, group shop: 2 jobs: ready again"),
        (dead, "dead replay {0} {1}", "replay", "2 jobs: ready again"),
        (dead, "dead discard --all --yes", "discard", "dead: 3 jobs: removed"),
        (unconfirmed, "unconfirmed resubmit --all --yes", "resubmit", "unconfirmed: 3 jobs: ready"),
        (
            unconfirmed,
            "unconfirmed fail --reason answer --why looked --yes",
            "fail",
            "unconfirmed, reason with “answer”: 3 jobs: settled: looked",
        ),
        (waiting, "cancel {0} {1} {2}", "cancel", f"3 jobs: {CANCELED.format(3, 0, 0)}"),
        (
            unconfirmed,
            "cancel --group shop --yes",
            "cancel",
            f"group shop: 2 jobs: {CANCELED.format(0, 2, 0)}",
        ),
        (
            abandoned,
            "webhooks retry --abandoned --yes",
            "deliver",
            "abandoned: 2 jobs: will be sent",
        ),
        (abandoned, "webhooks confirm {0} {1}", "confirm_delivery", "2 jobs: delivered"),
        (refused, "inbox discard --all --yes", "inbox_discard", "3 lines: 3 of 3: thrown away"),
        (
            refused,
            "inbox retry --reason unknown --yes",
            "inbox_retry",
            "reason with “unknown”: 3 lines: 3 of 3: back in the inbox",
        ),
        (orphans, "orphans cancel --all --yes", "cancel_orphans", "1 run: 1 will be canceled"),
        (dead, "dead replay {}", "replay", "ready again"),
        (unconfirmed, "unconfirmed adopt {} tsk_7 --yes", "adopt", "follows its run: tsk_7"),
        (unconfirmed, "unconfirmed fail {} --why looked", "fail", "settled: looked"),
        (waiting, "cancel {}", "cancel_job", CANCELED.format(1, 0, 0)),
        (
            abandoned,
            "webhooks retry {} --webhook-url https://ann:pw@shop.test/in?t=x",
            "deliver",
            "will be sent: to https://shop.test/in",
        ),
    ],
)
def test_a_command_is_noted_with_its_job_or_with_how_many(
    desk: Desk, given: Callable[[Desk], list[str]], command: str, what: str, detail: str
) -> None:
    ids = given(desk)

    result = desk.run(*command.format(*ids).split())

    job_id = ids[0] if "{}" in command else ""
    assert (result.exit_code, noted(desk)) == (0, [(what, job_id, detail)])


def test_commands_for_a_batch_are_noted_with_it(desk: Desk) -> None:
    batch = batch_of(desk, *lines(3))

    for what in ("pause", "resume", "cancel"):
        desk.run("batch", what, batch)
    other = batch_of(desk, *(line(f"x-{n}") for n in range(2)))
    desk.refuse(desk.claim())
    desk.run("batch", "retry-failed", other)
    desk.run("batch", "retry-failed", other)
    desk.run("cancel", other)

    assert noted(desk) == [
        ("pause_batch", batch, "jobs.jsonl"),
        ("resume_batch", batch, "jobs.jsonl"),
        ("cancel_batch", batch, CANCELED.format(3, 0, 0)),
        ("retry_failed", other, "2 jobs ready again: 2 dead"),
        ("cancel_batch", other, CANCELED.format(2, 0, 0)),
    ]


def test_a_batch_and_a_job_that_are_canceled_by_one_command_are_two_notes(desk: Desk) -> None:
    batch, (job_id,) = batch_of(desk, *lines(2)), ready(desk, line("x"))

    desk.run("cancel", batch, job_id)

    assert noted(desk) == [
        ("cancel_job", job_id, CANCELED.format(1, 0, 0)),
        ("cancel_batch", batch, CANCELED.format(2, 0, 0)),
    ]


def test_what_a_group_is_set_to_is_noted(desk: Desk) -> None:
    desk.run("group", "set", "shop", "--max-concurrent", "3", "--pause")
    desk.run("group", "set", "shop", "--max-concurrent", "none", "--resume")

    assert noted(desk) == [
        ("set_group", "shop", "at most 3 at once, paused"),
        ("set_group", "shop", "no cap, goes on"),
    ]


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_notes_name_the_user_whatever_the_environment_says(desk: Desk, variable: str) -> None:
    desk.environ[variable] = "ceo"

    desk.run("dead", "replay", *dead(desk))

    (note,) = desk.queue.audit()
    name = pwd.getpwuid(os.getuid()).pw_name
    assert note.who == f"{name}@{socket.gethostname()} (command line)"


def test_a_user_without_a_name_is_noted_by_number(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 987_654)

    desk.run("dead", "replay", *dead(desk))

    (note,) = desk.queue.audit()
    assert note.who.startswith("uid 987654@")


def test_each_note_goes_to_the_log_of_the_machine_too(
    desk: Desk, system_log: list[tuple[int, str]]
) -> None:
    desk.run("pause", "--reason", 'a "deployment"\n')

    ((priority, line),) = system_log
    (note,) = desk.queue.audit()
    assert priority == syslog.LOG_NOTICE
    assert "\n" not in line
    assert json.loads(line) == {
        "what": "pause_account",
        "who": note.who,
        "account": "default",
        "target": "",
        "detail": note.detail,
    }


def test_each_account_has_a_note_of_what_was_done_to_its_jobs(desk: Desk) -> None:
    desk.know("acme")
    ids = ready(desk, line("a"), line("b"), line("c", account="acme"))

    desk.run("cancel", *ids)

    words = CANCELED.format(3, 0, 0)
    assert noted(desk) == [("cancel", "", f"2 of 3 jobs: {words}")]
    assert noted(desk, "acme") == [("cancel", "", f"1 of 3 jobs: {words}")]


@pytest.mark.parametrize("command", ["dead replay {} --yes", "unconfirmed fail {}", "cancel {}"])
def test_what_could_not_be_done_is_not_noted(desk: Desk, command: str) -> None:
    (job_id,) = ready(desk, line("a"))
    desk.end(desk.claim())

    desk.run(*command.format(job_id).split())

    assert noted(desk) == []


def test_a_command_notes_in_one_round_trip(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, sent = dead(desk), []
    real = RunQueue.send

    def send(self: RunQueue, call: Any) -> Any:
        sent.append(call.script.name)
        return real(self, call)

    monkeypatch.setattr(RunQueue, "send", send)
    desk.run("dead", "replay", *ids)

    assert sent.count("audit") == 1


def test_what_is_done_is_done_although_it_cannot_be_noted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, system_log: list[tuple[int, str]]
) -> None:
    real = RunQueue.send

    def send(queue: RunQueue, call: ScriptCall[Any]) -> Any:
        if call.script.name == "audit":
            raise QueueUnavailable("redis://", "cut")
        return real(queue, call)

    ids = dead(desk)
    monkeypatch.setattr(RunQueue, "send", send)

    result = desk.run("dead", "replay", *ids)

    assert (result.exit_code, result.stdout) == (0, "3 of 3: ready again\n")
    assert "it is done, but could not be recorded" in result.stderr
    assert len(system_log) == 1


def test_what_a_gateway_is_told_to_do_is_noted_by_the_gateway_alone(either: Desk) -> None:
    batch = batch_of(either, *lines(2))

    either.run("batch", "pause", batch)
    either.run("group", "set", "shop", "--pause")

    assert [what for what, _, _ in noted(either)] == ["pause_batch", "set_group"]
