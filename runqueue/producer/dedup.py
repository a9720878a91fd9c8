"""Which lines of an upload repeat an earlier one's job: found in bounded memory.

What was seen lies in a temporary file of SQLite's, of which a few megabytes are kept in memory.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, Self

from runqueue.errors import RunQueueError

#: Kilobytes of a temporary file that are kept in memory.
_CACHE_KB = 4096
#: Rows that one query selects: SQLite takes no more than so many values in a statement.
_A_QUERY = 500
#: Rows that one statement puts in: each gives the interpreter away, to get it back from others.
_PUT = 300


class NoSpace(RunQueueError):  # noqa: N818 - what it says is in its name
    """A temporary file cannot be written."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return (
            f"cannot write a temporary file ({self.reason}): free space in /var/tmp, or set TMPDIR"
            " to a folder that has some"
        )


class Scratch:
    """A temporary database; it goes with its process, also when that is killed.

    Threads may use it one after the other.

    Args:
        tables: the statements that make its tables.

    Raises (from every method that speaks to it): `NoSpace`.
    """

    def __init__(self, *tables: str) -> None:
        with no_space_reported():
            # The empty name is a file that SQLite unlinks at once. Nothing is ever committed.
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            for table in tables:
                self._db.execute(table)
            self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()


@contextmanager
def no_space_reported() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise NoSpace(str(error)) from None


class KeyedLine(NamedTuple):
    """A line with a key: the job that it names, the digest of its body, its number."""

    job_id: str
    digest: bytes
    number: int


class Repeats(Scratch):
    """Remembers the lines of one upload that have a key."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE seen (job_id TEXT PRIMARY KEY, digest BLOB, number INTEGER) WITHOUT ROWID"
        )

    def remember(self, lines: Sequence[KeyedLine]) -> dict[int, KeyedLine]:
        """Remember some more lines.

        Returns:
            Of each of them whose job an earlier line names: its number, and the first such line.
        """
        with no_space_reported():
            before = self._db.total_changes
            # In the order of the keys fewer pages are touched; of equal ones the first line counts.
            ordered = sorted(lines, key=lambda seen: (seen.job_id, seen.number))
            for start in range(0, len(ordered), _PUT):
                some = ordered[start : start + _PUT]
                marks = ",".join(["(?, ?, ?)"] * len(some))
                put = f"INSERT OR IGNORE INTO seen VALUES {marks}"  # noqa: S608 - question marks
                self._db.execute(put, list(chain.from_iterable(some)))
            if self._db.total_changes - before == len(lines):
                return {}
            first = {seen.job_id: seen for seen in self._read([line.job_id for line in lines])}
        return {
            line.number: first[line.job_id]
            for line in lines
            if first[line.job_id].number != line.number
        }

    def _read(self, job_ids: list[str]) -> Iterator[KeyedLine]:
        for start in range(0, len(job_ids), _A_QUERY):
            some = job_ids[start : start + _A_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT job_id, digest, number FROM seen WHERE job_id IN ({marks})"  # noqa: S608 - question marks
            yield from map(KeyedLine._make, self._db.execute(query, some))
