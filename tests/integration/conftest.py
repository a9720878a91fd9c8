"""What the tests of the transitions share."""

import pytest
import redis

from tests.integration.clockwork import Clockwork


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(client)
