"""Runs that wait for a person, on the page and over HTTP: shown, approved, rejected, audited."""

from __future__ import annotations

from runqueue.records.claim_items import Polled
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, gating, token

OPS = "operate-secret"
URL = "https://app.test/runs/wr_1?a=1&b=2"


def paused(desk: Desk, custom_id: str, url: str = URL) -> str:
    (job,) = desk.running(custom_id=custom_id)
    item = Polled(job.job_id, job.attempt, "paused", 60_000_000, 0, url)
    assert run(desk.client, worker_calls.mark_polled("default", [item])) == 1
    return job.job_id


async def test_the_overview_shows_who_waits_for_a_person_while_there_are_any(
    desk: Desk, redis_url: str
) -> None:
    async with browsing(redis_url, OPS) as browser:
        assert "Paused runs" not in (await browser.open("/")).words
        ids = [paused(desk, f"row-{n}") for n in range(7)]
        shown = await browser.open("/?done=x")
        every = await browser.open("/jobs?is_paused=true")

    assert "Paused runs 7" in shown.words
    assert "7 wait for a person" in shown.words
    assert shown.text.count(URL.replace("&", "&amp;")) == 5
    assert all(job_id in every.text for job_id in ids)


async def test_a_run_is_approved_and_another_rejected_from_the_page(
    desk: Desk, redis_url: str
) -> None:
    good, bad = paused(desk, "good"), paused(desk, "bad")

    async with browsing(redis_url, OPS) as browser:
        assert "waits for a person since" in (await browser.open(f"/jobs/{good}")).words
        shown = await browser.do(f"/jobs/{good}", "approve")
        assert "ops approved paused runs" in shown.words
        shown = await browser.do(f"/jobs/{bad}", "cancel_job")
        assert "cancel requested" in shown.words

    cancels = f"{Keys('default').prefix}cancels"
    assert desk.client.zscore(cancels, f"approve {good}") is not None
    assert desk.client.zscore(cancels, bad) is not None
    notes = [(note.what, note.target, note.detail) for note in desk.queue.audit()]
    assert notes == [("cancel_job", bad, "it is running"), ("approve", good, "")]


async def test_who_may_only_read_decides_nothing(desk: Desk, redis_url: str) -> None:
    paused(desk, "row-1")
    tokens = (token("reader", "read-secret", "read"),)
    async with browsing(redis_url, "read-secret", api_tokens=tokens) as browser:
        shown = await browser.open("/")
    assert "Paused runs 1" in shown.words
    assert "/do/approve" not in shown.text


async def test_paused_runs_are_listed_and_decided_on_over_http(desk: Desk, redis_url: str) -> None:
    job_id = paused(desk, "row-1")
    (other,) = desk.running()
    ids = [job_id, other.job_id]

    async with gating(redis_url) as door:
        listed = (await door.ask("GET", "/v1/jobs?is_paused=true")).body["jobs"]
        first = (await door.ask("POST", "/v1/jobs:approve", {"job_ids": ids})).body["jobs"]
        stats = (await door.ask("GET", "/v1/stats")).body

    assert [(job["job_id"], job["paused_url"]) for job in listed] == [(job_id, URL)]
    assert listed[0]["paused_since"]
    assert first == {job_id: "done", other.job_id: "its run is not paused"}
    assert stats["default"]["paused_runs"] == 1
    notes = [(note.what, note.target, note.detail) for note in desk.queue.audit()]
    assert notes == [("approve", "", "1 of 2 jobs: will be approved")]
