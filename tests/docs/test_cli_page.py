"""The page of the command line: its table has every command, and no other."""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from typer.main import get_command

from runqueue.cli.app import app
from runqueue.cli.shared.exit_codes import Exit

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()


def registered() -> Iterator[tuple[str, Any]]:
    """Yield the names, `group command` where there is a group, with the commands."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        yield from ((f"{name} {one}", found) for one, found in inner.items())
        if not inner:
            yield name, command


def there() -> set[str]:
    """Return every command, those of other packages included."""
    others = {entry.name for entry in entry_points(group="runqueue.commands")}
    return {name for name, _ in registered()} | others


def in_the_table() -> Iterator[str]:
    groups = {name.split()[0] for name in there() if " " in name}
    for row in re.findall(r"^\| (`runqueue .*?) \| ", PAGE, re.MULTILINE):
        for words in re.findall(r"`runqueue ([^`]*)`", row.replace("\\|", "|")):
            first, *rest = words.split()
            if first in groups:
                yield from (f"{first} {inner}" for inner in rest[0].split("|"))
            else:
                yield first


def test_the_table_has_every_command_and_no_other() -> None:
    assert {"batch show", "doctor", "submit"} <= there()
    assert set(in_the_table()) == there()


def test_every_option_that_the_table_names_is_one() -> None:
    known = {option for _, command in registered() for one in command.params for option in one.opts}
    known |= {
        option
        for _, command in registered()
        for one in command.params
        for option in one.secondary_opts
    }
    table = "\n".join(re.findall(r"^\| `runqueue .*$", PAGE, re.MULTILINE))

    assert set(re.findall(r"--[a-z-]+", table)) - {"--workers"} <= known


def test_the_exit_codes_are_those_of_the_commands() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)}

    assert codes == set(map(int, Exit))
