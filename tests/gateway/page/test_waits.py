"""Why a job is not submitted: the page, the API, RemoteQueue, commands and doctor say the same."""

from __future__ import annotations

import asyncio

from runqueue.cli.shared.account_holds import hold_words
from runqueue.records.health import health_of
from runqueue.remote import RemoteQueue
from runqueue.store.budgets import Budget
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, bearer
from worker.doctor import queue_checks

OPS = "operate-secret"


async def test_the_page_the_api_commands_and_doctor_name_the_same_reasons(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch("nightly")
    lines = [{"kind": "task", "body": {"prompt": "x"}, "group": "acme"} for _ in range(2)]
    job = desk.queue.enqueue_many(lines, batch=batch)[0].job_id
    desk.queue.seal_batch(batch)
    desk.queue.set_group("acme", paused=True)
    desk.queue.pause_batch(batch)
    desk.queue.set_budget("group:acme", Budget(1, "day", is_strict=True))
    desk.queue.pause("default", "ana: a deployment")

    waits = desk.queue.get(job).waits_for
    async with browsing(redis_url, OPS) as browser:
        page = (await browser.open(f"/jobs/{job}")).words
        of_batch = (await browser.open(f"/batches/{batch}")).words
        overview = (await browser.open("/")).words
        answer = await browser.door.ask("GET", f"/v1/jobs/{job}", headers=bearer(OPS))
        with RemoteQueue(browser.door.url, token=OPS) as remote:
            far = await asyncio.to_thread(remote.get, job)
            far_batch = await asyncio.to_thread(remote.get_batch, batch)
            far_stats = (await asyncio.to_thread(remote.stats))["default"]

    kinds = {"account_paused", "no_worker", "group_paused", "batch", "budget"}
    assert {wait.kind for wait in waits} == kinds
    assert far.waits_for == waits
    assert [wait["words"] for wait in answer.body["waits_for"]] == [wait.words for wait in waits]
    assert [wait.words for wait in waits if wait.words not in page] == []
    found = desk.queue.get_batch(batch)
    assert far_batch.waits_for == found.waits_for
    assert [wait.words for wait in found.waits_for if wait.words not in of_batch] == []
    stats = desk.queue.stats()["default"]
    assert far_stats.waits_for == stats.waits_for
    said = f"ana: a deployment; also: {stats.also_waits_for}"
    assert "no worker process serves account default" in stats.also_waits_for
    for told in (
        overview,
        hold_words(stats),
        str(health_of(stats)),
        queue_checks.health(stats).said,
    ):
        assert said in told
