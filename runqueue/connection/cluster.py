"""A Redis Cluster, spoken to like one server: redis-py's client, held to what the queue promises.

An account's keys are in one slot, so each script goes to one node, and there is nothing to gather
but `INFO` and `PING`. What differs from redis-py's client: it connects with its first call, it
gives up as soon as the plain client does, its errors are those of a server that cannot be reached,
and while a slot is moved key by key no script of its account begins.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode as _ClusterNode
from redis.connection import SSLConnection
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    RedisClusterException,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from runqueue.connection.async_switchover import writing
from runqueue.connection.urls import ServerAddress

ClusterNode: Any = _ClusterNode  # it has no types
#: Seconds to connect to a node: several may have to be tried in the 5 s that a producer waits.
_CONNECT_TIMEOUT = 1.0
#: Connections of one client (to each node), and seconds to wait for one. The blocking client takes
#: having none for trouble with the node, and waits a second time.
_CONNECTIONS = 50
_PLACE_TIMEOUT = 4.0
#: After so many MOVEDs redis-py closes every connection, those in use as well, to read all slots
#: anew. 0 = never: an account is one slot, and each MOVED names its node.
_AFTER_MOVED = 0
_PRIMARIES: Any = {"target_nodes": redis.RedisCluster.PRIMARIES}
#: What is tried again with the nodes as they are then. Not a timeout: an answer that does not come
#: is not waited for twice.
_AGAIN: Any = (RedisConnectionError, ClusterDownError, SlotNotCoveredError)


class ByNode(dict[str, dict[str, Any]]):
    """What `INFO` says, by node."""


def by_node(info: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return what `INFO` says by node; that of a single server is under ''."""
    return info if isinstance(info, ByNode) else {"": info}


