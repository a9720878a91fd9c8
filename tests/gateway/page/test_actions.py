"""What is done from the page: each action works, without JavaScript, and is noted."""

from __future__ import annotations

import pytest

from runqueue import BatchRules, JobState
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.delivery_calls import CallbackOutcome, callback_claim, record_callback
from runqueue.store.keys import Keys
from tests.gateway.browsing import Browser, Shown, browsing
from tests.gateway.gating import Desk

OPS = "operate-secret"


def noted(desk: Desk, what: str, target: str = "", detail: str = "") -> None:
    """The newest entry says so."""
    note = desk.queue.audit()[0]
    assert (note.who, note.what, note.target, note.detail) == ("ops", what, target, detail)


async def done(browser: Browser, shown: Shown, said: str) -> None:
    """The page that a form leads to says what was done."""
    assert shown.status == 200, shown.words
    assert f"ops {said}" in shown.words
    assert "done=" in shown.url.query_string


async def test_an_account_is_paused_and_resumed(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        shown = await browser.do("/", "pause_account", reason="a deployment")
        await done(browser, shown, "paused the account: a deployment")
        assert "Paused ops: a deployment" in shown.words
        noted(desk, "pause_account", detail="a deployment")
        assert desk.queue.stats()["default"].hold_reason == "paused: ops: a deployment"

        shown = await browser.do("/", "resume_account")
        await done(browser, shown, "resumed the account")
        noted(desk, "resume_account", detail="it was held by: paused: ops: a deployment")
        assert not desk.queue.stats()["default"].paused


async def test_limits_are_set_live_and_reset(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        await browser.do("/", "set_limits", concurrent_runs="20", requests_per_second="2.5")
        noted(desk, "set_limits", detail="concurrent_runs 20, requests_per_second 2.5")

        shown = await browser.do("/", "set_limits", concurrent_runs="")
        noted(desk, "set_limits", detail="concurrent_runs reset")

    assert desk.queue.set_limits({}).live == {"requests_per_second": 2.5}
    assert "2.5 live" in shown.words


async def test_a_limit_that_is_none_is_refused_by_name(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        for value in ("-1", "many", "1.5", "nan"):
            shown = await browser.do("/", "set_limits", concurrent_runs=value, burst_size="7")
            assert (shown.status, "concurrent_runs: expected" in shown.words) == (422, True)

    assert desk.queue.set_limits({}).live == {}
    assert desk.queue.audit() == []


async def test_a_group_is_paused_resumed_and_capped(desk: Desk, redis_url: str) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}, "group": "shop-a"}])

    async with browsing(redis_url, OPS) as browser:
        await browser.do("/", "pause_group", group="shop-a")
        noted(desk, "pause_group", "shop-a")
        assert desk.claim() == []
        shown = await browser.do("/groups", "resume_group", group="shop-a")
        assert shown.url.path == "/groups"
        noted(desk, "resume_group", "shop-a")
        await browser.do("/groups", "limit_group", group="shop-a", max_concurrent="3")
        noted(desk, "limit_group", "shop-a", "at most 3 at once")
        refused = await browser.do("/groups", "limit_group", group="shop-a", max_concurrent="some")
        assert refused.status == 422

    (group,) = desk.queue.groups()
    assert (group.max_concurrent, group.paused) == (3, False)


async def test_a_budget_is_set_shown_and_cleared(desk: Desk, redis_url: str) -> None:
    line = {"kind": "task", "body": {"prompt": "x"}, "group": "acme"}
    *_, last = desk.queue.enqueue_many([line, line, line])

    async with browsing(redis_url, OPS) as browser:
        budget = {"scope": "group:acme", "amount": "20", "per": "day", "timezone": "Europe/Berlin"}
        shown = await browser.do("/budgets", "set_budget", **budget)
        assert "group:acme" in shown.words
        noted(desk, "set_budget", "group:acme", "20 steps a day (Europe/Berlin)")
        assert len(desk.claim()) == 2
        (use,) = desk.queue.list_budgets()
        assert (use.live, use.committed, use.left) == (2, 20.0, 0.0)
        words = (await browser.open(f"/jobs/{last.job_id}")).words
        assert "the budget of group acme has no room until" in words
        wrong = (
            {"amount": "some"},
            {"amount": "0"},
            {"unit": "credits", "strict": "1"},
            {"timezone": "Mars"},
            {"per": "week"},
        )
        for fields in (*wrong, {"scope": "team:a"}):
            refused = await browser.do("/budgets", "set_budget", **(budget | fields))
            assert refused.status == 422
        await browser.do("/budgets", "clear_budget", scope="group:acme")
        noted(desk, "clear_budget", "group:acme", "no budget")
        assert len(desk.claim()) == 1


