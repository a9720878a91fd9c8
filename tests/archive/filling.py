"""An archive with jobs that a test says, and of which Redis knows that it is the account's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import redis

from archive.database import engine_of, set_up
from archive.rows import EndedJob
from archive.writer import Writer
from bench import archived_jobs
from runqueue.store.keys import ACCOUNTS, Keys

#: When the jobs of a test end, the last of them.
NOW = datetime.now(UTC).replace(microsecond=0)


def ended(number: int, at: datetime, state: str = "completed", **fields: Any) -> EndedJob:
    """Return a job that waited for ten seconds and ran for a minute.

    Args:
        number: of the job; another has another id.
        at: when it ended.
        state: how.
        fields: of its record, instead of others: group, reason, category, batch, usage.
    """
    job = archived_jobs.made(number, 1000)
    end = int(at.timestamp() * 1_000_000)
    started = end - 60_000_000
    own = {"state": state, "ended": end, "started": started, "created": started - 10_000_000}
    own |= {"usage": "3:9:0:", **fields}
    kept = {k: v for k, v in job.record.items() if k not in {"reason", "category", "batch"}}
    request = orjson.dumps({"prompt": f"Read item {number}."})
    body = orjson.dumps({"k": "t", "c": f"order-{number}"}) + b"\n" + request
    record = {**kept, **{name: str(value).encode() for name, value in own.items()}}
    return job._replace(record=record, body=body, result=b"")


def fill(client: redis.Redis, url: str, jobs: Sequence[EndedJob]) -> None:
    """Write jobs into an archive, and have Redis know it."""
    with ThreadPoolExecutor(1) as thread:  # whoever calls may have a loop that runs
        known = thread.submit(asyncio.run, _write(url, jobs)).result()
    client.sadd(ACCOUNTS, "default")
    client.hset(f"{Keys('default').prefix}archive", "id", known)


async def _write(url: str, jobs: Sequence[EndedJob]) -> str:
    engine = engine_of(url)
    known = await set_up(engine)
    await Writer(engine).write(jobs)
    await engine.dispose()
    return known


def some_jobs() -> list[EndedJob]:
    """Return a day of 240 jobs: every tenth failed, by two reasons; one of them is new."""
    jobs = []
    for n in range(240):
        at = NOW - timedelta(minutes=6 * n)
        reason = f"Timeout {n} ms exceeded at https://shop.test/{n}" if n % 20 else "No <b>seat</b>"
        failed = {"reason": reason, "category": "LLM_ERROR"} if n % 10 == 0 else {}
        state = "failed" if failed else "completed"
        jobs.append(ended(n, at, state, group=f"shop-{n % 3}", **failed))
    return jobs
