"""Fixtures of pytest: `queue`, `async_queue` and `skyvern`, on one server for each process.

PYTEST_DONT_REWRITE: it may be imported before pytest reads it as a plugin.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment
from runqueue.testing.queue import QueueForTests


@pytest.fixture(scope="session")
def runqueue_server() -> Iterator[Environment]:
    """The environment of this process' tests."""
    with Environment() as environment:
        yield environment


@pytest.fixture
def runqueue_environment(runqueue_server: Environment) -> Environment:
    """The same without jobs, scripts and receivers, and at the true time."""
    runqueue_server.clean()
    return runqueue_server


@pytest.fixture
def queue(runqueue_environment: Environment) -> Iterator[QueueForTests]:
    """A `RunQueue` without jobs."""
    with QueueForTests(runqueue_environment) as empty:
        yield empty


@pytest.fixture
def async_queue(runqueue_environment: Environment) -> AsyncQueueForTests:
    """The same queue for coroutines, on the event loop of the test."""
    return AsyncQueueForTests(runqueue_environment)


@pytest.fixture
def skyvern(runqueue_environment: Environment) -> Any:
    """The simulated Skyvern that a drain submits to; needs `runqueue-server`."""
    return runqueue_environment.skyvern
