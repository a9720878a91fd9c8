"""What else the gateway is asked: confirmations, figures, probes, its description."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import process_metrics
from runqueue import JobState
from tests.gateway.gating import Desk, Door, gating, told
from tests.simulator.simulating import eventually


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


#: What a call that needs a token may answer, one that needs Redis, too, and one with a body.
NEEDS_TOKEN = "401 403 422 429 500"
GUARDED = f"{NEEDS_TOKEN} 503"
TAKING = f"{GUARDED} 400 408 413 415"
#: Every route, and the statuses of its answers.
EXPECTED = {
    "GET /healthz": "200",
    "GET /readyz": "200 503",
    "GET /metrics": f"{NEEDS_TOKEN} 200",
    "GET /metrics/queue": f"{NEEDS_TOKEN} 200",
    "GET /openapi.json": f"{NEEDS_TOKEN} 200",
    "POST /v1/jobs": f"{TAKING} 202 409",
    "POST /v1/jobs:bulk": f"{TAKING} 202 404 409",
    "GET /v1/jobs/{job_id}": f"{GUARDED} 200 404 409",
    "GET /v1/jobs/{job_id}/timeline": f"{GUARDED} 200 404",
    "POST /v1/jobs/{job_id}/cancel": f"{GUARDED} 200 404",
    "POST /v1/jobs:states": f"{TAKING} 200",
    "POST /v1/jobs:{decision}": f"{TAKING} 200 404",
    "GET /v1/orphans": f"{GUARDED} 200",
    "POST /v1/orphans:cancel": f"{TAKING} 200",
    "GET /v1/inbox": f"{GUARDED} 200",
    "POST /v1/inbox:{decision}": f"{TAKING} 200",
    "POST /v1/keys:repair": f"{GUARDED} 200",
    "GET /v1/workers": f"{GUARDED} 200",
    "GET /v1/accounts/{account}/limits": f"{GUARDED} 200",
    "POST /v1/batches:open": f"{GUARDED} 201",
    "POST /v1/batches/{batch_id}/seal": f"{GUARDED} 200 404 409",
    "POST /v1/batches": f"{TAKING} 200 201 409",
    "GET /v1/batches": f"{GUARDED} 200",
    "GET /v1/batches/{batch_id}": f"{GUARDED} 200 404",
    "GET /v1/batches/{batch_id}/results": f"{GUARDED} 200 404",
    "GET /v1/results": f"{GUARDED} 200 404",
    "GET /v1/count": f"{GUARDED} 200",
    "GET /v1/errors": f"{GUARDED} 200",
    "GET /v1/charts": f"{GUARDED} 200",
    "GET /v1/batches/{batch_id}/errors": f"{GUARDED} 200 404",
    "POST /v1/batches/{batch_id}/cancel": f"{GUARDED} 200 404",
    "GET /v1/events": f"{GUARDED} 200",
    "GET /v1/stats": f"{GUARDED} 200",
    "POST /v1/jobs/{job_id}/webhook/ack": f"{GUARDED} 200 404 409",
    "PATCH /v1/accounts/{account}/limits": f"{TAKING} 200",
    "POST /v1/accounts/{account}/pause": f"{TAKING} 200",
    "POST /v1/accounts/{account}/resume": f"{GUARDED} 200",
    "GET /v1/audit": f"{GUARDED} 200",
    "GET /v1/jobs": f"{GUARDED} 200",
    "POST /v1/batches/{batch_id}/pause": f"{GUARDED} 200 404 409",
    "POST /v1/batches/{batch_id}/resume": f"{GUARDED} 200 404 409",
    "POST /v1/batches/{batch_id}/retry-callbacks": f"{GUARDED} 200 404",
    "POST /v1/batches/{batch_id}/retry-failed": f"{GUARDED} 200 404 409",
    "GET /v1/groups": f"{GUARDED} 200",
    "GET /v1/group_credits": f"{GUARDED} 200",
    "GET /v1/keys": f"{GUARDED} 200",
    "PUT /v1/keys/{key}": f"{TAKING} 200",
    "DELETE /v1/keys/{key}": f"{GUARDED} 200",
    "GET /v1/budgets": f"{GUARDED} 200",
    "PUT /v1/budgets/{scope}": f"{TAKING} 200",
    "DELETE /v1/budgets/{scope}": f"{GUARDED} 200",
    "PUT /v1/groups/{name}": f"{TAKING} 200",
    "GET /v1/schedules": f"{GUARDED} 200",
    "PUT /v1/schedules": f"{TAKING} 200",
    "POST /v1/schedules:lines": f"{TAKING} 200",
    "GET /v1/schedules/{name}": f"{GUARDED} 200 404",
    "DELETE /v1/schedules/{name}": f"{GUARDED} 200 404",
    "POST /v1/schedules/{name}/{action}": f"{GUARDED} 200 404",
}


async def test_the_description_names_every_route_and_each_answer(redis_url: str) -> None:
    async with gating(redis_url) as door:
        described = (await door.ask("GET", "/openapi.json")).body

    answers = {
        f"{method.upper()} {path}": sorted(operation["responses"])
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    assert answers == {call: sorted(said.split()) for call, said in EXPECTED.items()}
    assert described["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(described)
    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in described["components"]["schemas"]
    for operations in described["paths"].values():
        for operation in operations.values():
            assert all(answer["content"] for answer in operation["responses"].values()), operation


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
