"""Lists that another clock dates than the one that dates their runs, a proxy's for example."""

import asyncio
import dataclasses
import time
from typing import Any

import pytest
import structlog

from api_client import RunPage
from runqueue import JobState, ids
from tests.simulator.simulating import eventually
from tests.worker.searching import (
    LOST,
    MADE,
    SOON,
    control,
    look,
    lose,
    lose_with_control,
    record,
    show_lists,
    task,
    task_v2,
)
from tests.worker.working import ENDLESS, KEYS, Bench, Work
from worker.runs.listed_runs import Runs, Submitted, date_ahead
from worker.runs.search import BEHIND_PROXY, SearchMessage

pytestmark = pytest.mark.usefixtures("no_waiting")

HOUR = 3600.0


def date_otherwise(monkeypatch: pytest.MonkeyPatch, bench: Bench, seconds: float) -> None:
    """Have lists dated so many seconds ahead."""

    def otherwise(page: RunPage, _: int) -> RunPage:
        assert page.server_date is not None
        return dataclasses.replace(page, server_date=page.server_date + seconds)

    show_lists(monkeypatch, bench, otherwise)


def test_a_date_that_some_run_of_ours_agrees_with_is_believed() -> None:
    assert date_ahead([]) == 0.0
    assert date_ahead([Submitted(1000.5, 1000.0, 1001.0)]) == 0.0
    # Another's job was claimed again since, or its run was found long after.
    others = [Submitted(1000.0, 1500.0, 1501.0), Submitted(900.0, 100.0, 4000.0)]
    assert date_ahead([*others, Submitted(1010.0, 1000.0, 1001.0)]) == 0.0


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 90.0, -90.0])
def test_two_runs_that_agree_tell_by_how_much_a_date_is_ahead(seconds: float) -> None:
    runs = [
        Submitted(1000.5 - seconds, 1000.0, 1001.0),
        Submitted(1020.5 - seconds, 1020.0, 1021.0),
    ]
    runs.append(Submitted(1030.1 - seconds, 1030.0, 1045.0))
    told = pytest.approx(seconds - 0.1)  # it may have been made with the claim already
    assert date_ahead(runs) == told
    assert date_ahead([*runs, Submitted(50_000.0, 1.0, 2.0)]) == told


