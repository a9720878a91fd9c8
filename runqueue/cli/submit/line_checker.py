"""Reading an input: checks every line and reports bad ones as they are found."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.input_lines import Source, Unreadable
from runqueue.cli.shared.output import ProgressLine, progress_line, span_words
from runqueue.ids import DEFAULT
from runqueue.producer.chunks import Packet
from runqueue.producer.dedup import Repeats
from runqueue.producer.upload import MOST_REPORTED, BadLine, Block, Checker

#: Seconds between two plain lines of progress; shorter reads print none.
_QUIET_SECONDS = 2.0


@dataclass(slots=True)
class CheckedInput:
    """An input that is read and checked.

    Args:
        source: the input.
        checker: checks and counts its lines.
        step: shows the progress, and reports bad lines.
        bad: the first bad lines.
        lines: how many were read.
    """

    source: Source
    checker: Checker
    step: ProgressLine
    bad: list[BadLine] = field(default_factory=list)
    lines: int = 0

    def packets(self) -> Iterator[list[Packet]]:
        """Yield the good lines, some at a time, as packets of jobs.

        Raises:
            Unreadable: the input is cut or broken; it was reported.
        """
        try:
            for number, row in self.source.rows:
                self.lines += 1
                if isinstance(row, bytes):
                    block = self.checker.take(number, row)
                else:
                    block = self.checker.refuse(number, row)
                if block:
                    yield self._report_block(block)
        except Unreadable as error:
            self._report_block(self.checker.end())
            self._report(BadLine(error.number, "line", error.message))
            raise
        yield self._report_block(self.checker.end())

    def _report_block(self, block: Block) -> list[Packet]:
        for bad in block.bad:
            if len(self.bad) < MOST_REPORTED:
                self.bad.append(bad)
                self._report(bad)
        words, position = f"{counted(self.lines, 'line')} read", self.source.position()
        if size := self.source.size:  # that of stdin is not known
            left = span_words(self.step.seconds_left)
            words += f", {100 * position // size} %, ETA {left}"
        self.step.show(position, size, words)
        return block.packets

    def _report(self, bad: BadLine) -> None:
        self.step.say(f"{self.source.name}:{bad.number}: {bad.field}: {bad.message}")

    def summary(self) -> str:
        """Return how many lines are bad, and whether all of them were reported."""
        shown = len({bad.number for bad in self.bad})
        words = counted(self.checker.bad_lines, "bad line")
        more = self.checker.bad_lines - shown
        return f"{words}, {more:,} of them not shown" if more > 0 else words


@contextmanager
def read(
    source: Source, namespace: str, accounts: set[str] | None, *, home: str = DEFAULT
) -> Iterator[CheckedInput]:
    """Read and check an input, and show the progress.

    Args:
        source: the input.
        namespace, home: the namespace, and the account, of lines that name none.
        accounts: those that exist; None = unknown.
    """
    progress = progress_line(every=_QUIET_SECONDS, first=_QUIET_SECONDS, transient=True)
    with Repeats() as repeats, progress as step:
        yield CheckedInput(source, Checker(repeats, namespace, accounts, home=home), step)
