"""A file that grows by whole lines and is written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self, cast

from runqueue.cli.shared.exit_codes import Exit

#: Errors of file systems without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class ResultsError(Exception):
    """The results file cannot be written; the message says why, and how to continue."""

    code = Exit.NOT_ALL_COMPLETED


class LineFile:
    """A results file that grows as `<name>.part`, in whole lines, and is renamed at its end.

    It is unbuffered, so that a full disk shows at each write. A path that is no plain file (a pipe,
    /dev/stdout) is written to as it is, from its beginning: it is not locked, and never cut.

    Args:
        name: the results file; one that exists is replaced, at the end. Of a link, the file it
            points to is.

    Raises (from every method): `ResultsError`.
    """

    def __init__(self, name: Path) -> None:
        self._name = name
        #: Whole lines, and bytes of these.
        self.rows, self.size = 0, 0
        self._as_it_is = is_special(name)
        self.target = name if self._as_it_is else name.resolve()
        self.path = self.target
        if not self._as_it_is:
            self.path = self.target.with_name(f"{self.target.name}.part")
        with self.failing():
            self._file = self._open()

    def _open(self) -> BinaryIO:
        if self._as_it_is:
            return cast(BinaryIO, self.path.open("wb", buffering=0))
        try:
            return _locked(self.path)
        except BlockingIOError:
            words = f"another process writes {self.path}: wait for it, or end it"
            raise self.failed(words) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # All was written, or an error was raised: closing can tell no more.
        with suppress(OSError):
            self._file.close()

    @property
    def side(self) -> Path:
        """The path of the file that describes the part."""
        return self.path.with_name(f"{self.path.name}.json")

    def how_to_go_on(self) -> str:
        """Return how much is written and how to continue; '' if that is not possible."""
        return ""

    def failed(self, why: OSError | str) -> ResultsError:
        """Return the error for an error of the disk, or for what else is wrong."""
        words = why if isinstance(why, str) else why.strerror or why
        return ResultsError(f"cannot write results to {self._name}: {words}{self.how_to_go_on()}")

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Raise the errors of the disk as `ResultsError`."""
        try:
            yield
        except OSError as error:
            raise self.failed(error) from None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return os.fstat(self._file.fileno()).st_size == 0

    def cut(self, rows: int, size: int) -> None:
        """Keep only the first lines, and append after them.

        Args:
            rows: how many.
            size: bytes of these.
        """
        self.rows, self.size = rows, size
        if not self._as_it_is:
            self._file.truncate(size)
            self._file.seek(size)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines; if the disk is full, the whole lines written so far are kept."""
        left = memoryview(b"".join(lines))
        whole = len(left)
        with self.failing():
            try:
                while left:
                    left = left[self._file.write(left) :]
            finally:
                self._count(lines, whole - len(left))
                if left:
                    with suppress(OSError):
                        self.cut(self.rows, self.size)

    def _count(self, lines: Sequence[bytes], written: int) -> None:
        for line in lines:
            written -= len(line)
            if written < 0:
                return
            self.rows, self.size = self.rows + 1, self.size + len(line)

    def finish(self) -> None:
        """Give the file its name, once it is safe on the disk."""
        if self.path != self.target:
            with self.failing():
                os.fsync(self._file.fileno())
                self.path.replace(self.target)


def is_special(path: Path) -> bool:
    """Return whether a path is no plain file; the target of /dev/stdout belongs to its opener."""
    return path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file())


def _locked(path: Path) -> BinaryIO:
    """Open a file that no other process writes."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        with suppress(FileNotFoundError):
            # Another process may have renamed it in between.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
