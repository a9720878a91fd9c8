"""The accounts of one process: what is begun without a message."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.worker.test_runtime import settings
from worker.runtime import ServedAccounts


def test_a_stage_that_is_begun_while_redis_is_away_is_logged_and_raises_nowhere() -> None:
    async def fail(tick_us: int) -> None:
        raise RedisConnectionError("gone")

    async def begin() -> list[Any]:
        unhandled: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: unhandled.append(about))
        served = ServedAccounts(settings(), cast(Any, None))
        consumer = SimpleNamespace(run=fail)
        served.accounts["shop"] = cast(Any, SimpleNamespace(consumers={"poll": consumer}))
        served.begin("poll", "shop", 0)
        while served._tasks:
            await asyncio.wait(served._tasks)
            await asyncio.sleep(0)
        return unhandled

    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(begin()) == []
    assert lines == [
        {
            "event": "stage_failed",
            "account": "shop",
            "kind": "poll",
            "error": "gone",
            "log_level": "warning",
        }
    ]
