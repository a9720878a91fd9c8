"""What a search must not take for "there is no run": it would make a second one."""

import time
from typing import Any

import pytest

from runqueue import JobState, ids
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from tests.simulator.simulating import eventually
from tests.worker.searching import LOST, MADE, SOON, SUBMISSION, look, lose, task
from tests.worker.stages.test_reconcile import ALL
from tests.worker.working import ENDLESS, KEYS, Bench, Work, start

MINUTE = 60_000_000


pytestmark = pytest.mark.usefixtures("no_waiting")


async def claimed_by_the_dead(bench: Bench, engine: str, minutes: int) -> str:
    """Have a job whose process died so long ago, with its run made; it is taken over only now."""
    account = bench.account
    job_id = bench.queue.enqueue(task(engine=engine)).job_id
    await account.send(worker_calls.heartbeat("default", "dead", 15_000_000, -1, 0, first=True))
    assert (await account.send(worker_calls.claim("default", "dead", "c1", 10, 0))).items
    title = ids.title_marker(job_id, 1)
    await bench.api.run_task(prompt="p", url=ENDLESS, engine=engine, title=title)
    then = bench.now_us() - minutes * MINUTE
    bench.client.zadd(f"{KEYS.prefix}claims:dead", {job_id: then})
    bench.client.zadd(f"{KEYS.prefix}processes", {"dead": then + 15_000_000})
    await account.send(worker_calls.sweep("default", "expire_leases", 75_000_000, 500))
    assert bench.job(job_id).state is JobState.UNCONFIRMED
    return job_id


@pytest.mark.parametrize("engine", ["skyvern-1.0", "skyvern-2.0"])
async def test_a_run_is_found_however_late_its_claim_is_taken_over(work: Work, engine: str) -> None:
    ago = [-600.0]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        job_id = await claimed_by_the_dead(bench, engine, minutes=10)
        ago[0] = 0.0

        await look(bench, 2)
        await bench.one_pass("submit")

        [run] = await bench.runs()
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == (
            JobState.RUNNING,
            run["run_id"],
        )


@pytest.mark.parametrize("request_of", ALL.values(), ids=ALL.keys())
async def test_the_time_that_a_search_takes_makes_no_run_too_old(
    work: Work, request_of: Any
) -> None:
    ahead = [0.0]
    async with work(clock=lambda: time.time() + ahead[0], **SOON) as bench:
        job_id = await lose(bench, request_of, MADE)
        consumer = bench.account.consumers["reconcile"]
        bench.client.zadd(f"{KEYS.prefix}reconcile", {job_id: 0})
        ((taken, start_of_pass, _),) = (await consumer.take(1, 0)).items

        ahead[0] = 70.0  # the list is read 70 s later, and the run is 70 s older by then
        start(consumer, (taken, start_of_pass - 70, False))
        await eventually(lambda: consumer.busy == 0)

        assert bench.job(job_id).state is JobState.RUNNING


async def test_a_job_that_was_found_meanwhile_takes_no_equal_one_s_run(work: Work) -> None:
    async with work(**SOON) as bench:
        job_ids = [await lose(bench, task(engine=None), MADE) for _ in range(2)]
        first, second = [run["run_id"] for run in await bench.runs()]
        consumer = bench.account.consumers["reconcile"]
        bench.client.zadd(f"{KEYS.prefix}reconcile", dict.fromkeys(job_ids, 0))
        taken = await consumer.take(1, 0)
        late = [RunAccepted(job_ids[0], 1, first, "running", 0)]
        assert await bench.account.send(worker_calls.mark_running("default", late)) == [1]

        start(consumer, *taken.items)
        await eventually(lambda: consumer.busy == 0)

        assert [bench.job(job_id).run_id for job_id in job_ids] == [first, second]
        assert list(bench.queue.orphans()) == []


async def test_a_marked_run_of_a_job_that_moved_on_is_an_orphan(work: Work) -> None:
    async with work(**SOON) as bench:
        request = task(engine="skyvern-2.0", webhook_url="https://hook.test/")
        job_id = await lose(bench, request, MADE)
        consumer = bench.account.consumers["reconcile"]
        bench.client.zadd(f"{KEYS.prefix}reconcile", {job_id: 0})
        taken = await consumer.take(1, 0)
        bench.queue.fail([job_id])

        start(consumer, *taken.items)
        await eventually(lambda: consumer.busy == 0)

        [run] = await bench.runs()
        assert [one.run_id for one in bench.queue.orphans()] == [run["run_id"]]


async def test_a_job_whose_claim_s_time_is_not_known_is_never_denied(work: Work) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, task(), LOST)
        bench.client.hdel(f"{KEYS.prefix}job:{job_id}", "claimed")  # Redis lost its claim

        await look(bench, 3)

        assert bench.job(job_id).state is JobState.UNCONFIRMED


async def test_of_two_runs_of_one_attempt_the_older_is_the_job_s_also_among_many(
    work: Work,
) -> None:
    async with work() as bench:
        await bench.api.fault(MADE, match=SUBMISSION, times=12)
        job_ids = bench.enqueue(12)
        await bench.one_pass("submit")
        first = (await bench.runs())[0]
        twin = await bench.api.run_task(title=first["title"], url=ENDLESS)

        await look(bench)

        assert first["run_id"] in {bench.job(job_id).run_id for job_id in job_ids}
        assert [orphan.run_id for orphan in bench.queue.orphans()] == [twin]
