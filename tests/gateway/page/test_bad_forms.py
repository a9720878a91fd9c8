"""What no form of ours sends and no page foresaw: it is told on a page, and is nobody's fault."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.claim_items import Finished
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, run_of

OPS = "operate-secret"


@pytest.mark.parametrize("wanted", ["//[", "http://[::", "/x?"])
async def test_an_address_to_go_back_to_that_is_none_leads_to_the_overview(
    desk: Desk, redis_url: str, wanted: str
) -> None:
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        acted = await browser.send("/do/pause_account", {**form, "next": wanted}, follow=False)
        login = {"token": OPS, "next": wanted}
        logged_in = await browser.send("/login", login, follow=False)

    assert (acted.status, logged_in.status) == (303, 303)
    assert logged_in.headers["location"] in {"/", "/x"}


@pytest.mark.parametrize(
    ("depth", "shown_is"), [(50, "bottom"), (300, "bottom"), (1_000, "nested too deeply")]
)
async def test_an_output_is_shown_as_far_as_it_can_be_nested(
    desk: Desk, redis_url: str, depth: int, shown_is: str
) -> None:
    (job,) = desk.running(hook=None)
    raw = b'{"output": ' + b"[" * depth + b'"bottom"' + b"]" * depth + b"}"
    end = Finished(job.job_id, 1, run_of(job), "completed", "completed", "", raw)
    run(desk.client, worker_calls.finish("default", [end]))

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/jobs/{job.job_id}")

    assert (shown.status, shown_is in shown.words) == (200, True)
    assert shown.status == 200


@pytest.mark.parametrize(
    ("page", "action", "field"),
    [
        ("/groups", "limit_group", {"group": "shop", "max_concurrent": "1" * 5_000}),
        ("/groups", "limit_group", {"group": "shop", "max_concurrent": "\u0663"}),
        ("/select?what=cancel&count=1", "many", {"most": "9" * 5_000}),
        ("/select?what=cancel&count=1", "many", {"most": "x"}),
    ],
    ids=["long cap", "foreign cap", "long most", "no number"],
)
async def test_a_number_that_is_none_is_refused(
    desk: Desk, redis_url: str, page: str, action: str, field: dict[str, str]
) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.do(page, action, **field)

    assert (shown.status, "expected a number" in shown.words) == (422, True)
    assert desk.queue.audit() == []


async def test_what_nobody_has_thought_of_is_told_on_a_page_and_in_the_log(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, str]]
) -> None:
    async def batches(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    async with browsing(redis_url, OPS) as browser:
        monkeypatch.setattr(AsyncRunQueue, "list_batches", batches)
        shown = await browser.open("/batches")

    assert (shown.status, "This should not have happened" in shown.words) == (500, True)
    assert "a bug" not in shown.text
    assert [e["path"] for e in logged if e["event"] == "page_failed"] == ["/batches"]


async def test_a_form_that_was_refused_keeps_what_was_entered_and_is_sent_again(
    desk: Desk, redis_url: str
) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])
    budget = {"scope": "group:acme", "amount": "many", "per": "day", "timezone": "Europe/Berlin"}

    async with browsing(redis_url, OPS) as browser:
        refused = await browser.do("/budgets?account=default", "set_budget", **budget)
        (form,) = refused.forms("/do/set_budget")
        again = await browser.send("/do/set_budget", {**form, "amount": "500", "unit": "credits"})

    assert "amount: expected a number, got 'many'" in refused.words
    assert {name: form[name] for name in budget} == budget
    assert (again.status, again.url.path) == (200, "/budgets")
    assert desk.queue.list_budgets()[0].budget.credits == 500
