"""Processes that archive the jobs of a clock's account, and what the archive has of them."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import redis

from archive.archiver import Archive, Archiver
from archive.calls import Use
from archive.rows import job_of, unpacked_record
from config.settings import Settings
from runqueue.records.job import Job
from runqueue.store.scripts import ScriptCall
from tests.killing import run_and_kill
from tests.runqueue.lua.clockwork import Clockwork


class Process:
    """A process that archives the jobs of the clock's account.

    Args:
        clock: the account.
        url: the archive's.
        settings: of the archive.
    """

    def __init__(self, clock: Clockwork, url: str, **settings: str) -> None:
        self.clock, self.url = clock, url
        self.calls: list[ScriptCall[Any]] = []
        values = {"skyvern_api_key": "key", "archive_url": url, **settings}
        self.archive = Archive(url)
        self.archiver = Archiver(
            clock.account, Settings.model_validate(values), self.archive, self._send
        )
        #: What happens before it records next.
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def _send(self, call: ScriptCall[Any]) -> Any:
        if call.script.name == "archived" and (happens := self.meanwhile):
            self.meanwhile = None
            await happens()
        self.calls.append(call)
        return self.clock.run(call)

    def round(self, after: float = 2.0) -> float:
        """Archive once, after so many seconds; returns the pause that it makes then."""
        return asyncio.run(self.once(after))

    async def once(self, after: float = 2.0) -> float:
        """Do the same, on a loop."""
        self.clock.wait(after)
        return await self.archiver.round()

    def close(self) -> None:
        """End it, and its database."""
        asyncio.run(self.archiver.stop())
        asyncio.run(self.archive.close())

    @property
    def use(self) -> Use:
        """What calls name it by."""
        return self.archiver._use

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the SQLite file."""
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
            return connection.execute(query).fetchall()

    def jobs(self) -> dict[str, Job]:
        """The jobs that the archive has, each as it reads."""
        rows = self.rows("SELECT id, record, body, result FROM jobs JOIN documents USING (n)")
        assert len({row[0] for row in rows}) == len(rows)
        return {
            job_id: job_of(self.clock.account, job_id, unpacked_record(record), body, result or b"")
            for job_id, record, body, result in rows
        }

    def count(self) -> int:
        """How many jobs the sums have."""
        states = "('completed', 'failed', 'canceled', 'dead')"
        query = f"SELECT sum(amount) FROM sums WHERE dimension = '' AND measure IN {states}"
        return cast("int | None", self.rows(query)[0][0]) or 0

    def check(self, job_ids: Iterable[str]) -> None:
        """Compare what the archive has with what Redis has, job by job."""
        found, wanted = self.jobs(), {job_id: self.clock.job(job_id) for job_id in job_ids}
        assert found == wanted
        assert self.count() == len(wanted)


class Dying(Process):
    """Stands still before it records what it wrote."""

    async def _send(self, call: ScriptCall[Any]) -> Any:
        if call.script.name == "archived":
            print("written", flush=True)
            await asyncio.sleep(3600)
        return await super()._send(call)


async def write_and_be_killed(clock: Clockwork, redis_url: str, url: str) -> None:
    """Have a process write, and kill it by -9 before it records that."""
    await run_and_kill(__name__, [redis_url, str(clock.now), url], "written")


if __name__ == "__main__":
    its_clock = Clockwork(redis.Redis.from_url(sys.argv[1]))
    its_clock.now = int(sys.argv[2])
    Dying(its_clock, sys.argv[3]).round(0)
