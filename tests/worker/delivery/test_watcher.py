"""Webhooks that Skyvern sends to users: seen to arrive, or sent again by Skyvern."""

from typing import Any

import pytest

from runqueue.records.delivery import DeliveryState
from runqueue.store.delivery_calls import deliver_again
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import eventually, receiving
from tests.worker.delivering import delivered, ended, figure, wait_of
from tests.worker.working import Bench, Send, Work, wrap_send

MINUTE = 60_000_000
#: What Skyvern says of a task whose webhook it gave up on.
ABANDONED = {"task_id": "x", "webhook_failure_reason": "The receiver answered 500"}


async def failed(bench: Bench, url: str, *, minutes: float = 3) -> str:
    """Bring a job to the end of its run, whose webhook Skyvern has given up on for a while."""
    await bench.api.fault({"status": 200, "body": ABANDONED}, match={"route": "task"})
    job_id = await ended(bench, url)
    aged(bench, job_id, minutes)
    return job_id


def aged(bench: Bench, job_id: str, minutes: float) -> None:
    """Have a run be over for a while."""
    bench.set(job_id, "ended", bench.now_us() - int(minutes * MINUTE))


async def test_a_webhook_that_skyvern_delivered_is_seen_ten_seconds_after_the_end(
    deliver: Work,
) -> None:
    async with receiving() as user, deliver() as bench:
        job_id = await ended(bench, user.url)
        assert 5 < wait_of(bench, job_id) <= 10
        await eventually(lambda: user.bodies)
        await eventually(lambda: told_of(bench, job_id))

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts) == (DeliveryState.DELIVERED, 0)
        assert len(user.bodies) == 1
        assert await bench.calls("retry_webhook") == 0


async def told_of(bench: Bench, job_id: str) -> bool:
    """Whether the API says what became of a run's webhook."""
    task = await bench.api.get(f"/api/v1/tasks/{bench.job(job_id).run_id}")
    return task["webhook_failure_reason"] is not None


async def test_one_that_skyvern_gave_up_on_is_sent_again_by_it(deliver: Work) -> None:
    async with receiving(500, 200) as user, deliver() as bench:
        job_id = await ended(bench, user.url)
        await eventually(lambda: told_of(bench, job_id))
        before = figure("runqueue_webhook_redeliveries_total", result="delivered")

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts, found.status) == (DeliveryState.DELIVERED, 1, 200)
        assert figure("runqueue_webhook_redeliveries_total", result="delivered") == before + 1
        assert len(user.bodies) == 2
        # Its own reason stays what it was; nobody asks any more.
        assert await told_of(bench, job_id)


async def test_an_answer_of_200_says_only_that_skyvern_tried(deliver: Work) -> None:
    async with receiving(500) as user, deliver() as bench:
        job_id = await failed(bench, user.url)

        found = await delivered(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 1)
        assert (found.status, found.error) == (500, "the receiver answered 500")
        assert 0.5 < wait_of(bench, job_id) <= 1.1

        looks = await bench.calls("task")
        found = await delivered(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.ABANDONED, 2)
        assert await bench.calls("task") == looks  # what it says of before is of before


async def test_an_old_server_tells_it_in_the_run(deliver: Work) -> None:
    async with receiving() as user, deliver() as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        await bench.api.fault(
            {"status": 404, "body": {"detail": "Not Found"}}, match={"route": "task"}
        )
        job_id = await ended(bench, user.url)
        run = {"status": "failed", "output": {"a": 1}}
        said = {**run, "failure_reason": "Failed to send the webhook to https://a.test/secret"}
        await bench.api.fault({"status": 200, "body": said}, match={"route": "get_run"})

        found = await delivered(bench, job_id)

        assert found.state is DeliveryState.DELIVERED
        assert len(user.bodies) == 1


async def test_every_call_of_the_api_has_a_permit(
    deliver: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, deliver() as bench:
        job_id = await failed(bench, user.url)
        permits: list[str] = []

        async def noted(send: Send, call: ScriptCall[Any]) -> Any:
            permits.extend([call.script.name] * (call.script.name == "permits"))
            return await send(call)

        wrap_send(monkeypatch, bench.account, noted)
        await delivered(bench, job_id)
        assert len(permits) == 1  # the claim paid for the look, not for the replay
        await bench.account.send(deliver_again("default", [job_id]))
        await bench.one_pass("webhooks")

        assert len(permits) == 1  # there was no look: the claim paid for the replay
        assert (await bench.calls("task"), await bench.calls("retry_webhook")) == (1, 2)
