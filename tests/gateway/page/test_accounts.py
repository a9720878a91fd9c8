"""Several accounts on the page: each has its own, and the same page of another is a click away."""

from __future__ import annotations

from runqueue.request.requests import TaskRunRequest
from runqueue.store.keys import ACCOUNTS, Keys
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, gating

OPS = "operate-secret"


async def test_each_account_has_its_page(desk: Desk, redis_url: str) -> None:
    desk.client.sadd(ACCOUNTS, "acme")
    desk.queue.pause("acme", "why")

    async with browsing(redis_url, OPS) as browser:
        first, acme = await browser.open("/"), await browser.open("/?account=acme")

    assert "Account default" in first.words
    assert 'href="?account=acme"' in first.text
    assert "Account acme" in acme.words
    assert "Paused why" in acme.words


async def test_an_account_with_damaged_keys_says_so_on_its_page_and_to_callers(
    desk: Desk, redis_url: str
) -> None:
    desk.client.sadd(ACCOUNTS, "acme")
    desk.client.set(Keys("acme").meta, "no hash")

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open("/?account=acme")
    async with gating(redis_url) as door:
        job = {"kind": "task", "account": "acme", "body": {"prompt": "x"}}
        answer = await door.ask("POST", "/v1/jobs", job)

    assert shown.status == 503
    assert "keys in Redis are damaged" in shown.words
    assert "WRONGTYPE" in shown.words
    assert (answer.status, answer.headers.get("retry-after")) == (503, None)
    assert "keys in Redis are damaged" in answer.body["detail"]


async def test_a_job_that_cannot_be_read_is_reported_as_that_and_not_as_the_account(
    desk: Desk, redis_url: str
) -> None:
    job = desk.queue.enqueue(TaskRunRequest(prompt="x")).job_id
    desk.client.hset(f"{Keys('default').prefix}job:{job}", "attempt", "none")

    async with gating(redis_url) as door:
        answer = await door.ask("POST", f"/v1/jobs/{job}/cancel")
        later = await door.ask("POST", f"/v1/jobs/{job}/cancel")

    assert answer.status == 503
    assert answer.body["detail"].startswith("the record of a job of this account in Redis cannot")
    assert later.status == 404, "it is quarantined"
