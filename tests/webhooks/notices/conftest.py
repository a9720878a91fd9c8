"""Every test here has an account under a clock that only the test moves, and a real receiver."""

from collections.abc import AsyncIterator

import pytest
import redis

from tests.bare import logged, no_settings
from tests.notices.telling import Receiver, receiving
from tests.runqueue.lua.clockwork import Clockwork

__all__ = ["logged", "no_settings"]


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """The account, with a worker."""
    clock = Clockwork(client)
    clock.heartbeat(first=True)
    return clock


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of Apprise's json:// URLs."""
    async with receiving() as receiver:
        yield receiver
