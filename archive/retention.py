"""What the archive surely has, and the end of what it has had for long enough."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from archive.database import reading, writing
from archive.tables import HOUR_US, errors, jobs, key_of, sums
from archive.writer import remove

#: Jobs that one transaction removes, and sums of the hours before.
CHUNK: Final = 500
CHUNK_OF_SUMS: Final = 20_000
#: Whether a group of errors has a job: one look at an index.
_IS_USED: Final = exists().where(jobs.c.account == errors.c.account, jobs.c.error == errors.c.id)


async def archived_as_final(
    engine: AsyncEngine, account: str, low: int, high: int, most: int
) -> Sequence[Any]:
    """Return the ids and keys of jobs that the archive has as final, the oldest end first.

    Args:
        engine: the archive's.
        account: whose.
        low, high: their keys are between these.
        most: how many.

    Raises:
        ArchiveAwayError: the database does not answer.
    """
    of_account = (jobs.c.account == account, jobs.c.n > low, jobs.c.n < high)
    found = select(jobs.c.id, jobs.c.n).where(*of_account, jobs.c.is_final == 1)
    async with reading(engine) as connection:
        return (await connection.execute(found.order_by(jobs.c.n).limit(most))).all()


async def remove_older(engine: AsyncEngine, before_us: int) -> bool:
    """Remove some of the jobs that ended before a time; says whether there is more to remove.

    After the last of them go the sums of the hours before, and groups of errors without a job.

    Raises:
        ArchiveAwayError: the database does not answer, or refuses.
    """
    old = select(jobs.c.n).where(jobs.c.n < key_of(before_us)).order_by(jobs.c.n).limit(CHUNK)
    unused = select(errors.c.id).where(errors.c.first_us < before_us, ~_IS_USED).limit(CHUNK)
    async with reading(engine) as connection:
        keys = (await connection.scalars(old)).all()
        is_last = len(keys) < CHUNK
        groups = (await connection.scalars(unused)).all() if is_last else []
    key = tuple_(*sums.primary_key)
    old_sums = select(*sums.primary_key).where(sums.c.hour < before_us // HOUR_US)
    async with writing(engine) as connection:
        await remove(connection, keys)
        if not is_last:
            return True
        is_some = key.in_(old_sums.limit(CHUNK_OF_SUMS))
        removed = await connection.execute(delete(sums).where(is_some))
        await connection.execute(delete(errors).where(errors.c.id.in_(groups), ~_IS_USED))
    return len(groups) == CHUNK or removed.rowcount == CHUNK_OF_SUMS