def test_one_run_that_contradicts_a_date_or_two_that_disagree_correct_nothing() -> None:
    one = Submitted(-2600.0, 1000.0, 1001.0)
    assert date_ahead([one]) is None
    assert date_ahead([one, Submitted(9000.0, 1020.0, 1021.0)]) is None
    found_later = Submitted(-2600.0, 1000.0, 1500.0)
    assert date_ahead([found_later, found_later]) is None
    assert date_ahead([Submitted(0.0, 1001.0, 1000.0)]) == 0.0  # its times run backwards


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
@pytest.mark.parametrize("controls", [1, 2])
async def test_a_run_is_told_by_its_marker_whatever_clock_dates_the_list(
    work: Work, monkeypatch: pytest.MonkeyPatch, seconds: float, controls: int
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose(bench, task(), MADE)
        for _ in range(controls):
            await control(bench, task())
        date_otherwise(monkeypatch, bench, seconds)

        await look(bench)
        assert bench.job(job_id).state is JobState.RUNNING


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_run_is_told_by_its_request_once_the_date_is_corrected(
    work: Work, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task_v2(), MADE)
        date_otherwise(monkeypatch, bench, seconds)
        await look(bench, 2)
        assert record(bench, job_id, "search_message") == SearchMessage.CANDIDATES
        assert bench.job(job_id).state is JobState.UNCONFIRMED  # one run corrects nothing

        await control(bench, task())
        with structlog.testing.capture_logs() as logged:
            await look(bench)
        assert bench.job(job_id).state is JobState.RUNNING
        (told,) = [one for one in logged if one["event"] == "answers_dated_by_another_clock"]
        assert told["seconds_ahead"] == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_that_there_is_no_run_is_believed_once_the_date_is_corrected(
    work: Work, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task(), LOST)
        date_otherwise(monkeypatch, bench, seconds)
        await look(bench, 3)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert record(bench, job_id, "search_message") == SearchMessage.NO_DATE

        async def is_ready() -> bool:
            # Dates have whole seconds: the control has to be some newer than the loss.
            await control(bench, task())
            await look(bench, 2)
            return bench.job(job_id).state is JobState.READY

        await eventually(is_ready)


async def test_a_date_that_is_behind_makes_no_older_run_a_newer_one(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = 600.0
    async with work(clock=lambda: time.time() - behind, **SOON) as bench:
        for job_id in [await control(bench, task()), await control(bench, task())]:
            for field in ("taken", "started"):
                bench.set(job_id, field, int(record(bench, job_id, field)) - 600_000_000)
        behind = 0.0
        job_id = await lose(bench, task(), LOST)
        date_otherwise(monkeypatch, bench, -HOUR)

        await look(bench, 3)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert record(bench, job_id, "search_message") == SearchMessage.NOTHING_NEWER


async def test_runs_submitted_before_a_step_that_nobody_counted_correct_no_date(work: Work) -> None:
    async with work(**SOON) as bench:
        for job_id in [await control(bench, task()), await control(bench, task())]:
            for field in ("taken", "started"):
                bench.set(job_id, field, int(record(bench, job_id, field)) - 10_000_000_000)
        bench.client.hset(KEYS.meta, "dated_since", bench.now_us())
        job_id = await lose(bench, task(), MADE)

        await look(bench)
        assert bench.job(job_id).state is JobState.RUNNING


async def test_a_proxy_that_may_date_lists_itself_is_believed_if_a_run_of_ours_agrees(
    work: Work,
) -> None:
    async with work() as bench:
        bench.account.is_forwarded = True
        runs = Runs(bench.account, asyncio.Semaphore(1))
        assert (await runs.recent(time.monotonic() - 60)).is_dated  # an empty one needs no date
        await bench.api.run_task(prompt="somebody's", url=ENDLESS)
        assert not (await runs.recent(time.monotonic() - 60)).is_dated
        await control(bench, task())
        assert (await runs.recent(time.monotonic() - 60)).is_dated


async def test_a_run_that_ends_while_it_moves_to_the_next_page_is_there_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        await control(bench, task())
        pages: list[RunPage] = []

        def moved(page: RunPage, number: int) -> RunPage:
            pages.append(page)
            run = dataclasses.replace(pages[0].runs[0], status=f"as on page {number}")
            return dataclasses.replace(pages[0], runs=(run,), is_short=number == 2)

        show_lists(monkeypatch, bench, moved)
        listing = await Runs(bench.account, asyncio.Semaphore(1)).recent(time.monotonic() - 600)
        assert [run.status for run in listing.made] == ["as on page 1"]


async def test_behind_a_proxy_a_job_is_submitted_again_only_when_nothing_can_arrive_late(
    work: Work,
) -> None:
    async with work(**SOON) as bench:
        bench.account.is_proxied = True
        job_id = await lose_with_control(bench, task(), LOST)
        await look(bench, 3)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert record(bench, job_id, "search_message") == SearchMessage.PROXIED
        assert bench.stats().live == 1  # its slot serves others meanwhile

        since_us = bench.now_us() - int(BEHIND_PROXY * 1e6)
        for zset in ("unconfirmed", "unconfirmed_no_slot"):
            bench.client.zadd(f"{KEYS.prefix}{zset}", {job_id: since_us}, xx=True)
        await look(bench, 2)
        assert bench.job(job_id).state is JobState.READY


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_lost_claims_are_recovered_whatever_clock_dates_the_list(
    work: Work, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    async with work() as bench:
        for _ in range(2):
            await control(bench, task())
        (job_id,) = bench.enqueue(1)
        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(job_id, 1))
        noticed = bench.now_us() - 100_000_000
        loss: dict[str, Any] = {
            "recover_from": noticed - 60_000_000,
            "recover_since": noticed,
            "remembered": 10,
            "hold_person": 1,
            "hold_kind": "redis",
            "hold_until": noticed * 2,
            "hold_reason": "Redis lost claims",
        }
        for name, value in loss.items():
            bench.client.hset(KEYS.meta, name, value)
        date_otherwise(monkeypatch, bench, seconds)

        await bench.one_pass("reconcile")
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == (JobState.RUNNING, run_id)
        assert bench.stats().hold_reason is None
