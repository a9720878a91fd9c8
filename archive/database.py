"""The archive's database: its engine, its schema, and what SQLite and PostgreSQL do differently."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time_ns
from typing import Any, Final
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    cast,
    column,
    event,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from archive.tables import archive, documents
from archive.tables import words as words_table
from config.archive import check_url
from runqueue.errors import ArchiveUnavailable

#: The drivers, by the scheme of the URL.
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
#: Seconds that a connection waits for another's writes, and that opening one may take.
_BUSY_SECONDS, _CONNECT_SECONDS = 30, 5
#: PostgreSQL's settings for a transaction that reads: how long a statement may take, to plan each
#: for its values, to compile none, and to go by indexes: it takes rare words for common ones, and
#: would read whole tables.
_READING: Final = {
    "statement_timeout": "20000",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    "work_mem": "16MB",
}
#: What PostgreSQL indexes of words, as `word_index` has it.
_INDEXED: Final[ColumnElement[str]] = literal_column("words_by_day(n, words)")
#: See the migration of the first tables; PostgreSQL lets only the owner of the index do so.
_INDEX_NOW: Final = """SELECT gin_clean_pending_list(oid) FROM pg_class
    WHERE oid = 'word_index'::regclass AND pg_has_role(relowner, 'USAGE')"""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


class ArchiveError(ArchiveUnavailable):
    """The archive cannot be used; the message says why, without its URL."""


class ArchiveAwayError(ArchiveError):
    """The database does not answer, or refuses for now."""


def engine_of(url: str) -> AsyncEngine:
    """Return the engine of an archive; it connects when it is first used.

    Args:
        url: as `RUNQUEUE_ARCHIVE_URL` has it.

    Raises:
        ValueError: as `check_url`.
    """
    check_url(url)
    scheme, _, rest = url.partition(":")
    full = f"{_DRIVERS[scheme]}:{rest}"
    if scheme == "sqlite":
        made = create_async_engine(full, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(made.sync_engine, "connect", _set_up_sqlite)
        event.listen(made.sync_engine, "begin", _begin)
        return made
    return create_async_engine(
        full,
        pool_size=4,
        max_overflow=4,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_SECONDS},
    )


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin` begins: the driver would not before DDL
    cursor = connection.cursor()
    # WAL: readers and the writer do not wait for each other. FULL: what was committed outlives a
    # power cut, as Redis may drop it then.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "foreign_keys=OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads before it writes has to have the lock first: another's write between
    # the two would make it fail, however long it may wait.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Begin a transaction that writes; it is committed at the end, or rolled back at an error.

    Raises:
        ArchiveAwayError: the database does not answer, or refuses.
        DataError, IntegrityError: it refuses a value.
    """
    try:
        async with engine.connect() as connection:
            await connection.execution_options(writes=True)
            async with connection.begin():
                yield connection
    except (DataError, IntegrityError):
        raise
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveAwayError(words_of(error)) from None


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Begin a transaction that only reads, and sees the archive as it is now or a moment later.

    Raises:
        ArchiveAwayError: the database does not answer, or takes too long.
    """
    try:
        async with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                settings = (func.set_config(name, value, True) for name, value in _READING.items())
                await connection.execute(select(*settings))
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveAwayError(words_of(error)) from None


def keys_of_words(dialect: str, words: Sequence[str], days: Iterable[int]) -> Select[tuple[int]]:
    """Return a query of the keys of jobs that have words, or words that begin with them.

    Args:
        dialect: `sqlite` or `postgresql`.
        words: as `archive.rows.words_of` makes them, at least one, the rarest first; the index is
            asked for that one, and what it finds has to have the others, too.
        days: the days of the jobs' ends, since 1970; a few dozen at most.
    """
    lead, *others = words
    prefixes = [f"{day:04x}{lead}" for day in days]
    if dialect == "sqlite":
        is_match = literal_column("word_index").op("MATCH")(
            " OR ".join(f'"{prefix}"*' for prefix in prefixes)
        )
        found: Select[tuple[int]] = (
            select(column("rowid").label("n")).select_from(table("word_index")).where(is_match)
        )
        keys: FromClause = found.subquery()
    else:
        is_match = _INDEXED.op("@@")(
            cast(" | ".join(f"'{prefix}':*" for prefix in prefixes), TSQUERY)
        )
        # By itself: the planner, which takes rare words for common ones, would walk the jobs.
        keys = select(words_table.c.n).where(is_match).cte().prefix_with("MATERIALIZED")
    if not others:
        return select(keys.c.n)
    # A value, not a join, of which it would make a walk along all words.
    row = select(has_words(others)).where(words_table.c.n == keys.c.n).correlate(keys)
    return select(keys.c.n).where(row.scalar_subquery())


def has_words(words: Iterable[str]) -> ColumnElement[bool]:
    """Return whether a row of `words` has words, or words that begin with them, all of them."""
    return and_(*(literal(" ").concat(words_table.c.words).like(f"% {word}%") for word in words))


async def index_words(connection: AsyncConnection) -> None:
    """Have PostgreSQL index the words that it put off, as the owner of the index may."""
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(_INDEX_NOW)


def envelope_of_body(dialect: str) -> ColumnElement[bytes]:
    """Return the first line of a stored body, without the request and the result behind it."""
    body = documents.c.body
    end = func.instr(body, b"\n") if dialect == "sqlite" else func.pg_catalog.position(body, b"\n")
    return func.substr(body, 1, end)


async def set_up(engine: AsyncEngine) -> str:
    """Create or migrate the tables where they are not there yet; returns the archive's id.

    Raises:
        ArchiveAwayError: the database does not answer.
        ArchiveError: its tables are of a newer version.
    """
    async with writing(engine) as connection:
        return await connection.run_sync(_migrated)


async def read_id(engine: AsyncEngine) -> str:
    """Return the id of an archive that is set up.

    Raises:
        ArchiveAwayError: the database does not answer.
        ArchiveError: there is no archive in it, or its tables are of another version.
    """
    async with reading(engine) as connection:
        if await connection.run_sync(_revision) != _newest():
            raise ArchiveError("no worker has set up the archive with this version yet")
        return str(await connection.scalar(select(archive.c.id)))


def words_of(error: Exception) -> str:
    """Return what a driver says of an error, in one line, without statements and values."""
    cause = getattr(error, "orig", None) or error
    said = str(cause).strip().partition("\n")[0]
    return f"{type(cause).__name__}: {said[:200]}" if said else type(cause).__name__


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _newest() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _migrated(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        # Workers that start together would create the same tables.
        connection.execute(text("SELECT pg_advisory_xact_lock(7277)"))
    known = {one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()}
    at = _revision(connection)
    if at is not None and at not in known:
        raise ArchiveError("its tables are of a newer version of runqueue")
    if at != _newest():
        command.upgrade(_config(connection), "head")
    found = connection.scalar(select(archive.c.id))
    if found is None:
        found = uuid4().hex
        connection.execute(insert(archive).values(id=found, created_us=time_ns() // 1000))
    return str(found)
