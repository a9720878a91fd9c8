"""Fixtures: `runqueue.testing` brings `queue` and `skyvern`; `service` is the one under test."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from service import URL, app

from runqueue.testing import QueueForTests, Skyvern

pytest_plugins = ["runqueue.testing"]


@pytest.fixture
def service(queue: QueueForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of the service, which takes the webhooks, too."""
    monkeypatch.setenv("SKYVERN_API_KEY", Skyvern.api_key)
    with TestClient(app, base_url=URL) as client:
        queue.mount(URL, client)
        yield client
