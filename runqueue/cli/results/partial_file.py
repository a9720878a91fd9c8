"""The part of a results file: whole lines of JSON, so that an interrupted export can be resumed.

A file grows as `<name>.part`; `<name>.part.json` beside it describes it. The part has lines of JSON
whatever the file's format. On resume, what is not a whole line of the batch at its end is cut off,
and writing continues after the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from runqueue.cli.results.line_file import LineFile, ResultsError
from runqueue.cli.results.result_lines import ResultLine
from runqueue.cli.shared.exit_codes import Exit
from runqueue.cli.shared.formatting import counted

#: Bytes read at once.
_BUFFER = 1024 * 1024


class OtherPartError(ResultsError):
    """The existing part is of another batch or export."""

    code = Exit.USAGE


@dataclass(frozen=True, slots=True)
class Of:
    """The content of a file.

    Args:
        batch: the batch's id; '' = jobs that a filter chose, whose part is always begun anew.
        what: `results` or `errors`.
    """

    batch: str
    what: str

    @property
    def name(self) -> str:
        """Whose jobs, in words."""
        return f"batch {self.batch}" if self.batch else "jobs by filter"


class Mark(NamedTuple):
    """How a job ended, by its line; a changed mark means that the job was submitted again."""

    state: str
    ended_at: str | None


class _Whole(NamedTuple):
    """A whole line: its job, how that ended, and the line's end in the part."""

    job_id: str
    mark: Mark
    end: int


class Part(LineFile):
    """A part, open for writing by one process at a time.

    Args:
        target: the file that it becomes.
        of: the content of that file.
        anew: whether to start over, even if a part exists.

    Raises:
        ResultsError: it cannot be opened, or another process writes it.
        OtherPartError: the existing part is of another batch or export.
    """

    def __init__(self, target: Path, of: Of, *, anew: bool = False) -> None:
        self._of = of
        #: The job of the last whole line.
        self.last: str | None = None
        #: When the batch of the lines was over; None = it was not, or unknown.
        self.as_of: str | None = None
        super().__init__(target)
        with ExitStack() as closing:
            closing.push(self)
            with self.failing():
                self._take_up(anew=anew)
            closing.pop_all()

    def _take_up(self, *, anew: bool) -> None:
        """Continue the existing part, if it is of the same content."""
        known = None if anew else _read_side(self.side)
        if known is not None and known[0] != self._of and not self.is_empty:
            there = known[0]
            raise OtherPartError(
                f"{self.path} is a part of the {there.what} of {there.name}: finish that,"
                " remove it, or give --anew"
            )
        if known is None or known[0] != self._of:
            self.side.unlink(missing_ok=True)
            self.cut(0, 0)
            return
        rows, size = 0, 0
        for line in self._whole():
            rows, size, self.last = rows + 1, line.end, line.job_id
        self.cut(rows, size)
        self.as_of = known[1]

    def _whole(self) -> Iterator[_Whole]:
        """Yield the whole lines of the batch, up to the first that is not."""
        end = 0
        with self.path.open("rb", buffering=_BUFFER) as there:
            for text in there:
                end += len(text)
                owner = _owner(text, self._of.batch)
                if owner is None:
                    return
                yield _Whole(*owner, end)

    def drop_stale(self, order: Iterable[tuple[str, Mark | None]]) -> int:
        """Cut the part before the first job that was skipped or has ended again since.

        Args:
            order: the jobs of the batch, and how each ended; None = it is not wanted now.

        Returns:
            How many lines are cut off.
        """
        there = self.rows
        lines = self._whole()
        line = next(lines, None)
        rows, size, last = 0, 0, None
        for job_id, mark in order:
            if line is None:
                break
            is_next = job_id == line.job_id
            is_stale = mark != line.mark if is_next else mark is not None
            if is_stale:
                break
            if is_next:
                rows, size, last = rows + 1, line.end, job_id
                line = next(lines, None)
        self.last = last
        self.cut(rows, size)
        return there - rows

    def begin(self, as_of: str | None) -> None:
        """Record what the part is of, before it grows.

        Args:
            as_of: when the batch was over; None = it is not, and jobs may be skipped.
        """
        new = self.side.with_name(f"{self.side.name}.new")
        with self.failing():
            new.write_bytes(orjson.dumps({**asdict(self._of), "as_of": as_of}))
            new.replace(self.side)

    def append_lines(self, lines: list[ResultLine]) -> None:
        """Write lines, as `append`, and note the last job."""
        before = self.rows
        try:
            self.append([line.text for line in lines])
        finally:
            if written := self.rows - before:
                self.last = lines[written - 1].job_id

    def chunks(self, most: int, weight: int) -> Iterator[list[bytes]]:
        """Yield the lines that were written.

        Args:
            most: lines at a time, at most.
            weight: about so many bytes of them.
        """
        some: list[bytes] = []
        size = 0
        with self.path.open("rb", buffering=_BUFFER) as there:
            for text in there:
                some.append(text)
                size += len(text)
                if len(some) >= most or size >= weight:
                    yield some
                    some, size = [], 0
        if some:
            yield some

    def end(self, *, rename: bool) -> None:
        """Finish: rename it to the file, or remove it once the file was made from it."""
        with self.failing():
            if rename:
                self.finish()
            else:
                self.path.unlink()
            self.side.unlink(missing_ok=True)

    def how_to_go_on(self) -> str:
        """Return how much is written and how to continue; '' if that is not possible."""
        if not (self.rows and self._of.batch):
            return ""
        return (
            f"; {counted(self.rows, 'job')} are in {self.path}: give the same command again"
            " to continue"
        )


def _read_side(path: Path) -> tuple[Of, str | None] | None:
    """Return what a part is of, and its `as_of`; None = unknown."""
    try:
        known = orjson.loads(path.read_bytes())
        as_of = known.get("as_of")
        of = Of(str(known["batch"]), str(known["what"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return of, as_of if isinstance(as_of, str) else None


def _owner(text: bytes, batch: str) -> tuple[str, Mark] | None:
    """Return a line's job and how it ended; None = it is no whole line of this batch."""
    if not text.endswith(b"\n"):
        return None
    try:
        row = orjson.loads(text)
        mark = Mark(str(row["state"]), row["ended_at"])
        return (str(row["job_id"]), mark) if row["batch"] == batch else None
    except (ValueError, TypeError, KeyError):
        return None
