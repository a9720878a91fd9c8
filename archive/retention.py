"""What the archive surely has, and the end of what it has had for long enough."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from archive.database import ArchiveAwayError, words_of, writing
from archive.tables import HOUR_US, ended_us, errors, jobs, key_of, sums
from archive.writer import remove

#: Jobs that one transaction removes.
CHUNK: Final = 500
#: Microseconds by which a job's key may be later than its end: others that ended then come first.
_LATER: Final = 1_000_000
#: Whether a group of errors has a job: one look at an index.
_IS_USED: Final = exists().where(jobs.c.account == errors.c.account, jobs.c.error == errors.c.id)


async def held(engine: AsyncEngine, ended: Mapping[str, int]) -> list[str]:
    """Return those jobs that the archive has with their very end, and as final.

    Args:
        engine: the archive's.
        ended: ids, and when the jobs ended (microseconds).

    Raises:
        ArchiveAwayError: the database does not answer.
    """
    found = select(jobs.c.id, jobs.c.n).where(jobs.c.id.in_(ended), jobs.c.is_final == 1)
    try:
        async with engine.connect() as connection:
            rows = (await connection.execute(found)).all()
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveAwayError(words_of(error)) from None
    return [job_id for job_id, n in rows if 0 <= ended_us(n) - ended[job_id] <= _LATER]


async def remove_older(engine: AsyncEngine, before_us: int) -> bool:
    """Remove some of the jobs that ended before a time; says whether there are more.

    With the last of them go the sums of the hours before, and groups of errors without a job.

    Raises:
        ArchiveAwayError: the database does not answer, or refuses.
    """
    old = select(jobs.c.n).where(jobs.c.n < key_of(before_us)).order_by(jobs.c.n).limit(CHUNK)
    unused = select(errors.c.id).where(errors.c.first_us < before_us, ~_IS_USED).limit(CHUNK)
    try:
        async with engine.connect() as connection:
            keys = (await connection.scalars(old)).all()
            is_last = len(keys) < CHUNK
            groups = (await connection.scalars(unused)).all() if is_last else []
        async with writing(engine) as connection:
            await remove(connection, keys)
            if is_last:
                await connection.execute(delete(sums).where(sums.c.hour < before_us // HOUR_US))
                gone = errors.c.id.in_(groups), ~_IS_USED
                await connection.execute(delete(errors).where(*gone))
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveAwayError(words_of(error)) from None
    return not is_last or len(groups) == CHUNK
