"""The part of a results file: whole lines of JSON, whatever cuts the writing off.

A file grows as `<name>.part`; beside it `<name>.part.json` says what it is a part of. The part has
lines of JSON whatever the file is to be: what is not a whole line of the batch at its end is cut
off, and the writing goes on behind the last one.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import orjson

from runqueue.cli.queues import Line
from runqueue.cli.words import counted

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
        self._side = target.with_name(f"{target.name}.part.json")
        #: Whole lines, bytes of these, and whose the last is.
        self.rows, self._size = 0, 0
        self.last: str | None = None
        try:
            self._file = _locked(self.path)
        except OSError as error:
            raise self.failed(error) from None
        try:
            self._gapless = self._take_up(anew=anew)
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
    def is_gapless(self) -> bool:
        """Whether every job before its end that was wanted is in it, as of each time it grew."""
        return self._gapless

    def _take_up(self, *, anew: bool) -> bool:
        """Go on with what is there, if it is part of this; returns whether it has no gap."""
        known = None if anew else _read_side(self._side)
        if known is not None and known[0] != self._of and self._file.seek(0, os.SEEK_END):
            there = known[0]
            raise OtherPartError(
                f"{self.path} is a part of the {there.what} of batch {there.batch}: finish that,"
                " remove it, or give --anew"
            )
        if known is None or known[0] != self._of:
            self._side.unlink(missing_ok=True)
            self._file.truncate(0)
            return True
        for job_id, size in self._whole():
            self.rows, self._size, self.last = self.rows + 1, size, job_id
        self._file.truncate(self._size)
        return known[1]

    def _whole(self) -> Iterator[tuple[str, int]]:
        """Yield whose each whole line of the batch is, and where it ends, until one is none."""
        end = 0
        with self.path.open("rb", buffering=_BUFFER) as there:
            for text in there:
                end += len(text)
                job_id = _owner(text, self._of.batch)
                if job_id is None:
                    return
                yield job_id, end

    def close_gap(self, order: Iterable[tuple[str, bool]]) -> None:
        """Cut the part before the first job that was passed over, and is wanted now.

        Args:
            order: the jobs of the batch, and whether each is wanted.
        """
        lines = self._whole()
        line = next(lines, None)
        rows, size, last = 0, 0, None
        for job_id, is_wanted in order:
            if line is None:
                break
            if job_id == line[0]:
                rows, size, last = rows + 1, line[1], job_id
                line = next(lines, None)
            elif is_wanted:
                break
        self.rows, self._size, self.last = rows, size, last
        self._file.truncate(size)

    def begin(self, *, gapless: bool) -> None:
        """Note what the part is of, before it grows.

        Args:
            gapless: whether no job is passed over that may be wanted later.
        """
        new = self._side.with_name(f"{self._side.name}.new")
        try:
            new.write_bytes(orjson.dumps({**asdict(self._of), "gapless": gapless}))
            new.replace(self._side)
        except OSError as error:
            raise self.failed(error) from None
        self._file.seek(self._size)

    def append(self, lines: list[Line]) -> None:
        """Write lines; where there is no room for all of them, none is left half written.

        Raises:
            WritingError: there is no room.
        """
        left = memoryview(b"".join(line.text for line in lines))
        size = len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._keep(lines, size - len(left))
            with suppress(OSError):
                self._file.truncate(self._size)
            raise self.failed(error) from None
        self._keep(lines, size)

    def _keep(self, lines: list[Line], written: int) -> None:
        """Count the lines that are written whole.

        Args:
            lines: what was to be written.
            written: bytes of them that are.
        """
        for line in lines:
            written -= len(line.text)
            if written < 0:
                return
            self.rows, self._size, self.last = (
                self.rows + 1,
                self._size + len(line.text),
                line.job_id,
            )

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

    def sync(self) -> None:
        """Have it safe on the disk."""
        os.fsync(self._file.fileno())

    def finish(self, *, rename: bool) -> None:
        """Let go of it: it becomes the file, or is removed since that is made of it."""
        try:
            if rename:
                self.sync()
                self.path.replace(self._target)
            else:
                self.path.unlink()
            self._side.unlink(missing_ok=True)
        except OSError as error:
            raise self.failed(error) from None

    def failed(self, error: OSError) -> WritingError:
        """Return what an error of the disk means."""
        if isinstance(error, BlockingIOError):
            return WritingError(f"another process writes {self.path}: wait for it, or end it")
        why = error.strerror or str(error)
        return WritingError(f"cannot write results to {self._target}: {why}{self.how_to_go_on()}")

    def how_to_go_on(self) -> str:
        """Say how much is written, and what to do; '' if nothing is."""
        if not self.rows:
            return ""
        return (
            f"; {counted(self.rows, 'job')} stand in {self.path}: the same command, given again,"
            " goes on from there"
        )


def _locked(path: Path) -> BinaryIO:
    """Open a part that no other process writes, without a buffer: nothing waits for room in it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:  # some file systems have no locks
            if error.errno not in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}:
                file.close()
                raise
        with suppress(FileNotFoundError):
            # Another process may have given it its name in between.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _read_side(path: Path) -> tuple[Of, bool] | None:
    """Return what a part is of, and whether it has no gap; None = nobody knows."""
    try:
        known = orjson.loads(path.read_bytes())
        return Of(str(known["batch"]), str(known["what"])), known["gapless"] is True
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _owner(text: bytes, batch: str) -> str | None:
    """Return whose line it is; None = it is no whole line of this batch."""
    if not text.endswith(b"\n"):
        return None
    try:
        row = orjson.loads(text)
        return str(row["job_id"]) if row["batch"] == batch else None
    except (ValueError, TypeError, KeyError):
        return None
