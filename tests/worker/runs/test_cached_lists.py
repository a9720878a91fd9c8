"""A cache on the way to the server: a list that it kept proves nothing, however it looks."""

from __future__ import annotations

import dataclasses
import time
from email.utils import formatdate
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from api_client import AsyncTransport, RunPage
from api_client.answers.parts import server_date
from api_client.http.messages import HttpAnswer, Request
from runqueue import JobState, ids
from tests.worker.runs.test_recovery import is_held, lost_claims
from tests.worker.runs.test_search_proofs import denied, full_pages, other_runs, stays
from tests.worker.searching import (
    LOST,
    MADE,
    SOON,
    control,
    look,
    lose,
    lose_many,
    lose_with_control,
    record,
    show_lists,
    show_pages,
    task,
    task_v2,
)
from tests.worker.working import ENDLESS, Bench, Work
from worker.runs.search import SearchMessage
from worker.stages.reconcile import ReconcileConsumer

pytestmark = pytest.mark.usefixtures("no_waiting")

#: Seconds for which the cache has kept what it gives: a list that is so old reaches back behind the
#: claims of the jobs here.
KEPT = 120


class Cache:
    """Keeps the first list of runs that passes, and gives it again whatever the query.

    Args:
        says_so: it sends `Age`; else what it kept is dated earlier than the server's answers.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, says_so: bool) -> None:
        self.kept: HttpAnswer | None = None
        self.is_filled = False
        exchange = AsyncTransport.exchange

        async def through_it(transport: AsyncTransport, request: Request) -> HttpAnswer:
            if "/v1/runs?" not in request.url:
                answer = await exchange(transport, request)
                return answer if says_so else _dated(answer, KEPT if self.is_filled else 0)
            answer = self.kept or await exchange(transport, request)
            self.kept = answer
            if says_so and self.is_filled:
                return with_header(answer, "age", str(KEPT))
            return answer

        monkeypatch.setattr(AsyncTransport, "exchange", through_it)


def _dated(answer: HttpAnswer, seconds: float) -> HttpAnswer:
    """The answer of a server whose clock went on by so much."""
    date = server_date(answer.headers)
    assert date is not None
    return with_header(answer, "date", formatdate(date + seconds, usegmt=True))


def with_header(answer: HttpAnswer, name: str, value: str) -> HttpAnswer:
    """The answer with one header set."""
    headers = CIMultiDict(answer.headers)
    headers[name] = value
    return HttpAnswer(answer.status, headers, answer.body)


@pytest.mark.parametrize("says_so", [True, False])
async def test_a_run_that_a_cached_list_lacks_is_not_taken_for_one_that_does_not_exist(
    work: Work, monkeypatch: pytest.MonkeyPatch, *, says_so: bool
) -> None:
    cache = Cache(monkeypatch, says_so=says_so)
    async with work(**SOON) as bench:
        await control(bench, task())
        await reconciler(bench)._runs.recent(time.monotonic() - 600.0)
        cache.is_filled = True
        await control(bench, task())  # its answer comes from the server, and so does its date
        job_id = await lose(bench, task(), MADE)

        await stays(bench, job_id, note=SearchMessage.STORED)
        if says_so:  # else its dates would lie behind the server's for some minutes yet
            cache.is_filled, cache.kept = False, None
            await look(bench)
            assert bench.job(job_id).state is JobState.RUNNING


def reconciler(bench: Bench) -> ReconcileConsumer:
    return cast("ReconcileConsumer", bench.account.consumers["reconcile"])


def stored(page: RunPage) -> RunPage:
    """The page as it comes from a cache."""
    return dataclasses.replace(page, age=1.0)


@pytest.mark.parametrize("which", [1, 2, 3])
async def test_one_page_from_a_cache_is_enough_to_deny_nothing(
    work: Work, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task(), LOST)
        await other_runs(bench, 6)
        show_pages(monkeypatch, bench, full_pages, full=5)
        show_lists(
            monkeypatch, bench, lambda page, number: stored(page) if number == which else page
        )
        await stays(bench, job_id, note=SearchMessage.STORED)


async def test_a_cached_page_behind_a_short_one_does_not_end_the_list(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, task(), LOST)
        show_lists(monkeypatch, bench, lambda page, number: stored(page) if number == 2 else page)
        await stays(bench, job_id, note=SearchMessage.INCOMPLETE)

        show_lists(monkeypatch, bench, lambda page, _: dataclasses.replace(page, age=0.0))
        await denied(bench, job_id)


async def test_runs_of_a_cached_list_are_not_counted_for_equal_jobs(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(**SOON) as bench:
        jobs = await lose_many(bench, task_v2(), MADE, 2)
        show_lists(monkeypatch, bench, lambda page, _: stored(page))
        await stays(bench, *jobs, note=SearchMessage.CANDIDATES)

        show_lists(monkeypatch, bench, lambda page, _: dataclasses.replace(page, age=0.0))
        await look(bench)
        assert {bench.job(job_id).state for job_id in jobs} == {JobState.RUNNING}
        assert len({record(bench, job_id, "run_id") for job_id in jobs}) == 2


async def test_claims_that_redis_lost_are_not_recovered_from_a_cached_list(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.recovery.Recovery.is_due", lambda _: True)
    async with work() as bench:
        await lost_claims(bench, remembered=True)
        (job_id,) = bench.enqueue(1)
        cached: dict[str, Any] = {"is": True}
        read = bench.account.client.list_runs

        async def list_runs(**query: Any) -> RunPage:
            page = await read(**query)
            return dataclasses.replace(page, runs=(), age=60.0) if cached["is"] else page

        monkeypatch.setattr(bench.account.client, "list_runs", list_runs)
        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(job_id, 1))
        await bench.one_pass("reconcile")
        assert is_held(bench)
        assert bench.stats().hold_reason

        cached["is"] = False
        await bench.one_pass("reconcile")
        assert not is_held(bench)
        assert bench.job(job_id).run_id == run_id
