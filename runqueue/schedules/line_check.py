"""Checking a file of jobs for schedules: lines in, packed lines and bad lines out."""

import zlib
from collections.abc import Iterable, Iterator

from runqueue.errors import FieldError, InvalidJob
from runqueue.records.schedule import ScheduleSpec
from runqueue.schedules.calls import PackedLines, pack_lines
from runqueue.schedules.template import line_faults

#: Faults that are reported, at least.
MOST_REPORTED = 100
#: The name that lines are checked with is the longest.
_SAMPLE = ScheduleSpec("x" * 32)


class NumberedLines:
    """Packs lines, and remembers their numbers.

    Args:
        lines: as they stand in the file; blank ones are left out.

    Raises:
        InvalidRequest: there are none, or too many.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._numbers: list[int] = []
        self.packed: PackedLines = pack_lines(self._counted(lines))

    def _counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(lines, 1):
            if line.strip():
                self._numbers.append(number)
                yield line

    def check(self) -> None:
        """Check each line, as it would be with placeholders filled in.

        Raises:
            InvalidJob: lines are bad, named `line N: field`.
        """
        texts = (zlib.decompress(chunk) for chunk in self.packed.chunks if chunk)
        lines = (line for text in texts for line in text.split(b"\n"))
        errors: list[FieldError] = []
        for number, line in zip(self._numbers, lines, strict=True):
            faults = line_faults(line, _SAMPLE)
            errors += (FieldError(f"line {number}: {one.field}", one.message) for one in faults)
            if len(errors) >= MOST_REPORTED:
                break
        if errors:
            raise InvalidJob(errors)
