"""Queues with an archive, and jobs that are in it, in Redis, or in both."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis

from archive.async_queue import AsyncArchivedQueue
from archive.calls import Use, drop_archived, unarchived
from archive.database import engine_of, set_up
from archive.opened import AsyncOpenArchive, OpenArchive
from archive.queue import ArchivedQueue
from archive.rows import EndedJob
from archive.writer import Writer
from runqueue.remote.queue import RemoteQueue
from runqueue.store.accounts import account_of
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.either import TOKEN
from tests.gateway.test_process import process, url_of

#: The token of who may use one account.
SHOP = "token-of-a-shop-0123456789"
_TABLES = ("jobs", "documents", "words", "labels", "errors", "sums")


class Archived:
    """An archive in a file, and the server whose jobs are in it.

    Args:
        url: the archive's.
        client: of the server.
    """

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.url, self.client = url, client
        self.id = asyncio.run(self._set_up())
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")

    async def _set_up(self) -> str:
        engine = engine_of(self.url)
        try:
            return await set_up(engine)
        finally:
            await engine.dispose()

    def write(self, *job_ids: str) -> None:
        """Archive jobs that have ended."""
        found = [self._ended(job_id) for job_id in job_ids]
        for account in {job.account for job in found}:
            use = Use("test", self.id, "", 60_000_000)
            assert run(self.client, unarchived(account, use, "", 0, 0)).state == "ok"

        async def written() -> None:
            engine = engine_of(self.url)
            assert await Writer(engine).write(found) == []
            await engine.dispose()

        asyncio.run(written())

    def _ended(self, job_id: str) -> EndedJob:
        client: Any = self.client
        names = [name.decode() for name in client.smembers("runqueue:{accounts}")]
        account = account_of(job_id, [*names, "default"]) or ""
        prefix = Keys(account).prefix
        record = client.hgetall(f"{prefix}job:{job_id}")
        body, result = (client.get(f"{prefix}{what}:{job_id}") for what in ("body", "result"))
        fields = {name.decode(): value for name, value in record.items()}
        return EndedJob(account, job_id, fields, body or b"", result or b"")

    def only(self, job_id: str) -> None:
        """Have the archive alone have the body and the result of a job."""
        ended = self._ended(job_id)
        held = [(job_id, int(ended.record["ended"]), "")]
        run(self.client, drop_archived(ended.account, "test", "", held))
        assert b"archived" in self.client.hgetall(f"{Keys(ended.account).prefix}job:{job_id}")

    def forget(self, *names: str) -> None:
        """Have Redis have no more what is named by ids, of jobs or batches."""
        for name in names:
            self.client.delete(*self.client.keys(f"*{name}*"))


@contextmanager
def gateway(folder: Path, redis_url: str, archive_url: str) -> Iterator[str]:
    """Serve a queue and its archive over HTTP; yields the URL."""
    tokens = ",".join(
        f"{name}:enqueue+read+operate{accounts}:{hashlib.sha256(token.encode()).hexdigest()}"
        for name, accounts, token in (("all", "", TOKEN), ("shop", "@shop", SHOP))
    )
    given = {"RUNQUEUE_REDIS_URL": redis_url, "RUNQUEUE_API_TOKENS": tokens}
    with process(folder, RUNQUEUE_ARCHIVE_URL=archive_url, **given) as started:
        yield url_of(started)


def opened(kind: str, redis_url: str, archive_url: str, gateway_url: str) -> Any:
    """Return a queue with an archive: `sync`, `async` or `gateway`."""
    if kind == "gateway":
        return RemoteQueue(gateway_url, token=TOKEN, patience=0.0)
    if kind == "sync":
        return ArchivedQueue(redis_url, archive=OpenArchive(archive_url))
    return AsyncArchivedQueue(redis_url, archive=AsyncOpenArchive(archive_url))


class Asked:
    """A queue of any kind, asked in the same way: methods block, and iterators are lists.

    Args:
        queue: what is asked; one for coroutines has a loop of its own.
    """

    def __init__(self, queue: Any) -> None:
        self._queue, self._runner = queue, asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._queue, name))

    def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        found = method(*arguments, **named)
        if hasattr(found, "__aiter__"):
            return self._runner.run(_listed(found))
        if inspect.iscoroutine(found):
            return self._runner.run(found)
        return list(found) if hasattr(found, "__next__") else found

    def end(self) -> None:
        """Close the queue."""
        self.close()
        self._runner.close()


async def _listed(found: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in found]
