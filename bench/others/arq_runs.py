"""arq: a job submits, a second one looks and looks again by `Retry(defer=…)`.

A job leaves Redis when it is over, so a killed worker's jobs come again once their lease ends
(`job_timeout` and 10 s); one killed between the POST and the second job submits twice.

python -m bench.others.arq_runs                    works
python -m bench.others.arq_runs hand-in < BODIES   submits
"""

import asyncio
import sys
from typing import Any

import aiohttp
import uvloop
from arq import create_pool, func, run_worker  # type: ignore[import-not-found]
from arq.connections import RedisSettings  # type: ignore[import-not-found]
from arq.worker import Retry  # type: ignore[import-not-found]

from bench.others.told import (
    AT_ONCE,
    BASE_URL,
    HEADERS,
    LONGEST_BACKOFF,
    LOOK_SECONDS,
    REDIS_URL,
    TRIES,
    bodies,
    is_over,
)

_Context = dict[str, Any]


async def submit(ctx: _Context, body: dict[str, Any]) -> None:
    """Submit a run."""
    try:
        async with ctx["session"].post("/v1/run/tasks", json=body) as answer:
            run_id = (await answer.json())["run_id"]
    except aiohttp.ClientError:
        raise Retry(defer=min(2 ** ctx["job_try"], LONGEST_BACKOFF)) from None
    if LOOK_SECONDS or not await _look(ctx, run_id):
        await ctx["redis"].enqueue_job("look", run_id, _defer_by=LOOK_SECONDS)


async def look(ctx: _Context, run_id: str) -> None:
    """Look at a run until it is over."""
    try:
        over = await _look(ctx, run_id)
    except aiohttp.ClientError:
        over = False
    if not over:
        raise Retry(defer=LOOK_SECONDS)


async def _look(ctx: _Context, run_id: str) -> bool:
    async with ctx["session"].get(f"/v1/runs/{run_id}") as answer:
        return is_over(await answer.json())


async def _start(ctx: _Context) -> None:
    ctx["session"] = aiohttp.ClientSession(BASE_URL, headers=HEADERS, raise_for_status=True)


async def _stop(ctx: _Context) -> None:
    await ctx["session"].close()


class WorkerSettings:
    """What arq's worker reads; by default it would look for jobs only twice a second."""

    functions = (func(submit, max_tries=TRIES), func(look, max_tries=1_000_000))
    on_startup = _start
    on_shutdown = _stop
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    max_jobs = AT_ONCE
    poll_delay = 0.1
    keep_result = 0


async def _hand_in() -> None:
    redis = await create_pool(WorkerSettings.redis_settings)
    for body in bodies():
        await redis.enqueue_job("submit", body)
    await redis.aclose()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    if sys.argv[1:] == ["hand-in"]:
        asyncio.run(_hand_in())
    else:
        run_worker(WorkerSettings)
