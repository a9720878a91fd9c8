"""Fixtures for tests that need an environment without settings, and see what is logged.

Each folder's `conftest.py` imports those that it wants.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings, in an empty folder."""
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
