"""The first step of handing in, on stderr: how much was read, how fast, how long yet."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.output import span_words, stderr
from runqueue.cli.shared.pace import Pace
from runqueue.cli.submit.input_lines import Source

#: Seconds between two plain lines; nothing is said of what takes less.
_QUIET_SECONDS = 2.0


class ReadProgress(Protocol):
    """Shows how far the reading is."""

    def show(self, lines: int) -> None:
        """Show that so many lines were read."""

    def say(self, message: str) -> None:
        """Say something beside it."""


@contextmanager
def reading(source: Source) -> Iterator[ReadProgress]:
    """Show how far a source was read: a bar at a terminal, a line every few seconds elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield _ReadLines(source, console)
        return
    columns = (BarColumn(bar_width=24), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _ReadBar(source, progress, progress.add_task("", total=source.size, words=""))


class _Read:
    """What there is to say; of stdin nobody knows how long it is."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines, self._bytes = Pace(), Pace()

    def words(self, lines: int) -> str:
        self._lines.note(lines)
        words = f"{counted(lines, 'line')} read, {self._lines.per_second:,.0f}/s"
        size = self._source.size
        if not size:
            return words
        position = self._source.position()
        self._bytes.note(position)
        left = span_words(self._bytes.seconds_for(size - position))
        return f"{words}, {100 * position // size} %, ETA {left}"


class _ReadBar:
    def __init__(self, source: Source, progress: Progress, task: TaskID) -> None:
        self._source, self._progress, self._task = source, progress, task
        self._read = _Read(source)

    def show(self, lines: int) -> None:
        words = self._read.words(lines)
        self._progress.update(self._task, completed=self._source.position(), words=words)

    def say(self, message: str) -> None:
        self._progress.console.print(message, markup=False, soft_wrap=True)


class _ReadLines:
    def __init__(self, source: Source, console: Console) -> None:
        self._read, self._console = _Read(source), console
        self._next = time.monotonic() + _QUIET_SECONDS

    def show(self, lines: int) -> None:
        words = self._read.words(lines)
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _QUIET_SECONDS
            self.say(words)

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)
