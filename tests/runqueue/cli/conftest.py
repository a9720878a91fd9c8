"""A desk for each test, and a gateway."""

import syslog

import pytest

from tests.runqueue.cli import gateways
from tests.runqueue.cli.commanding import Desk


@pytest.fixture(autouse=True)
def system_log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What commands log to the machine's own log, which is kept out of it."""
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
    return lines


@pytest.fixture(params=["redis", "gateway"])
def either(desk: Desk, request: pytest.FixtureRequest) -> Desk:
    """Where commands are given: to Redis, and to a gateway."""
    if request.param == "redis":
        return desk
    return gateways.by_http(desk, request.getfixturevalue("gateway_url"))


@pytest.fixture
def remote(desk: Desk, gateway_url: str) -> Desk:
    """A desk out of Redis' reach."""
    return gateways.by_http(desk, gateway_url)