async def test_a_key_is_limited_shown_and_cleared(desk: Desk, redis_url: str) -> None:
    line = {"kind": "task", "body": {"prompt": "x", "url": "https://shop.example/"}}
    *_, last = desk.queue.enqueue_many([line, line, line])

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.do("/keys", "set_key_limit", key="host:shop.example", most="2")
        assert "host:shop.example" in shown.words
        noted(desk, "set_key_limit", "host:shop.example", "2 at a time")
        assert len(desk.claim()) == 2
        (use,) = desk.queue.list_keys()
        assert (use.live, use.waiting) == (2, 1)
        words = (await browser.open(f"/jobs/{last.job_id}")).words
        assert "key host:shop.example is at its limit of 2 at a time" in words
        words = (await browser.open("/?done=x")).words
        assert "as limits allow key host:shop.example is at its limit" in words
        assert "they wait for keys or budgets" in words
        for fields in ({"most": "some"}, {"rate": "0"}, {"rate": "1e9"}, {"most": "0"}):
            refused = await browser.do("/keys", "set_key_limit", key="host:a", **fields)
            assert refused.status == 422
        await browser.do("/keys", "set_key_limit", key="login:*", rate="0.5", unit="hour")
        noted(desk, "set_key_limit", "login:*", "0.5 per hour")
        await browser.do("/keys", "clear_key_limit", key="host:shop.example")
        noted(desk, "clear_key_limit", "host:shop.example", "no limit of its own")
        assert len(desk.claim()) == 1


async def test_callbacks_of_a_batch_that_were_abandoned_are_shown_and_sent_again(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch(
        "prices", rules=BatchRules(callback_url="https://user.test/hook?token=secret")
    )
    desk.queue.seal_batch(batch)
    desk.claim()  # which gives the process its lease
    claim = callback_claim("default", "test", 10, 0, stay_idle=False, lease_us=1)
    (due,) = desk.queue.send(claim).items
    told = CallbackOutcome(
        batch, due.event, due.tries, "abandoned", error="the receiver answered 410"
    )
    desk.queue.send(record_callback("default", [told]))
    page = f"/batches/{batch}"

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(page)
        await browser.do(page, "retry_callbacks")
        noted(desk, "retry_callbacks", batch, "1 callbacks are due again")
        after = await browser.open(page)

    assert "1 abandoned the receiver answered 410" in shown.words
    assert "secret" not in shown.text
    assert "1 pending , 0 abandoned" in after.words
    assert after.forms("/do/retry_callbacks") == []


async def test_a_batch_and_the_list_show_its_rules_and_why_they_aborted_it(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch(
        "prices", rules=BatchRules(abort_at_failure_ratio=0.5, abort_after=1)
    )
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}], batch=batch)
    desk.queue.seal_batch(batch)
    lost = [Lost(job.job_id, job.attempt, "no such engine") for job in desk.claim()]
    desk.queue.send(worker_calls.mark_dead("default", lost))

    async with browsing(redis_url, OPS) as browser:
        shown = (await browser.open(f"/batches/{batch}")).words
        listed = (await browser.open("/batches")).words

    assert "aborts when 0.5 of the jobs that ended (1 at least) failed or are dead" in shown
    assert "1 of 1 jobs that ended failed or are dead" in shown
    assert "1 of 1 jobs that ended failed or are dead" in listed


async def test_a_batch_is_paused_resumed_retried_and_canceled(desk: Desk, redis_url: str) -> None:
    batch = desk.queue.open_batch("prices")
    lines = [{"kind": "task", "body": {"prompt": str(n)}} for n in range(3)]
    job, *_ = desk.queue.enqueue_many(lines, batch=batch)
    desk.queue.seal_batch(batch)
    page = f"/batches/{batch}"

    async with browsing(redis_url, OPS) as browser:
        await browser.do(page, "pause_batch")
        noted(desk, "pause_batch", batch, "prices")
        assert desk.queue.get_batch(batch).held == "paused"
        await browser.do("/batches", "resume_batch", batch=batch)
        noted(desk, "resume_batch", batch, "prices")
        desk.queue.cancel(job.job_id)
        await browser.do(page, "retry_failed")
        noted(desk, "retry_failed", batch, "1 jobs are ready again: 1 canceled")
        await browser.do(page, "cancel_batch")
        noted(desk, "cancel_batch", batch, "of 3 jobs")
        assert (await browser.open(page)).forms("/do/cancel_batch") == []

    assert desk.queue.get_batch(batch).held == "canceled"


