"""Script calls with little around them return and raise what the client would."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lab.valkeys import start_valkey
from runqueue.connection.client import async_client
from runqueue.store import worker_calls
from runqueue.store.async_sending import run_async
from runqueue.store.scripts import ScriptCall
from tests.functions import function_of
from tests.simulator.simulating import eventually
from worker.process import script_client
from worker.process.script_client import DirectCalls


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[DirectCalls]:
    """Call scripts of a server."""
    client = async_client(url, retries=3)
    try:
        yield DirectCalls(client)
    finally:
        await client.aclose()


def bound(*run_ids: str) -> ScriptCall[list[str]]:
    """A call that tells which runs are known: none."""
    return worker_calls.owned_runs("default", run_ids)


def polled(*job_ids: str) -> ScriptCall[int]:
    """A call that a server whose writes are paused does not answer."""
    return worker_calls.poll_now("default", job_ids)


def in_use(calls: DirectCalls) -> int:
    """How many connections the pool has given out."""
    return len(calls.client.connection_pool._in_use_connections)


async def test_a_script_that_the_server_does_not_know_is_taught(redis_url: str) -> None:
    async with calling(redis_url) as calls:
        with redis.Redis.from_url(redis_url) as plain:
            plain.function_flush()
        assert await calls.run(bound("a", "b")) == ["", ""]
        assert await calls.run(bound("a")) == [""]


async def test_calls_at_once_keep_no_more_connections_than_are_meant(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_client, "KEPT", 2)
    async with calling(redis_url) as calls:
        await asyncio.gather(*(calls.run(bound("a")) for _ in range(20)))
        assert len(calls._kept) == in_use(calls) == 2


async def test_a_connection_to_an_earlier_primary_is_used_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = start_valkey(tmp_path / "old"), start_valkey(tmp_path / "new")
    for server in (old, new):
        with redis.Redis(port=server.port) as plain:
            counted = function_of(plain, "count", "return redis.call('INCR', keys[1])")
    counting = ScriptCall(counted, "default", [], int)
    places = [("127.0.0.1", old.port)]

    async def discover(service: str) -> tuple[str, int]:
        return places[-1]

    try:
        async with calling("redis+sentinel://127.0.0.1:1/queue/0") as calls:
            pool: Any = calls.client.connection_pool
            monkeypatch.setattr(pool.sentinel_manager, "discover_master", discover)
            assert await calls.run(counting) == 1
            places.append(("127.0.0.1", new.port))  # the old one is cut off, and goes on
            await pool.disconnect(inuse_connections=False)
            await calls.client.ping()  # by a new connection, so the sentinels are asked
            assert await calls.run(counting) == 1
            monkeypatch.setattr(script_client, "KEEP_SECONDS", 0.0)
            assert await calls.run(counting) == 2
    finally:
        old.stop()
        new.stop()


async def _released(calls: DirectCalls) -> Any:
    """Have what is kept given back, and look at what the pool has then."""
    taken = await calls._take()
    await calls._release(taken)
    return taken.connection


def test_a_connection_that_a_peer_reset_while_it_was_kept_is_made_anew(redis_url: str) -> None:
    """The stream still looks alive, and a write raises what is no error of a connection."""
    host, port = redis_url.split("/")[2].split(":")

    async def main() -> None:
        async with (
            resetting(host, int(port)) as (own, reset),
            calling(f"redis://127.0.0.1:{own}/0") as calls,
        ):
            await asyncio.gather(*(calls.run(bound("a")) for _ in range(3)))
            kept = [one.connection for one in calls._kept]
            assert kept
            reset()
            await eventually(lambda: all(_is_closed(one) for one in kept))
            assert [await calls.run(bound("a")) for _ in range(4)] == [[""]] * 4

    uvloop.run(main())


def test_a_connection_that_is_reset_right_before_a_client_writes_is_made_anew(
    redis_url: str,
) -> None:
    host, port = redis_url.split("/")[2].split(":")

    async def main() -> None:
        async with (
            resetting(host, int(port)) as (own, reset),
            calling(f"redis://127.0.0.1:{own}/0") as calls,
        ):
            for turns in (0, 1, 2, 3, 4, 5) * 5:
                at_once = (run_async(calls.client, bound("a")) for _ in range(3))
                assert await asyncio.gather(*at_once) == [[""]] * 3
                reset()
                for _ in range(turns):
                    await asyncio.sleep(0)

    uvloop.run(main())


@asynccontextmanager
async def resetting(host: str, port: int) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """A way to a server that can be reset; yields its port, and what resets its connections."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, onwards = await asyncio.open_connection(host, port)
        writers.append(writer)
        tasks.append(asyncio.create_task(carry(behind, writer)))
        await carry(reader, onwards)
        onwards.close()

    def reset() -> None:
        for writer in writers:
            peer = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writers.clear()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], reset
    finally:
        server.close()
        reset()
        for task in tasks:
            task.cancel()


def _is_closed(connection: Any) -> bool:
    """Whether the loop knows that a connection is gone, though the client does not."""
    return bool(connection._writer.transport.is_closing())


async def test_what_cannot_be_written_is_the_call_s_own_fault(redis_url: str) -> None:
    async with calling(redis_url) as calls:
        await calls.run(bound("a"))
        for unwritable in ("\ud800", None):
            with pytest.raises(DataError, match="owned_runs takes no such argument"):
                await calls.run(bound("a", cast(str, unwritable)))
        assert await calls.run(bound("a")) == [""]


async def test_what_the_server_refuses_is_raised_and_the_connection_kept(
    redis_url: str, client: redis.Redis
) -> None:
    refusing = function_of(client, "refusing", "return redis.error_reply('refused')")
    async with calling(redis_url) as calls:
        with pytest.raises(ResponseError, match="refused"):
            await calls.run(ScriptCall(refusing, "default", [], list))
        assert len(calls._kept) == 1
        assert await calls.run(bound("a")) == [""]


async def test_an_answer_that_does_not_come_is_not_waited_for_twice(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(f"{redis_url}?socket_timeout=0.3") as calls:
        await calls.run(bound("a"))
        client.client_pause(60_000, all=False)
        monkeypatch.setattr(script_client, "run_async", None)  # what would ask once more
        with pytest.raises(RedisTimeoutError):
            await calls.run(polled("a"))
        assert in_use(calls) == 0  # closed: its late answer must not meet the next call
        client.client_unpause()
        assert await calls.run(bound("a", "b")) == ["", ""]


async def test_a_call_that_is_canceled_leaves_no_answer_to_the_next(
    redis_url: str, client: redis.Redis
) -> None:
    async with calling(redis_url) as calls:
        await calls.run(bound("a"))
        client.client_pause(60_000, all=False)
        task = asyncio.create_task(calls.run(polled("a", "b", "c")))
        await eventually(lambda: any("b" in one["flags"] for one in client.client_list()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert in_use(calls) == 0
        client.client_unpause()
        assert await calls.run(bound("a")) == [""]


async def test_a_server_that_is_away_raises_what_the_client_raises(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    async with calling(f"redis://127.0.0.1:{server.port}/0") as calls:
        await calls.run(bound("a"))
        server.stop()
        with pytest.raises(RedisConnectionError):
            await calls.run(bound("a"))
        with pytest.raises(RedisConnectionError):
            await calls.run(bound("a"))
        assert in_use(calls) == 0
