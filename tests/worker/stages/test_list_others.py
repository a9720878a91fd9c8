"""Reading the list that shows the runs of others."""

import time
from typing import Any

import pytest

from tests.simulator.simulating import FakeClock
from tests.worker.searching import MADE, SUBMISSION
from tests.worker.working import ENDLESS, KEYS, Bench, Work
from worker import poll_times
from worker.process.account import NO_LIST_SECONDS
from worker.stages.list_others import MAX_PAGES

META = f"{KEYS.prefix}meta"
LISTS: dict[str, Any] = {"route": "list_runs"}
SHARED: dict[str, Any] = {"max_concurrent_runs": 10, "share_capacity": True}


async def others_run(bench: Bench, n: int, url: str = ENDLESS) -> None:
    """Have others start runs."""
    for _ in range(n):
        await bench.api.post("/v1/run/tasks", {"prompt": "Read it.", "url": url})


async def read(bench: Bench) -> int | None:
    """Read the list now; returns how many runs of others are known."""
    await bench.account.lease.beat()
    bench.client.hset(META, "others_at", 0)
    await bench.one_pass("others", want=1)
    return bench.stats().others


def due_in(bench: Bench) -> float:
    """Seconds until the next list."""
    at: Any = bench.client.hget(META, "others_at")
    return (int(at) - bench.now_us()) / 1e6


async def test_live_runs_that_no_job_owns_are_of_others(work: Work) -> None:
    async with work(**SHARED) as bench:
        assert await read(bench) == 0
        await others_run(bench, 6)
        await others_run(bench, 2, url="https://shop.test/?sim_seconds=0")
        assert await read(bench) == 6
        job_ids = bench.enqueue(20)
        await bench.one_pass("submit")
        assert sum(bench.job(job_id).state == "running" for job_id in job_ids) == 4
        assert await read(bench) == 6
        assert 4 < due_in(bench) <= 5


async def test_a_run_whose_answer_was_lost_is_not_of_others(work: Work) -> None:
    async with work(**SHARED) as bench:
        await others_run(bench, 1)
        assert await read(bench) == 1
        await bench.api.fault(MADE, match=SUBMISSION, times=1)
        (job_id,) = bench.enqueue()
        await bench.one_pass("submit")
        assert bench.job(job_id).state == "unconfirmed"
        assert await read(bench) == 1, "it was known to be of others"


async def test_runs_that_are_older_than_a_run_may_be_do_not_count(work: Work) -> None:
    clock = FakeClock(time.time() - 650)  # its answers are dated by the real one
    async with work(clock=clock, max_run_seconds=600, **SHARED) as bench:
        await others_run(bench, 3)
        clock.advance(100)
        await others_run(bench, 2)
        assert await read(bench) == 2


@pytest.mark.parametrize(
    ("action", "seconds"),
    [
        ({"status": 500, "body": {"error": "x"}}, poll_times.OTHERS_FAILED_SECONDS),
        ({"status": 404, "body": {"detail": "Not Found"}}, NO_LIST_SECONDS),
    ],
)
async def test_a_list_that_cannot_be_read_is_put_off(
    work: Work, action: dict[str, Any], seconds: float, logged: list[Any]
) -> None:
    async with work(**SHARED) as bench:
        await others_run(bench, 3)
        await bench.api.fault(action, match=LISTS)
        assert await read(bench) is None
        assert seconds - 5 < due_in(bench) <= seconds
        assert "runs_of_others_unknown" in [event["event"] for event in logged]
        assert bench.stats().slots == 10, "all count as ours"


async def test_so_many_pages_are_read_at_most(work: Work) -> None:
    async with work(**SHARED) as bench:
        page = [
            {"run_id": f"tsk_{n}", "task_run_type": "task_v1", "status": "running"}
            for n in range(100)
        ]
        await bench.api.fault({"status": 200, "body": page}, match=LISTS)
        assert await read(bench) == 100
        assert await bench.calls("list_runs") == MAX_PAGES
        assert 5 < due_in(bench) <= MAX_PAGES


@pytest.mark.parametrize(("rate", "seconds"), [(0, 5), (10, 5), (1, 10), (0.1, 100)])
def test_lists_take_a_tenth_of_the_calls_at_most(rate: float, seconds: float) -> None:
    assert poll_times.others_spacing(1, rate) == pytest.approx(seconds)
