"""The part of a results file: whole lines of JSON, whatever cuts the writing off.

A file grows as `<name>.part`; beside it `<name>.part.json` says what it is a part of. The part has
lines of JSON whatever the file is to be: what is not a whole line of the batch at its end is cut
off, and the writing goes on behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import orjson

from runqueue.cli.results.line_file import LineFile, busy_words, side_of
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.result_lines import ResultLine

#: Bytes read at once.
_BUFFER = 1024 * 1024


class WritingError(Exception):
    """The file cannot be written; the message says why, what is written, and how to go on."""


class OtherPartError(Exception):
    """The part that is there is of something else."""


@dataclass(frozen=True, slots=True)
class Of:
    """What a file has.

    Args:
        batch: the batch's id.
        what: `results` or `errors`.
    """

    batch: str
    what: str


class Mark(NamedTuple):
    """How a job ended, as its line has it; another mark means that it was done again since."""

    state: str
    ended_at: str | None


class _Whole(NamedTuple):
    """A whole line: whose it is, how that ended, and where in the part it ends."""

    job_id: str
    mark: Mark
    end: int


class Part:
    """A part, open for writing by one process at a time.

    Args:
        target: the file that it becomes.
        of: what that has.
        anew: whether to begin anew, whatever is there.

    Raises:
        WritingError: it cannot be opened, or another process writes it.
        OtherPartError: there is one of something else.
    """

    def __init__(self, target: Path, of: Of, *, anew: bool = False) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._target = target
        self._of = of
        self._side = side_of(self.path)
        #: Whose the last whole line is.
        self.last: str | None = None
        #: When the batch was over that the lines are of; None = it was not, or unknown.
        self.as_of: str | None = None
        try:
            self._file = LineFile(self.path)
        except BlockingIOError:
            raise WritingError(busy_words(self.path)) from None
        except OSError as error:
            raise _cannot(target, error) from None
        try:
            self._take_up(anew=anew)
        except OSError as error:
            self._file.close()
            raise self.failed(error) from None
        except OtherPartError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()

    @property
    def rows(self) -> int:
        """How many whole lines there are."""
        return self._file.rows

    def _take_up(self, *, anew: bool) -> None:
        """Go on with what is there, if it is part of this."""
        known = None if anew else _read_side(self._side)
        if known is not None and known[0] != self._of and not self._file.is_empty:
            there = known[0]
            raise OtherPartError(
                f"{self.path} is a part of the {there.what} of batch {there.batch}: finish that,"
                " remove it, or give --anew"
            )
        if known is None or known[0] != self._of:
            self._side.unlink(missing_ok=True)
            self._file.cut(0, 0)
            return
        rows, size = 0, 0
        for line in self._whole():
            rows, size, self.last = rows + 1, line.end, line.job_id
        self._file.cut(rows, size)
        self.as_of = known[1]

    def _whole(self) -> Iterator[_Whole]:
        """Yield the whole lines of the batch, until one is none."""
        end = 0
        with self.path.open("rb", buffering=_BUFFER) as there:
            for text in there:
                end += len(text)
                owner = _owner(text, self._of.batch)
                if owner is None:
                    return
                yield _Whole(*owner, end)

    def drop_stale(self, order: Iterable[tuple[str, Mark | None]]) -> int:
        """Cut the part before the first job that was passed over or has ended anew since.

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
        self._file.cut(rows, size)
        return there - rows

    def begin(self, as_of: str | None) -> None:
        """Note what the part is of, before it grows.

        Args:
            as_of: when the batch was over; None = it is not, and jobs may be passed over.
        """
        new = self._side.with_name(f"{self._side.name}.new")
        try:
            new.write_bytes(orjson.dumps({**asdict(self._of), "as_of": as_of}))
            new.replace(self._side)
        except OSError as error:
            raise self.failed(error) from None

    def append(self, lines: list[ResultLine]) -> None:
        """Write lines; where there is no room for all of them, those stay that are whole.

        Raises:
            WritingError: there is no room.
        """
        before = self.rows
        try:
            self._file.append([line.text for line in lines])
        except OSError as error:
            raise self.failed(error) from None
        finally:
            if written := self.rows - before:
                self.last = lines[written - 1].job_id

    def chunks(self, most: int, weight: int) -> Iterator[list[bytes]]:
        """Yield the lines that were written.

        Args:
            most: so many at a time.
            weight: and about so many bytes.
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

    def finish(self, *, rename: bool) -> None:
        """Let go of it: it becomes the file, or is removed since that is made of it."""
        try:
            if rename:
                self._file.sync()
                self.path.replace(self._target)
            else:
                self.path.unlink()
            self._side.unlink(missing_ok=True)
        except OSError as error:
            raise self.failed(error) from None

    def failed(self, error: OSError) -> WritingError:
        """Return what an error of the disk means."""
        return _cannot(self._target, error, self.how_to_go_on())

    def how_to_go_on(self) -> str:
        """Say how much is written, and what to do; '' if nothing is."""
        if not self.rows:
            return ""
        return (
            f"; {counted(self.rows, 'job')} stand in {self.path}: the same command, given again,"
            " goes on from there"
        )


def _cannot(target: Path, error: OSError, more: str = "") -> WritingError:
    return WritingError(f"cannot write results to {target}: {error.strerror or error}{more}")


def _read_side(path: Path) -> tuple[Of, str | None] | None:
    """Return what a part is of, and as of when; None = unknown."""
    try:
        known = orjson.loads(path.read_bytes())
        as_of = known.get("as_of")
        of = Of(str(known["batch"]), str(known["what"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return of, as_of if isinstance(as_of, str) else None


def _owner(text: bytes, batch: str) -> tuple[str, Mark] | None:
    """Return whose line it is, and how that ended; None = it is no whole line of this batch."""
    if not text.endswith(b"\n"):
        return None
    try:
        row = orjson.loads(text)
        mark = Mark(str(row["state"]), row["ended_at"])
        return (str(row["job_id"]), mark) if row["batch"] == batch else None
    except (ValueError, TypeError, KeyError):
        return None
