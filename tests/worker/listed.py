"""What the tests of listing share: getting there, and what the API was asked."""

from __future__ import annotations

from typing import Any, cast

from runqueue.records.claim_items import Taken
from tests.simulator.simulating import eventually
from tests.worker.working import KEYS, Bench
from worker.stages.list_runs import ListConsumer

META = f"{KEYS.prefix}meta"
MANY = 12


def consumer_of(bench: Bench) -> ListConsumer:
    """The consumer that lists; nothing is begun by itself."""
    consumer = cast(ListConsumer, bench.account.consumers["list"])
    consumer.on_missing = lambda: None
    return consumer


def due_now(bench: Bench, *job_ids: str) -> None:
    """Make the polls of running jobs due."""
    bench.client.zadd(f"{KEYS.prefix}poll", dict.fromkeys(job_ids, 0), xx=True)


async def list_now(bench: Bench) -> Taken[Any]:
    """Have the list read, if lists are on."""
    consumer_of(bench)
    await bench.account.lease.beat()  # what a test did before may have taken long
    bench.client.hset(META, "list_at", 0)
    return await bench.one_pass("list", want=1)


async def listed(bench: Bench, n: int = MANY, **options: Any) -> list[str]:
    """Submit so many jobs and leave their runs to lists; return their ids."""
    consumer_of(bench)
    job_ids = bench.enqueue(n, **options)

    async def all_run() -> bool:
        # Where the machine is busy a permit may be void: its job is back in its lane.
        await bench.account.lease.beat()
        await bench.one_pass("submit")
        return {bench.job(job_id).state for job_id in job_ids} == {"running"}

    await eventually(all_run)
    await bench.account.lease.beat()
    assert not (await bench.one_pass("poll")).items, "a run was looked at by itself"
    assert set(in_lists(bench)) >= set(job_ids)
    return job_ids


def in_lists(bench: Bench) -> list[str]:
    """The jobs whose runs are left to lists."""
    members: Any = bench.client.zrange(f"{KEYS.prefix}listed", 0, -1)
    return [member.decode() for member in members]


def lists_are_on(bench: Bench) -> bool:
    """Tell whether runs are left to lists."""
    return bool(bench.client.hexists(META, "lists_on"))


def off_for(bench: Bench) -> float:
    """For how many seconds no lists are read."""
    raw: Any = bench.client.hget(META, "list_off")
    return (int(raw or 0) - bench.now_us()) / 1e6
