"""Fixtures: `runqueue.testing` brings `queue` and `skyvern`; `service` is the one under test."""

import pytest
from fastapi.testclient import TestClient
from service import URL, app

pytest_plugins = ["runqueue.testing"]


@pytest.fixture
def service(queue, skyvern, monkeypatch):
    """A client of the service, which takes the webhooks, too."""
    monkeypatch.setenv("SKYVERN_API_KEY", skyvern.api_key)
    with TestClient(app, base_url=URL) as client:
        queue.mount(URL, client)
        yield client
