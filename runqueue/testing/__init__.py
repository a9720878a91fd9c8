"""Tests of a service: a real queue, a worker in process, a scripted Skyvern.

PYTEST_DONT_REWRITE: it may be imported before pytest reads it as a plugin.
"""

from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment, NotDrained
from runqueue.testing.jobs import EnqueuedJob
from runqueue.testing.queue import QueueForTests

#: Read by pytest.
pytest_plugins = ("runqueue.testing.fixtures",)

__all__ = ["AsyncQueueForTests", "EnqueuedJob", "Environment", "NotDrained", "QueueForTests"]
