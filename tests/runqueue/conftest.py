"""A queue that a test drives by hand: its transitions, its clock, what people do to its jobs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from tests.either import Ask, both
from tests.runqueue.cli import gateways
from tests.runqueue.cli.commanding import Desk
from tests.runqueue.lua.clockwork import Clockwork


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(client)


@pytest.fixture
def served(clock: Clockwork) -> None:
    """The clock's account is served by a worker all the time."""
    clock.client.zadd(clock.key("processes"), {"p0": 2**60})


@pytest.fixture(scope="session")
def gateway_url(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a gateway serves that queue."""
    with gateways.gateway(tmp_path_factory.mktemp("gateway"), valkey) as url:
        yield url


@pytest.fixture(params=["sync", "async", "gateway"])
async def ask(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Ask]:
    """Each queue, asked by the name of the method."""
    is_far = request.param == "gateway"
    url = request.getfixturevalue("gateway_url") if is_far else redis_url
    async with both(request.param, url) as call:
        yield call


@pytest.fixture
def desk(redis_url: str, client: redis.Redis, queue: RunQueue, tmp_path: Path) -> Desk:
    """Where jobs are submitted, claimed and ended by hand."""
    return Desk(redis_url, tmp_path, client, queue)
