"""The progress of reading an input, on stderr: how much, how fast, and the time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.output import ProgressLine, progress_line, span_words
from runqueue.cli.shared.pace import Pace
from runqueue.cli.submit.input_lines import Source

#: Seconds between two plain lines; shorter reads print none.
_QUIET_SECONDS = 2.0


class ReadProgress:
    """Shows how much of a source was read; the size of stdin is not known."""

    def __init__(self, source: Source, progress: ProgressLine) -> None:
        self.say = progress.say
        self._source, self._progress = source, progress
        self._lines, self._bytes = Pace(), Pace()

    def show(self, lines: int) -> None:
        """Show that so many lines were read."""
        self._lines.note(lines)
        words = f"{counted(lines, 'line')} read, {self._lines.per_second:,.0f}/s"
        size, position = self._source.size, self._source.position()
        if size:
            self._bytes.note(position)
            left = span_words(self._bytes.seconds_for(size - position))
            words = f"{words}, {100 * position // size} %, ETA {left}"
        self._progress.show(position, size, words, words)


@contextmanager
def reading(source: Source) -> Iterator[ReadProgress]:
    """Show how far a source was read."""
    with progress_line(every=_QUIET_SECONDS, first=_QUIET_SECONDS, transient=True) as progress:
        yield ReadProgress(source, progress)
