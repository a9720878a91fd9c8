"""Redirects: followed within the same server where the request stays the same, else given back."""

from itertools import pairwise
from typing import Any

import pytest

from api_client import ApiError, NotSentError
from tests.api_client.rawserver import answering, answering_in_turn, response, serving
from tests.api_client.twins import KEY, Clock, FakeTransport, Kind, answer, both, twin
from tests.api_client.twins import TASK as RUN

TASK = response(200, b'{"run_id": "tsk_1", "status": "queued", "run_type": "task_v2"}')


@both
@pytest.mark.parametrize("status", [307, 308])
async def test_a_submission_follows_a_redirect_to_the_same_server_with_its_body(
    kind: Kind, status: int
) -> None:
    behaviour = answering_in_turn(response(status, location="/v1/run/tasks/?a=b"), TASK)
    async with serving(behaviour) as server, twin(kind, base_url=server.url) as client:
        run = await client.submit()
        first, second = server.exchanges
    assert run.run_id == "tsk_1"
    assert (second.method, second.target) == ("POST", "/v1/run/tasks/?a=b")
    assert second.body == first.body != b""
    assert second.headers["x-api-key"] == KEY


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["get_run", "cancel_run"])
async def test_the_key_is_not_taken_to_another_server(kind: Kind, status: int, call: str) -> None:
    async with serving(answering_in_turn(TASK)) as other:
        behaviour = answering(status, location=f"{other.url}/v1/run/tasks")
        async with serving(behaviour) as server, twin(kind, base_url=server.url) as client:
            with pytest.raises(ApiError) as caught:
                await client.call(call, "tsk_1")
            assert len(server.exchanges) == 1
        assert not other.connections
    assert caught.value.status_code == status


@both
@pytest.mark.parametrize("status", [301, 302])
async def test_a_read_follows_what_a_submission_does_not(kind: Kind, status: int) -> None:
    behaviour = answering_in_turn(response(status, location="/moved"), TASK)
    async with serving(behaviour) as server, twin(kind, base_url=server.url) as client:
        assert (await client.call("get_run", "tsk_1")).run_id == "tsk_1"
        assert [exchange.target for exchange in server.exchanges] == ["/v1/runs/tsk_1", "/moved"]
    async with serving(answering(status, location="/moved")) as server:
        async with twin(kind, base_url=server.url) as client:
            with pytest.raises(ApiError):
                await client.submit()
        assert len(server.exchanges) == 1


@both
async def test_three_redirects_are_followed_and_no_more(kind: Kind) -> None:
    async with serving(answering(307, location="/again")) as server:
        async with twin(kind, base_url=server.url) as client:
            with pytest.raises(ApiError, match="307"):
                await client.submit()
        assert len(server.exchanges) == 4


@both
async def test_follow_redirects_false_gives_the_redirect_back(kind: Kind) -> None:
    async with serving(answering(307, location="/again")) as server:
        async with twin(kind, base_url=server.url, follow_redirects=False) as client:
            with pytest.raises(ApiError, match="307"):
                await client.call("get_run", "tsk_1")
        assert len(server.exchanges) == 1


@both
async def test_redirects_share_one_time_limit(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def takes_ten_seconds(request: Any) -> Any:
        clock.now += 10
        return answer(307, location="/again")

    transport = FakeTransport(by=takes_ten_seconds)
    async with twin(kind, transport=transport, timeout=60) as client:
        with pytest.raises(ApiError):
            await client.submit()
    assert all(before - after == 10 for before, after in pairwise(transport.timeouts))
    assert transport.timeouts[0] == 60


@both
@pytest.mark.parametrize(
    ("timeout", "taken", "requests"), [(20, 16, 1), (20, 14, 2), (4, 2.5, 1), (4, 1.5, 2)]
)
async def test_a_submission_is_not_sent_on_without_time_to_hear_its_answer(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, timeout: float, taken: float, requests: int
) -> None:
    """Cut off after a moment its answer would be lost, and a redirect made no run."""
    clock = Clock(monkeypatch)

    def takes_its_time(request: Any) -> Any:
        if len(transport.requests) > 1:
            return answer(200, RUN)
        clock.now += taken
        return answer(307, location="/again")

    transport = FakeTransport(by=takes_its_time)
    async with twin(kind, transport=transport, timeout=timeout) as client:
        if requests == 1:
            with pytest.raises(ApiError, match="a redirect to another path, not foll") as caught:
                await client.submit()
            assert not caught.value.run_may_exist
        else:
            await client.submit()
        assert len(transport.requests) == requests
        transport.requests.clear()
        assert (await client.call("get_run", "tsk_1")).run_id == "tsk_1"
        assert len(transport.requests) == 2


@both
async def test_https_does_not_become_http(kind: Kind) -> None:
    transport = FakeTransport(answer(308, location="http://skyvern.test/v1/run/tasks"))
    async with twin(kind, base_url="https://skyvern.test", transport=transport) as client:
        with pytest.raises(ApiError, match="308"):
            await client.submit()
    assert len(transport.requests) == 1


@both
async def test_a_redirect_to_a_port_that_refuses_is_the_answer_since_the_request_was_read(
    kind: Kind,
) -> None:
    transport = FakeTransport(
        answer(308, location="https://skyvern.test/v1/run/tasks"), NotSentError("refused")
    )
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ApiError, match="308") as caught:
            await client.submit()
    assert not caught.value.run_may_exist
    assert [request.url.scheme for request in transport.requests] == ["http", "https"]
