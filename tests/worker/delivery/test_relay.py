"""Relaying a webhook: what goes out, and what each answer of the receiver means."""

import time
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from api_client import verify_webhook
from runqueue.connection.urls import endpoint_of
from runqueue.records.delivery import DeliveryState
from runqueue.store import worker_calls
from runqueue.store.delivery_calls import deliver_again
from simulator.model.options import DEFAULT_API_KEY
from tests.proxying import ForwardingProxy, proxying
from tests.simulator.simulating import receiving
from tests.worker.delivering import (
    BODY,
    come_late,
    delivered,
    ended,
    state_of,
    told,
    wait_of,
    webhook,
)
from tests.worker.working import KEYS, Work
from worker.delivery import relay as relaying

SECRETS = ("whsec_" + "a" * 32, "whsec_" + "b" * 32)


async def test_what_skyvern_signed_goes_on_byte_by_byte_with_its_signature(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        job_id = await told(bench, user.url)
        assert wait_of(bench, job_id) <= 0  # at once

        await bench.one_pass("webhooks")

        (body,), (headers,) = user.bodies, user.headers
        assert body == BODY
        assert verify_webhook(body, headers["x-skyvern-signature"], DEFAULT_API_KEY)
        assert headers["x-skyvern-timestamp"].isdigit()
        assert headers["content-type"] == "application/json"
        assert headers["webhook-id"] == f"msg_{job_id}_1"
        assert "webhook-signature" not in headers
        found = webhook(bench, job_id)
        assert (found.state, found.attempts, found.status) == (DeliveryState.DELIVERED, 1, 200)
        assert bench.stats().deliveries[DeliveryState.DELIVERED] == 1


async def test_a_webhook_goes_through_the_account_s_proxy(relay: Work) -> None:
    with proxying(ForwardingProxy(user="user:pass")) as proxy:
        async with receiving() as user, relay(proxy=SecretStr(proxy.url)) as bench:
            port = urlsplit(user.url).port
            assert port is not None
            proxy.resolves["hooks.test"] = ("127.0.0.1", port)
            job_id = await told(bench, f"http://hooks.test:{port}/hook")
            await bench.one_pass("webhooks")
            assert state_of(bench, job_id) is DeliveryState.DELIVERED
            assert user.bodies == [BODY]
    assert proxy.tunnels == [f"hooks.test:{port}"]


async def test_every_webhook_names_its_job_and_what_the_producer_calls_it(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        named = await told(bench, user.url, custom_id="Bestellung 17/ü?\u20ac")
        await bench.one_pass("webhooks")
        nameless = await told(bench, user.url)
        await bench.one_pass("webhooks")

        first, second = user.headers
        assert first["runqueue-job-id"] == named
        assert first["runqueue-job-state"] == "completed"
        assert first["runqueue-custom-id"] == "Bestellung%2017%2F%C3%BC%3F%E2%82%AC"
        assert unquote(first["runqueue-custom-id"]) == "Bestellung 17/ü?€"
        assert second["runqueue-job-id"] == nameless
        assert "runqueue-custom-id" not in second


async def test_every_try_carries_the_same_id_and_a_timestamp_of_its_own(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving(500, 200) as user, relay(webhook_secrets=SECRETS[:1]) as bench:
        job_id = await told(bench, user.url)
        await bench.one_pass("webhooks")
        assert state_of(bench, job_id) is DeliveryState.PENDING
        later = time.time() + 100
        monkeypatch.setattr(time, "time", lambda: later)
        await delivered(bench, job_id)

        first, second = user.headers
        assert first["webhook-id"] == second["webhook-id"] == f"msg_{job_id}_1"
        assert first["webhook-timestamp"] < second["webhook-timestamp"] == str(int(later))
        assert first["x-skyvern-signature"] == second["x-skyvern-signature"]
        assert Webhook(SECRETS[0]).verify(user.bodies[1], second)
        assert webhook(bench, job_id).attempts == 2


@pytest.mark.parametrize("status", [302, 400, 401, 404, 408, 429, 500, 503])
async def test_any_other_answer_is_tried_again_by_the_schedule_and_then_abandoned(
    relay: Work, status: int, logged: list[Any]
) -> None:
    async with receiving(status) as user, relay() as bench:
        job_id = await told(bench, f"{user.url}?token=secret-of-the-user")
        await bench.one_pass("webhooks")
        found = webhook(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 1)
        assert found.error == f"the receiver answered {status}"
        assert 0.5 < wait_of(bench, job_id) <= 1.1

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts) == (DeliveryState.ABANDONED, 2)
        assert (found.status, found.error) == (status, f"the receiver answered {status}")
        warnings = [event for event in logged if event["event"] == "webhook_not_delivered"]
        assert [event["verdict"] for event in warnings] == ["again", "abandoned"]
        assert warnings[0]["receiver"] == endpoint_of(user.url)
        for secret in ("secret-of-the-user", "/hook", "12", "noted", DEFAULT_API_KEY):
            assert secret not in str([event["why"] for event in warnings])
        assert "secret-of-the-user" not in str(logged)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (
            "http://127.0.0.1:9/hook",
            "127.0.0.1 is no public address; RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS would allow it",
        ),
        ("http://2130706433/hook", "its address is written in no usual form"),
    ],
)
async def test_a_target_that_is_not_allowed_is_abandoned_with_the_reason(
    relay: Work, target: str, reason: str
) -> None:
    strict = {"allow_private_webhook_targets": False}
    async with relay(settings=strict) as bench:
        job_id = await told(bench, target)
        await bench.one_pass("webhooks")

        found = webhook(bench, job_id)
        assert found.state is DeliveryState.ABANDONED
        assert found.error == f"webhooks may not go there: {reason}"
        # A target that was not tried says nothing of its receiver.
        assert not bench.client.keys(f"{KEYS.prefix}endpoint:*")


