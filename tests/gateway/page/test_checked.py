"""Rows that are checked, results as files, and lists to which a job's page leads back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import urlencode

import pytest

from gateway.page.details import timeline_of
from gateway.state import sampler
from gateway.tenants import in_flight
from runqueue.store.history import JobHistory, JobStep
from runqueue.store.keys import ACCOUNTS
from tests.e2e.test_page_live import lines
from tests.gateway.browsing import TOKENS, Browser, Shown, browsing
from tests.gateway.gating import Desk, token
from tests.gateway.page.test_actions import noted
from tests.gateway.page.test_bulk import confirmed, states

OPS = "operate-secret"


async def checked(browser: Browser, path: str, what: str, ids: list[str]) -> Shown:
    """Check rows of a list, and press a button of its bar, as a browser without scripts does."""
    listed = await browser.open(path)
    (form,) = re.findall(r'<form id="checked".*?</form>', listed.text, re.DOTALL)
    fields = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
    assert f'name="what" value="{what}"' in form
    for job_id in ids:
        assert f'form="checked" name="id" value="{job_id}"' in listed.text
    pairs = [(name, unescape(value)) for name, value in fields]
    pairs += [("what", what), *(("id", job_id) for job_id in ids)]
    return await browser.open(f"/select?{urlencode(pairs)}")


async def test_checked_jobs_are_counted_replayed_and_the_list_is_as_it_was(
    desk: Desk, redis_url: str
) -> None:
    ids = desk.ended("failed", lines(3, group="shop-a"))
    path = "/jobs?state=failed&group=shop-a"

    async with browsing(redis_url, OPS) as browser:
        shown = await checked(browser, path, "replay", ids[:2])
        assert "2 jobs of 2 checked" in shown.words
        assert states(desk) == {"failed": 3}
        shown = await confirmed(browser, shown)

    assert str(shown.url.relative()).startswith(path)
    noted(desk, "replay", "", f"checked jobs {', '.join(ids[:2])}: 2 done")
    assert states(desk) == {"failed": 1, "ready": 2}


async def test_of_checked_jobs_only_those_count_whose_state_allows_the_action(
    desk: Desk, redis_url: str
) -> None:
    (gone,) = desk.ended("dead", lines(1))
    (waits,) = [one.job_id for one in desk.queue.enqueue_many(lines(1, custom_id="waits"))]

    async with browsing(redis_url, OPS) as browser:
        shown = await checked(browser, "/jobs", "discard", [gone, waits])
        assert "1 job of 2 checked; the states of the others do not allow it" in shown.words
        desk.queue.replay([gone])  # meanwhile: it is no longer dead
        await confirmed(browser, shown)

    noted(desk, "discard", "", f"checked jobs {gone}, {waits}: no job was met")
    assert states(desk) == {"ready": 2}


async def test_who_checks_no_row_acts_on_none(desk: Desk, redis_url: str) -> None:
    desk.ended("dead", lines(2))

    async with browsing(redis_url, OPS) as browser:
        shown = await checked(browser, "/jobs?state=dead", "replay", [])
        assert "0 jobs no job is checked" in shown.words
        assert shown.forms("/do/many") == []
        (form,) = (await browser.open("/select?what=replay&count=1")).forms("/do/many")
        await browser.send("/do/many", {**form, "ids": ""})

    assert states(desk) == {"dead": 2}


async def test_jobs_of_another_account_are_not_acted_on(desk: Desk, redis_url: str) -> None:
    ids = desk.ended("failed", lines(1))
    tokens = (*TOKENS, token("lab", "lab-secret", "read", "operate", accounts=("other",)))
    desk.client.sadd(ACCOUNTS, "other")

    async with browsing(redis_url, "lab-secret", api_tokens=tokens) as browser:
        fields = {"what": "replay", "checked": "1", "count": "1", "id": ids[0], "account": "other"}
        shown = await browser.open(f"/select?{urlencode(fields)}")

    assert "0 jobs of 1 checked" in shown.words


async def test_more_jobs_than_a_list_shows_are_refused(redis_url: str) -> None:
    query = "&".join(
        f"id={n:0>24}".translate({48: "a", 49: "b", 56: "c", 57: "d"}) for n in range(501)
    )

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/select?what=cancel&checked=1&{query}")

    assert shown.status == 422
    assert "ids: expected at most 500 jobs, got 5" in shown.words


@pytest.mark.parametrize(("query", "n"), [("format=jsonl", 2), ("format=csv", 3), ("", 2)])
async def test_results_of_a_batch_are_a_file(
    desk: Desk, redis_url: str, query: str, n: int
) -> None:
    batch = desk.queue.open_batch("prices")
    desk.ended("completed", lines(2), batch)

    async with browsing(redis_url, "read-secret") as browser:
        for path in (f"/batches/{batch}", "/batches", "/"):
            links = (await browser.open(path)).text
            assert f'href="/batches/{batch}/results?format=csv"' in links
        answer = await browser.open(f"/batches/{batch}/results?{query}")
        errors = await browser.open(f"/batches/{batch}/results?errors=1")

    kind = "csv" if "csv" in query else "jsonl"
    assert answer.headers["content-disposition"] == f'attachment; filename="results-{batch}.{kind}"'
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.text.strip().splitlines()) == n
    if kind == "jsonl":
        assert json.loads(answer.text.splitlines()[0])["custom_id"] == "row-0"
    assert (errors.status, errors.text) == (200, "")


async def test_results_are_for_who_may_see_the_batch_and_count_as_in_flight(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = desk.queue.open_batch("prices")
    desk.ended("completed", lines(1), batch)
    tokens = (*TOKENS, token("lab", "lab-secret", "read", accounts=("other",)))
    desk.client.sadd(ACCOUNTS, "other")

    async with browsing(redis_url, OPS, api_tokens=tokens) as browser:
        monkeypatch.setattr(in_flight, "BYTES", in_flight.STREAM - 1)
        full = await browser.open(f"/batches/{batch}/results")
        monkeypatch.undo()
        assert browser.door.in_flight("ops").size == 0
        browser.session.cookie_jar.clear()
        nobody = await browser.open(f"/batches/{batch}/results")
        await browser.log_in("lab-secret")
        other = await browser.open(f"/batches/{batch}/results")

    assert full.status == 429
    assert nobody.url.path == "/login"
    assert other.status == 404


async def test_a_job_s_page_leads_back_to_its_list_after_an_action_too(
    desk: Desk, redis_url: str
) -> None:
    (job_id,) = desk.ended("failed", lines(1, group="shop-a"))
    there = "/jobs?state=failed&group=shop-a"

    async with browsing(redis_url, OPS) as browser:
        referer = {"referer": f"{browser.door.url}{there}"}
        shown = await browser.open(f"/jobs/{job_id}", referer)
        (form,) = shown.forms("/do/replay_job")
        acted = await browser.send("/do/replay_job", form)
        odd = [
            await browser.open(f"/jobs/{job_id}", {"referer": one})
            for one in ("https://evil.test//jobs", "http://[", f"{browser.door.url}/jobs/{job_id}")
        ]
        given = await browser.open(f"/jobs/{job_id}?list=https://evil.test/jobs")

    for one in (shown, acted):
        assert f'<a href="{there.replace("&", "&amp;")}">Back to the list</a>' in one.text
    assert all("Back to the list" not in one.text for one in (*odd, given))


async def test_what_failed_lately_is_on_the_tile(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "EVERY", 0.1)

    async with browsing(redis_url, OPS) as browser:
        await browser.open("/")
        desk.ended("dead", lines(1, custom_id="gone"))
        desk.ended("failed", lines(3))
        shown = await browser.open("/?done=x")

    assert re.search(r"Failed 3 3 in \d s, 75.0 % of those ended", shown.words)
    assert '<div class="fails"><dt>Failed' in shown.text
    assert '<div class="warn"><dt>Dead' in shown.text


def test_steps_are_grouped_by_attempt_with_what_was_between_them() -> None:
    began = datetime(2026, 12, 1, tzinfo=UTC)

    def step(seconds: int, attempt: int | None, *, ahead: bool = False) -> JobStep:
        return JobStep(began + timedelta(seconds=seconds), "x", "", attempt, ahead)

    steps = [step(0, None), step(5, 1), step(65, 1), step(90, 3), step(100, 3), step(400, None)]
    history = JobHistory([*steps, step(500, None, ahead=True)], [], ("tsk_1",), "", 1, {})

    found = timeline_of(history)

    assert [(one.number, one.seconds) for one in found] == [(0, 0), (1, 60), (3, 10)]
    assert [[s for _, s in one.steps] for one in found] == [[None], [5, 60], [25, 10, 300]]


async def test_earlier_runs_are_on_a_job_s_page(desk: Desk, redis_url: str) -> None:
    (job_id,) = desk.ended("failed", lines(1))
    run_id = desk.queue.get(job_id).run_id
    desk.queue.replay([job_id])
    desk.claim()

    async with browsing(redis_url, OPS) as browser:
        words = (await browser.open(f"/jobs/{job_id}")).words

    for text in ("Before its first attempt", "Attempt 1", f"Run {run_id} failed", "Attempt 2"):
        assert text in words
