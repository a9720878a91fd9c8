"""Every test here has an account under a clock that only the test moves, and a real receiver."""

from collections.abc import AsyncIterator

import pytest
import redis
import structlog

from tests.bare import logged, no_settings
from tests.runqueue.lua.clockwork import DAY, Clockwork
from tests.webhooks.notices.telling import Receiver, receiving
from webhooks.notices import sending

__all__ = ["logged", "no_settings"]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that fails is tried again at once, and logging is as it comes."""
    structlog.reset_defaults()
    monkeypatch.setattr(sending, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """The account, with a worker whose lease lasts."""
    clock = Clockwork(client)
    clock.heartbeat(first=True)
    clock.client.zadd(clock.key("processes"), {"lasting": clock.now + 400 * DAY})
    return clock


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of Apprise's json:// URLs."""
    async with receiving() as receiver:
        yield receiver
