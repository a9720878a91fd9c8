"""Webhooks that Skyvern sends to users: seen to arrive, or sent again by Skyvern."""

from typing import Any

import pytest
import redis

from runqueue import TaskRunRequest, WorkflowRunRequest
from runqueue.records.delivery import DeliveryState
from runqueue.store.delivery_calls import deliver_again
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import eventually, receiving
from tests.worker.delivering import (
    delivered,
    delivering,
    ended,
    figure,
    state_of,
    wait_of,
)
from tests.worker.working import INSTANT, Bench, Send, closed_port, wrap_send
from worker.delivery import watcher

MINUTE = 60_000_000
#: What Skyvern says of a task whose webhook it gave up on.
GIVEN_UP = {"task_id": "x", "webhook_failure_reason": "The receiver answered 500"}


async def failed(bench: Bench, url: str, *, minutes: float = 3) -> str:
    """Bring a job to the end of its run, whose webhook Skyvern has given up on for a while."""
    await bench.api.fault({"status": 200, "body": GIVEN_UP}, match={"route": "task"})
    job_id = await ended(bench, url)
    aged(bench, job_id, minutes)
    return job_id


def aged(bench: Bench, job_id: str, minutes: float) -> None:
    """Have a run be over for a while."""
    bench.set(job_id, "ended", bench.now_us() - int(minutes * MINUTE))


