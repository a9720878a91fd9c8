"""The queue over HTTP: `RemoteQueue` does through a gateway what `RunQueue` does with Redis."""

from runqueue.remote.queue import RemoteQueue

__all__ = ["RemoteQueue"]
