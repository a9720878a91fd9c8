"""Every test here has an environment without settings, and sees what is logged."""

from functools import partial

import pytest
import redis

from tests.bare import logged, no_settings
from tests.worker.delivering import delivering, relaying
from tests.worker.working import Work, working

__all__ = ["at_once", "logged", "no_settings"]


@pytest.fixture
def work(client: redis.Redis, redis_url: str) -> Work:
    """Starts an account's worker on the Redis of this test, as `working` does."""
    return partial(working, client, redis_url)


@pytest.fixture
def deliver(client: redis.Redis, redis_url: str) -> Work:
    """Starts one as `delivering` does."""
    return partial(delivering, client, redis_url)


@pytest.fixture
def relay(client: redis.Redis, redis_url: str) -> Work:
    """Starts one as `relaying` does."""
    return partial(relaying, client, redis_url)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are read of runs that take no time, and show what was submitted just before."""
    monkeypatch.setattr("worker.stages.list_runs.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("worker.poll_times.LEAST_LIST_SECONDS", 0.0)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two searches follow each other at once, and a control the loss.

    A server tells its time in whole seconds: what it lists seems up to a second newer, never older.
    """
    monkeypatch.setattr("worker.stages.reconcile.SPACING", 0.0)
    monkeypatch.setattr("worker.runs.search.NEWER", 0.0)
    monkeypatch.setattr("worker.runs.recovery.NEWER", 0.0)
