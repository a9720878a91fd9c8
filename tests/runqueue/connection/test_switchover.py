"""A planned switchover behind one address: the old primary stays up, as a replica."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from kombu.connection import Connection
from kombu.transport import redis as kombu_redis

from lab.proxy import Network, Proxy
from lab.valkeys import start_valkey
from lab.waiting import until
from runqueue import RunQueue, TaskRunRequest
from runqueue.connection.client import async_client, sync_client
from runqueue.store.scripts import ScriptCall
from tests.either import both
from tests.functions import function_of
from worker import kombu_transport
from worker.process.script_client import DirectCalls

REQUEST = TaskRunRequest(prompt="Read it.", url="https://shop.test/")


@dataclass
class Pair:
    """A primary and its replica behind one address."""

    url: str
    proxy: Proxy
    old: redis.Redis
    new: redis.Redis

    def switch(self) -> None:
        """Make the replica the primary; connections that are open stay where they are."""
        until(self._is_level, 20, "the replica to have all writes")
        self.new.replicaof("NO", "ONE")
        self.proxy.target = ("127.0.0.1", port_of(self.new))
        # Of nobody who answers: what it knows from now on is out of date.
        self.old.replicaof("127.0.0.1", 1)

    def _is_level(self) -> bool:
        offsets: set[Any] = {
            server.info("replication")["master_repl_offset"] for server in (self.old, self.new)
        }
        return len(offsets) == 1


def port_of(client: Any) -> int:
    """The port of the server that a client, or a connection, really talks to."""
    return int(client.config_get("port")["port"])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    servers = [start_valkey(tmp_path / name) for name in ("old", "new")]
    old, new = (redis.Redis(port=server.port) for server in servers)
    old.config_set("repl-diskless-sync-delay", 0)
    new.replicaof("127.0.0.1", servers[0].port)
    try:
        with Network() as network, old, new:
            until(
                lambda: new.info("replication").get("master_link_status") == "up",
                30,
                "the replica to follow",
            )
            proxy = network.proxy("127.0.0.1", servers[0].port)
            yield Pair(f"redis://127.0.0.1:{proxy.port}/0", proxy, old, new)
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_producer_goes_on_at_the_new_primary_without_an_error(
    kind: str, pair: Pair
) -> None:
    async with both(kind, pair.url) as ask:
        first = await ask("enqueue", REQUEST)
        pair.switch()

        second = await ask("enqueue", REQUEST)

        assert all(await ask("get_many", [first.job_id, second.job_id]))
    with RunQueue(f"redis://127.0.0.1:{port_of(pair.new)}/0") as queue:
        assert queue.get(second.job_id).state == "ready"


def test_after_one_refused_write_no_connection_reads_at_the_old_primary(pair: Pair) -> None:
    with sync_client(pair.url) as client:
        pool = client.connection_pool
        taken = [pool.get_connection() for _ in range(3)]
        for connection in taken:
            pool.release(connection)
        pair.switch()

        client.set("written", 1)

        assert {_port_over(pool.get_connection()) for _ in range(3)} == {port_of(pair.new)}


def _port_over(connection: Any) -> int:
    connection.send_command("CONFIG", "GET", "port")
    return _port(connection.read_response())


def _port(reply: Any) -> int:
    """Read the reply to CONFIG GET, in either version of the protocol."""
    return int(reply[b"port"] if isinstance(reply, dict) else reply[1])


async def test_after_one_refused_write_no_async_connection_reads_at_the_old_primary(
    pair: Pair,
) -> None:
    async with async_client(pair.url) as client:
        pool: Any = client.connection_pool
        taken = [await pool.get_connection() for _ in range(3)]
        for connection in taken:
            await pool.release(connection)
        pair.switch()

        await client.set("written", 1)

        ports = set()
        for _ in range(3):
            connection = await pool.get_connection()
            await connection.send_command("CONFIG", "GET", "port")
            ports.add(_port(await connection.read_response()))
        assert ports == {port_of(pair.new)}


async def test_a_worker_s_scripts_go_on_at_the_new_primary(pair: Pair) -> None:
    async with async_client(pair.url, retries=3) as client:
        calls = DirectCalls(client)
        counting = ScriptCall(
            function_of(pair.old, "count", "return redis.call('INCR', keys[1])"), "default", [], int
        )
        assert await calls.run(counting) == 1  # its connection is kept
        pair.switch()

        assert await calls.run(counting) == 2
        assert await calls.run(counting) == 3
        assert len(calls._kept) == 1


def test_who_waits_for_a_wake_up_goes_on_at_the_new_primary(pair: Pair) -> None:
    with sync_client(pair.url) as client:
        found: list[Any] = []

        def wait() -> None:
            while not found:
                try:
                    found.extend(client.blpop(["wake"], timeout=0.2) or [])
                except redis.RedisError:
                    continue

        waiting = threading.Thread(target=wait)
        waiting.start()
        try:
            pair.switch()
            pair.new.lpush("wake", "now")
            waiting.join(20)
            assert found == [b"wake", b"now"]
        finally:
            found.append(None)
            waiting.join()


def test_a_primary_that_shows_nothing_until_it_follows_is_left_as_well(pair: Pair) -> None:
    pair.old.config_set("replica-serve-stale-data", "no")
    with RunQueue(pair.url) as queue:
        first = queue.enqueue(REQUEST)
        pair.switch()

        assert queue.get(first.job_id).state == "ready"


SENTINELS = "redis+sentinel://127.0.0.1:1/queue/0"


@pytest.mark.parametrize("serves", ["yes", "no"])
async def test_a_call_goes_on_at_the_primary_that_the_sentinels_name_by_then(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, serves: str
) -> None:
    pair.old.config_set("replica-serve-stale-data", serves)
    places = [("127.0.0.1", port_of(pair.old))]

    async def discover(service: str) -> tuple[str, int]:
        return places[-1]

    async with async_client(SENTINELS) as client:
        pool: Any = client.connection_pool
        monkeypatch.setattr(pool.sentinel_manager, "discover_master", discover)
        assert await client.incr("count") == 1
        pair.switch()
        places.append(("127.0.0.1", port_of(pair.new)))

        assert await client.incr("count") == 2


@pytest.mark.parametrize("serves", ["yes", "no", "gone"])
def test_a_producer_s_call_goes_on_at_the_primary_that_the_sentinels_name_by_then(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, serves: str
) -> None:
    places = [("127.0.0.1", port_of(pair.old))]
    with sync_client(SENTINELS) as client:
        pool: Any = client.connection_pool
        manager = pool.sentinel_manager
        monkeypatch.setattr(manager, "discover_master", lambda _: places[-1])
        assert client.incr("count") == 1
        pair.switch()
        places.append(("127.0.0.1", port_of(pair.new)))
        if serves == "gone":
            pair.old.shutdown(nosave=True)
        else:
            pair.old.config_set("replica-serve-stale-data", serves)

        assert client.incr("count") == 2


def test_messages_go_on_at_the_new_primary(pair: Pair) -> None:
    bodies: list[Any] = []

    def take(body: Any, message: Any) -> None:
        bodies.append(body)
        message.ack()

    with cast(Any, Connection)(
        pair.url, transport="worker.kombu_transport:Transport"
    ) as connection:
        producer = connection.Producer(auto_declare=False)
        queue = connection.SimpleQueue("here").queue
        producer.publish("first", routing_key="here", declare=[queue], retry=True)
        pair.switch()
        producer.publish("second", routing_key="here", declare=[queue], retry=True)
        with connection.Consumer([queue], callbacks=[take]):
            until(lambda: _drained(connection, bodies) == 2, 20, "both messages")
    assert bodies == ["first", "second"]
    assert pair.new.llen("here") == 0


def test_a_message_that_was_taken_right_before_a_switchover_is_noted_at_the_new_primary(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kombu_transport, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kombu_transport, "NOTE_SECONDS", 20.0)
    real: Any = kombu_redis.QoS.append
    switches = [pair.switch]

    def append(qos: Any, message: Any, tag: Any) -> None:
        while switches:
            switches.pop()()
        real(qos, message, tag)

    with (
        cast(Any, Connection)(pair.url, transport="worker.kombu_transport:Transport") as connection,
        connection.SimpleQueue("here") as queue,
    ):
        queue.put("first")
        first = queue.get(timeout=20)
        first.ack()  # leaves an open connection to the old primary in the pool
        queue.put("second")
        monkeypatch.setattr(kombu_redis.QoS, "append", append)
        message = queue.get(timeout=20)
        assert pair.new.hlen("unacked") == 1
        message.ack()
    assert pair.new.hlen("unacked") == pair.new.llen("here") == 0


def _drained(connection: Any, bodies: list[Any]) -> int:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return len(bodies)