async def test_a_webhook_that_never_came_is_asked_for_and_goes_on_signed_by_skyvern(
    deliver: Work,
) -> None:
    async with (
        receiving(500, 200) as user,
        receiving() as gateway,
        deliver(gateway=gateway.url.removesuffix("/hook")) as bench,
    ):
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        job_id = await ended(bench, user.url)
        assert 2 < wait_of(bench, job_id) <= 3  # it may be on its way

        await delivered(bench, job_id)

        assert await bench.calls("retry_webhook") == 1
        (asked,) = gateway.bodies
        (body,), (headers,) = user.bodies, user.headers
        assert body == asked
        assert verify_webhook(body, headers["x-skyvern-signature"], DEFAULT_API_KEY)
        assert body != bench.client.get(f"{KEYS.prefix}result:{job_id}")
        # It is kept for the next try, which asks nobody.
        await delivered(bench, job_id)
        assert user.bodies == [body, body]
        assert user.headers[1]["x-skyvern-timestamp"] == headers["x-skyvern-timestamp"]
        assert await bench.calls("retry_webhook") == 1
        assert state_of(bench, job_id) is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    "action",
    [
        {"status": 500},
        {"status": 409, "body": {"detail": "A retry is pending"}},
        {"status": 404, "body": {"detail": "Not Found"}},
        {"status": 200, "body": None},
        {
            "status": 200,
            "body": {"status_code": 200, "error": None, "payload": '{"run_id": "forged"}'},
        },
        {"latency": 60},
    ],
    ids=str,
)
async def test_where_skyvern_gives_none_the_result_goes_signed_by_us(
    relay: Work, action: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "ASK_SECONDS", 0.3)
    async with receiving() as user, relay() as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        await bench.api.fault(action, match={"route": "retry_webhook"})
        job_id = await ended(bench, user.url)
        if (await delivered(bench, job_id)).state is DeliveryState.PENDING:
            await delivered(bench, job_id)  # an old server does not tell what it sent

        (body,), (headers,) = user.bodies, user.headers
        assert body == bench.client.get(f"{KEYS.prefix}result:{job_id}")
        assert verify_webhook(body, headers["x-skyvern-signature"], DEFAULT_API_KEY)
        assert state_of(bench, job_id) is DeliveryState.DELIVERED