async def test_a_webhook_that_skyvern_delivered_is_seen_ten_seconds_after_the_end(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
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


async def test_one_that_may_still_come_is_looked_at_again_less_and_less_often(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        job_id = await ended(bench, user.url)
        waits = []
        for minutes in (0.2, 0.4, 0.7, 1.2):
            aged(bench, job_id, minutes)
            found = await delivered(bench, job_id)
            assert (found.state, found.attempts) == (DeliveryState.PENDING, 0)
            waits.append(round(wait_of(bench, job_id)))
        assert waits == [10, 20, 30, 60]

        aged(bench, job_id, 2.2)
        found = await delivered(bench, job_id)

        assert (found.state, found.error) == (DeliveryState.UNKNOWN, "Skyvern does not tell")
        assert (await bench.calls("retry_webhook"), user.bodies) == (0, [])


async def test_one_that_skyvern_gave_up_on_is_sent_again_by_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving(500, 200) as user, delivering(client, redis_url) as bench:
        job_id = await ended(bench, user.url)
        await eventually(lambda: told_of(bench, job_id))
        before = figure("runqueue_webhook_redeliveries_total", result="delivered")

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts, found.status) == (DeliveryState.DELIVERED, 1, 200)
        assert figure("runqueue_webhook_redeliveries_total", result="delivered") == before + 1
        assert len(user.bodies) == 2
        # Its own reason stays what it was; nobody asks any more.
        assert await told_of(bench, job_id)


@pytest.mark.parametrize(
    ("redeliver", "reason", "state"),
    [
        ("never", "text", DeliveryState.GAVE_UP),
        ("always", "text", DeliveryState.DELIVERED),
        ("never", None, DeliveryState.UNKNOWN),
        ("on_failure", None, DeliveryState.UNKNOWN),
        ("always", None, DeliveryState.DELIVERED),
    ],
)
async def test_the_setting_says_when_skyvern_is_asked(
    client: redis.Redis,
    redis_url: str,
    redeliver: str,
    reason: str | None,
    state: DeliveryState,
) -> None:
    settings = {"redeliver": redeliver}
    async with receiving() as user, delivering(client, redis_url, settings=settings) as bench:
        await bench.api.fault({"drop": True}, match={"route": "webhook"})
        if reason is None:
            job_id = await ended(bench, user.url)
            aged(bench, job_id, 3)
        else:
            job_id = await failed(bench, user.url)
        found = await delivered(bench, job_id)

        assert found.state is state
        if state is DeliveryState.GAVE_UP:
            assert found.error == GIVEN_UP["webhook_failure_reason"]


async def test_an_answer_of_200_says_only_that_skyvern_tried(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving(500) as user, delivering(client, redis_url) as bench:
        job_id = await failed(bench, user.url)

        found = await delivered(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 1)
        assert (found.status, found.error) == (500, "the receiver answered 500")
        assert 0.5 < wait_of(bench, job_id) <= 1.1

        looks = await bench.calls("task")
        found = await delivered(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.GAVE_UP, 2)
        assert await bench.calls("task") == looks  # what it says of before is of before


async def test_a_receiver_that_skyvern_cannot_reach_is_tried_again_without_its_url_in_words(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with delivering(client, redis_url) as bench:
        job_id = await failed(bench, f"http://127.0.0.1:{closed_port()}/hook/secret-path?a=b")

        found = await delivered(bench, job_id)

        assert (found.state, found.status) == (DeliveryState.PENDING, None)
        assert (found.error or "").startswith("Could not reach URL")
        assert "secret-path" not in str(logged)


@pytest.mark.parametrize(
    ("action", "state", "tries"),
    [
        ({"status": 400, "body": {"detail": "no webhook URL"}}, DeliveryState.GAVE_UP, 1),
        ({"status": 404, "body": {"detail": "Run not found"}}, DeliveryState.GAVE_UP, 1),
        ({"status": 404, "body": {"detail": "Not Found"}}, DeliveryState.GAVE_UP, 1),
        ({"status": 409, "body": {"detail": "A retry is pending"}}, DeliveryState.PENDING, 0),
        ({"status": 401}, DeliveryState.PENDING, 1),
        ({"status": 403}, DeliveryState.PENDING, 1),
        ({"status": 500}, DeliveryState.PENDING, 1),
        ({"status": 503}, DeliveryState.PENDING, 1),
        ({"status": 200, "body": None}, DeliveryState.UNKNOWN, 1),
        ({"html200": True}, DeliveryState.PENDING, 1),
        ({"reset": "after_body"}, DeliveryState.PENDING, 1),
        ({"latency": 60}, DeliveryState.PENDING, 1),
    ],
    ids=str,
)
async def test_what_the_api_says_to_sending_again(
    client: redis.Redis,
    redis_url: str,
    *,
    action: dict[str, Any],
    state: DeliveryState,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watcher, "REPLAY_SECONDS", 0.3)
    async with receiving() as user, delivering(client, redis_url) as bench:
        await bench.api.fault(action, match={"route": "retry_webhook"})
        job_id = await failed(bench, user.url)

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts) == (state, tries)
        if action.get("status") == 409:
            assert 25 < wait_of(bench, job_id) <= 30
        elif state is DeliveryState.PENDING:
            assert wait_of(bench, job_id) <= 1.1
        if state is DeliveryState.GAVE_UP:
            assert found.error == action["body"]["detail"]


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_look_that_failed_is_taken_again_and_is_no_try(
    client: redis.Redis, redis_url: str, status: int
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        await bench.api.fault(
            {"status": status, "headers": {"Retry-After": "40"}}, match={"route": "task"}
        )
        job_id = await ended(bench, user.url)
        aged(bench, job_id, 5)

        found = await delivered(bench, job_id)

        assert (found.state, found.attempts) == (DeliveryState.PENDING, 0)
        assert wait_of(bench, job_id) > (5 if status == 401 else 35)


async def test_an_old_server_tells_it_in_the_run(client: redis.Redis, redis_url: str) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
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


async def test_a_server_that_does_not_tell_is_asked_once_more_when_it_has_surely_given_up(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        await bench.api.fault(
            {"status": 404, "body": {"detail": "Not Found"}}, match={"route": "task"}
        )
        job_id = await ended(bench, user.url)
        aged(bench, job_id, 0.5)
        await delivered(bench, job_id)
        assert 95 < wait_of(bench, job_id) <= 100

        aged(bench, job_id, 2.2)
        assert (await delivered(bench, job_id)).state is DeliveryState.UNKNOWN


async def test_a_workflows_webhook_is_looked_up_where_the_server_shows_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        await bench.api.fault({"status": 405}, match={"route": "agent_runs"})
        request = WorkflowRunRequest(workflow_id="wpid_1", parameters={}, webhook_url=user.url)
        job_id = bench.queue.enqueue(request).job_id
        await bench.one_pass("submit")
        run_id = bench.job(job_id).run_id
        answer = {"run_id": run_id, "status": "completed"}
        await bench.api.fault({"status": 200, "body": answer}, match={"route": "get_run"}, times=1)
        await bench.one_pass("poll")
        item = {"workflow_run_id": run_id, "webhook_failure_reason": ""}
        await bench.api.fault({"status": 200, "body": item}, match={"route": "workflow_run"})

        found = await delivered(bench, job_id)

        assert found.state is DeliveryState.DELIVERED
        assert (await bench.calls("agent_runs"), await bench.calls("workflow_run")) == (1, 1)


async def test_a_person_may_have_it_sent_again_by_skyvern_elsewhere_without_a_look(
    client: redis.Redis, redis_url: str
) -> None:
    async with (
        receiving() as user,
        receiving() as other,
        delivering(client, redis_url, settings={"redeliver": "never"}) as bench,
    ):
        job_id = await ended(bench, user.url)
        await eventually(lambda: user.bodies)
        looks = await bench.calls("task")
        await bench.account.send(deliver_again("default", [job_id], other.url))

        await bench.one_pass("webhooks")

        assert state_of(bench, job_id) is DeliveryState.DELIVERED
        assert (len(user.bodies), len(other.bodies)) == (1, 1)
        assert await bench.calls("task") == looks


async def test_every_call_of_the_api_has_a_permit(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
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


async def test_jobs_without_a_webhook_are_not_watched(client: redis.Redis, redis_url: str) -> None:
    async with delivering(client, redis_url) as bench:
        request = TaskRunRequest(prompt="Read it.", url=INSTANT, engine="skyvern-1.0")
        job_id = bench.queue.enqueue(request).job_id
        await bench.one_pass("submit")
        await bench.one_pass("poll")

        assert state_of(bench, job_id) is DeliveryState.NONE
        assert not (await bench.account.consumers["webhooks"].take(100, 0)).items
