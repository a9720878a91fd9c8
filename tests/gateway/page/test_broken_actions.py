"""Notes of deeds that break off half done, and of whose account they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from runqueue.errors import QueueUnavailable
from runqueue.operator.decisions import Settled
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter
from runqueue.store.keys import ACCOUNTS
from tests.gateway.browsing import TOKENS, browsing
from tests.gateway.gating import Desk, gating
from tests.gateway.page.test_actions import noted

OPS = "operate-secret"
AUTH: Mapping[str, str] = {"authorization": f"Bearer {OPS}"}


def lines(n: int, **options: Any) -> list[dict[str, Any]]:
    return [{"kind": "task", "body": {"prompt": str(k)}, **options} for k in range(n)]


def batch_of(desk: Desk, n: int, **options: Any) -> str:
    """Hand in a batch; returns its id."""
    batch = desk.queue.open_batch("prices", account=options.get("account", "default"))
    desk.queue.enqueue_many(lines(n, **options), batch=batch)
    desk.queue.seal_batch(batch)
    return batch


def canceled_batch(desk: Desk, n: int) -> str:
    """Hand in a batch whose jobs are all canceled, one by one; returns its id."""
    batch = batch_of(desk, n)
    desk.queue.cancel_jobs(
        [job.id for job in desk.queue.list_jobs(Filter(batch=batch), limit=1000).jobs]
    )
    return batch


def break_off(monkeypatch: pytest.MonkeyPatch, script: str, after: int) -> None:
    """Have Redis away for a script, after it has run a few times."""
    real, sent = AsyncRunQueue.send, 0

    async def send(self: AsyncRunQueue, call: Any) -> Any:
        nonlocal sent
        sent += call.script.name == script
        if call.script.name == script and sent > after:
            raise QueueUnavailable("redis://10.1.2.3:6379/0", "cut")
        return await real(self, call)

    monkeypatch.setattr(AsyncRunQueue, "send", send)


async def test_work_that_anything_breaks_off_is_noted_with_what_it_came_to(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.queue.enqueue_many(lines(600, delay=600))
    real, pages = AsyncRunQueue.cancel_jobs, 0

    async def cancel(self: AsyncRunQueue, ids: list[str]) -> dict[str, Settled]:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise ValueError("a bug")
        return await real(self, ids)

    monkeypatch.setattr(AsyncRunQueue, "cancel_jobs", cancel)
    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open("/select?what=cancel&state=scheduled&count=1")
        (form,) = shown.forms("/do/many")
        await browser.send("/do/many", form)

    noted(desk, "cancel", "", "scheduled: 500 canceled; broke off: a bug")


async def test_a_retry_of_a_batch_that_breaks_off_is_noted_with_what_it_came_to(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = canceled_batch(desk, 600)

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open(f"/batches/{batch}")).forms("/do/retry_failed")
        break_off(monkeypatch, "replay", after=1)
        shown = await browser.send("/do/retry_failed", form)

    assert shown.status == 503
    said = "200 jobs are ready again: 200 canceled; broke off: the queue cannot be reached"
    noted(desk, "retry_failed", batch, said)


async def test_a_deed_whose_answer_was_lost_is_noted(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        break_off(monkeypatch, "pause", after=0)
        shown = await browser.send("/do/pause_account", form)

    assert shown.status == 503
    noted(desk, "pause_account", "", "broke off: the queue cannot be reached")
    assert "10.1.2.3" not in shown.words


async def test_a_call_of_the_api_that_breaks_off_is_noted_with_what_it_came_to(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = canceled_batch(desk, 600)
    break_off(monkeypatch, "replay", after=1)

    async with gating(redis_url, api_tokens=TOKENS) as door:
        answer = await door.ask(
            "POST", f"/v1/batches/{batch}/retry-failed?canceled=true", headers=AUTH
        )

    assert answer.status == 503
    said = "200 jobs are ready again: 200 canceled; broke off, answered 503"
    noted(desk, "retry_failed", batch, said)


async def test_a_call_of_the_api_that_nobody_has_thought_of_is_noted(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(*_: Any) -> bool:
        raise ValueError("a bug")

    monkeypatch.setattr(AsyncRunQueue, "pause", pause)

    async with gating(redis_url, api_tokens=TOKENS) as door:
        answer = await door.ask("POST", "/v1/accounts/default/pause", {}, AUTH)

    assert answer.status == 500
    noted(desk, "pause_account", "", "broke off, answered 500")


async def test_a_deed_is_noted_with_the_account_of_what_it_was_done_to(
    desk: Desk, redis_url: str
) -> None:
    desk.client.sadd(ACCOUNTS, "other")
    batch = batch_of(desk, 1, account="other")
    (mine,) = desk.queue.enqueue_many(lines(1))

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open(f"/batches/{batch}")).forms("/do/cancel_batch")
        await browser.send("/do/cancel_batch", {**form, "job": mine.job_id, "account": "default"})

    assert [note.target for note in desk.queue.audit("other")] == [batch]
    assert desk.queue.audit("default") == []


async def test_a_note_of_a_group_says_what_it_was_set_to(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for settings, said in (
            ({"max_concurrent": 3, "paused": True}, "at most 3 at once, paused"),
            ({"max_concurrent": None, "paused": False}, "no cap, goes on"),
            ({"paused": True}, "paused"),
        ):
            await door.ask("PUT", "/v1/groups/shop-a", settings, AUTH)
            assert desk.queue.audit()[0].detail == said
