"""An archive as those hold it who read it; what reads it is loaded when it is first needed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from runqueue.errors import ArchiveUnavailable

if TYPE_CHECKING:  # SQLAlchemy loads slowly, and most commands read no archive.
    from archive.queue import ArchivedQueue
    from archive.reader import Reader

T = TypeVar("T")


class AsyncOpenArchive:
    """An archive, for coroutines of one event loop.

    Args:
        url: as `RUNQUEUE_ARCHIVE_URL` has it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Any = None

    async def id(self) -> str:
        """Return the archive's id.

        Raises:
            ArchiveUnavailable: it does not answer, or it is none that this version reads.
        """
        from archive.database import engine_of, read_id  # noqa: PLC0415 - as above

        if self._engine is None:
            try:
                self._engine = engine_of(self._url)
            except ValueError as error:
                raise ArchiveUnavailable(f"RUNQUEUE_ARCHIVE_URL: {error}") from None
        return await read_id(self._engine)

    async def read(self, call: "Callable[[Reader], Awaitable[T]]") -> T:
        """Call its reader, once its id is known.

        Raises:
            ArchiveUnavailable: it does not answer.
        """
        from archive.reader import Reader  # noqa: PLC0415 - as above

        return await call(Reader(self._engine))

    async def discard(self, account: str, job_ids: list[str]) -> list[str]:
        """Remove dead jobs of an account; returns the ids of those that were there."""
        from archive.writer import Writer  # noqa: PLC0415 - as above

        return await Writer(self._engine).discard(account, job_ids)

    async def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            await self._engine.dispose()


class OpenArchive:
    """An archive, for plain Python: its calls run one after the other, on a loop of their own.

    Args:
        url: as for `AsyncOpenArchive`.
    """

    def __init__(self, url: str) -> None:
        self._archive, self._runner = AsyncOpenArchive(url), asyncio.Runner()

    def id(self) -> str:
        """As `AsyncOpenArchive.id`."""
        return self._runner.run(self._archive.id())

    def read(self, call: "Callable[[Reader], Awaitable[T]]") -> T:
        """As `AsyncOpenArchive.read`."""
        return self._runner.run(self._archive.read(call))

    def discard(self, account: str, job_ids: list[str]) -> list[str]:
        """As `AsyncOpenArchive.discard`."""
        return self._runner.run(self._archive.discard(account, job_ids))

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._archive.close())
        self._runner.close()


def archived_queue(url: str) -> "ArchivedQueue":
    """Return the queue with an archive, for the command line.

    Args:
        url: as `RUNQUEUE_ARCHIVE_URL` has it.
    """
    from archive.queue import ArchivedQueue  # noqa: PLC0415 - it needs no more, but comes late

    return ArchivedQueue(archive=OpenArchive(url))
