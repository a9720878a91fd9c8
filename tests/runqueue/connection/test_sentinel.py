"""The queue behind real sentinels: where the primary is, and where it is after a failover."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.clusters import line
from lab.sentinels import SentinelServers, sentinel_servers
from lab.valkeys import free_port
from runqueue import JobState, RunQueue
from runqueue.errors import QueueUnavailable
from runqueue.store.keys import ACCOUNTS
from tests.either import both

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    """A primary, a replica and three sentinels."""
    with sentinel_servers(tmp_path_factory.mktemp("servers")) as made:
        yield made


@KINDS
async def test_after_a_failover_the_queue_goes_on_at_the_new_primary(
    kind: str, tmp_path: Path
) -> None:
    with sentinel_servers(tmp_path) as servers:
        await go_on_after_a_failover(kind, servers)


async def go_on_after_a_failover(kind: str, servers: SentinelServers) -> None:
    """Kill the primary between two jobs."""
    async with both(kind, servers.url) as call:
        await call("enqueue_many", [line("default", "before")])
        servers.replicated()
        servers.primary.kill()

        async def is_back() -> bool:
            try:
                return bool(await call("stats"))
            except QueueUnavailable:
                return False

        give_up = servers.give_up()
        while not await is_back():
            assert not give_up()
        await call("enqueue_many", [line("default", "after")])

        assert (await call("stats"))["default"].states[JobState.READY] == 2
    assert servers.replica.ask("ROLE")[0] == b"master"


def test_who_waits_hears_of_an_end_at_the_primary(servers: SentinelServers) -> None:
    with RunQueue(servers.url) as queue:
        (submitted,) = queue.enqueue_many([line("default", "order-17")])
        queue.cancel(submitted.job_id)

        assert queue.wait(submitted.job_id, 10).state is JobState.CANCELED
    assert servers.primary.ask("EXISTS", ACCOUNTS) == 0


@KINDS
async def test_sentinels_that_are_not_there_are_an_unavailable_queue(kind: str) -> None:
    url = f"redis+sentinel://:hush@127.0.0.1:{free_port()}/queue/0"
    async with both(kind, url) as call:
        with pytest.raises(QueueUnavailable, match="1 of 1 did not") as caught:
            await call("stats")

    assert "hush" not in str(caught.value)


@KINDS
async def test_a_plain_redis_that_is_named_as_a_sentinel_is_said_to_be_none(
    kind: str, servers: SentinelServers
) -> None:
    url = f"redis+sentinel://127.0.0.1:{servers.primary.port}/queue/0"
    async with both(kind, url) as call:
        with pytest.raises(Exception, match="is a Redis and no sentinel"):
            await call("stats")