def _guarded(numkeys: int, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Name a second key of the account, which never exists, beside the `meta` of a script.

    A script derives its keys, so the server does not know them. While a slot is moved key by key
    (`CLUSTER SETSLOT … MIGRATING`) it would begin such a script, and break it off at the first key
    that is at the other node: half of its writes stay. A call that names a key which is there and
    one which is not is refused as a whole then (`TRYAGAIN`). Where nothing moves it costs nothing.
    """
    if numkeys != 1 or not str(arguments[0]).endswith(":meta"):
        return (numkeys, *arguments)
    key, *others = arguments
    return (2, key, f"{key.removesuffix('meta')}nothing", *others)


def _as_script(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """Name FCALL as EVALSHA: redis-py then reads its keys itself, and asks no server."""
    return ("EVALSHA", *command[1:]) if command[0] == "FCALL" else command


@contextmanager
def _as_of_one_server() -> Iterator[None]:
    """Say as one server would that it cannot be reached; some of these are no `RedisError`."""
    try:
        yield
    except (RedisClusterException, ClusterError, TryAgainError) as error:
        raise RedisConnectionError(str(error.args[0] if error.args else error)) from error
    except AttributeError as error:
        if error.obj is not None:
            raise
        # redis-py 8.1 knows no node to use where an ASK leads to one that has no slots yet (#4015),
        # and none at all while it is read anew which there are.
        raise RedisConnectionError("the cluster is being changed") from error


class ClusterClient(redis.RedisCluster):
    """A cluster, for plain Python; thread-safe.

    Args:
        address: what its URL says.
        retries: how often a call is tried again over another connection.
    """

    ERRORS_ALLOW_RETRY = _AGAIN

    def __init__(self, address: ServerAddress, retries: int, **options: Any) -> None:
        self._named = address.hosts
        # From the URL of one node alone does redis-py take the pool that waits for a connection.
        host, port = address.hosts[0]
        scheme = "rediss" if address.options.get("connection_class") is SSLConnection else "redis"
        self._arguments: dict[str, Any] = {
            "url": f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}",
            "retry": Retry(NoBackoff(), retries),
            "reinitialize_steps": _AFTER_MOVED,
            "connection_pool_class": redis.BlockingConnectionPool,
            "max_connections": _CONNECTIONS,
            "timeout": _PLACE_TIMEOUT / 2,
            **options,
            "socket_connect_timeout": _CONNECT_TIMEOUT,
            **address.options,
        }
        self._begun = self._begins = False
        self._beginning = threading.RLock()

    def _begin(self) -> None:
        with self._beginning:
            if self._begun or self._begins:  # the latter: what follows requests the commands
                return
            self._begins = True
            try:
                nodes = [ClusterNode(*host) for host in self._named[1:]]
                super().__init__(startup_nodes=nodes, **self._arguments)
                self._begun = True
            finally:
                self._begins = False

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send a command to the node that has its keys."""
        with _as_of_one_server():
            if not self._begun:
                self._begin()
            try:
                return cast(Any, super()).execute_command(*args, **kwargs)
            except RedisClusterException:
                self._remember_named()
                raise

    def _remember_named(self) -> None:
        """Look for the nodes under the names in the URL again: all that were known have gone."""
        named = {node.name: node for node in (ClusterNode(*host) for host in self._named)}
        self.nodes_manager.startup_nodes = {**self.nodes_manager.startup_nodes, **named}

    def fcall(self, function: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Call a function of one key, unless the slot of that key is being moved."""
        return super().fcall(function, *_guarded(numkeys, keys_and_args))

    def determine_slot(self, *args: Any) -> int | None:
        """Return the slot of a command's keys; redis-py asks the server for those of a function."""
        return super().determine_slot(*_as_script(args))

    def get_node_from_key(self, key: str, replica: bool = False) -> Any:
        """Return the node that has a key."""
        with _as_of_one_server():
            return cast(Any, super()).get_node_from_key(key, replica)

    def info(self, section: str | None = None, *args: str, **kwargs: Any) -> Any:
        """Return what every primary reports of itself."""
        arguments = [section, *args] if section else args
        return _by_node(self.execute_command("INFO", *arguments, **_PRIMARIES, **kwargs), self)

    def ping(self, **kwargs: Any) -> Any:
        """Say whether every primary answers."""
        return self.execute_command("PING", **_PRIMARIES, **kwargs)


class AsyncClusterClient(redis.asyncio.RedisCluster):
    """A cluster, for the coroutines of one event loop.

    Args:
        address: what its URL says.
        retries: how often a call is tried again over another connection.
    """

    ERRORS_ALLOW_RETRY = _AGAIN

    def __init__(self, address: ServerAddress, retries: int, **options: Any) -> None:
        own = dict(address.options)
        if own.pop("connection_class", None) in {SSLConnection, AsyncSSLConnection}:
            own["ssl"] = True
        super().__init__(
            startup_nodes=[AsyncClusterNode(*host) for host in address.hosts],
            retry=AsyncRetry(NoBackoff(), retries),
            reinitialize_steps=_AFTER_MOVED,
            # More than are ever used at once: one that is closed is counted until it has been.
            max_connections=2 * _CONNECTIONS,
            **{**options, "socket_connect_timeout": _CONNECT_TIMEOUT, **own},
        )
        self._named = dict(self.nodes_manager.startup_nodes)
        # redis-py takes no class of connections here. Nodes that it learns of are made from this.
        kind = writing(self.connection_kwargs["connection_class"])
        self.connection_kwargs["connection_class"] = kind
        for node in self._named.values():
            node.connection_class = kind
        # redis-py's fails where there is no connection left, and the plain client waits for one.
        self._capacity = asyncio.Semaphore(_CONNECTIONS)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send a command to the node that has its keys."""
        await self._take_capacity()
        try:
            with _as_of_one_server():
                # redis-py chooses a node before it has read which there are: any one.
                await self.initialize()
                return await super().execute_command(*args, **kwargs)
        except RedisConnectionError as error:
            if isinstance(error.__cause__, RedisClusterException):
                # All nodes that were known have gone: they are searched for under the URL's names.
                for name, node in self._named.items():
                    self.nodes_manager.startup_nodes.setdefault(name, node)
            raise
        finally:
            self._capacity.release()

    async def _take_capacity(self) -> None:
        try:
            async with asyncio.timeout(_PLACE_TIMEOUT):
                await self._capacity.acquire()
        except TimeoutError:
            raise RedisConnectionError("No connection available.") from None

    async def fcall(self, function: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Call a function of one key, unless the slot of that key is being moved."""
        return await super().fcall(function, *_guarded(numkeys, keys_and_args))

    async def _determine_slot(self, command: str, *args: Any) -> int:
        """Return the slot of a command's keys; redis-py asks the server for those of a function."""
        return await super()._determine_slot(*_as_script((command, *args)))

    def get_node_from_key(self, key: str, replica: bool = False) -> Any:
        """Return the node that has a key."""
        with _as_of_one_server():
            return super().get_node_from_key(key, replica)

    async def info(self, section: str | None = None, *args: str, **kwargs: Any) -> Any:
        """Return what every primary reports of itself."""
        arguments = [section, *args] if section else args
        return _by_node(
            await self.execute_command("INFO", *arguments, **_PRIMARIES, **kwargs), self
        )

    async def ping(self, **kwargs: Any) -> Any:
        """Say whether every primary answers."""
        return await self.execute_command("PING", **_PRIMARIES, **kwargs)

    async def aclose(self) -> None:
        """Close every connection, also where the nodes are just to be read anew."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)


def servers_of(client: Any) -> dict[str, redis.Redis]:
    """Return a plain client of every primary, by its address; none where it is no cluster."""
    if not isinstance(client, ClusterClient):
        return {}
    client.ping()
    return {node.name: client.get_redis_connection(node) for node in _primaries(client)}


def _primaries(client: Any) -> list[Any]:
    """Return the primaries that a client knows of."""
    return list(client.get_primaries())


def _by_node(info: Any, client: Any) -> ByNode:
    """Return what INFO says by node, as redis-py does only where there are several."""
    nodes = [node.name for node in _primaries(client)]
    return ByNode({nodes[0]: info} if len(nodes) == 1 else info)
