"""Script calls of a worker process, with little around them.

For each command redis-py's asyncio client takes a connection from its pool, checks whether it is
alive, packs the command in Python, makes a task to write and a timer each to write and to read: 44
µs of CPU for a small call, and more for each argument. Here a connection is kept from one
call to the next, the command is packed in C, and one timer is made: 17 µs.

Where a connection fails the client sends the call its own way. So where it sends it again, how
often, and what it raises in the end holds here, too; scripts may be repeated.
"""

import asyncio
from typing import Any, NamedTuple, cast

import redis.asyncio
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runqueue.store.async_sending import run_async
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, T, is_missing

#: Connections kept at most, and their share of the pool, which has 50 unless the URL says less:
#: others need them as well, and wait in vain for one that is kept.
KEPT = 8
_SHARE = 6
#: Seconds that one is kept; then the pool checks it again.
KEEP_SECONDS = 1.0


class _Kept(NamedTuple):
    """A connection, when it was taken from the pool, and how long an answer may take there."""

    connection: AbstractConnection
    since: float
    seconds: float | None


class DirectCalls:
    """Runs scripts over a client's connections; lives on one event loop.

    Args:
        client: the queue's Redis; one that is a cluster is left to itself.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._is_one = isinstance(client, redis.asyncio.Redis)
        self._most = (
            min(KEPT, client.connection_pool.max_connections // _SHARE) if self._is_one else 0
        )
        self._kept: list[_Kept] = []

    async def run(self, call: ScriptCall[T]) -> T:
        """Run a script; errors are those of `run_async`."""
        if not self._is_one:
            return await run_async(self.client, call)
        kept = await self._take()
        try:
            return call.parse(await _ask(kept, call))
        except RedisConnectionError:
            pass
        except ResponseError as error:
            if not is_missing(error):
                raise
        finally:
            await self._give_back(kept)
        return await run_async(self.client, call)

    async def _take(self) -> _Kept:
        now = asyncio.get_running_loop().time()
        while self._kept:
            kept = self._kept.pop()
            is_young = now - kept.since < KEEP_SECONDS
            if is_young and kept.connection.is_connected and not self._is_left(kept):
                return kept
            await self._release(kept)
        connection = await cast(Any, self.client.connection_pool).get_connection()
        kept = _Kept(connection, now, connection.socket_timeout)
        # `_ask` has a timer of its own; the connection would make a task and two timers for it.
        connection.socket_timeout = None
        return kept

    async def _give_back(self, kept: _Kept) -> None:
        if kept.connection.is_connected and len(self._kept) < self._most:
            self._kept.append(kept)
        else:
            await self._release(kept)

    def _is_left(self, kept: _Kept) -> bool:
        """Whether the sentinels have named another primary since; one that is cut off may go on."""
        pool, connection = cast(Any, self.client.connection_pool), cast(Any, kept.connection)
        primary = getattr(pool, "master_address", None)
        return primary is not None and primary != (connection.host, connection.port)

    async def _release(self, kept: _Kept) -> None:
        kept.connection.socket_timeout = kept.seconds
        if self._is_left(kept):  # the pool closes only those that it has at that time
            await kept.connection.disconnect(nowait=True)
        await self.client.connection_pool.release(kept.connection)


async def _ask(kept: _Kept, call: ScriptCall[Any]) -> Any:
    """Send a function's name and arguments, and return the reply.

    Raises:
        RedisError: the server's, or the connection's, which is closed by then; or an argument
            cannot be written.
    """
    connection, meta = kept.connection, Keys(call.account).meta
    command = ("FCALL", call.script.function, 1, meta, 0, *call.arguments)
    try:
        packed = pack_command(cast(Any, command))
    except (TypeError, UnicodeError):  # not shown: it may quote a request
        raise DataError(f"{call.script.name} takes no such argument") from None
    try:
        async with asyncio.timeout(kept.seconds):
            await connection.send_packed_command(packed)
            return await connection.read_response()
    except TimeoutError:
        raise RedisTimeoutError("Timeout reading from Redis") from None
