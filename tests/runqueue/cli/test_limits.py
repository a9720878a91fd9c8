"""`runqueue limits`, `pause` and `resume`: what people change of whole accounts."""

import os
import pwd

import pytest

from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, line, ready


def seeded(desk: Desk) -> None:
    """The limits of a worker's environment."""
    run(desk.client, worker_calls.seed_limits("default", {"concurrent_runs": 10, "burst_size": 5}))


def test_limits_are_shown_with_where_they_come_from(either: Desk) -> None:
    seeded(either)
    either.run("limits", "--set", "concurrent_runs=20")

    rows = [row.split() for row in either.run("limits").stdout.splitlines()]

    assert rows[0][:4] == ["limit", "in", "force", "environment"]
    assert rows[3][:4] == ["concurrent_runs", "20", "10", "20"]
    assert rows[2][:3] == ["burst_size", "5", "5"]


def test_a_limit_is_set_and_reset(desk: Desk) -> None:
    seeded(desk)

    assert desk.json("limits", "--set", "max_concurrent_runs=20")["live"] == {"concurrent_runs": 20}
    assert desk.json("limits", "--reset", "all", "--set", "burst_size=7")["live"] == {
        "burst_size": 7
    }
    assert desk.json("limits", "--reset", "burst_size")["live"] == {}


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("concurrent_runs", 2, "expected NAME=VALUE, such as concurrent_runs=20"),
        ("concurrent_runs=many", 2, "expected NAME=VALUE"),
        ("concurrent_runs=-1", 3, "concurrent_runs: expected 0 (none) to 1,000,000, got -1"),
        ("runs=1", 3, "runs: expected one of submissions_per_second"),
    ],
)
def test_a_limit_that_is_none_is_refused(either: Desk, given: str, code: int, said: str) -> None:
    result = either.run("limits", "--set", "burst_size=7", "--set", given)

    assert (result.exit_code, said in result.stderr) == (code, True)
    assert either.json("limits")["live"] == {}
    assert either.queue.audit() == []


def test_an_account_is_paused_and_goes_on(either: Desk) -> None:
    ready(either, line("a"))

    assert either.run("pause", "--reason", "one").stdout == "default: paused\n"
    assert either.run("pause", "--reason", "a deployment").stdout == (
        "default: it was paused already; its reason is now: a deployment\n"
    )
    assert either.claim() == []
    assert "nothing is submitted until `runqueue resume`: paused: a deployment" in (
        either.run("stats").stdout
    )
    assert either.run("resume").stdout == "resumed; it was held by: paused: a deployment\n"
    assert len(either.claim()) == 1
    assert either.run("resume").stdout == "nothing held it\n"


def test_what_people_change_is_noted_with_who_did_it(desk: Desk) -> None:
    desk.run("limits", "--set", "burst_size=7")
    desk.run("pause", "--reason", "a deployment")
    desk.run("resume")

    notes = desk.queue.audit()
    assert [note.what for note in notes] == ["resume_account", "pause_account", "set_limits"]
    assert [note.detail for note in notes[1:]] == ["a deployment", "burst_size 7"]
    assert {note.who.partition("@")[0] for note in notes} == {pwd.getpwuid(os.getuid()).pw_name}


def test_an_account_that_nobody_serves_is_refused(either: Desk) -> None:
    for command in ("limits", "pause", "resume"):
        assert either.run(command, "acme").exit_code == 3


def test_all_accounts_are_paused_and_go_on(desk: Desk, either: Desk) -> None:
    for account in ("default", "acme"):
        desk.know(account)
    desk.queue.pause("acme", "before")

    said = either.run("pause", "--all-accounts", "--reason", "a deployment").stdout
    assert said == (
        "default: paused\nacme: it was paused already; its reason is now: a deployment\n"
    )
    assert all(stats.paused for stats in desk.queue.stats().values())
    said = either.run("resume", "--all-accounts").stdout
    assert said == (
        "default: resumed; it was held by: paused: a deployment\n"
        "acme: resumed; it was held by: paused: a deployment\n"
    )
    assert either.run("resume", "--all-accounts").stdout == (
        "default: it was not paused\nacme: it was not paused\n"
    )


def test_resuming_all_accounts_ends_no_hold(desk: Desk, either: Desk) -> None:
    desk.know("default")
    desk.client.hset(
        Keys("default").meta,
        mapping={"hold_until": str(2**52), "hold_reason": "Redis lost claims", "hold_person": "1"},
    )
    assert either.run("resume", "--all-accounts").stdout == "default: it was not paused\n"
    assert desk.queue.stats()["default"].hold_reason is not None


def test_an_account_and_all_of_them_is_wrong_usage(either: Desk) -> None:
    for command in ("pause", "resume"):
        result = either.run(command, "default", "--all-accounts")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "not both" in result.stderr


def test_one_account_is_paused_over_http_too(desk: Desk, either: Desk) -> None:
    desk.know("default")
    assert either.run("pause").stdout == "default: paused\n"
    assert either.run("pause").stdout == (
        "default: it was paused already; its reason is now: none\n"
    )
    assert either.run("resume").stdout == "resumed; it was held by: paused\n"
    assert either.run("resume").stdout == "nothing held it\n"
    assert either.run("pause", "nobody").exit_code == 3
