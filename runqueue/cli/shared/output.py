"""Progress (a bar at a terminal, a line now and then elsewhere) and tables."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import orjson
import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from runqueue.cli.shared.formatting import printable
from runqueue.records.job import JobState

#: Seconds over which rates are measured.
_RATE_SECONDS = 15.0
#: The widest a table's inner cells may be, and the narrowest its last, in columns.
_LONGEST_CELL, _LEAST_ROOM = 32, 20
#: Columns where there is no terminal.
_WIDE = 2_000
_ORDER = {state.value: place for place, state in enumerate(JobState)}


class ProgressLine:
    """How far something is, on stderr: a bar at a terminal, a line every few seconds elsewhere.

    Args:
        bar: rich's; it is disabled where there is no terminal.
        every: seconds between two lines.
        first: seconds before the first.
    """

    def __init__(self, bar: Progress, every: float, first: float) -> None:
        self._bar, self._every = bar, every
        self._next = time.monotonic() + first
        self._task = bar.add_task("", total=None, words="")

    @property
    def per_second(self) -> float:
        """The rate of the last seconds; 0 while unknown."""
        return self._bar.tasks[0].speed or 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None = unknown."""
        return self._bar.tasks[0].time_remaining

    def show(self, done: int, total: int | None, words: str, *, is_last: bool = False) -> None:
        """Show how far it is.

        Args:
            done, total: of the bar; None = not known.
            words: beside it, or instead of it.
            is_last: whether nothing comes after it.
        """
        self._bar.update(self._task, total=total, completed=done, words=words)
        if self._bar.disable and (is_last or time.monotonic() >= self._next):
            self._next = time.monotonic() + self._every
            self.say(words)

    def say(self, message: str) -> None:
        """Print a message beside it."""
        self._bar.console.print(message, markup=False, soft_wrap=True)


@contextmanager
def progress_line(
    *, every: float, first: float = 0.0, transient: bool = False
) -> Iterator[ProgressLine]:
    """Show progress; arguments as for `ProgressLine` and rich's `Progress`."""
    console = Console(stderr=True, highlight=False, emoji=False)
    with Progress(
        *(BarColumn(bar_width=24), TextColumn("{task.fields[words]}", markup=False)),
        console=console,
        speed_estimate_period=_RATE_SECONDS,
        transient=transient,
        disable=not console.is_terminal,
    ) as bar:
        yield ProgressLine(bar, every, first)


def span_words(seconds: float | None) -> str:
    """Return a span of time as a clock shows it: '1 day, 2:03:04'; None = unknown."""
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def state_words(states: Mapping[str, int]) -> str:
    """Return the counts of the states that hold jobs, in the order of a job's life."""
    return ", ".join(f"{state} {states[state]}" for state in in_order(states))


def in_order(states: Mapping[str, int]) -> list[str]:
    """Return the states that hold jobs, in the order of a job's life."""
    return sorted((s for s in states if states[s]), key=lambda state: _ORDER.get(state, 99))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout; every column but the first is of numbers."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def open_console() -> Console:
    """Return stdout, which has no width in a file or a pipe, unless COLUMNS gives one."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def print_columns(columns: list[str], rows: list[list[str]]) -> None:
    """Print rows of text on stdout: the first column whole, the last clipped to the width left.

    Where too little is left for the last, all but the first are folded. In a file or a pipe, which
    have no width (unless COLUMNS gives one), nothing is clipped.
    """
    console = open_console()
    cells = [[_clipped(printable(cell), _LONGEST_CELL) for cell in row[:-1]] for row in rows]
    for line, row in zip(cells, rows, strict=True):
        line[0] = printable(row[0])
    widths = [max(map(cell_len, column)) for column in zip(columns[:-1], *cells, strict=True)]
    room = max(console.width - sum(widths) - 2 * len(widths), _LEAST_ROOM)
    table = Table(box=None, pad_edge=False)
    table.add_column(columns[0], no_wrap=True, min_width=widths[0])
    for column in columns[1:]:
        table.add_column(column, overflow="fold")
    for line, row in zip(cells, rows, strict=True):
        table.add_row(*line, _clipped(printable(row[-1]), room))
    console.print(table)


def _clipped(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def print_states(states: Mapping[str, int]) -> None:
    """Print how many jobs are in which state."""
    rows = [[state, f"{states[state]:,}"] for state in in_order(states)]
    print_table("Jobs by state", ["state", "jobs"], [*rows, ["all", f"{sum(states.values()):,}"]])


def print_outcome(words: str, values: dict[str, Any], *, as_json: bool) -> None:
    """Print the outcome of a command: in words, or its values as JSON."""
    typer.echo(orjson.dumps(values) if as_json else words)


def print_values(values: dict[str, Any], *, as_json: bool) -> None:
    """Print values as JSON, or as text without those that are None or empty."""
    if as_json:
        typer.echo(orjson.dumps(values))
        return
    for name, value in values.items():
        if value not in (None, "", {}, []):
            typer.echo(f"{name}: {_one_line(value)}")


def _one_line(value: Any) -> str:
    """Return a value as text without control characters; some of it is untrusted."""
    text = str(value)
    if isinstance(value, (dict, list)) or not text.isprintable():
        text = orjson.dumps(value).decode()
    return printable(text)
