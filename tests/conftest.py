"""What every test may use: a real, empty Valkey of its own, and a queue on it."""

import gc
import os
from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from lab.postgres import MISSING, Postgres, postgres
from lab.valkeys import start_valkey
from runqueue import RunQueue

# A machine that is busy makes examples slowly, the first ones above all: that is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Tests speak to this machine; a proxy that whoever runs them goes through does not lead there.
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected out of the garbage collector's sight: all of it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files of real processes, whose tests wait for most of their time, among the rest.

    Each process of the tests gets its share of them, and the cores have other work meanwhile.
    """
    files = [list(found) for _, found in groupby(items, lambda item: item.nodeid.split("::")[0])]
    waiting = [
        file for file in files if any(item.get_closest_marker("acceptance") for item in file)
    ]
    rest = [file for file in files if file not in waiting]
    due = [number * sum(map(len, rest)) / max(1, len(waiting)) for number in range(len(waiting))]
    ordered: list[pytest.Item] = []
    for file in rest:
        while due and len(ordered) >= due[0]:
            ordered += waiting.pop(0)
            due.pop(0)
        ordered += file
    items[:] = ordered + [item for file in waiting for item in file]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one server for this test process."""
    server = start_valkey(tmp_path_factory.mktemp("valkey"))
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    """A plain client of an empty server."""
    with redis.Redis.from_url(valkey) as plain:
        plain.flushall()
        yield plain


@pytest.fixture
def redis_url(client: redis.Redis, valkey: str) -> str:
    """The URL of an empty server, to which a gateway of the session may write that it lives."""
    return valkey


@pytest.fixture
def queue(redis_url: str) -> Iterator[RunQueue]:
    """A queue on an empty server."""
    with RunQueue(redis_url) as empty:
        yield empty


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL for this test process."""
    if MISSING:
        pytest.skip(MISSING)
    with postgres(fsync="off") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/archive.sqlite"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.create("archive")
