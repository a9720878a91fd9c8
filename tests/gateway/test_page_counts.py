"""Counting jobs by a filter: bounded work, few at a time, and begun by who looks at the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gateway import page_bulk, page_select
from gateway.page_bulk import Choice, Count, Work, count
from runqueue.job import Job
from runqueue.operate import Filter, Operations
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk

OPS = "operate-secret"
NOTHING = Count(0, True, [])
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


@pytest.mark.parametrize(
    ("what", "state"),
    [("cancel", "open"), ("cancel", "scheduled"), ("replay", "canceled"), ("deliver", "gave_up")],
)
def test_a_count_begins_no_page_after_its_time_although_none_held_a_job_that_is_meant(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str, state: str
) -> None:
    monkeypatch.setattr(page_bulk, "SECONDS", -1.0)
    pages = 0
    real = page_bulk.find

    def find(operations: Operations, choice: Choice) -> Iterator[list[Job]]:
        nonlocal pages
        for page in real(operations, choice):
            pages += 1
            yield page

    monkeypatch.setattr(page_bulk, "find", find)
    rows = [{"kind": "task", "body": {"prompt": "x"}, "delay": 600} for _ in range(1_200)]
    desk.queue.enqueue_many(rows)

    found = count(Operations(desk.queue), Choice(what, "default", state, Filter(group="none")))

    assert (found.jobs, found.exact, pages) == (0, False, 1)


async def test_more_counts_than_a_few_at_a_time_are_refused_after_a_while(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_select, "_PATIENCE", 0.1)

    async with browsing(redis_url, OPS) as browser, asyncio.timeout(20):
        with waiting() as told:
            monkeypatch.setattr(page_select, "count", lambda *_: told.wait() and NOTHING)
            asked = [browser.open("/select?what=replay&count=1") for _ in range(3)]
            first, *others = asyncio.as_completed(asked)
            refused = await first
        counted = [(await one).status for one in others]

    assert (refused.status, "others are counting" in refused.words) == (503, True)
    assert counted == [200, 200]


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


def test_a_job_that_is_met_twice_counts_once_among_those_that_were_confirmed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"kind": "task", "body": {"prompt": "x"}} for _ in range(4)]
    ids = [answer.job_id for answer in desk.queue.enqueue_many(rows)]
    jobs = [job for job in desk.queue.get_many(ids) if job is not None]
    pages = [[jobs[0], jobs[1]], [jobs[1], jobs[0]], [jobs[1], jobs[2], jobs[3]]]
    monkeypatch.setattr(Operations, "find_open_pages", lambda *_, **__: iter(pages))
    work = Work(Choice("cancel", "default", "open", Filter()), 3, threading.Event())

    work.run(Operations(desk.queue))

    assert work.words == "3 canceled"
    assert [job.is_over for job in desk.queue.get_many(ids) if job] == [True, True, True, False]
