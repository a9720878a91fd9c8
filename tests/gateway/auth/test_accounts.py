"""Tokens for some accounts: beside these there are no others, whatever is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.tenants.scope import SomeOfQueue
from runqueue import JobState, RunQueue, UnknownAccount
from runqueue.ids import job_id_for, new_id
from runqueue.store import job_calls
from runqueue.store.keys import ACCOUNTS
from tests.gateway.api.test_events import listening
from tests.gateway.gating import KEY, Desk, Door, bearer, gating, token, told
from tests.gateway.uploads import lines, send
from tests.simulator.simulating import eventually

ALL = ("enqueue", "read", "operate")
TOKENS = (
    token("everything", "all-secret", *ALL),
    token("shop", "shop-secret", *ALL, accounts=("shop",)),
    token("both", "both-secret", *ALL, accounts=("shop", "acme")),
)
SETTINGS: dict[str, Any] = {
    "api_tokens": TOKENS,
    "accounts": {"shop": {"api_key": "shop-key"}, "acme": {"api_key": "acme-key"}},
}
SHOP = bearer("shop-secret")
LINE = {"custom_id": "order-17", "kind": "task", "body": {"prompt": "Read it."}}

JOB_CALLS = [
    ("GET", "/v1/jobs/{}"),
    ("GET", "/v1/jobs/{}?wait=0.1"),
    ("POST", "/v1/jobs/{}/cancel"),
    ("POST", "/v1/jobs/{}/webhook/ack"),
]
BATCH_CALLS = [
    ("GET", "/v1/batches/{}"),
    ("GET", "/v1/batches/{}/results"),
    ("GET", "/v1/batches/{}/errors"),
    ("POST", "/v1/batches/{}/cancel"),
    ("POST", "/v1/batches/{}/pause"),
    ("POST", "/v1/batches/{}/resume"),
    ("POST", "/v1/batches/{}/retry-callbacks"),
    ("POST", "/v1/batches/{}/retry-failed"),
    ("GET", "/v1/jobs?batch={}"),
]


@pytest.fixture
def others(queue: RunQueue, desk: Desk) -> dict[str, str]:
    """A job and a batch of another account, the job over and its webhook under way."""
    desk.client.sadd(ACCOUNTS, "shop", "acme")
    batch = queue.open_batch("prices", account="acme")
    queue.enqueue_many([{**LINE, "account": "acme"}], batch=batch)
    queue.seal_batch(batch)
    return {"jobs": job_id_for("acme", "", "order-17"), "batches": batch}


async def raw(door: Door, method: str, path: str, body: Any = None) -> tuple[int, Any, bytes]:
    """An answer to the bearer of `shop`, byte by byte, but for its date."""
    async with door.session.request(method, door.url + path, json=body, headers=SHOP) as answer:
        headers = sorted((n, v) for n, v in answer.headers.items() if n.lower() != "date")
        return answer.status, headers, await answer.read()


async def test_what_is_another_account_s_is_answered_as_what_never_was(
    desk: Desk, redis_url: str, others: dict[str, str]
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        before = desk.everything()
        for method, path in (*JOB_CALLS, *BATCH_CALLS):
            name = others["jobs" if (method, path) in JOB_CALLS else "batches"]
            theirs = await raw(door, method, path.format(name))
            assert theirs[0] == (200 if path.startswith("/v1/jobs?") else 404)
            for unknown in (new_id("shop"), new_id("acme"), new_id("nobody")):
                *head, body = await raw(door, method, path.format(unknown))
                assert (*head, body.replace(unknown.encode(), name.encode())) == theirs
        assert desk.everything() == before
        for method, path in (*JOB_CALLS, *BATCH_CALLS):
            name = others["jobs" if (method, path) in JOB_CALLS else "batches"]
            to_all = await door.ask(method, path.format(name), headers=bearer("all-secret"))
            assert to_all.status in {200, 409}, path


#: Calls that name an account, "{}".
NAMING: list[tuple[str, str, Any]] = [
    ("POST", "/v1/jobs", {**LINE, "account": "{}"}),
    ("POST", "/v1/jobs", {**LINE, "custom_id": "another", "account": "{}"}),
    ("POST", "/v1/jobs:bulk", [LINE, {**LINE, "account": "{}"}]),
    ("GET", "/v1/jobs?account={}", None),
    ("GET", "/v1/batches?account={}", None),
    ("GET", "/v1/groups?account={}", None),
    ("PUT", "/v1/groups/shop-a?account={}", {"paused": True}),
    ("GET", "/v1/keys?account={}", None),
    ("PUT", "/v1/keys/site:a?account={}", {"max_concurrent": 1}),
    ("DELETE", "/v1/keys/site:a?account={}", None),
    ("GET", "/v1/budgets?account={}", None),
    ("PUT", "/v1/budgets/account?account={}", {"steps": 1}),
    ("DELETE", "/v1/budgets/account?account={}", None),
    ("GET", "/v1/events?account={}", None),
]


def named(part: Any, name: str) -> Any:
    """A call with an account's name in its place."""
    if isinstance(part, list | tuple):
        return [named(one, name) for one in part]
    if isinstance(part, dict):
        return {key: named(value, name) for key, value in part.items()}
    return part.format(name) if isinstance(part, str) else part


