"""The queue on a real Redis Cluster: accounts on every node, and what is done across them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
import uvloop
from prometheus_client import CollectorRegistry

from lab.clusters import Cluster, accounts_on_each, cluster, line
from runqueue import AsyncRunQueue, JobState, RunQueue
from runqueue.cli.shared.queues import find
from runqueue.connection.client import async_client, sync_client
from runqueue.errors import EvictingRedis
from runqueue.observe.collector import QueueCollector
from runqueue.operator.decisions import Settled
from runqueue.producer import waiters
from runqueue.producer.listing import Filter
from runqueue.store import worker_calls
from runqueue.store.async_sending import run_async
from runqueue.store.inbox_calls import inbox_take
from runqueue.store.keys import ACCOUNTS, Keys
from runqueue.store.scripts import ScriptCall, load
from runqueue.store.sending import run
from tests.either import both
from tests.runqueue.producer.test_queue import finish_all

#: One account on each node.
SHOPS = accounts_on_each()
TICK_US = 500_000

#: Calls a method of either queue and returns its answer.
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for this file."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def client(nodes: Cluster) -> Iterator[redis.Redis]:
    """A client of an empty cluster that knows the accounts."""
    nodes.flush()
    with sync_client(nodes.url) as made:
        made.sadd(ACCOUNTS, *SHOPS)
        yield made


@pytest.fixture(params=["sync", "async"])
async def ask(
    request: pytest.FixtureRequest, nodes: Cluster, client: redis.Redis
) -> AsyncIterator[Ask]:
    """Either queue, asked by the name of the method."""
    assert client.ping()
    async with both(request.param, nodes.url) as call:
        yield call


def lines(count: int) -> list[dict[str, Any]]:
    """So many lines of each account."""
    return [line(shop, f"order-{number}") for shop in SHOPS for number in range(count)]


def test_the_accounts_of_these_tests_are_on_three_nodes(nodes: Cluster) -> None:
    assert len({nodes.owner(shop).port for shop in SHOPS}) == 3


async def test_a_job_of_each_node_is_submitted_finished_and_waited_for(
    ask: Ask, client: redis.Redis
) -> None:
    submitted = await ask("enqueue_many", lines(1))
    for shop in SHOPS:
        finish_all(client, shop)

    ended = [await ask("wait", answer.job_id, timeout=5) for answer in submitted]

    assert [(job.account, job.state, job.output) for job in ended] == [
        (shop, JobState.COMPLETED, 42) for shop in SHOPS
    ]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_who_waits_is_told_of_an_end_at_any_node(
    kind: str, nodes: Cluster, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_EVERY", 600.0)  # so only a message makes it look
    with RunQueue(nodes.url) as queue:
        ids = [answer.job_id for answer in queue.enqueue_many(lines(1))]
        async with AsyncRunQueue(nodes.url) as other:
            waiting = [
                asyncio.create_task(
                    asyncio.to_thread(queue.wait, job_id, 20)
                    if kind == "sync"
                    else other.wait(job_id, 20)
                )
                for job_id in ids
            ]
            for shop in SHOPS:
                finish_all(client, shop)
            ended = await asyncio.gather(*waiting)

    assert [job.state for job in ended] == [JobState.COMPLETED] * 3


async def test_jobs_of_several_accounts_travel_as_a_batch_of_each(ask: Ask) -> None:
    submitted = await ask("enqueue_many", lines(400))

    assert len({answer.job_id for answer in submitted}) == 1200
    for shop in SHOPS:
        (batch,) = (await ask("list_batches", shop)).batches
        assert (batch.total, batch.account) == (400, shop)
    stats = await ask("stats")
    assert [stats[shop].states[JobState.READY] for shop in SHOPS] == [400] * 3


async def test_jobs_of_each_node_are_listed_and_canceled(ask: Ask) -> None:
    submitted = await ask("enqueue_many", lines(3))

    for shop in SHOPS:
        assert len((await ask("list_jobs", account=shop)).jobs) == 3
    states = [await ask("cancel", answer.job_id) for answer in submitted]

    assert states == [JobState.CANCELED] * 9


def test_cancel_all_finds_the_open_jobs_of_every_node(nodes: Cluster, client: redis.Redis) -> None:
    with RunQueue(nodes.url) as queue:
        queue.enqueue_many(lines(50))
        open_jobs = Filter(is_open=True)

        done = queue.cancel_jobs({job.id for job in find(queue, open_jobs)})

        assert [*done.values()] == [Settled.CANCELED] * 150
        assert not list(find(queue, open_jobs))
    assert client.scard(ACCOUNTS) == 3


def test_a_line_that_is_pushed_to_an_inbox_is_taken_at_its_accounts_node(
    client: redis.Redis,
) -> None:
    for shop in SHOPS:
        client.rpush(f"{Keys(shop).prefix}inbox", f"a line of {shop}")
        run(client, worker_calls.heartbeat(shop, "test", 60_000_000, -1, 0, first=True))
        call = inbox_take(shop, "test", 10, 0, stay_idle=False, lease_us=60_000_000)

        taken = run(client, call).items

        assert [entry.line for entry in taken] == [f"a line of {shop}".encode()]


def test_a_wake_up_is_waited_for_at_its_accounts_node(nodes: Cluster, client: redis.Redis) -> None:
    for shop in SHOPS:
        run(client, worker_calls.heartbeat(shop, "test", 60_000_000, -1, 0, first=True))
    with RunQueue(nodes.url) as queue:
        queue.enqueue_many(lines(1))

    for shop in SHOPS:
        keys = Keys(shop)
        found = client.blpop([keys.wake(), keys.wake("test"), keys.wake("webhooks")], timeout=5)
        assert found is not None
        tick = run(client, worker_calls.tick(shop, "test", TICK_US, 0, woken=True))
        assert tick.messages == {"submit": 1}


async def test_a_node_that_forgot_the_scripts_is_taught_them(
    nodes: Cluster, client: redis.Redis
) -> None:
    call = ScriptCall(load("job_states"), SHOPS[0], [], lambda reply: int(reply[0]))
    async with async_client(nodes.url) as other:
        assert run(client, call) > 0
        for node in nodes.nodes:
            node.ask("SCRIPT FLUSH")
        assert await run_async(other, call) > 0
        for node in nodes.nodes:
            node.ask("SCRIPT FLUSH")
        assert run(client, call) > 0


def test_connections_that_were_reset_are_made_anew(nodes: Cluster, client: redis.Redis) -> None:
    call = ScriptCall(load("job_states"), SHOPS[0], [], lambda reply: int(reply[0]))

    async def main() -> None:
        async with async_client(nodes.url) as other:
            for _ in range(3):
                assert await run_async(other, call) > 0
                assert _reset(other) > 0

    uvloop.run(main())


def _reset(client: Any) -> int:
    """Have the loop find every connection to the nodes reset; the client does not look at it."""
    of_all = [node._free for node in client.nodes_manager.nodes_cache.values()]
    opened = [one for free in of_all for one in free if one.is_connected]
    for connection in opened:
        connection._writer.transport.abort()
    return len(opened)


async def test_info_tells_of_every_node(ask: Ask, nodes: Cluster) -> None:
    info = await ask("server_info")

    assert set(info) == {f"127.0.0.1:{node.port}" for node in nodes.nodes}
    assert {told["role"] for told in info.values()} == {"master"}


async def test_one_node_that_evicts_is_refused(ask: Ask, nodes: Cluster) -> None:
    nodes.nodes[2].ask("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictingRedis, match="allkeys-lru"):
            await ask("enqueue_many", lines(1))
    finally:
        nodes.nodes[2].ask("CONFIG SET", "maxmemory-policy", "noeviction")


def test_metrics_of_redis_are_told_by_node(nodes: Cluster, client: redis.Redis) -> None:
    assert client.ping()
    registry = CollectorRegistry()
    with RunQueue(nodes.url) as queue:
        registry.register(QueueCollector(queue))
        for node in nodes.nodes:
            labels = {"node": f"127.0.0.1:{node.port}"}
            used = registry.get_sample_value("runqueue_redis_memory_used_bytes", labels)
            assert used is not None
            assert used > 0
