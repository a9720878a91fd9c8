"""The fixtures that services get, in place of those of our own tests."""

from runqueue.testing.fixtures import (
    async_queue,
    queue,
    runqueue_environment,
    runqueue_server,
    skyvern,
)

__all__ = ["async_queue", "queue", "runqueue_environment", "runqueue_server", "skyvern"]
