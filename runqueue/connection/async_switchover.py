# From this file `make generate` writes switchover.py.
"""Connections that leave a server which has become a replica.

In a planned switchover behind one address (a proxy's, a service's, a DNS name's) the old primary
stays up as a replica, and so do the connections to it, where no write is taken any more. One that
meets such a refusal is closed, and its call goes, like after any lost connection, over a new one:
to where the address leads by then. Connections of the same pool that were made before are made anew
when they are next taken, so that no caller goes on reading from the old primary.

A reset connection is left likewise. uvloop says so of a write in an error that is none of a
connection, which redis-py passes on.
"""

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from runqueue.connection.redis_errors import is_of_a_replica

_WORDS = "the server has become a replica"


class _Switchovers:
    """How often connections of one pool met a replica."""

    def __init__(self) -> None:
        self.count = 0


#: The base of what is put before a class of connections, which has no types.
Mixed: Any = object


class _Writing(Mixed):  # type: ignore[misc]
    """Put before a class of connections, whose loop may be uvloop."""

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().send_packed_command(*args, **kwargs)
        except RuntimeError as error:  # it is disconnected by then
            raise RedisConnectionError(f"the connection was reset: {error}") from error


class _Leaving(_Writing):
    """Put before a class of connections of one pool."""

    switchovers = _Switchovers()
    _seen = 0

    async def connect(self) -> Any:
        seen, self._seen = self._seen, self.switchovers.count
        if seen != self._seen:
            await self.disconnect(nowait=True)
        return await super().connect()

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            if not is_of_a_replica(error):
                raise
            self.switchovers.count += 1
            self._seen = self.switchovers.count
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{_WORDS}: {error}") from error


def leaving(connection_class: Any) -> Any:
    """Return a class of connections, of those of one pool, that leave a replica."""
    return with_mixin(_Leaving, connection_class, switchovers=_Switchovers())


def writing(connection_class: Any) -> Any:
    """Return a class of connections that reports a reset as a ConnectionError."""
    return with_mixin(_Writing, connection_class)


def with_mixin(mixin: Any, connection_class: Any, **members: Any) -> Any:
    """Return a class of connections with something before it, and members of its own."""
    return type(connection_class.__name__, (mixin, connection_class), members)
