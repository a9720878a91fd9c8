"""Every test here has an environment without settings, and sees what is logged."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from runqueue import RunQueue
from tests.gateway.gating import Desk


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("RUNQUEUE_", "SKYVERN_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What structlog was told, as it comes."""
    structlog.reset_defaults()
    with capture_logs() as events:
        yield events


@pytest.fixture
def desk(queue: RunQueue, client: Any) -> Desk:
    """Jobs in whatever state a test needs them."""
    return Desk(queue, client)
