"""`runqueue keys`: limits on what jobs use together."""

import json

import pytest

from runqueue.store.keys import Keys
from tests.runqueue.cli.commanding import Desk, line, ready


def test_a_limit_is_set_shown_and_cleared(either: Desk) -> None:
    ready(either, *(line(str(n), keys=["site:a"]) for n in range(5)))
    said = either.run("keys", "set", "site:a", "--max-concurrent", "2").stdout
    assert said == "site:a: 2 at a time\n"
    assert len(either.claim()) == 2

    (shown,) = [json.loads(row) for row in either.run("keys", "list", "--json").stdout.splitlines()]
    assert shown.pop("waiting_since")
    assert shown == {
        "key": "site:a",
        "max_concurrent": 2,
        "interval_seconds": None,
        "live": 2,
        "waiting": 3,
        "has_limit": True,
        "paused_until": None,
    }
    text = either.run("keys", "list").stdout.splitlines()
    assert text[1].split()[:4] == ["site:a", "2", "2", "3"]
    said = either.run("keys", "clear", "site:a").stdout
    assert said == "site:a has no limit of its own now\n"
    assert len(either.claim()) == 3
    assert either.run("keys", "clear", "site:a").stdout == "site:a had no limit of its own\n"
    assert either.run("keys", "list").stdout == "none\n"


def test_the_host_of_a_task_is_a_key_of_it(either: Desk) -> None:
    body = {"prompt": "x", "url": "https://user@Shop.Example:8443/17?x=1"}
    ready(either, *({"custom_id": str(n), "kind": "task", "body": body} for n in range(3)))
    either.run("keys", "set", "host:*", "--max-concurrent", "1")
    assert len(either.claim()) == 1
    shown = either.json("status", "1")
    assert shown["keys"] == ["host:shop.example"]
    assert shown["waits_for"][0]["name"] == "host:shop.example"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "site:a"), "give a limit"),
        (("set", "site:a", "--max-concurrent", "1", "--no-limit"), "give a limit"),
        (("set", "site:a", "--per-second", "1", "--per-hour", "1"), "expected one rate"),
        (("set", "site:a", "--max-concurrent", "0"), "max_concurrent: expected 1 or more, got 0"),
        (("set", "site:a", "--per-second", "-1"), "per_second: expected one a year or more"),
        (("set", "site:a", "--per-hour", "1e-14"), "and a million at most, got 1e-14"),
        (("set", "site", "--max-concurrent", "1"), "key: expected text such as host:shop.example"),
        (("set", "Site:a", "--max-concurrent", "1"), "got 'Site:a'"),
        (("clear", "site:a:*"), "got 'site:a:*'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    either: Desk, arguments: tuple[str, ...], words: str
) -> None:
    done = either.run("keys", *arguments)
    assert done.exit_code in {2, 3}
    assert words in " ".join(done.output.replace("│", " ").split())


def test_no_limit_lets_any_number_use_a_key_whatever_its_first_segment_has(either: Desk) -> None:
    ready(either, *(line(str(n), keys=["site:a"]) for n in range(3)))
    either.run("keys", "set", "site:*", "--max-concurrent", "1")
    assert either.run("keys", "set", "site:a", "--no-limit").stdout == "site:a: any number\n"
    assert len(either.claim()) == 3
    rows = either.run("keys", "list", "--json").stdout.splitlines()
    assert {row["key"]: row["has_limit"] for row in map(json.loads, rows)}["site:a"]


def test_a_rate_is_set(either: Desk) -> None:
    ready(either, *(line(str(n), keys=["site:a"]) for n in range(3)))
    said = either.run("keys", "set", "site:a", "--per-minute", "6").stdout
    assert said == "site:a: 6 per minute\n"
    assert len(either.claim()) == 1


def test_what_has_ended_and_holds_a_key_is_printed_and_dropped(desk: Desk) -> None:
    ready(desk, line("1", keys=["site:a"]))
    desk.client.sadd(f"{Keys('default').prefix}key:site:a", "nobody")
    assert desk.json("keys", "repair") == {"of": "key:site:a", "holder": "nobody"}
    assert desk.run("keys", "repair").stdout == "nothing to repair\n"


def test_the_table_has_words_for_columns_and_rates(either: Desk) -> None:
    ready(either, *(line(str(n), keys=["site:a"]) for n in range(2)))
    either.run("keys", "set", "site:a", "--per-hour", "3")
    either.run("keys", "set", "site:b", "--per-second", "2", "--max-concurrent", "1")
    either.run("keys", "set", "site:c", "--no-limit")
    either.run("keys", "set", "site:d", "--per-hour", "0.5")
    head, *rows = either.run("keys", "list").stdout.splitlines()
    assert head.split("  ")[0] == "key"
    assert "in use" in head
    assert "_" not in head
    shown = {row.split()[0]: row for row in rows}
    assert "3 per hour" in shown["site:a"]
    assert "2 per second" in shown["site:b"]
    assert shown["site:c"].split()[1] == "any"
    assert "1 every 2 hours" in shown["site:d"]
