"""Reading an input: checks every line and reports bad ones as they are found."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from runqueue.cli.shared.formatting import counted
from runqueue.cli.submit.input_lines import Source, Unreadable
from runqueue.cli.submit.read_progress import ReadProgress
from runqueue.producer.chunks import Packet
from runqueue.producer.upload import MOST_REPORTED, BadLine, Block, Checker


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
    step: ReadProgress
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
        self.step.show(self.lines)
        return block.packets

    def _report(self, bad: BadLine) -> None:
        self.step.say(f"{self.source.name}:{bad.number}: {bad.field}: {bad.message}")

    def summary(self) -> str:
        """Return how many lines are bad, and whether all of them were reported."""
        told = len({bad.number for bad in self.bad})
        words = counted(self.checker.bad_lines, "bad line")
        more = self.checker.bad_lines - told
        return f"{words}, {more:,} of them not shown" if more > 0 else words