async def test_another_account_is_answered_as_one_that_never_was(
    desk: Desk, redis_url: str, others: dict[str, str]
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        before = desk.everything()
        for call in NAMING:
            theirs, nobodys = [await raw(door, *named(call, name)) for name in ("acme", "emca")]
            assert (theirs[0], b"account" in theirs[2]) == (422, True), call
            assert theirs[:2] == nobodys[:2]
            assert theirs[2].replace(b"acme", b"emca") == nobodys[2]
        assert desk.everything() == before


async def test_an_upload_for_another_account_is_refused_before_it_is_read(
    desk: Desk, redis_url: str, others: dict[str, str]
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        refused = [await send(door, lines(1), f"?account={name}", **SHOP) for name in ("acme", "x")]
        line = await send(door, lines(1, account="acme"), **SHOP)

    assert [answer.status for answer in refused] == [422, 422]
    assert refused[0].body == {
        **refused[1].body,
        "detail": "account: no worker has served 'acme' yet",
        "account": "acme",
        "errors": [{"field": "account", "message": "no worker has served 'acme' yet"}],
    }
    assert (line.status, line.body["errors"][0]["field"]) == (422, "line 1: account")


async def test_what_names_no_account_is_the_first_one_s_of_the_token(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        for secret in ("shop-secret", "both-secret"):
            key = bearer(secret)
            one = await door.ask("POST", "/v1/jobs", LINE, key)
            many = await door.ask("POST", "/v1/jobs:bulk", [LINE], key)
            batch = await send(door, lines(1, secret), **key)
            listed = await door.ask("GET", "/v1/jobs", headers=key)

            assert one.body["job_id"] == job_id_for("shop", "", "order-17")
            assert many.body["counts"]["known"] == 1
            assert queue.get_batch(batch.body["batch_id"]).account == "shop"
            assert {job["account"] for job in listed.body["jobs"]} == {"shop"}


async def test_a_token_for_several_accounts_reaches_each(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        job = await door.ask("POST", "/v1/jobs", {**LINE, "account": "acme"}, bearer("both-secret"))
        path = f"/v1/jobs/{job.body['job_id']}"
        read = await door.ask("GET", path, headers=bearer("both-secret"))
        stats = await door.ask("GET", "/v1/stats", headers=bearer("both-secret"))

    assert (job.status, read.body["account"]) == (202, "acme")
    assert sorted(stats.body) == ["acme", "shop"]


async def test_figures_are_those_of_the_token_s_accounts(
    redis_url: str, others: dict[str, str]
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        stats = await door.ask("GET", "/v1/stats", headers=SHOP)
        metrics = [await door.ask("GET", p, headers=SHOP) for p in ("/metrics", "/metrics/queue")]

    assert list(stats.body) == ["shop"]
    assert [(answer.status, answer.body["detail"]) for answer in metrics] == [
        (403, "shop is for some accounts, this is of all")
    ] * 2


@pytest.mark.parametrize("last_id", ["", "acme:0:0,default:0:0"], ids=["from now", "from a cursor"])
async def test_ends_of_another_account_are_not_told(
    queue: RunQueue, redis_url: str, others: dict[str, str], last_id: str
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        door.session.headers.update(SHOP)
        async with listening(door, last_id=last_id) as listener:
            queue.cancel(others["jobs"])
            own = (await door.ask("POST", "/v1/jobs", {**LINE, "custom_id": "own"})).body["job_id"]
            await door.ask("POST", f"/v1/jobs/{own}/cancel")
            await eventually(lambda: listener.heard)

    assert queue.get(others["jobs"]).state is JobState.CANCELED
    assert listener.names == ["own"]


async def test_who_waits_for_a_job_of_his_own_keeps_nobody_from_another_s(
    queue: RunQueue, desk: Desk, redis_url: str, others: dict[str, str]
) -> None:
    async with gating(redis_url, **SETTINGS) as door:
        own = (await door.ask("POST", "/v1/jobs", LINE, SHOP)).body["job_id"]
        waiting = [
            asyncio.create_task(door.ask("GET", f"/v1/jobs/{job}?wait=60", headers=key))
            for job, key in ((own, SHOP), (others["jobs"], bearer("all-secret")))
        ]
        await eventually(lambda: len(desk.client.client_list(_type="pubsub")) >= 2)
        for job in (own, others["jobs"]):
            queue.cancel(job)

        assert [(await one).body["state"] for one in waiting] == ["canceled", "canceled"]


async def test_webhooks_of_every_account_are_taken(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url, **SETTINGS) as door:
        assert (await door.webhook(job, told(job), key=KEY)).verdict == "ended"


async def test_no_call_for_another_account_gets_through(redis_url: str) -> None:
    queue = SomeOfQueue(redis_url, ("shop",))

    with pytest.raises(UnknownAccount):
        await queue.send(job_calls.stats("acme"))
    await queue.close()
