from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time
from typing import Any

import pytest

from tests.simulator.simulating import KEY, eventually, receiving, simulating

#: A run that is over within 50 ms.
SHORT = "https://a.test/?sim_seconds=0.05"

#: Tries follow each other closely, for the tests' sake.
QUICK = (0.01, 0.01)


def dead_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


async def test_the_end_of_a_run_is_reported_signed_when_its_get_is_terminal() -> None:
    async with receiving() as receiver, simulating() as client:
        run_id = await client.run_task(url=SHORT, webhook_url=receiver.url)
        await eventually(lambda: receiver.bodies)
        status = await client.status(run_id)

    body, headers = receiver.bodies[0], receiver.headers[0]
    signature = hmac.new(KEY["x-api-key"].encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-skyvern-signature"] == signature
    assert abs(int(headers["x-skyvern-timestamp"]) - time.time()) < 60
    assert (json.loads(body)["run_id"], json.loads(body)["status"]) == (run_id, "completed")
    assert status == "completed"


@pytest.mark.parametrize(
    ("status", "tries"),
    [(500, 3), (403, 3), (408, 3), (425, 3), (429, 3), (400, 1), (404, 1), (302, 1)],
)
async def test_a_delivery_is_tried_three_times_unless_it_is_refused_for_good(
    status: int, tries: int
) -> None:
    async with receiving(status) as receiver, simulating(webhook_retry_delays=QUICK) as client:
        run_id = await client.run_task(url=SHORT, webhook_url=receiver.url)

        await eventually(lambda: _abandoned(client, run_id))

    assert len(receiver.bodies) == tries


async def test_the_failure_of_a_workflow_runs_webhook_is_shown_in_both_places() -> None:
    async with simulating(webhook_retry_delays=QUICK) as client:
        parameters = {"sim_seconds": 0.05}
        run_id = await client.run_workflow(webhook_url=dead_url(), parameters=parameters)

        async def shown() -> Any:
            return (await client.get(f"/v1/workflows/runs/{run_id}"))["webhook_failure_reason"]

        assert await shown() is None
        await eventually(shown)
        listed = await client.get(f"/v1/agents/runs?search_key={run_id}")
        run = await client.get(f"/v1/runs/{run_id}")

        assert listed[0]["webhook_failure_reason"] == await shown()
    assert run["status"] == "completed"
    assert "webhook_failure_reason" not in run


async def test_a_replay_makes_one_try_and_tells_what_came_of_it() -> None:
    async with receiving() as receiver, simulating(webhook_retry_delays=()) as client:
        run_id = await client.run_task(url=SHORT, webhook_url=dead_url())
        await eventually(lambda: _abandoned(client, run_id))

        failed = await client.post(f"/v1/runs/{run_id}/retry_webhook")
        elsewhere = {"webhook_url": receiver.url}
        arrived = await client.post(f"/v1/runs/{run_id}/retry_webhook", elsewhere)

        # A later success does not clear it.
        assert await _abandoned(client, run_id)
    assert failed["status_code"] is None
    assert failed["error"]
    assert json.loads(failed["payload"])["run_id"] == run_id
    assert (arrived["status_code"], arrived["error"]) == (200, None)
    assert arrived["response_body"] == "noted"
    assert failed["error"] == "Could not reach URL: All connection attempts failed"
    assert arrived["target_webhook_url"] == receiver.url != arrived["default_webhook_url"]
    assert arrived["payload"].encode() == receiver.bodies[0]
    assert arrived["headers"]["x-skyvern-signature"] == receiver.headers[0]["x-skyvern-signature"]


async def test_a_cancel_sends_the_webhook_within_its_request() -> None:
    async with receiving() as receiver, simulating() as client:
        run_id = await client.run_workflow(webhook_url=receiver.url)
        await client.post(f"/v1/runs/{run_id}/cancel")

        assert json.loads(receiver.bodies[0])["status"] == "canceled"
        await client.post(f"/v1/runs/{run_id}/cancel")
        assert len(receiver.bodies) == 2


async def test_a_cancel_with_a_dead_receiver_is_a_500_of_a_canceled_task() -> None:
    async with simulating(webhook_retry_delays=QUICK) as client:
        run_id = await client.run_task(webhook_url=dead_url())
        status, answer = await client.call("POST", f"/v1/runs/{run_id}/cancel")
        workflow = await client.run_workflow(webhook_url=dead_url())
        await client.post(f"/v1/runs/{workflow}/cancel")
        more = [await client.run_task(webhook_url=dead_url()), await client.run_workflow()]
        bulk = await client.post("/v1/runs/cancel", {"run_ids": more})

        assert [await client.status(one) for one in [run_id, workflow, *more]] == ["canceled"] * 4
    assert (status, list(answer)) == (500, ["error"])
    assert bulk == {"cancelled": [more[1]], "failed": [more[0]]}


async def test_a_webhook_can_be_dropped_unknown_to_the_server() -> None:
    async with receiving() as receiver, simulating() as client:
        await client.fault({"drop": True}, match={"route": "webhook"}, times=1)
        dropped = await client.run_task(url=SHORT, webhook_url=receiver.url)

        async def counted() -> int:
            summary = await client.get("/_ledger/summary")
            return int(summary["webhooks"].get("dropped", 0))

        await eventually(counted)
        task = await client.get(f"/api/v1/tasks/{dropped}")

    assert receiver.bodies == []
    assert task["webhook_failure_reason"] is None


async def test_the_webhook_of_a_run_that_had_to_wait_is_sent_without_anybody_asking() -> None:
    async with receiving() as receiver, simulating(max_concurrent=1) as client:
        await client.run_task(url=SHORT)
        waiting = await client.run_task(url=SHORT, webhook_url=receiver.url)

        await eventually(lambda: receiver.bodies)

    assert json.loads(receiver.bodies[0])["run_id"] == waiting


async def test_a_canceled_run_is_reported_once() -> None:
    async with receiving() as receiver, simulating() as client:
        canceled = await client.run_task(url=SHORT, webhook_url=receiver.url)
        await client.post("/v1/runs/cancel", {"run_ids": [canceled]})
        later = await client.run_task(url=SHORT, webhook_url=receiver.url)

        await eventually(lambda: later in str(receiver.bodies))

    assert [json.loads(body)["run_id"] for body in receiver.bodies] == [canceled, later]


async def _abandoned(client: Any, run_id: str) -> bool:
    return bool((await client.get(f"/api/v1/tasks/{run_id}"))["webhook_failure_reason"])
