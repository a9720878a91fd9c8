"""Counting jobs by a filter: bounded work, few at a time, and begun by who looks at the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest

from gateway.page import bulk as page_bulk
from gateway.page import bulk_views
from gateway.page.bulk import BulkWork, Choice, count
from gateway.state.state import WORKS
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter, JobCount
from runqueue.records.batch import JobPage
from tests.gateway.browsing import TOKENS, Browser, browsing
from tests.gateway.gating import Desk, bearer, token
from tests.simulator.simulating import eventually

OPS = "operate-secret"
LAB = token("lab", "lab-secret", "read", "operate")
NOTHING: Any = (JobCount(0, True), [], [])
#: What a browser says of a link on a page of another site that is followed.
FOLLOWED = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


@contextmanager
def waiting() -> Iterator[threading.Event]:
    """Give what threads wait for; at the end they go on in any case."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


@asynccontextmanager
async def two_browsers(url: str) -> AsyncIterator[tuple[Browser, Browser]]:
    """Open browsers of two people who may act."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        browsing(url, OPS, api_tokens=(*TOKENS, LAB)) as one,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        other = Browser(one.door, session)
        assert (await other.log_in("lab-secret")).status == 200
        yield one, other


@pytest.mark.parametrize(
    ("what", "state"),
    [("cancel", "open"), ("cancel", "scheduled"), ("replay", "canceled"), ("deliver", "abandoned")],
)
async def test_a_count_begins_no_page_after_its_time_although_none_held_a_job_that_is_meant(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch, what: str, state: str
) -> None:
    monkeypatch.setattr(page_bulk, "SECONDS", -1.0)
    pages = 0
    real = AsyncRunQueue.job_pages

    async def job_pages(queue: AsyncRunQueue, *wanted: Filter, **of: Any) -> AsyncIterator[JobPage]:
        nonlocal pages
        async for page in real(queue, *wanted, **of):
            pages += 1
            yield page

    monkeypatch.setattr(AsyncRunQueue, "job_pages", job_pages)
    rows = [{"kind": "task", "body": {"prompt": "x"}, "delay": 600} for _ in range(1_200)]
    desk.queue.enqueue_many(rows)

    async with AsyncRunQueue(redis_url) as queue:
        found = await count(queue, Choice(what, "default", state, Filter(group="none")))

    assert (*found[0], pages) == (0, False, 1)


async def test_one_count_of_a_viewer_is_made_at_a_time_and_delays_no_other_viewer_s(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str | None] = []
    may_end = asyncio.Semaphore(0)

    async def counting(_: AsyncRunQueue, choice: Choice) -> object:
        began.append(choice.wanted.group)
        await may_end.acquire()
        return NOTHING

    monkeypatch.setattr(bulk_views, "count", counting)
    async with two_browsers(redis_url) as (one, other), asyncio.timeout(20):
        opened = [one.open(f"/select?what=cancel&count=1&group=one-{n}") for n in range(6)]
        counts = [asyncio.create_task(count) for count in opened]
        await eventually(lambda: one.door.in_flight("ops").requests == 6)
        counts.append(asyncio.create_task(other.open("/select?what=cancel&count=1&group=lab")))
        await eventually(lambda: began[1:] == ["lab"])
        for _ in counts:
            may_end.release()
        shown = await asyncio.gather(*counts)

    assert [one.status for one in shown] == [200] * 7


async def test_who_does_much_to_many_jobs_leaves_room_for_others(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}, "group": "a"}])

    async with two_browsers(redis_url) as (one, other), asyncio.timeout(20):
        (form,) = (await one.open("/select?what=cancel&group=a&count=1")).forms("/do/many")
        (lab,) = (await other.open("/select?what=cancel&group=a&count=1")).forms("/do/many")
        told, began = asyncio.Event(), list[BulkWork]()

        async def run(work: BulkWork, _: AsyncRunQueue) -> None:
            began.append(work)
            await told.wait()

        monkeypatch.setattr(BulkWork, "run", run)
        works = [asyncio.create_task(one.send("/do/many", form)) for _ in range(WORKS + 2)]
        refused = await next(asyncio.as_completed(works))
        await eventually(lambda: sum(work.done() for work in works) == 2)
        works.append(asyncio.create_task(other.send("/do/many", lab)))
        await eventually(lambda: len(began) == 3)
        rows = [{"kind": "task", "body": {"prompt": "x"}}]
        bulk = await one.door.ask("POST", "/v1/jobs:bulk", rows, bearer("enqueue-secret"))
        told.set()
        done = [await work for work in works]

    assert (refused.status, bulk.status) == (429, 202)
    assert sorted(shown.status for shown in done) == [200, 200, 200, 429, 429]


async def test_a_scrape_waits_for_nothing_that_people_do(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        busy = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(busy)
        with waiting() as told:
            busy.submit(told.wait)
            async with asyncio.timeout(20):
                answer = await browser.door.ask("GET", "/metrics/queue")

    assert (answer.status, b"runqueue_up" in answer.body) == (200, True)


async def test_a_link_on_another_page_leads_to_a_choice_and_begins_no_count(
    desk: Desk, redis_url: str
) -> None:
    async with browsing(redis_url) as browser:
        followed = await browser.open("/select?what=cancel&count=1", FOLLOWED)
        own = {**FOLLOWED, "sec-fetch-site": "same-origin"}
        counted = await browser.open("/select?what=cancel&count=1", own)

    assert (followed.status, "0 jobs open" in followed.words) == (200, False)
    assert "0 jobs open" in counted.words


async def test_a_job_that_is_met_twice_counts_once_among_those_that_were_confirmed(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"kind": "task", "body": {"prompt": "x"}} for _ in range(4)]
    ids = [answer.job_id for answer in desk.queue.enqueue_many(rows)]
    jobs = [job for job in desk.queue.get_many(ids) if job is not None]
    pages = [[jobs[0], jobs[1]], [jobs[1], jobs[0]], [jobs[1], jobs[2], jobs[3]]]

    async def job_pages(*_: Any, **__: Any) -> AsyncIterator[JobPage]:
        for some in pages:
            yield JobPage(some, "")

    monkeypatch.setattr(AsyncRunQueue, "job_pages", job_pages)
    work = BulkWork(Choice("cancel", "default", "open", Filter()), 3, asyncio.Event())

    async with AsyncRunQueue(redis_url) as queue:
        await work.run(queue)

    assert work.words == "3 canceled"
    assert [job.is_over for job in desk.queue.get_many(ids) if job] == [True, True, True, False]
