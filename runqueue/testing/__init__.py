"""Tests of a service: a real queue, a worker in process, a scripted Skyvern.

PYTEST_DONT_REWRITE: it may be imported before pytest reads it as a plugin.
"""

from typing import TYPE_CHECKING

from runqueue.server_version import server_part
from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment, NotDrained
from runqueue.testing.jobs import EnqueuedJob
from runqueue.testing.queue import QueueForTests

if TYPE_CHECKING:
    from simulator.scripted import ScriptedSkyvern as ScriptedSkyvern
else:

    def __getattr__(name: str) -> object:
        """Import `ScriptedSkyvern` when it is asked for: it comes with `runqueue-server`."""
        if name == "ScriptedSkyvern":
            return server_part("runqueue.testing", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


#: Read by pytest.
pytest_plugins = ("runqueue.testing.fixtures",)

__all__ = ["AsyncQueueForTests", "EnqueuedJob", "Environment", "NotDrained", "QueueForTests"]
