"""`runqueue group`: caps and pauses."""

import json

import pytest

from tests.runqueue.cli.commanding import Desk, line, ready


def test_a_group_is_capped_and_uncapped(either: Desk) -> None:
    ready(either, *(line(str(n), group="shop") for n in range(3)))
    said = either.run("group", "set", "shop", "--max-concurrent", "2").stdout
    assert said == "group shop: at most 2 at once, 0 now\n"
    assert len(either.claim()) == 2
    assert either.json("group", "set", "shop", "--max-concurrent", "none") == {
        "group": "shop",
        "account": "default",
        "max_concurrent": None,
        "paused": False,
        "live": 2,
        "ready": 1,
    }
    assert len(either.claim()) == 1


def test_a_group_is_paused_and_goes_on(either: Desk) -> None:
    ready(either, line("a", group="shop"))
    assert either.run("group", "set", "shop", "--pause").stdout == (
        "group shop: no cap, 0 now, paused\n"
    )
    assert either.claim() == []
    either.run("group", "set", "shop", "--resume")
    assert len(either.claim()) == 1


def test_groups_are_listed(either: Desk) -> None:
    assert either.run("group", "list").stdout == "none\n"
    either.run("group", "set", "shop", "--max-concurrent", "2")
    either.run("group", "set", "off", "--pause")
    ready(either, line("a", group="waits"))
    text = either.run("group", "list").stdout.splitlines()
    assert [row.split()[0] for row in text] == ["group", "off", "shop", "waits"]
    rows = [json.loads(row) for row in either.run("group", "list", "--json").stdout.splitlines()]
    assert [(row["group"], row["max_concurrent"], row["paused"]) for row in rows] == [
        ("off", None, True),
        ("shop", 2, False),
        ("waits", None, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to set"),
        (("--pause", "--resume"), "not both"),
        (("--max-concurrent", "many"), "expected a number or none"),
        (("--max-concurrent", "-1"), "expected a number or none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    either: Desk, arguments: tuple[str, ...], words: str
) -> None:
    result = either.run("group", "set", "shop", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_name_or_a_cap_that_is_none_is_told(either: Desk) -> None:
    assert "group: expected" in either.run("group", "set", "A b", "--pause").stderr
    result = either.run("group", "set", "shop", "--max-concurrent", "0")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "max_concurrent: expected 1 or more" in result.stderr
    assert either.run("group", "set", "a", "--pause", "--account", "nobody").exit_code == 3
