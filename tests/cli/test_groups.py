"""`runqueue group`: caps and pauses."""

import json

import pytest

from tests.cli.commanding import Desk, line, ready


def test_a_group_is_capped_and_uncapped(desk: Desk) -> None:
    ready(desk, *(line(str(n), group="shop") for n in range(3)))
    said = desk.run("group", "set", "shop", "--max-concurrent", "2").stdout
    assert said == "group shop: at most 2 at once, 0 now\n"
    assert len(desk.claim()) == 2
    assert desk.json("group", "set", "shop", "--max-concurrent", "none") == {
        "group": "shop",
        "account": "default",
        "max_concurrent": None,
        "paused": False,
        "live": 2,
        "waiting": True,
    }
    assert len(desk.claim()) == 1


def test_a_group_is_paused_and_goes_on(desk: Desk) -> None:
    ready(desk, line("a", group="shop"))
    assert desk.run("group", "set", "shop", "--pause").stdout == (
        "group shop: no cap, 0 now, paused\n"
    )
    assert desk.claim() == []
    desk.run("group", "set", "shop", "--resume")
    assert len(desk.claim()) == 1


def test_groups_are_listed(desk: Desk) -> None:
    assert desk.run("group", "list").stdout == "none\n"
    desk.run("group", "set", "shop", "--max-concurrent", "2")
    desk.run("group", "set", "off", "--pause")
    ready(desk, line("a", group="waits"))
    text = desk.run("group", "list").stdout.splitlines()
    assert [row.split()[0] for row in text] == ["group", "off", "shop", "waits"]
    rows = [json.loads(row) for row in desk.run("group", "list", "--json").stdout.splitlines()]
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
    desk: Desk, arguments: tuple[str, ...], words: str
) -> None:
    result = desk.run("group", "set", "shop", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_name_or_a_cap_that_is_none_is_told(desk: Desk) -> None:
    assert "group: expected" in desk.run("group", "set", "A b", "--pause").stderr
    result = desk.run("group", "set", "shop", "--max-concurrent", "0")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "max_concurrent: expected 1 or more" in result.stderr
    assert desk.run("group", "set", "a", "--pause", "--account", "nobody").exit_code == 3
