"""A Redis Cluster that is not there, is overrun, or whose slots and nodes move."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from lab.clusters import Cluster, Node, accounts_on_each, cluster, line, slot_of
from lab.valkeys import free_port
from lab.waiting import until
from runqueue import AsyncRunQueue, JobState, RunQueue
from runqueue.connection.client import async_client, sync_client
from runqueue.errors import QueueUnavailable
from runqueue.store.keys import ACCOUNTS
from tests.either import both

#: One account on each node.
SHOPS = accounts_on_each()
SHOP = SHOPS[0]
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for this file."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def nodes(started: Cluster) -> Cluster:
    """An empty cluster that knows the accounts."""
    started.flush()
    with sync_client(started.url) as client:
        client.sadd(ACCOUNTS, *SHOPS)
    return started


@KINDS
async def test_a_cluster_that_is_not_there_is_unavailable_once_it_is_asked(kind: str) -> None:
    url = f"redis+cluster://:hush@127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    async with both(kind, url) as call:
        with pytest.raises(QueueUnavailable) as caught:
            await call("stats")

    assert "hush" not in str(caught.value)


@KINDS
async def test_a_server_that_is_no_cluster_is_unavailable(kind: str, valkey: str) -> None:
    async with both(kind, valkey.replace("redis://", "redis+cluster://")) as call:
        with pytest.raises(QueueUnavailable, match=r"[Cc]luster"):
            await call("stats")


@KINDS
async def test_the_url_of_one_node_is_told_to_be_that_of_a_cluster(
    kind: str, nodes: Cluster
) -> None:
    elsewhere = next(node for node in nodes.nodes if node is not nodes.owner("default"))
    async with both(kind, f"redis://127.0.0.1:{elsewhere.port}/0") as call:
        with pytest.raises(QueueUnavailable, match=r"redis\+cluster://"):
            await call("enqueue_many", [line("default", "order-17")])


async def test_more_calls_than_there_are_connections_wait_for_one(nodes: Cluster) -> None:
    async with AsyncRunQueue(nodes.url) as queue:
        answers = await asyncio.gather(
            *(queue.enqueue_many([line(SHOPS[n % 3], f"at-once-{n}")]) for n in range(300))
        )

    assert len({answer.job_id for (answer,) in answers}) == 300


@KINDS
async def test_a_slot_that_moves_as_a_whole_is_followed(kind: str, nodes: Cluster) -> None:
    home, away = nodes.owner(SHOP), nodes.owner(SHOPS[1])
    async with both(kind, nodes.url) as call:
        await call("enqueue_many", [line(SHOP, "before")])
        nodes.move(SHOP, away)
        await call("enqueue_many", [line(SHOP, "while it is away")])
        nodes.move(SHOP, home)
        await call("enqueue_many", [line(SHOP, "after")])

        assert (await call("stats"))[SHOP].states[JobState.READY] == 3


@KINDS
async def test_while_a_slot_moves_key_by_key_no_script_of_its_account_begins(
    kind: str, nodes: Cluster
) -> None:
    source, target = nodes.owner(SHOP), nodes.owner(SHOPS[1])
    async with both(kind, nodes.url) as call:
        await call("enqueue_many", [line(SHOP, "before")])
        before = contents(source)
        target.ask("CLUSTER SETSLOT", slot_of(SHOP), "IMPORTING", source.id)
        source.ask("CLUSTER SETSLOT", slot_of(SHOP), "MIGRATING", target.id)
        with pytest.raises(QueueUnavailable):
            await call("enqueue_many", [line(SHOP, "while all is there")])
        assert contents(source) == before

        for key in before:
            source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        with pytest.raises(QueueUnavailable):
            await call("enqueue_many", [line(SHOP, "while all is gone")])

        for node in (target, source):
            node.ask("CLUSTER SETSLOT", slot_of(SHOP), "NODE", target.id)
        assert contents(target) == before
        await call("enqueue_many", [line(SHOP, "after")])
        assert (await call("stats"))[SHOP].states[JobState.READY] == 2
    nodes.move(SHOP, source)


def contents(node: Node) -> dict[bytes, Any]:
    """What a node has of the account, by key."""
    keys = node.ask("CLUSTER GETKEYSINSLOT", slot_of(SHOP), 1000)
    return {key: node.ask("DUMP", key) for key in keys}


def test_where_all_nodes_have_new_addresses_those_of_the_url_are_tried(nodes: Cluster) -> None:
    with sync_client(nodes.url) as client:
        client.ping()
        forget(client)

        with RunQueue(nodes.url) as queue:
            queue._client = client
            until(lambda: answers(queue), 10, "the URL's addresses to be tried")


def answers(queue: RunQueue) -> bool:
    """Whether the queue can be asked."""
    try:
        return bool(queue.stats())
    except QueueUnavailable:
        return False


def forget(client: Any) -> None:
    """Have a client know nodes that nobody listens at."""
    manager = client.nodes_manager
    stale = type(next(iter(manager.startup_nodes.values())))("127.0.0.1", free_port(), "primary")
    manager.startup_nodes = manager.nodes_cache = {stale.name: stale}
    manager.slots_cache = {slot: [stale] for slot in range(16_384)}
    manager.default_node = stale


def test_a_forked_process_has_connections_of_its_own(nodes: Cluster) -> None:
    with RunQueue(nodes.url) as queue:
        (submitted,) = queue.enqueue_many([line(SHOP, "order-18")])
        waiting = multiprocessing.get_context("fork").Process(
            target=queue.wait, args=(submitted.job_id, 20)
        )
        waiting.start()
        assert queue.cancel(submitted.job_id) is JobState.CANCELED
        waiting.join(20)

    assert waiting.exitcode == 0


async def test_where_all_nodes_have_new_addresses_coroutines_try_those_of_the_url(
    nodes: Cluster,
) -> None:
    client: Any = async_client(nodes.url)
    await client.ping()
    known = list(client.nodes_manager.nodes_cache.values())
    forget(client)
    for node in known:
        await node.disconnect()
    give_up = asyncio.get_running_loop().time() + 10
    while True:
        try:
            assert await client.ping()
            break
        except redis.RedisError:
            assert asyncio.get_running_loop().time() < give_up
    await client.aclose()
