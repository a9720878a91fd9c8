"""A desk for each test."""

from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from tests.cli.commanding import Desk


@pytest.fixture
def desk(redis_url: str, client: redis.Redis, queue: RunQueue, tmp_path: Path) -> Desk:
    """Where commands are given, on an empty queue."""
    return Desk(redis_url, tmp_path, client, queue)
