"""What is done to many jobs: counted first, done once confirmed, noted with what it came to."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest

from gateway.page import bulk, bulk_views, lists
from gateway.page.bulk import KINDS
from runqueue import JobState
from runqueue.producer.listing import Filter
from runqueue.records.claim_items import Finished, Lost
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.gateway.browsing import Browser, Shown, browsing
from tests.gateway.gating import Desk, run_of
from tests.gateway.page.test_actions import noted

OPS = "operate-secret"


def lines(n: int, **options: Any) -> list[dict[str, Any]]:
    return [{"kind": "task", "body": {"prompt": str(k)}, **options} for k in range(n)]


def dead(desk: Desk, n: int, reason: str = "No such engine", **options: Any) -> None:
    desk.queue.enqueue_many(lines(n, **options))
    lost = [Lost(job.job_id, job.attempt, reason) for job in desk.claim()]
    run(desk.client, worker_calls.mark_dead("default", lost))


async def counted(browser: Browser, query: str) -> Shown:
    return await browser.open(f"/select?{query}&count=1")


async def confirmed(browser: Browser, shown: Shown) -> Shown:
    (form,) = shown.forms("/do/many")
    return await browser.send("/do/many", form)


def states(desk: Desk) -> dict[str, int]:
    return {state.value: n for state, n in desk.queue.stats()["default"].states.items() if n}


async def test_dead_jobs_are_replayed_by_filter(desk: Desk, redis_url: str) -> None:
    dead(desk, 3, group="shop-a")
    dead(desk, 2, group="shop-b")
    dead(desk, 1, group="shop-a", reason="deadline")

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=replay&group=shop-a&reason=ENGINE")
        shown = await confirmed(browser, shown)

    assert (shown.status, shown.url.path) == (200, "/")
    noted(desk, "replay", "", "dead, group shop-a, reason with “ENGINE”: 3 done")
    assert states(desk) == {"dead": 3, "ready": 3}


@pytest.mark.parametrize("state", ["failed", "canceled"])
async def test_jobs_that_ended_badly_are_replayed(desk: Desk, redis_url: str, state: str) -> None:
    jobs = desk.running(2)
    ends = [Finished(j.job_id, 1, run_of(j), state, state, "", b"{}") for j in jobs]
    run(desk.client, worker_calls.finish("default", ends))

    async with browsing(redis_url, OPS) as browser:
        await confirmed(browser, await counted(browser, f"what=replay&state={state}"))

    noted(desk, "replay", "", f"{state}: 2 done")
    assert states(desk) == {"ready": 2}


async def test_the_next_page_of_a_list_keeps_its_filters(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(desk, 3, group="shop-a")
    monkeypatch.setattr(lists, "ROWS", 1)

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open("/jobs?state=dead&group=shop-a&reason=No+such")

    assert "state=dead&group=shop-a&reason=No+such&cursor=" in unescape(shown.text)


async def test_no_more_are_acted_on_than_were_counted(desk: Desk, redis_url: str) -> None:
    dead(desk, 2)

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=replay")
        assert "2 jobs dead" in shown.words
        assert (states(desk), desk.queue.audit()) == ({"dead": 2}, [])
        dead(desk, 5)
        await confirmed(browser, shown)

    assert states(desk) == {"dead": 5, "ready": 2}


async def test_open_jobs_are_canceled_whatever_they_wait_for(desk: Desk, redis_url: str) -> None:
    desk.running(2)
    desk.queue.enqueue_many(lines(3) + lines(1, delay=600))

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=cancel")
        assert "6 jobs open" in shown.words
        await confirmed(browser, shown)

    noted(desk, "cancel", "", "open: 4 canceled, 2 will be canceled")


@pytest.mark.parametrize(("what", "state"), [("resubmit", JobState.READY), ("fail", JobState.DEAD)])
async def test_unconfirmed_jobs_are_settled(
    desk: Desk, redis_url: str, what: str, state: JobState
) -> None:
    job = desk.unconfirmed()

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, f"what={what}")
        assert KINDS[what].warning in shown.words
        await confirmed(browser, shown)

    noted(desk, what, "", "unconfirmed: 1 done")
    assert desk.job(job).state is state


async def test_dead_jobs_are_discarded(desk: Desk, redis_url: str) -> None:
    dead(desk, 3)

    async with browsing(redis_url, OPS) as browser:
        await confirmed(browser, await counted(browser, "what=discard"))

    noted(desk, "discard", "", "dead: 3 done")
    assert states(desk) == {}


async def test_webhooks_are_sent_again(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    end = Finished(job.job_id, 1, run_of(job), "completed", "completed", "", b"{}")
    run(desk.client, worker_calls.finish("default", [end]))
    prefix = Keys("default").prefix
    desk.client.hset(f"{prefix}job:{job.job_id}", "delivery", "abandoned")
    desk.client.zrem(f"{prefix}relays", job.job_id)
    desk.client.zadd(f"{prefix}abandoned", {job.job_id: 1})

    async with browsing(redis_url, OPS) as browser:
        assert job.job_id in (await browser.open("/webhooks")).text
        await confirmed(browser, await counted(browser, "what=deliver&state=abandoned"))

    noted(desk, "deliver", "", "abandoned: 1 done")


async def test_jobs_that_are_left_out_are_not_counted_nor_acted_on(
    desk: Desk, redis_url: str
) -> None:
    kept = desk.ended("dead", lines(1, custom_id="invoice-4711"))
    dead(desk, 3)
    by_id = desk.queue.list_jobs().jobs
    one = next(job.id for job in by_id if job.id not in kept)

    async with browsing(redis_url, OPS) as browser:
        whole = await counted(browser, "what=replay")
        assert f'form="choose" name="except" value="{one}"' in whole.text
        shown = await counted(browser, f"what=replay&except=invoice-4711,{one},+invioce")
        assert f"2 jobs dead, except invoice-4711, {one}, invioce" in shown.words
        assert "Not among those counted: invioce" in shown.words
        assert 'class="danger"' not in shown.text
        shown = await counted(browser, f"what=replay&except=invoice-4711,+{one}")
        await confirmed(browser, shown)

    noted(desk, "replay", "", f"dead, except invoice-4711, {one}: 2 done")
    assert states(desk) == {"dead": 2, "ready": 2}
    assert {job.id for job in desk.queue.list_jobs(Filter(state="dead")).jobs} == {one, *kept}


async def test_more_jobs_than_may_be_checked_cannot_be_left_out(redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/select?what=replay&except={'+'.join(map(str, range(501)))}")

    assert shown.status == 422
    assert "except: expected at most 500 jobs, got 501" in shown.words


async def test_a_count_that_is_cut_short_says_so_and_acts_on_all(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST", 5)
    dead(desk, 8)

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=replay")
        assert "5 jobs or more: the count stops there" in shown.words
        await confirmed(browser, shown)

    began = desk.queue.audit()[1]
    assert began.detail == "dead: began, unknown how many jobs"
    noted(desk, "replay", "", "dead: 8 done")


async def test_what_takes_long_goes_on_beside_the_page(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_views, "_WAIT", 0.0)
    dead(desk, 3)

    async with browsing(redis_url, OPS) as browser:
        shown = await confirmed(browser, await counted(browser, "what=replay"))
        assert shown.status == 200

    noted(desk, "replay", "", "dead: 3 done")  # the gateway has waited for it at its end


async def test_what_is_left_when_the_gateway_ends_is_noted(desk: Desk, redis_url: str) -> None:
    dead(desk, 3)

    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=replay")
        browser.door.server._gate.closing.set()
        await confirmed(browser, shown)

    noted(desk, "replay", "", "dead: 3 left when the gateway was stopped")
    assert states(desk) == {"dead": 3}


async def test_who_chooses_nothing_is_shown_an_empty_choice(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        shown = await counted(browser, "what=replay&state=unheard-of")

    assert "0 jobs dead" in shown.words
    assert shown.forms("/do/many") == []
