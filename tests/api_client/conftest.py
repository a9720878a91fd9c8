"""The time that clients are tested on."""

import pytest

from tests.api_client.twins import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
