"""What the tests of the transitions share."""

from collections.abc import AsyncIterator

import pytest
import redis

from tests.either import Ask, both
from tests.integration.clockwork import Clockwork


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(client)


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Ask]:
    """Either queue, asked by the name of the method."""
    async with both(request.param, redis_url) as call:
        yield call
