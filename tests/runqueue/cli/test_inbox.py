"""The commands for refused lines: what is shown, thrown away, and tried again."""

import json
from typing import Any

import pytest

from runqueue.producer.inbox import InboxLine, check_lines
from runqueue.store.inbox_calls import inbox_done
from runqueue.store.keys import Keys
from tests.runqueue.cli.commanding import Desk

INBOX = f"{Keys('default').prefix}inbox"
LATE = json.dumps({"kind": "task", "account": "late", "body": {"prompt": "Read it."}})


def refuse(desk: Desk, *lines: Any, account: str = "default", way: str = "inbox") -> None:
    """Have lines refused, as a worker would."""
    checked = check_lines([InboxLine(line, f"k-{n}") for n, line in enumerate(lines)], way, ["nil"])
    kept = [("", checked.kept(n, 1_800_000_000_000_000)) for n in sorted(checked.refused)]
    desk.know(account)
    desk.queue.send(inbox_done(account, kept))


def length(desk: Desk, key: str = INBOX) -> int:
    found: Any = desk.client.llen(key)
    return int(found)


def test_refused_lines_are_listed_with_what_is_wrong_and_without_their_bodies(either: Desk) -> None:
    either.environ["COLUMNS"] = "200"
    refuse(either, '{"custom_id": "order-1", "kind": "task", "body": {"totp_url": "hunter2"}}')

    shown = either.run("inbox", "list").stdout

    assert "order-1" in shown
    assert "body.totp_url: expected an http:// or https:// URL" in shown
    assert "hunter2" not in shown


def test_stats_and_top_count_the_refused_lines_and_name_the_command(either: Desk) -> None:
    assert "refused lines" not in either.run("stats").stdout
    refuse(either, '{"kind": "nil"}', '{"kind": "nothing"}')

    assert "refused lines 2 (`runqueue inbox list`)" in either.run("stats").stdout
    assert either.json("stats")["default"]["refused_lines"] == 2
    assert "refused lines 2" in either.run("top", "--once").stdout


def test_an_inbox_that_is_no_list_hides_no_other_figure(either: Desk) -> None:
    either.know("default")
    either.client.set(f"{INBOX}:invalid", "what is this")

    assert either.json("stats")["default"]["refused_lines"] == 0


def test_json_shows_the_line_and_all_that_is_wrong(either: Desk) -> None:
    refuse(either, b'{"custom_id": "a\xff"')

    row = either.json("inbox", "list")

    assert (row["line"], row["account"]) == ('{"custom_id": "a?"', "default")
    assert row["at"] == "2027-01-15 08:00:00+00:00"
    assert row["error"].startswith("line: expected JSON")


def test_an_entry_of_somebody_else_s_is_listed_too(either: Desk) -> None:
    either.client.rpush(f"{INBOX}:invalid", "what is this", '{"at": 5, "error": [7]}')
    assert "not an entry of runqueue's" in either.run("inbox", "list").stdout
    assert len(either.run("inbox", "list", "--json").stdout.splitlines()) == 2


def test_the_list_says_how_many_lines_still_wait(either: Desk) -> None:
    either.client.rpush(INBOX, "x", "y")
    result = either.run("inbox", "list")
    assert result.stdout == "none\n"
    assert result.stderr == "default: 2 lines not read yet\n"


def test_a_long_list_is_cut_and_says_so(either: Desk) -> None:
    refuse(either, *["x"] * 130)
    result = either.run("inbox", "list", "--limit", "120", "--json")
    assert len(result.stdout.splitlines()) == 120
    assert "--limit shows more than 120" in result.stderr


def test_filters_leave_some(either: Desk) -> None:
    refuse(either, "x", LATE)
    refuse(either, "y", account="acme")

    def listed(*filters: str) -> int:
        return len(either.run("inbox", "list", "--json", *filters).stdout.splitlines())

    assert (listed(), listed("--account", "acme"), listed("--reason", "unknown account")) == (
        3,
        1,
        1,
    )


@pytest.mark.parametrize("command", ["discard", "retry"])
def test_all_lines_are_meant_only_if_that_is_said(either: Desk, command: str) -> None:
    refuse(either, "x")
    assert either.run("inbox", command, "--yes").exit_code == 2
    assert either.run("inbox", command, "--all", stdin=b"n\n").exit_code == 2
    assert length(either, f"{INBOX}:invalid") == 1


def test_lines_are_thrown_away(either: Desk) -> None:
    refuse(either, "x", "y", LATE)
    result = either.run("inbox", "discard", "--reason", "expected JSON", "--yes")
    assert result.stdout == "2 of 2: thrown away\n"
    assert length(either, f"{INBOX}:invalid") == 1


def test_lines_go_back_into_the_inbox(either: Desk) -> None:
    refuse(either, "x", "y")
    assert either.run("inbox", "retry", "--all", "--yes").stdout == "2 of 2: back in the inbox\n"
    assert either.client.lrange(INBOX, 0, -1) == [b"x", b"y"]
    assert length(either, f"{INBOX}:invalid") == 0


def test_a_line_of_an_inbox_that_names_another_account_is_accepted_for_none(either: Desk) -> None:
    either.know("late")
    refuse(either, LATE)

    result = either.run("inbox", "retry", "--all", "--yes")

    assert (result.stdout, result.exit_code) == ("0 of 1: back in the inbox\n", 3)
    assert "another than their inbox's" in result.stderr
    assert length(either, f"{INBOX}:invalid") == 1
    assert length(either) == length(either, f"{Keys('late').prefix}inbox") == 0


def test_a_celery_line_goes_to_the_account_it_names_once_that_is_known(either: Desk) -> None:
    refuse(either, LATE, way="celery")
    before = either.run("inbox", "retry", "--all", "--yes")
    assert (before.stdout, before.exit_code) == ("0 of 1: back in the inbox\n", 3)
    assert "unknown account" in before.stderr

    either.know("late")
    assert either.run("inbox", "retry", "--all", "--yes").exit_code == 0

    (line,) = either.client.lrange(f"{Keys('late').prefix}inbox", 0, -1)
    assert json.loads(line)["custom_id"] == "k-0"
    assert length(either, f"{INBOX}:invalid") == 0
    assert length(either) == 0


def test_nothing_refused_is_nothing_to_do(either: Desk) -> None:
    assert either.run("inbox", "retry", "--all", "--yes").stdout == "none\n"
