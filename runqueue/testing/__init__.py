"""Testing a service that enqueues jobs: a real queue, workers in process, a scripted Skyvern.

With pytest, `pytest_plugins = ["runqueue.testing"]` brings the fixtures `queue`, `async_queue` and
`skyvern`. Without it:

    with Environment() as environment, QueueForTests(environment) as queue:
        environment.skyvern.on(group="crm").completes({"price": 3})
        sign_up(queue)
        queue.drain()

PYTEST_DONT_REWRITE: it may be imported before pytest reads it as a plugin.
"""

from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment, NotDrained
from runqueue.testing.jobs import EnqueuedJob
from runqueue.testing.queue import QueueForTests
from runqueue.testing.skyvern import Script, Skyvern, Submission

#: Read by pytest.
pytest_plugins = ("runqueue.testing.fixtures",)

__all__ = [
    "AsyncQueueForTests",
    "EnqueuedJob",
    "Environment",
    "NotDrained",
    "QueueForTests",
    "Script",
    "Skyvern",
    "Submission",
]
