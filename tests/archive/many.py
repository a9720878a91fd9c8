"""An archive of 100,000 jobs: some are written, and copied within the database to later times."""

from string import ascii_lowercase
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    String,
    Table,
    case,
    column,
    func,
    insert,
    select,
    text,
    values,
)

from archive.database import engine_of, writing
from archive.tables import HOUR_US, KEYS_A_MICROSECOND, documents, jobs, labels, sums, words
from bench.archive import fill
from bench.archived_jobs import made
from tests.archive.plain import Plain, plain

COUNT: Final = 100_000
#: Jobs that are written, of the first days, and hours between them and each of their copies.
WRITTEN: Final = 4_000
_HOURS: Final = 58
#: Which copies there are, and how ids end in each: letters in the place of five.
_ENDED: Final = 5
_COPIES: Final = [(n, f"copy{ascii_lowercase[n]}") for n in range(1, COUNT // WRITTEN)]


def many_jobs() -> list[Plain]:
    """Return the jobs of the archive."""
    first = [plain(made(n, COUNT)) for n in range(WRITTEN)]
    return first + [_copied(job, number, end) for number, end in _COPIES for job in first]


def _copied(job: Plain, number: int, end: str) -> Plain:
    later = number * _HOURS * HOUR_US
    return job._replace(
        id=job.id[:-_ENDED] + end,
        batch=job.batch and job.batch[:-_ENDED] + end,
        custom_id=None,  # a job is found by it by its id
        created_us=job.created_us + later,
        started_us=job.started_us and job.started_us + later,
        ended_us=job.ended_us + later,
    )


async def fill_many(url: str) -> None:
    """Write them into an empty archive."""
    await fill(url, COUNT, WRITTEN)
    engine = engine_of(url)
    async with writing(engine) as connection:
        index = None
        if engine.dialect.name == "postgresql":  # it is quicker anew than word by word
            definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'word_index'"
            index = await connection.scalar(text(definition))
            await connection.execute(text("DROP INDEX word_index"))
        for table in (jobs, documents, words, labels, sums):
            await connection.execute(_copying(table))
        if index:
            await connection.execute(text(index))
        await connection.execute(text("ANALYZE"))
    await engine.dispose()


def _copying(table: Table) -> Insert:
    copies = values(column("number", BigInteger), column("end", String)).data(_COPIES).cte("copies")
    hours = copies.c.number * _HOURS

    def copied(own: ColumnElement[Any]) -> ColumnElement[Any]:
        ends = func.substr(own, 1, func.length(own) - _ENDED).concat(copies.c.end)
        match own.key:
            case "n":
                return own + hours * HOUR_US * KEYS_A_MICROSECOND
            case "created_us" | "started_us":
                return own + hours * HOUR_US
            case "hour":
                return own + hours
            case "id" | "batch":
                return ends
            case "value" if table is sums:
                return case((sums.c.dimension == "batch", ends), else_=own)
        return own

    chosen = select(*map(copied, table.c)).select_from(table.join(copies, text("true")))
    return insert(table).from_select(list(table.c), chosen)
