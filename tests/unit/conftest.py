"""A queue on which jobs are handed in, claimed and ended by hand."""

from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from runqueue.operator.operations import Operations
from tests.cli.commanding import Desk


@pytest.fixture
def desk(redis_url: str, client: redis.Redis, queue: RunQueue, tmp_path: Path) -> Desk:
    """Where jobs are handed in, claimed and ended by hand."""
    return Desk(redis_url, tmp_path, client, queue)


@pytest.fixture
def operations(queue: RunQueue) -> Operations:
    """A person's hands on that queue."""
    return Operations(queue)
