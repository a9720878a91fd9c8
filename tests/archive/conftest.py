"""An account under a clock, and its archive in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.archive import surfaces
from tests.archive.archiving import Process
from tests.archive.surfaces import Archived
from tests.runqueue.lua.clockwork import Clockwork


@pytest.fixture
def clock(client: redis.Redis) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(client)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The archive's."""
    return f"sqlite:///{tmp_path}/archive.sqlite"


@pytest.fixture
def archiver(clock: Clockwork, url: str) -> Iterator[Process]:
    """A process that archives the clock's account."""
    process = Process(clock, url)
    yield process
    process.close()


@pytest.fixture(scope="module")
def gateway_url(valkey: str, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a gateway serves the queue and its archive; a module has its own `url` for it."""
    with surfaces.gateway(tmp_path_factory.mktemp("gateway"), valkey, url) as served:
        yield served


@pytest.fixture
def archived(url: str, client: redis.Redis) -> Archived:
    """An empty archive."""
    return Archived(url, client)
