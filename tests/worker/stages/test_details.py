"""Details: which calls read them, and what each answer means."""

from typing import Any

import pytest

from runqueue import TaskRunRequest, WorkflowRunRequest
from runqueue.records.run_figures import Usage
from simulator.records import CATEGORIES
from tests.worker.working import KEYS, Bench, Work
from worker.runs import read_run

BILLED = {"credits_per_step": 5}
ROUTE = "workflow_runs"


@pytest.fixture(autouse=True)
def ends_are_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_run, "SETTLE_SECONDS", 0.0)


async def polled(bench: Bench, n: int = 1, *, end: str = "failed", two: bool = False) -> list[str]:
    """Jobs whose runs ended, as polls saw."""
    workflow = WorkflowRunRequest(
        workflow_id="wpid_1", parameters={"sim_end": end, "sim_seconds": 0}
    )
    url = f"https://shop.test/?sim_seconds=0&sim_end={end}"
    task = TaskRunRequest(prompt="Read it.", url=url, engine="skyvern-2.0")
    request = task if two else workflow
    jobs = [bench.queue.enqueue(request).job_id for _ in range(n)]
    await bench.one_pass("submit")
    await bench.one_pass("poll")
    assert all(bench.job(job).is_over for job in jobs)
    return jobs


async def read(bench: Bench) -> None:
    """Read the details that are waited for, now."""
    due: Any = bench.client.zrange(f"{KEYS.prefix}run_details", 0, -1)
    for run_id in due:
        bench.client.zadd(f"{KEYS.prefix}run_details", {run_id: 0})
    await bench.one_pass("details")


def waiting(bench: Bench) -> int:
    count: Any = bench.client.zcard(f"{KEYS.prefix}run_details")
    return int(count)


@pytest.mark.parametrize("two", [False, True])
async def test_a_failed_run_gets_its_category_and_credits(work: Work, *, two: bool) -> None:
    async with work(simulator=BILLED) as bench:
        (job,) = await polled(bench, two=two)
        assert bench.job(job).failure_category is None
        await read(bench)

        found = bench.job(job)
        assert found.failure_category in CATEGORIES
        assert found.usage == Usage(1, 5, 1)
        assert (await bench.calls(ROUTE), waiting(bench)) == (1, 0)


@pytest.mark.parametrize(
    ("details", "end", "calls"),
    [("failed", "completed", 0), ("all", "completed", 1), ("never", "failed", 0)],
)
async def test_the_setting_says_of_which_runs(
    work: Work, details: str, end: str, calls: int
) -> None:
    async with work(simulator=BILLED, settings={"run_details": details}) as bench:
        (job,) = await polled(bench, end=end)
        await read(bench)

        assert await bench.calls(ROUTE) == calls
        assert bench.job(job).credits == (5 if calls else None)


async def test_many_are_read_by_page(work: Work) -> None:
    async with work(simulator=BILLED) as bench:
        jobs = await polled(bench, 8)
        await read(bench)

        assert await bench.calls(ROUTE) == 1
        assert {bench.job(job).credits for job in jobs} == {5}


async def test_a_page_that_shows_none_is_followed_by_searches(work: Work) -> None:
    async with work(simulator=BILLED) as bench:
        jobs = await polled(bench, 2)
        page: dict[str, Any] = {"status": 200, "body": []}
        await bench.api.fault(page, match={"route": ROUTE}, times=1)
        await read(bench)

        assert await bench.calls(ROUTE) == 3
        assert {bench.job(job).credits for job in jobs} == {5}


@pytest.mark.parametrize(
    "action",
    [
        {"status": 500, "body": {}},
        {"status": 429, "body": {}},
        {"status": 200, "body": [{"workflow_run_id": "wr_1", "status": "failed"}]},
    ],
)
async def test_what_was_not_read_comes_again(work: Work, action: dict[str, Any]) -> None:
    async with work(simulator=BILLED) as bench:
        (job,) = await polled(bench)
        await bench.api.fault(action, match={"route": ROUTE}, times=1)
        await read(bench)
        assert (bench.job(job).credits, waiting(bench)) == (None, 1)

        await read(bench)
        assert (bench.job(job).credits, waiting(bench)) == (5, 0)


async def test_hostile_details_are_not_known(work: Work) -> None:
    async with work(simulator=BILLED) as bench:
        (job,) = await polled(bench)
        (run_id,) = (run["run_id"] for run in await bench.runs())
        shown = {"workflow_run_id": run_id, "status": "failed", "credits_used": -1}
        shown |= {"cached_credits_used": "5", "failure_category": [{"category": "A\nB"}]}
        answer = {"status": 200, "body": [shown]}
        await bench.api.fault(answer, match={"route": ROUTE}, times=1)
        await read(bench)

        found = bench.job(job)
        assert (found.usage, found.failure_category, waiting(bench)) == (Usage(1), None, 0)


async def test_a_server_without_the_list_is_left_alone(work: Work) -> None:
    async with work(simulator=BILLED) as bench:
        await polled(bench, 2)
        missing = {"status": 404, "body": {"detail": "Not Found"}}
        await bench.api.fault(missing, match={"route": ROUTE}, times=1)
        await read(bench)
        assert (await bench.calls(ROUTE), waiting(bench)) == (1, 0)

        await polled(bench)
        await read(bench)
        assert (await bench.calls(ROUTE), waiting(bench)) == (1, 0)
        assert bench.stats().totals["details:abandoned"] == 3


async def test_what_waits_when_the_setting_becomes_never_is_abandoned(work: Work) -> None:
    async with work(simulator=BILLED) as bench:
        await polled(bench, 2)
        settings = bench.account.worker_settings.model_copy(update={"run_details": "never"})
        bench.account.worker_settings = settings
        await read(bench)

        assert (await bench.calls(ROUTE), waiting(bench)) == (0, 0)
        assert bench.stats().totals["details:abandoned"] == 2
