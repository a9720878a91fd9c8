"""Skyvern's clock goes on while that of the queue's machine stands still.

A virtual machine that is paused, a laptop that sleeps, a clock that comes back behind after a power
cut: no clock of ours counts that time. Then a run that was made before it seems older than its own
claim, by as much.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from api_client import ListedRun, RunPage
from runqueue import JobState, ids
from tests.worker.searching import (
    LOST,
    MADE,
    SOON,
    candidates,
    control,
    flow,
    look,
    lose,
    record,
    show_lists,
    task,
    task_v2,
)
from tests.worker.working import ENDLESS, Bench, Work
from worker.runs.search import SearchMessage

pytestmark = pytest.mark.usefixtures("no_waiting")

PAUSE = 600.0


async def stand_still(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Have ten minutes pass for the server alone: what was made so far is older by as much."""
    known = {run["run_id"] for run in await bench.runs()}

    def later(run: ListedRun) -> ListedRun:
        if run.run_id in known or run.created is None:
            return run
        finished = None if run.finished is None else run.finished + PAUSE
        return dataclasses.replace(run, created=run.created + PAUSE, finished=finished)

    def shown(page: RunPage, _: int) -> RunPage:
        assert page.server_date is not None
        runs = tuple(map(later, page.runs))
        return dataclasses.replace(page, runs=runs, server_date=page.server_date + PAUSE)

    show_lists(monkeypatch, bench, shown)


async def settle(bench: Bench, request: Any, job_id: str) -> None:
    """Do all that could have the job submitted again."""
    await control(bench, request)
    await look(bench, 3)
    await bench.one_pass("submit")
    assert bench.job(job_id).attempts == 1


@pytest.mark.parametrize("request_of", [task(), task_v2(), flow()], ids=["1.0", "2.0", "workflow"])
async def test_a_run_made_before_a_standstill_is_its_job_s_by_the_server_s_own_dates(
    work: Work, monkeypatch: pytest.MonkeyPatch, request_of: Any
) -> None:
    async with work(**SOON) as bench:
        await bench.submitted()  # the server's date is known
        made = {run["run_id"] for run in await bench.runs()}
        job_id = await lose(bench, request_of, MADE)
        await stand_still(monkeypatch, bench)

        await settle(bench, request_of, job_id)

        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.job(job_id).run_id in {run["run_id"] for run in await bench.runs()} - made


async def test_a_lost_submission_without_a_run_is_made_again_across_a_standstill(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        await bench.submitted()
        job_id = await lose(bench, task_v2(), LOST)
        await stand_still(monkeypatch, bench)

        await control(bench, task_v2())
        await look(bench, 2)

        assert bench.job(job_id).state is JobState.READY


async def test_where_no_date_is_known_of_a_claim_a_run_with_its_marker_waits_for_a_person(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, task(), MADE)  # nothing was answered before
        [run] = await bench.runs()
        await stand_still(monkeypatch, bench)

        await settle(bench, task(), job_id)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert record(bench, job_id, "search_message") == SearchMessage.BEFORE_CLAIM
        assert set(candidates(bench, job_id)) == {run["run_id"]}


async def test_a_run_of_an_earlier_life_is_not_taken_for_the_job_s(work: Work) -> None:
    ago = [-PAUSE]
    async with work(clock=lambda: time.time() + ago[0], **SOON) as bench:
        await bench.submitted()
        job_id = ids.job_id_for("default", "", "again")
        await bench.api.run_task(prompt="p", url=ENDLESS, title=ids.title_marker(job_id, 1))
        ago[0] = 0.0
        assert await lose(bench, task(), LOST, idempotency_key="again") == job_id
        await control(bench, task())

        await look(bench, 2)

        assert bench.job(job_id).state is JobState.READY