async def test_a_webhook_that_skyvern_sends_after_all_is_not_relayed_again(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        job_id = await ended(bench, user.url)
        assert (await delivered(bench, job_id)).state is DeliveryState.DELIVERED

        await come_late(bench, job_id)  # its receiver takes it for a duplicate

        assert (await bench.one_pass("webhooks")).items == []
        assert state_of(bench, job_id) is DeliveryState.DELIVERED
        assert len(user.bodies) == 1


async def test_who_waits_for_the_news_does_not_wait_for_a_permit(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "ASK_SECONDS", 0.3)
    limits = {"max_requests_per_second": 0.01}
    async with receiving() as user, relay(**limits) as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        job_id = await ended(bench, user.url)
        while (await bench.account.send(worker_calls.permits("default", 1)))[0]:
            pass  # all that the burst allows
        await delivered(bench, job_id)

        assert user.bodies == [bench.client.get(f"{KEYS.prefix}result:{job_id}")]
        assert await bench.calls("retry_webhook") == 0


async def test_what_an_old_server_sends_again_goes_on_as_it_came(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        await bench.api.fault({"status": 200, "body": None}, match={"route": "retry_webhook"})
        job_id = await ended(bench, user.url)
        assert (await delivered(bench, job_id)).state is DeliveryState.PENDING
        assert user.bodies == []

        await come_late(bench, job_id)  # meanwhile it came to our gateway
        await delivered(bench, job_id)

        assert user.bodies == [BODY]
        assert verify_webhook(BODY, user.headers[0]["x-skyvern-signature"], DEFAULT_API_KEY)
        assert await bench.calls("retry_webhook") == 1


async def test_a_skyvern_that_hangs_is_not_asked_for_each_webhook(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "ASK_SECONDS", 0.3)
    async with receiving() as user, relay() as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        await bench.api.fault({"latency": 60}, match={"route": "retry_webhook"})
        for _ in range(3):
            await delivered(bench, await ended(bench, user.url))

        assert len(user.bodies) == 3
        assert await bench.calls("retry_webhook") == 1


@pytest.mark.parametrize("why", ["never", "forced", "tried"])
async def test_skyvern_is_not_asked_where_it_must_not_or_was_before(relay: Work, why: str) -> None:
    settings = {"redeliver": "never"} if why == "never" else {}
    async with receiving() as user, relay(settings=settings) as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        job_id = await ended(bench, user.url)
        if why == "forced":
            await bench.account.send(deliver_again("default", [job_id]))
        elif why == "tried":
            bench.set(job_id, "tries", 1)
        await delivered(bench, job_id)

        assert await bench.calls("retry_webhook") == 0
        assert state_of(bench, job_id) is DeliveryState.DELIVERED


async def test_a_signature_that_is_not_of_the_body_is_not_passed_on(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        job_id = await told(bench, user.url)
        bench.set(job_id, "signed", "0" * 64 + " 1")
        await bench.one_pass("webhooks")

        (headers,) = user.headers
        assert verify_webhook(user.bodies[0], headers["x-skyvern-signature"], DEFAULT_API_KEY)


async def test_a_stored_request_that_is_broken_is_abandoned(relay: Work) -> None:
    async with receiving() as user, relay() as bench:
        job_id = await told(bench, user.url)
        bench.client.delete(f"{KEYS.prefix}body:{job_id}")
        await bench.one_pass("webhooks")

        found = bench.client.hget(f"{KEYS.prefix}job:{job_id}", "delivery_error")
        assert found == b"the stored request cannot be read"
        assert bench.client.zscore(f"{KEYS.prefix}abandoned", job_id)
        assert not user.bodies
