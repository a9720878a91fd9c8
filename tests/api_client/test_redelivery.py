"""Why a webhook did not arrive, and having it sent again: what is asked, and what answers mean."""

import asyncio
from typing import Any

import orjson
import pytest

from api_client.answers.redelivery import Reason, ReasonClass, Replay, ReplayClass, classify_replay
from api_client.http.transport import AsyncTransport
from api_client.raw import RawClient
from tests.api_client.rawserver import (
    Exchange,
    answering,
    hangs,
    reads_then_closes,
    response,
    serving,
)
from tests.api_client.twins import KEY


async def permit() -> None:
    """Leave is given at once."""


@pytest.mark.parametrize(
    ("status", "body", "outcome", "receiver_status"),
    [
        (200, {"status_code": 204, "error": None}, ReplayClass.TRIED, 204),
        (200, {"status_code": None, "error": "no route"}, ReplayClass.TRIED, None),
        (200, {"status_code": "200", "error": 7}, ReplayClass.TRIED, None),
        (200, {"error": "x"}, ReplayClass.TRIED, None),
        (200, {"run_id": "r"}, ReplayClass.NOT_REPORTED, None),
        (200, None, ReplayClass.NOT_REPORTED, None),
        (200, b"", ReplayClass.NOT_REPORTED, None),
        (200, b"<html>", ReplayClass.TROUBLE, None),
        (200, [], ReplayClass.TROUBLE, None),
        (409, {"detail": "pending"}, ReplayClass.PENDING, None),
        *(
            (code, {"detail": "no"}, ReplayClass.REFUSED, None)
            for code in (400, 404, 405, 413, 422)
        ),
        *((code, {"error": "x"}, ReplayClass.TROUBLE, None) for code in (302, 401, 403, 429, 500)),
    ],
)
def test_what_an_answer_to_a_replay_means(
    status: int, body: Any, outcome: ReplayClass, receiver_status: int | None
) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    found = classify_replay(status, content, {"retry-after": "7"})

    assert (found.outcome, found.receiver_status) == (outcome, receiver_status)
    assert found.status_code == status
    assert found.retry_after == (None if status == 200 else 7)
    if outcome is not ReplayClass.TRIED:
        assert found.detail


@pytest.mark.parametrize(
    ("replay", "arrived"),
    [
        (Replay(ReplayClass.TRIED, 200), True),
        (Replay(ReplayClass.TRIED, 299), True),
        (Replay(ReplayClass.TRIED, 200, "it broke off"), False),
        (Replay(ReplayClass.TRIED, 302), False),
        (Replay(ReplayClass.TRIED, None), False),
        (Replay(ReplayClass.NOT_REPORTED), False),
    ],
)
def test_only_a_2xx_of_the_receivers_without_an_error_has_arrived(
    replay: Replay, arrived: bool
) -> None:
    assert replay.arrived is arrived


def test_what_was_sent_and_its_signature_are_told() -> None:
    sent = {"payload": '{"a": "€"}', "headers": {"X-Skyvern-Signature": "s", "a": 1}}
    found = classify_replay(200, orjson.dumps({"status_code": 200, **sent}), {})
    bare = classify_replay(200, orjson.dumps({"status_code": 200, "payload": 1}), {})

    assert (found.payload, found.signature, found.timestamp) == ('{"a": "€"}'.encode(), "s", "")
    assert (bare.payload, bare.signature) == (b"", "")
    assert "€" not in repr(found)


async def test_a_replay_names_another_receiver_only_where_one_is_given() -> None:
    answer = {"status_code": 200, "error": None}
    async with serving(answering(200, answer)) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        assert (await client.retry_webhook("wr_1")).arrived
        assert (await client.retry_webhook("wr_1", "https://a.test/")).arrived

        first, second = server.exchanges
    assert (first.method, first.target) == ("POST", "/v1/runs/wr_1/retry_webhook")
    assert (first.body, second.body) == (b"", b'{"webhook_url":"https://a.test/"}')


@pytest.mark.parametrize("behaviour", [hangs, reads_then_closes])
async def test_a_replay_without_an_answer_is_trouble(behaviour: Any) -> None:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        async with asyncio.timeout(10):
            found = await RawClient(server.url, KEY, transport).retry_webhook("r", timeout=0.2)

    assert (found.outcome, found.status_code) == (ReplayClass.TROUBLE, None)
    assert found.detail


@pytest.mark.parametrize("reason", [None, "", "The receiver answered 500"])
async def test_the_reason_is_told_as_the_server_has_it(reason: str | None) -> None:
    task = {"task_id": "tsk_1", "webhook_failure_reason": reason}
    async with serving(answering(200, task)) as server, AsyncTransport() as transport:
        found = await RawClient(server.url, KEY, transport).webhook_failure_reason("tsk_1", permit)
        (exchange,) = server.exchanges

    assert found == Reason(ReasonClass.REPORTED, reason)
    assert (exchange.method, exchange.target) == ("GET", "/api/v1/tasks/tsk_1")


async def test_a_workflow_is_looked_up_where_older_servers_show_it_with_a_permit_of_its_own() -> (
    None
):
    permits = []

    async def behave(exchange: Exchange) -> bool:
        if exchange.target.startswith("/v1/agents"):
            await exchange.send(response(404, b'{"detail": "Not Found"}'))
        else:
            await exchange.send(
                response(200, b'{"workflow_run_id": "wr_1", "webhook_failure_reason": ""}')
            )
        return True

    async def count() -> None:
        permits.append(len(server.exchanges))

    async with serving(behave) as server, AsyncTransport() as transport:
        client = RawClient(server.url, KEY, transport)
        found = await client.webhook_failure_reason("wr_1", count)
        targets = [exchange.target for exchange in server.exchanges]

    assert found == Reason(ReasonClass.REPORTED, "")
    assert targets == ["/v1/agents/runs?search_key=wr_1", "/v1/workflows/runs/wr_1"]
    assert permits == [1]  # the first call has one already


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, {"detail": "Task not found"}, ReasonClass.NOT_FOUND),
        (404, {"detail": "Not Found"}, ReasonClass.NOT_SUPPORTED),
        (405, {}, ReasonClass.NOT_SUPPORTED),
        (200, {"task_id": "tsk_1"}, ReasonClass.NOT_SUPPORTED),
        (200, b"<html>", ReasonClass.TROUBLE),
        (429, {}, ReasonClass.TROUBLE),
        (500, {}, ReasonClass.TROUBLE),
    ],
)
async def test_what_is_no_reason(status: int, body: Any, outcome: ReasonClass) -> None:
    behaviour = answering(status, body, retry_after="7")
    async with serving(behaviour) as server, AsyncTransport() as transport:
        found = await RawClient(server.url, KEY, transport).webhook_failure_reason("tsk_1", permit)

    assert (found.outcome, found.reason) == (outcome, None)
    assert found.retry_after == (7 if status in {429, 500} else None)
    if outcome is not ReasonClass.NOT_SUPPORTED:
        assert found.status_code == status


async def test_no_answer_is_no_reason() -> None:
    async with serving(reads_then_closes) as server, AsyncTransport() as transport:
        found = await RawClient(server.url, KEY, transport).webhook_failure_reason("tsk_1", permit)

    assert (found.outcome, found.status_code) == (ReasonClass.TROUBLE, None)
