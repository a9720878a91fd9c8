"""Every test here has an environment without settings, and sees what is logged."""

from typing import Any

import pytest

from runqueue import RunQueue
from tests.bare import logged, no_settings
from tests.gateway.gating import Desk

__all__ = ["desk", "logged", "no_settings"]


@pytest.fixture
def desk(queue: RunQueue, client: Any) -> Desk:
    """Jobs in whatever state a test needs them."""
    return Desk(queue, client)
