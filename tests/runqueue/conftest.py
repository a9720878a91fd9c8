"""A queue that a test drives by hand: its transitions, its clock, what people do to its jobs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from tests.either import Ask, both
from tests.runqueue.cli.commanding import Desk
from tests.runqueue.lua.clockwork import Clockwork


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(client)


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Ask]:
    """Either queue, asked by the name of the method."""
    async with both(request.param, redis_url) as call:
        yield call


@pytest.fixture
def desk(redis_url: str, client: redis.Redis, queue: RunQueue, tmp_path: Path) -> Desk:
    """Where jobs are handed in, claimed and ended by hand."""
    return Desk(redis_url, tmp_path, client, queue)
