"""A file that grows by whole lines and is written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

#: Errors of file systems without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class LineFile:
    """An open file, unbuffered, so that a full disk shows at each write.

    Args:
        path: the file; its content is kept until it is cut.
        as_it_is: for a pipe, /dev/stdout and the like: written to from its beginning, not locked,
            and never cut.

    Raises (from every method): `OSError`; `BlockingIOError` where another process writes it.
    """

    def __init__(self, path: Path, *, as_it_is: bool = False) -> None:
        self._file = cast(BinaryIO, path.open("wb", buffering=0)) if as_it_is else _locked(path)
        self._as_it_is = as_it_is
        #: Whole lines, and bytes of these.
        self.rows, self.size = 0, 0

    def close(self) -> None:
        """Close and unlock it."""
        self._file.close()

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
        try:
            while left:
                left = left[self._file.write(left) :]
        except BaseException:
            self._count(lines, whole - len(left))
            with suppress(OSError):
                self.cut(self.rows, self.size)
            raise
        self._count(lines, whole)

    def _count(self, lines: Sequence[bytes], written: int) -> None:
        for line in lines:
            written -= len(line)
            if written < 0:
                return
            self.rows, self.size = self.rows + 1, self.size + len(line)

    def sync(self) -> None:
        """Sync it to the disk."""
        os.fsync(self._file.fileno())


def busy_words(path: Path) -> str:
    """Return what to do about a file that another process writes."""
    return f"another process writes {path}: wait for it, or end it"


def side_of(part: Path) -> Path:
    """Return the path of the file that describes a part."""
    return part.with_name(f"{part.name}.json")


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
