"""What else the gateway is asked: confirmations, samples, figures, probes, its description."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook

from api_client import verify_webhook
from config import process_metrics
from runqueue import JobState
from runqueue.ids import new_id
from tests.gateway.gating import KEY, Desk, Door, gating, told
from tests.proxying import proxying
from tests.simulator.simulating import eventually, receiving
from tests.worker.working import closed_port

SECRETS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDoAAA"


async def test_who_has_a_result_confirms_it_as_often_as_he_likes(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        await door.webhook(job, told(job))
        assert desk.job(job).webhook.state == "pending"
        for _ in range(2):
            answer = await door.ask("POST", f"/v1/jobs/{job.job_id}/webhook/ack")
            assert (answer.status, answer.body) == (
                200,
                {"job_id": job.job_id, "webhook": "delivered"},
            )

    assert desk.job(job).webhook.state == "delivered"


async def test_a_job_that_has_not_ended_cannot_be_confirmed(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        assert (await door.ask("POST", f"/v1/jobs/{job.job_id}/webhook/ack")).status == 409


async def test_a_job_that_nobody_is_to_be_told_of_cannot_be_confirmed(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running(hook=None)

    async with gating(redis_url) as door:
        await door.webhook(job, told(job))
        assert desk.job(job).state is JobState.COMPLETED
        assert (await door.ask("POST", f"/v1/jobs/{job.job_id}/webhook/ack")).status == 409


@pytest.mark.parametrize(
    "job_id",
    [new_id("default"), new_id("another"), "1", "%C3%A9"],
    ids=["ours", "another account's", "none", "not ASCII"],
)
async def test_a_job_that_is_not_known_cannot_be_confirmed(redis_url: str, job_id: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", f"/v1/jobs/{job_id}/webhook/ack")

    assert answer.status == 404
    assert answer.body["detail"].startswith("no such job is on record")


async def test_a_sample_is_sent_with_both_signatures(redis_url: str) -> None:
    async with (
        receiving(200) as target,
        gating(redis_url, webhook_secrets=SECRETS, allow_private_webhook_targets=True) as door,
    ):
        answer = await door.ask("POST", "/v1/webhooks/test", {"url": target.url})

        (raw,), (headers,) = target.bodies, target.headers
    assert (answer.body["status_code"], answer.body["error"]) == (200, None)
    assert answer.body["response_body"] == "noted"
    assert answer.body["latency_ms"] >= 0
    assert verify_webhook(raw, headers["x-skyvern-signature"], KEY)
    for secret in SECRETS.split(","):
        sample = Webhook(secret).verify(raw, headers)
        assert (sample["test"], sample["status"]) == (True, "completed")
    for name, value in answer.body["headers"].items():
        assert headers[name.lower()] == value


async def test_a_sample_is_signed_for_the_account_that_is_named(redis_url: str) -> None:
    async with (
        receiving(200) as target,
        gating(
            redis_url,
            accounts={"acme": {"api_key": "acme-key"}},
            allow_private_webhook_targets=True,
        ) as door,
    ):
        await door.ask("POST", "/v1/webhooks/test", {"url": target.url, "account": "acme"})

        (raw,), (headers,) = target.bodies, target.headers
    assert verify_webhook(raw, headers["x-skyvern-signature"], "acme-key")


async def test_a_sample_goes_through_the_proxy_of_its_account(redis_url: str) -> None:
    with proxying() as proxy:
        async with (
            receiving(200) as target,
            gating(
                redis_url,
                accounts={"acme": {"api_key": "acme-key", "proxy": proxy.url}},
                allow_private_webhook_targets=True,
            ) as door,
        ):
            for account in ("acme", "default"):
                body = {"url": target.url, "account": account}
                answer = await door.ask("POST", "/v1/webhooks/test", body)
                assert answer.body["status_code"] == 200
    assert len(proxy.tunnels) == 1


async def test_a_receiver_that_refuses_a_sample_is_quoted(redis_url: str) -> None:
    async with (
        receiving(500) as target,
        gating(redis_url, allow_private_webhook_targets=True) as door,
    ):
        answer = await door.ask("POST", "/v1/webhooks/test", {"url": target.url})

    assert (answer.status, answer.body["status_code"]) == (200, 500)
    assert answer.body["response_body"] == "noted"
    assert answer.body["error"]


async def test_a_receiver_that_is_not_there_is_told_of(redis_url: str) -> None:
    url = f"http://127.0.0.1:{closed_port()}/hook"

    async with gating(redis_url, allow_private_webhook_targets=True) as door:
        answer = await door.ask("POST", "/v1/webhooks/test", {"url": url})

    assert (answer.status, answer.body["status_code"]) == (200, None)
    assert answer.body["error"]


async def test_a_target_that_webhooks_may_not_go_to_is_refused(redis_url: str) -> None:
    async with receiving(200) as target, gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/webhooks/test", {"url": target.url})

        assert target.bodies == []
    assert answer.status == 422
    assert [fault["field"] for fault in answer.body["errors"]] == ["url"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["url"]),
        ({"url": 7}, ["url"]),
        ({"url": "ftp://x.test"}, ["url"]),
        ({"url": "https://"}, ["url"]),
        ({"url": "https://x.test:99999"}, ["url"]),
        ({"url": "https://x.test/" + "x" * 2048}, ["url"]),
        ({"url": "https://x.test", "account": "nobody"}, ["account"]),
        ({"url": "https://x.test", "secret": "x"}, ["secret"]),
        ({"url": None, "account": 7}, ["url", "account"]),
        (b"{", ["body"]),
        (b"[]", ["body"]),
    ],
)
async def test_a_wrong_field_names_itself_and_what_was_expected(
    redis_url: str, body: Any, fields: list[str]
) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/webhooks/test", body)

    assert (answer.status, answer.body["title"]) == (422, "Unprocessable Entity")
    assert [fault["field"] for fault in answer.body["errors"]] == fields
    assert all(fault["message"] for fault in answer.body["errors"])


async def test_a_request_that_is_too_large_is_refused(redis_url: str) -> None:
    async with gating(redis_url) as door:
        body = {"url": "https://x.test/" + "x" * 100_000}

        assert (await door.ask("POST", "/v1/webhooks/test", body)).status == 413


async def test_metrics_count_webhooks_by_what_came_of_them(desk: Desk, redis_url: str) -> None:
    first, second, third = desk.running(3, retry={"max_attempts": 2})

    async with gating(redis_url) as door:
        await door.webhook(first, told(first))
        await door.webhook(first, told(first))
        await door.webhook(second, told(second, "failed"))
        await door.webhook(third, b"[]")
        await door.webhook(third, b"[]", headers={"x-skyvern-signature": "x"})
        await door.webhook(third, told(third), key="wrong")
        await door.ask("POST", "/v1/webhooks/skyvern/evil/b/c/d")
        counted, samples = await read_metrics(door)

    assert counted == {
        ("default", "ended"): 1,
        ("default", "duplicate"): 1,
        ("default", "retried"): 1,
        ("default", "unreadable"): 1,
        ("default", "bad_signature"): 1,
        ("default", "bad_address"): 1,
        ("", "bad_address"): 1,
    }
    assert samples["runqueue_webhook_seconds_count"] == 7


async def read_metrics(door: Door) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """What was counted of webhooks, but for zeros, and the samples without labels."""
    text = (await door.ask("GET", "/metrics")).body.decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    return {
        (sample.labels["account"], sample.labels["verdict"]): sample.value
        for sample in samples
        if sample.name == "runqueue_webhook_received_total" and sample.value
    }, {sample.name: sample.value for sample in samples if not sample.labels}


async def test_what_is_nowhere_is_not_found_in_the_same_words(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("GET", "/docs")

    assert (answer.status, answer.body["detail"]) == (404, "there is nothing at this address")


_PLAIN = ["200", "401", "403", "422", "429", "503"]
_OF_BODY = ["200", "400", "401", "403", "408", "413", "415", "422", "429", "503"]
#: Its routes, and the status of each answer; those that an operator has are apart.
EXPECTED = {
    "GET /healthz": ["200"],
    "GET /readyz": ["200", "503"],
    "GET /metrics": ["200", "401", "403", "422", "429"],
    "GET /metrics/queue": ["200", "401", "403", "422", "429"],
    "GET /openapi.json": ["200", "401", "403", "422", "429"],
    "POST /v1/jobs": [
        *("202", "400", "401", "403", "408", "409", "413", "415", "422", "429", "503"),
    ],
    "POST /v1/jobs:bulk": [
        *("202", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"),
    ],
    "GET /v1/jobs/{job_id}": ["200", "401", "403", "404", "422", "429", "503"],
    "GET /v1/jobs/{job_id}/timeline": ["200", "401", "403", "404", "422", "429", "503"],
    "POST /v1/jobs/{job_id}/cancel": ["200", "401", "403", "404", "422", "429", "503"],
    "POST /v1/jobs:states": _OF_BODY,
    "POST /v1/jobs:{decision}": sorted([*_OF_BODY, "404"]),
    "GET /v1/strays": _PLAIN,
    "POST /v1/strays:cancel": _OF_BODY,
    "GET /v1/inbox": _PLAIN,
    "POST /v1/inbox:{decision}": _OF_BODY,
    "POST /v1/keys:repair": _PLAIN,
    "GET /v1/workers": _PLAIN,
    "GET /v1/accounts/{account}/limits": _PLAIN,
    "POST /v1/batches:open": sorted([*_PLAIN[1:], "201"]),
    "POST /v1/batches/{batch_id}/seal": sorted([*_PLAIN, "404", "409"]),
    "POST /v1/batches": [
        *("200", "201", "400", "401", "403", "408", "409", "413", "415", "422", "429", "503"),
    ],
    "GET /v1/batches": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/batches/{batch_id}": ["200", "401", "403", "404", "422", "429", "503"],
    "GET /v1/batches/{batch_id}/results": ["200", "401", "403", "404", "406", "422", "429", "503"],
    "GET /v1/results": ["200", "401", "403", "406", "422", "429", "503"],
    "GET /v1/batches/{batch_id}/errors": ["200", "401", "403", "404", "406", "422", "429", "503"],
    "POST /v1/batches/{batch_id}/cancel": ["200", "401", "403", "404", "422", "429", "503"],
    "GET /v1/events": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/stats": ["200", "401", "403", "422", "429", "503"],
    "POST /v1/jobs/{job_id}/webhook/ack": ["200", "401", "403", "404", "409", "422", "429", "503"],
    "POST /v1/webhooks/test": [
        *("200", "400", "401", "403", "408", "413", "415", "422", "429", "503"),
    ],
    "POST /v1/webhooks/skyvern/{account}/{job_id}/{attempt}/{token}": [
        "200",
        "401",
        "404",
        "409",
        "413",
        "422",
        "503",
    ],
}
MANAGING = {
    "PATCH /v1/accounts/{account}/limits": [
        *("200", "400", "401", "403", "408", "413", "415", "422", "429", "503")
    ],
    "POST /v1/accounts/{account}/pause": [
        *("200", "400", "401", "403", "408", "413", "415", "422", "429", "503")
    ],
    "POST /v1/accounts/{account}/resume": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/audit": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/jobs": ["200", "401", "403", "422", "429", "503"],
    "POST /v1/batches/{batch_id}/pause": ["200", "401", "403", "404", "409", "422", "429", "503"],
    "POST /v1/batches/{batch_id}/resume": ["200", "401", "403", "404", "409", "422", "429", "503"],
    "POST /v1/batches/{batch_id}/retry-callbacks": [
        "200",
        "401",
        "403",
        "404",
        "422",
        "429",
        "503",
    ],
    "POST /v1/batches/{batch_id}/retry-failed": [
        "200",
        "401",
        "403",
        "404",
        "409",
        "422",
        "429",
        "503",
    ],
    "GET /v1/groups": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/keys": ["200", "401", "403", "422", "429", "503"],
    "PUT /v1/keys/{key}": ["200", "400", "401", "403", "408", "413", "415", "422", "429", "503"],
    "DELETE /v1/keys/{key}": ["200", "401", "403", "422", "429", "503"],
    "GET /v1/budgets": ["200", "401", "403", "422", "429", "503"],
    "PUT /v1/budgets/{scope}": [
        "200",
        "400",
        "401",
        "403",
        "408",
        "413",
        "415",
        "422",
        "429",
        "503",
    ],
    "DELETE /v1/budgets/{scope}": ["200", "401", "403", "422", "429", "503"],
    "PUT /v1/groups/{name}": ["200", "400", "401", "403", "408", "413", "415", "422", "429", "503"],
}


async def test_the_description_names_every_route_with_examples_and_each_answer(
    redis_url: str,
) -> None:
    async with gating(redis_url) as door:
        described = (await door.ask("GET", "/openapi.json")).body

    answers = {
        f"{method.upper()} {path}": sorted(operation["responses"])
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    assert answers == EXPECTED | MANAGING
    assert described["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(described)
    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in described["components"]["schemas"]
    for operations in described["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                assert status < "300" or "example" in str(answer), operation


def references(part: Any) -> list[str]:
    """Every reference in a description."""
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [one for value in part.values() for one in references(value)]
    return [one for value in part for one in references(value)] if isinstance(part, list) else []


async def test_a_gateway_measures_how_late_its_loop_comes_to_a_timer(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_metrics, "LAG_EVERY", 0.01)
    async with gating(redis_url) as door:
        lag = door.server._gate.metrics.loop_lag

        await eventually(lambda: lag._sum.get() > 0)
        text = (await door.ask("GET", "/metrics")).body.decode()

    assert 'runqueue_loop_lag_seconds_bucket{le="+Inf"}' in text
