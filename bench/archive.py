"""The archive: what writing takes, and how long searches, error groups and charts take."""

import asyncio
import time


from archive.database import engine_of, set_up
from archive.writer import Writer
from bench.archived_jobs import made

WRITTEN_AT_ONCE = 500


async def fill(url: str, count: int) -> float:
    """Write so many jobs into an empty archive, and return the seconds of writing."""
    engine = engine_of(url)
    await set_up(engine)
    writer, took = Writer(engine), 0.0
    for start in range(0, count, WRITTEN_AT_ONCE):
        some = [made(n, count) for n in range(start, min(count, start + WRITTEN_AT_ONCE))]
        begun = time.perf_counter()
        assert not await writer.write(some)
        took += time.perf_counter() - begun
    await engine.dispose()
    return took
