"""What the calls about webhooks tell, as the simulator, like a real server, answers them."""

import pytest

from api_client import BadRequestError, NotFoundError, verify_webhook
from simulator.model.options import DEFAULT_API_KEY
from tests.api_client.recording import WAYS, Way, account
from tests.simulator.simulating import FakeClock, eventually, receiving

both = pytest.mark.parametrize("way", WAYS)


@both
async def test_a_webhook_sent_again_tells_whether_it_arrived_and_is_signed(way: Way) -> None:
    async with receiving(500, 204) as receiver, account(way, duration=0.0) as (call, _):
        run_id = (await call("run_task", prompt="p")).run_id
        refused = await call("retry_run_webhook", run_id, webhook_url=receiver.url)
        taken = await call("retry_run_webhook", run_id, webhook_url=receiver.url)
        nowhere = await call("retry_run_webhook", run_id, webhook_url="http://127.0.0.1:1/x")
    assert [answer.delivered for answer in (refused, taken, nowhere)] == [False, True, False]
    assert (refused.status_code, taken.status_code, nowhere.status_code) == (500, 204, None)
    assert nowhere.error
    assert taken.run_id == run_id
    assert taken.payload is not None
    assert taken.payload.encode() == receiver.bodies[1]
    signature = receiver.headers[1]["x-skyvern-signature"]
    assert verify_webhook(receiver.bodies[1], signature, DEFAULT_API_KEY)
    assert not verify_webhook(receiver.bodies[0], signature, "another key")


@both
async def test_a_webhook_cannot_be_sent_again_before_the_end_or_to_nowhere(way: Way) -> None:
    async with account(way, clock=FakeClock()) as (call, _):
        live = await call("run_task", prompt="p", webhook_url="http://127.0.0.1:1/x")
        with pytest.raises(BadRequestError, match="has not reached a terminal state"):
            await call("retry_run_webhook", live.run_id)
    async with account(way, duration=0.0) as (call, _):
        silent = await call("run_task", prompt="p")
        with pytest.raises(BadRequestError, match="No webhook URL configured"):
            await call("retry_run_webhook", silent.run_id)
        with pytest.raises(NotFoundError):
            await call("retry_run_webhook", "tsk_unknown")


@both
@pytest.mark.parametrize("kind", ["task", "workflow"])
async def test_the_webhook_of_a_run_is_untried_delivered_or_abandoned(kind: str, way: Way) -> None:
    async with (
        receiving(200) as good,
        receiving(400) as bad,
        account(way, duration=0.0) as (call, simulator),
    ):
        submit = simulator.run_task if kind == "task" else simulator.run_workflow
        silent, told, refused = [
            await submit(**({"webhook_url": url} if url else {}))
            for url in (None, good.url, bad.url)
        ]

        async def reasons() -> list[str | None]:
            return [
                await call("webhook_failure_reason", run_id) for run_id in (silent, told, refused)
            ]

        async def are_sent() -> bool:
            return None not in (await reasons())[1:]

        await eventually(are_sent)
        assert await reasons() == [
            None,
            "",
            "Webhook failed with status code 400, error message: noted",
        ]
        with pytest.raises(NotFoundError):
            await call("webhook_failure_reason", {"task": "tsk_0", "workflow": "wr_0"}[kind])
