"""taskiq: one task a run, which submits and then sleeps between its looks.

Its streams are acknowledged when a task is over, and what a killed worker had comes again after
ten minutes; since the run's id lies in the task's memory alone, each such task submits twice.

python -m bench.others.taskiq_runs < BODIES   submits
"""
# mypy: disable-error-code="untyped-decorator"

import asyncio
from typing import Any

import aiohttp
import uvloop
from taskiq import SimpleRetryMiddleware, TaskiqEvents, TaskiqState  # type: ignore[import-not-found]
from taskiq_redis import RedisStreamBroker  # type: ignore[import-not-found]

from bench.others.told import BASE_URL, HEADERS, LOOK_SECONDS, REDIS_URL, TRIES, bodies, is_over

broker = RedisStreamBroker(REDIS_URL).with_middlewares(
    SimpleRetryMiddleware(default_retry_count=TRIES)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _start(state: TaskiqState) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    state.session = aiohttp.ClientSession(
        BASE_URL, connector=connector, headers=HEADERS, raise_for_status=True
    )


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def _stop(state: TaskiqState) -> None:
    await state.session.close()


@broker.task(task_name="run", retry_on_error=True)
async def run(body: dict[str, Any]) -> None:
    """Submit a run and look at it until it is over."""
    session: aiohttp.ClientSession = broker.state.session
    async with session.post("/v1/run/tasks", json=body) as answer:
        run_id = (await answer.json())["run_id"]
    over = False
    while not over:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with session.get(f"/v1/runs/{run_id}") as answer:
                over = is_over(await answer.json())
        except aiohttp.ClientError:
            # To raise it would begin the whole task again, with another submission.
            continue


async def _hand_in() -> None:
    await broker.startup()
    for body in bodies():
        await run.kiq(body)
    await broker.shutdown()


if __name__ == "__main__":
    uvloop.run(_hand_in())
