"""A desk for each test, and a gateway."""

import syslog
from collections.abc import Iterator

import pytest

from tests.runqueue.cli import gateways
from tests.runqueue.cli.commanding import Desk


@pytest.fixture(autouse=True)
def system_log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What commands log to the machine's own log, which is kept out of it."""
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
    return lines


@pytest.fixture(scope="session")
def gateway_url(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a gateway serves that queue."""
    with gateways.gateway(tmp_path_factory.mktemp("gateway"), valkey) as url:
        yield url


@pytest.fixture(params=["redis", "gateway"])
def either(desk: Desk, request: pytest.FixtureRequest) -> Desk:
    """Where commands are given: to Redis, and to a gateway."""
    if request.param == "redis":
        return desk
    return gateways.by_http(desk, request.getfixturevalue("gateway_url"))