async def test_canceled_jobs_of_a_batch_have_an_action_of_their_own(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch("prices")
    lines = [{"kind": "task", "body": {"prompt": str(n)}} for n in range(2)]
    first, second = desk.queue.enqueue_many(lines, batch=batch)
    desk.queue.seal_batch(batch)
    desk.queue.cancel(second.job_id)
    desk.claim()
    desk.queue.send(worker_calls.mark_dead("default", [Lost(first.job_id, 1, "no such engine")]))

    async with browsing(redis_url, OPS) as browser:
        failed, canceled = (await browser.open(f"/batches/{batch}")).forms("/do/retry_failed")
        await browser.send("/do/retry_failed", failed)
        noted(desk, "retry_failed", batch, "1 jobs are ready again: 1 dead")
        await browser.send("/do/retry_failed", canceled)

    noted(desk, "retry_failed", batch, "1 jobs are ready again: 1 canceled")


async def test_a_job_is_canceled_and_replayed(desk: Desk, redis_url: str) -> None:
    answer = desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])[0]
    page = f"/jobs/{answer.job_id}"

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.do(page, "cancel_job")
        assert shown.url.path == page
        noted(desk, "cancel_job", answer.job_id, "it is canceled")
        await browser.do(page, "replay_job")
        noted(desk, "replay_job", answer.job_id)

    assert desk.queue.get(answer.job_id).state is JobState.READY


@pytest.mark.parametrize(
    ("what", "fields", "state"),
    [("adopt", {"run_id": "tsk_77"}, JobState.RUNNING), ("resubmit", {}, JobState.READY)],
)
async def test_an_unconfirmed_job_gets_its_run_or_is_submitted_again(
    desk: Desk, redis_url: str, what: str, fields: dict[str, str], state: JobState
) -> None:
    job, run_id = desk.unconfirmed(), fields.get("run_id")

    async with browsing(redis_url, OPS) as browser:
        await browser.do(f"/jobs/{job.job_id}", what, **fields)

    noted(desk, what, job.job_id, run_id or "")
    assert (desk.job(job).state, desk.job(job).run_id) == (state, run_id)


async def test_an_unconfirmed_job_is_failed_with_a_reason(desk: Desk, redis_url: str) -> None:
    job = desk.unconfirmed()

    async with browsing(redis_url, OPS) as browser:
        await browser.do(f"/jobs/{job.job_id}", "fail", reason="<b>looked</b>")
        page = await browser.open(f"/jobs/{job.job_id}")

    noted(desk, "fail", job.job_id, "<b>looked</b>")
    assert desk.job(job).reason == "failed by a person: <b>looked</b>"
    assert "<b>looked" not in page.text


async def test_what_is_not_possible_any_more_is_told_and_not_noted(
    desk: Desk, redis_url: str
) -> None:
    job = desk.unconfirmed()

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open(f"/jobs/{job.job_id}")).forms("/do/resubmit")
        desk.accept(job)
        shown = await browser.send("/do/resubmit", form)

    assert (shown.status, "nothing was done: not unconfirmed" in shown.words) == (409, True)
    assert desk.queue.audit() == []
    assert desk.job(job).state is JobState.RUNNING


async def test_what_cannot_be_done_is_refused(desk: Desk, redis_url: str) -> None:
    refused: list[tuple[str, dict[str, str], int]] = [
        ("explode", {}, 404),
        ("cancel_job", {"job": "a" * 24}, 404),
        ("cancel_job", {"job": "<script>"}, 404),
        ("cancel_job", {}, 422),
        ("pause_batch", {"batch": "a" * 24}, 404),
        ("pause_account", {"account": "nobody"}, 404),
        ("pause_group", {}, 422),
        ("pause_group", {"group": "No Name"}, 422),
        ("many", {"what": "explode"}, 422),
    ]
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        base = {"form_token": form["form_token"]}
        for action, fields, status in refused:
            shown = await browser.send(f"/do/{action}", {**base, **fields})
            assert (shown.status, "<script>" in shown.text) == (status, False), action

    assert desk.queue.audit() == []


async def test_what_was_done_is_told_although_it_cannot_be_noted(
    desk: Desk, redis_url: str, logged: list[dict[str, str]]
) -> None:
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/groups")).forms("/do/limit_group")
        desk.client.set(f"{Keys('default').prefix}audit", "no stream")
        shown = await browser.send(
            "/do/limit_group", {**form, "group": "shop", "max_concurrent": "2"}
        )

    assert shown.status == 200
    assert [event["event"] for event in logged if event["event"] == "change_not_recorded"] == [
        "change_not_recorded"
    ]
    assert [group.max_concurrent for group in desk.queue.groups()] == [2]
