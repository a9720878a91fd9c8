"""Stores ended jobs: each once, whichever process dies, and however often it is written."""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from archive.database import ArchiveAwayError, ArchiveError, index_words, words_of, writing
from archive.rows import EndedJob, Rows, SumKey, rows_of, sums_of
from archive.tables import KEYS_A_MICROSECOND, documents, ended_us, errors, jobs, key_of, labels
from archive.tables import archive as archive_table
from archive.tables import sums as sums_table
from archive.tables import words as words_table

#: Tries of a transaction: another writer may take the same keys, or jobs.
_TRIES: Final = 5
#: Values of one statement's list.
_LISTED: Final = 500
_in_order: Final = itemgetter(*(column.name for column in jobs.columns if column is not jobs.c.n))
_OF_JOBS: Final = (documents, words_table, labels, jobs)


class Writer:
    """Writes ended jobs into the archive.

    Args:
        engine: the archive's.
        archive_id: which archive it has to be; "" = any.
    """

    def __init__(self, engine: AsyncEngine, archive_id: str = "") -> None:
        self._engine, self._id = engine, archive_id
        is_sqlite = engine.dialect.name == "sqlite"
        self._upsert: Any = (sqlite if is_sqlite else postgresql).insert
        self._mark = "?" if is_sqlite else "%s"

    async def write(self, ended: Sequence[EndedJob]) -> list[str]:
        """Write jobs in one transaction, in the place of what was written of them before.

        Returns:
            The ids of jobs whose records cannot be read: they were left out.

        Raises:
            ArchiveAwayError: the database does not answer, or refuses; nothing was written.
            ArchiveError: it cannot store a value of one of them; nothing was written.
        """
        # Of a job that is given twice, the last counts.
        made, unread = _rows(ended)
        for attempt in range(_TRIES):
            try:
                async with writing(self._engine) as connection:
                    if self._id and await connection.scalar(select(archive_table.c.id)) != self._id:
                        raise ArchiveAwayError("another archive has come in its place")
                    await self._replace(connection, made)
                    await index_words(connection)
            except IntegrityError as error:
                if attempt + 1 == _TRIES:
                    raise ArchiveAwayError(words_of(error)) from None
            except DataError as error:
                # Its words may hold what was to be written.
                raise ArchiveError(type(error.orig).__name__) from None
            else:
                break
        return unread

    async def discard(self, account: str, job_ids: list[str]) -> list[str]:
        """Remove an account's dead jobs and their earlier dead lives; returns the ids it found.

        Raises:
            ArchiveAwayError: as `write`.
        """
        is_meant = (jobs.c.account == account, jobs.c.id.in_(job_ids))
        chosen = select(jobs.c.n, jobs.c.id, jobs.c.state).where(*is_meant)
        async with writing(self._engine) as connection:
            found = (await connection.execute(chosen.order_by(jobs.c.created_us))).all()
            newest = {row.id: row.state for row in found}
            dead = [row for row in found if row.state == newest[row.id] == "dead"]
            await remove(connection, [row.n for row in dead])
        return list({row.id for row in dead})

    async def _replace(self, connection: AsyncConnection, made: dict[str, Rows]) -> None:
        changes: Counter[SumKey] = Counter()
        await self._remove(connection, made, changes)
        keys = await _keys(connection, made)
        by_key = {keys[job_id]: rows for job_id, rows in made.items()}
        newest_first = sorted(by_key.values(), key=lambda rows: -rows.ended_us)
        errors_of = {rows.error: rows.ended_us for rows in newest_first if rows.error}
        for n, rows in by_key.items():
            for key, amount in sums_of(rows.job, ended_us(n)):
                changes[key] += amount
        if errors_of:
            values = [
                {"id": error.id, **error._asdict(), "first_us": at}
                for error, at in sorted(errors_of.items())
            ]
            await connection.execute(self._upsert(errors).on_conflict_do_nothing(), values)
        all_rows = by_key.items()
        await self._insert(connection, jobs, [(n, *_in_order(rows.job)) for n, rows in all_rows])
        await self._insert(connection, documents, [(n, *rows.document) for n, rows in all_rows])
        of_words = [(n, rows.words) for n, rows in all_rows if rows.words]
        await self._insert(connection, words_table, of_words)
        of_labels = [(*label, n) for n, rows in all_rows for label in rows.labels]
        await self._insert(connection, labels, of_labels)
        await self._add(connection, changes)

    async def _remove(
        self, connection: AsyncConnection, made: dict[str, Rows], changes: Counter[SumKey]
    ) -> None:
        """Remove what was written of jobs before; their earlier lives stay."""
        for some in _parts(list(made)):
            found = await connection.execute(select(jobs).where(jobs.c.id.in_(some)))
            rows = found.mappings().all()
            old = [row for row in rows if row["created_us"] == made[row["id"]].job["created_us"]]
            for row in old:
                for key, amount in sums_of(dict(row), ended_us(row["n"])):
                    changes[key] -= amount
            if old:
                await remove(connection, [row["n"] for row in old])

    async def _insert(
        self, connection: AsyncConnection, table: Table, rows: list[tuple[Any, ...]]
    ) -> None:
        """Insert rows by the driver: SQLAlchemy would take as long as all else together."""
        if rows:
            names, marks = ", ".join(table.columns.keys()), ", ".join([self._mark] * len(rows[0]))
            sql = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - our own
            await connection.exec_driver_sql(sql, rows)

    async def _add(self, connection: AsyncConnection, changes: Counter[SumKey]) -> None:
        """Add to sums, in the order of their keys: two writers wait for each other one way."""
        names = [column.name for column in sums_table.primary_key]
        rows = [
            dict(zip(names, key, strict=True)) | {"amount": amount}
            for key, amount in sorted(changes.items())
            if amount
        ]
        if rows:
            statement = self._upsert(sums_table)
            added = sums_table.c.amount + statement.excluded.amount
            statement = statement.on_conflict_do_update(
                index_elements=names, set_={"amount": added}
            )
            await connection.execute(statement, rows)


async def remove(connection: AsyncConnection, keys: Sequence[int]) -> None:
    """Remove the rows of jobs by their keys; their sums stay."""
    for some in _parts(keys):
        for table in _OF_JOBS:
            await connection.execute(delete(table).where(table.c.n.in_(some)))


async def _keys(connection: AsyncConnection, made: dict[str, Rows]) -> dict[str, int]:
    """Return a key for each job that no other has: the next free one, if another has its own."""
    wanted = {
        job_id: key_of(rows.ended_us, zlib.crc32(job_id.encode()) % KEYS_A_MICROSECOND)
        for job_id, rows in made.items()
    }
    taken: set[int] = set()
    while True:
        keys, used = {}, set(taken)
        for job_id, n in wanted.items():
            while n in used:
                n += 1  # noqa: PLW2901 - the next one
            keys[job_id] = n
            used.add(n)
        found: set[int] = set()
        for some in _parts(list(keys.values())):
            found.update(await connection.scalars(select(jobs.c.n).where(jobs.c.n.in_(some))))
        if not found:
            return keys
        taken |= found


def _rows(ended: Iterable[EndedJob]) -> tuple[dict[str, Rows], list[str]]:
    made: dict[str, Rows] = {}
    unread = []
    for job in ended:
        try:
            made[job.id] = rows_of(job)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            unread.append(job.id)
    return made, unread


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _LISTED] for start in range(0, len(values), _LISTED))
