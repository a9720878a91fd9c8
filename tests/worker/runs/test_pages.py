"""Pages of a list shift while they are read, and those of young runs are not read at all."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runqueue import JobState
from runqueue.store.scripts import ScriptCall
from tests.worker.listed import META, list_now, listed
from tests.worker.working import ENDLESS, Bench, Send, Work, wrap_send
from worker.stages import list_runs

pytestmark = pytest.mark.usefixtures("at_once")

LIVE = "status=created&status=queued&status=running&status=paused"


def at_second_page(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, act: Callable[[], Awaitable[None]]
) -> None:
    """Do something between the first page of a list and the second."""
    permits = 0

    async def around(send: Send, call: ScriptCall[Any]) -> Any:
        nonlocal permits
        if call.script.name == "lists_permit":
            permits += 1
            if permits == 2:
                await act()
        return await send(call)

    wrap_send(monkeypatch, bench.account, around)


@pytest.fixture
def one_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_runs, "CONCURRENCY", 1)


@pytest.mark.usefixtures("one_page_at_a_time")
async def test_runs_that_shift_to_a_page_that_was_read_are_asked_for_and_go_on(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        job_ids = [*await listed(bench, 75), *await listed(bench, 75)]
        run_of = {bench.job(job_id).run_id: job_id for job_id in job_ids}
        newest = [await bench.api.run_task(url=ENDLESS) for _ in range(3)]

        async def end_newest() -> None:
            await bench.api.post("/v1/runs/cancel", {"run_ids": newest})

        at_second_page(monkeypatch, bench, end_newest)
        await list_now(bench)
        shown = await bench.api.search(f"{LIVE}&page_size=100")

        taken = await bench.one_pass("poll")

        # The three that slipped from the second page to the first.
        assert {due.job_id for due, _ in taken.items} == {run_of[run] for run in shown[-3:]}
        assert bench.all_run(job_ids)


@pytest.mark.usefixtures("one_page_at_a_time")
async def test_runs_that_shift_to_the_next_page_are_seen_twice_and_cost_nothing(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        job_ids = [*await listed(bench, 75), *await listed(bench, 75)]

        async def begin_others() -> None:
            for _ in range(5):
                await bench.api.run_task(url=ENDLESS)

        at_second_page(monkeypatch, bench, begin_others)
        await list_now(bench)

        assert await bench.polled() == 0
        assert bench.all_run(job_ids)


def durations(bench: Bench) -> dict[str, int]:
    """What is known where runs take 300 s, and one has ended just now."""
    return {"run_mean": 300_000_000, "run_floor": 300_000_000, "run_ended": bench.now_us()}


def age(bench: Bench, seconds: float, job_ids: list[str]) -> None:
    """Have runs begun so long ago."""
    for job_id in job_ids:
        bench.set(job_id, "started", bench.now_us() - round(seconds * 1e6))


async def test_pages_of_runs_too_young_to_be_over_are_not_read(work: Work) -> None:
    async with work() as bench:
        for name, value in durations(bench).items():
            bench.client.hset(META, name, value)
        age(bench, 290, await listed(bench, 90))
        young = [*await listed(bench, 80), *await listed(bench, 80)]
        age(bench, 10, young)

        await list_now(bench)
        assert await bench.calls("list_runs") == 3  # where the old ones begin is not known yet
        await list_now(bench)
        assert await bench.calls("list_runs") == 5

        # Many of the young are gone: the old ones have moved to the first page, so it is read, too.
        runs = [bench.job(job_id).run_id for job_id in young[-70:]]
        await bench.api.post("/v1/runs/cancel", {"run_ids": runs})
        await list_now(bench)

        # And the third, which is empty now: pages are read at once, as many as there were.
        assert await bench.calls("list_runs") == 8
        assert await bench.calls("get_run") == 0
        assert await bench.polled() == 70
        assert {bench.job(job_id).state for job_id in young[-70:]} == {JobState.CANCELED}
