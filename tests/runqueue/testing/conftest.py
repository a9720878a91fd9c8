"""The fixtures that services get, in place of those of our own tests."""

from collections.abc import Iterator

import pytest

from runqueue.testing.environment import Environment
from runqueue.testing.fixtures import async_queue, queue, runqueue_environment, skyvern

__all__ = ["async_queue", "queue", "runqueue_environment", "runqueue_server", "skyvern"]


@pytest.fixture(scope="module")
def runqueue_server() -> Iterator[Environment]:
    """An environment that ends with the file: other tests here go by the server's clock."""
    with Environment() as environment:
        yield environment
