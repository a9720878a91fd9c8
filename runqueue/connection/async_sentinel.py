# From this file `make generate` writes sentinel.py.
"""A primary whose address sentinels know: read for every new connection, waited for like others.

After a failover a connection to the old primary ends, by an error or because a replica takes no
writes, and the same call goes again, over one to where the sentinels say.
"""

from inspect import signature
from typing import Any, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from runqueue.connection.async_switchover import Mixed, with_mixin
from runqueue.connection.urls import ServerAddress

# They have no types.
_Sentinel: Any = Sentinel
_SentinelConnectionPool: Any = SentinelConnectionPool

#: Whether idle connections can be closed alone; else those to an old primary end by themselves.
_CHOOSES = (
    "inuse_connections" in signature(redis.asyncio.BlockingConnectionPool.disconnect).parameters
)
_UNKNOWN = "no sentinel knows a primary called {!r}"
#: The library names the sentinels that did not answer behind a colon.
_SILENT, _NOT_ALL = " : ", "no sentinel that answers knows a primary called {!r}; {} of {} did not"
_NO_SENTINEL = "what answers is a Redis and no sentinel (they listen at port 26379 by default)"
#: Seconds to connect to a sentinel, and for its answer: several may have to be tried in the 5 s
#: that a producer waits.
_SENTINEL_TIMEOUT = 0.5
#: Options of a URL that are for the sentinels: they may have a user of their own.
_OWN = "sentinel_"


class _Sentinels(_Sentinel):  # type: ignore[misc]
    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            words = _not_found(service_name, str(error), len(self.sentinels))
            raise MasterNotFoundError(words) from None
        except ResponseError as error:
            raise _refused(error) from None


def _not_found(name: str, said: str, sentinels: int) -> str:
    """Say why no primary is known, from what the library says: some may not have answered."""
    silent = said.partition(_SILENT)[2].count(" - ")
    return _NOT_ALL.format(name, silent, sentinels) if silent else _UNKNOWN.format(name)


def _refused(error: ResponseError) -> ResponseError:
    """Say it in other words if a plain Redis was named as a sentinel."""
    return ResponseError(_NO_SENTINEL) if "unknown command" in str(error).lower() else error


class _Refreshing(Mixed):  # type: ignore[misc]
    """Put before a class of connections: has the address read from the sentinels at each connect.

    redis-py's reconnects to the address that it had, when a call finds the connection closed.
    """

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if retry_socket_connect and not self.is_connected:
            await self._connect_retry()  # which comes here again, with the primary's address
        else:
            await super().connect_check_health(check_health, retry_socket_connect)


class _Pool(_SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):  # type: ignore[misc]
    """A pool that waits for a connection, whichever server is the primary."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections; when all are, those to the sentinels as well."""
        if inuse_connections:
            await super().disconnect()
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()
        elif _CHOOSES:
            await super().disconnect(inuse_connections=False)


def pool(address: ServerAddress, **options: Any) -> redis.asyncio.ConnectionPool:
    """Return a pool of connections to the primary."""
    ours, theirs = _options(address)
    theirs["retry"] = Retry(NoBackoff(), 0)
    manager = _Sentinels(address.hosts, sentinel_kwargs=theirs)
    made = cast(Any, _Pool)(address.service, manager, **{**options, **ours})
    made.connection_class = with_mixin(_Refreshing, made.connection_class)
    return cast(redis.asyncio.ConnectionPool, made)


def _options(address: ServerAddress) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of connections to the primary, and of those to its sentinels."""
    theirs: dict[str, Any] = {
        "socket_timeout": _SENTINEL_TIMEOUT,
        "socket_connect_timeout": _SENTINEL_TIMEOUT,
    }
    ours = dict(address.options)
    if ours.pop("connection_class", None) is not None:
        ours["ssl"] = theirs["ssl"] = True
    for name in [name for name in ours if name.startswith(_OWN)]:
        theirs[name.removeprefix(_OWN)] = ours.pop(name)
    return ours, theirs
