"""The typed calls: what their answers become, and which error says what."""

import asyncio
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api_client import (
    AgentClient,
    ApiError,
    BadRequestError,
    CallKind,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimiter,
    RateLimitError,
    RunWebhookReplayResponse,
    ServerError,
    Skyvern,
    UnprocessableEntityError,
)
from tests.api_client.rawserver import answering, serving
from tests.api_client.twins import KEY, TASK, FakeTransport, Kind, answer, both, twin

WORKFLOW = {"run_id": "wr_1", "status": "queued", "run_type": "workflow_run"}


@both
@pytest.mark.parametrize("body", [b"null", b"", b'{"status": "canceled"}'])
async def test_a_cancel_sends_no_body_and_gives_nothing_back(kind: Kind, body: bytes) -> None:
    async with serving(answering(200, body)) as server:
        async with twin(kind, base_url=server.url) as client:
            assert await client.call("cancel_run", "tsk_1") is None
        [exchange] = server.exchanges
    assert (exchange.method, exchange.target) == ("POST", "/v1/runs/tsk_1/cancel")
    assert exchange.headers["content-length"] == "0"
    assert "content-type" not in exchange.headers


@both
async def test_a_replay_tells_what_the_receiver_said_where_the_server_does(kind: Kind) -> None:
    said = {"run_id": "tsk_1", "status_code": None, "error": "refused", "new": 1}
    transport = FakeTransport(answer(200, said), httpx.Response(200, text="null"))
    async with twin(kind, transport=transport) as client:
        replay = await client.call("retry_run_webhook", "tsk_1", webhook_url="http://h")
        assert await client.call("retry_run_webhook", "tsk_1") is None
    assert isinstance(replay, RunWebhookReplayResponse)
    assert not replay.delivered
    assert [request.read() for request in transport.requests] == [
        b'{"webhook_url":"http://h"}',
        b"",
    ]


@both
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, ApiError),
        (402, ApiError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, ApiError),
        (418, ApiError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_an_answer_that_says_no_raises_the_error_of_its_status(
    kind: Kind, status: int, error: type[ApiError]
) -> None:
    detail = {"detail": f"No, {KEY}"}
    refusal = answer(status, detail, X_Request_Id="r1", retry_after="3")
    async with twin(kind, transport=FakeTransport(refusal)) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit(max_retries=0)
    assert type(caught.value) is error
    assert str(caught.value) == f"POST /v1/run/tasks: {status} No, [key]"
    assert caught.value.status_code == status
    assert caught.value.body == detail
    assert caught.value.request_id == "r1"
    assert caught.value.headers["retry-after"] == "3"
    if isinstance(caught.value, RateLimitError | ServerError):
        assert caught.value.retry_after == 3.0


@both
async def test_an_error_without_words_names_its_status(kind: Kind) -> None:
    async with twin(kind, transport=FakeTransport(httpx.Response(418))) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit()
    assert str(caught.value) == "POST /v1/run/tasks: 418"
    assert (caught.value.body, caught.value.request_id) == ("", None)


UNREADABLE = [
    (b"<html>", "it is not JSON"),
    (b"[]", "valid dictionary"),
    (b"{}", "run_id: Field required; status: Field required"),
    (b'{"run_id": "", "status": "queued"}', "run_id: String should have at least 1 character"),
    (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper than 200 levels"),
    (b"\xff", "it is not JSON"),
]


@both
@pytest.mark.parametrize(("body", "words"), UNREADABLE)
async def test_an_answer_that_is_no_run_is_an_api_error_that_says_why(
    kind: Kind, body: bytes, words: str
) -> None:
    transport = FakeTransport(httpx.Response(200, content=body))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ApiError, match="200, and the body cannot be read: ") as caught:
            await client.submit()
    assert words in str(caught.value)
    assert caught.value.status_code == 200
    assert caught.value.run_may_exist
    assert len(transport.requests) == 1


@both
async def test_an_answer_that_names_a_field_by_the_key_does_not_show_it(kind: Kind) -> None:
    odd = {"run_id": "tsk_1", "status": {KEY: 1}}
    async with twin(kind, transport=FakeTransport(answer(200, odd))) as client:
        with pytest.raises(ApiError, match="cannot be read: status") as caught:
            await client.submit()
    assert KEY not in str(caught.value)
    transport = FakeTransport(answer(200, {"cancelled": [1], KEY: 1}))
    async with twin(kind, transport=transport, api_key="cancelled") as client:
        with pytest.raises(ApiError, match=r"cannot be read: \[key\].0: Input should be"):
            await client.call("cancel_runs", ["tsk_1"])


@both
async def test_a_submission_s_id_is_not_lost_by_an_odd_field(kind: Kind) -> None:
    odd = TASK | {"output": 7, "created_at": "yesterday", "app_url": "u"}
    async with twin(kind, transport=FakeTransport(answer(200, odd))) as client:
        task = await client.submit()
        workflow = await client.call("run_workflow", workflow_id="wpid_1")
        read = await client.call("get_run", "tsk_1")
    for run in (task, workflow, read):
        assert (run.run_id, run.app_url, run.output, run.created_at) == ("tsk_1", "u", None, None)
        assert run.unreadable_fields == {"output": 7, "created_at": "yesterday"}


#: After which answers to a submission a run may exist; a read's never say so.
RUN_MAY_EXIST = [
    *((status, None, True) for status in (404, 408, 418, 422, 425, 500, 502, 503)),
    *((status, None, False) for status in (301, 400, 401, 402, 403, 405, 409, 410, 413, 429)),
    (404, {"detail": "Workflow wpid_1 not found"}, False),
    (422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}, False),
    (503, {"detail": "No run was created"}, False),
    (500, {"detail": "No run was created"}, True),
]


@both
@pytest.mark.parametrize(("status", "body", "may_exist"), RUN_MAY_EXIST)
async def test_an_answer_says_whether_a_run_may_exist(
    kind: Kind, status: int, body: Any, may_exist: bool
) -> None:
    async with twin(kind, transport=FakeTransport(answer(status, body))) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit(max_retries=0)
        with pytest.raises(ApiError) as of_a_read:
            await client.call("get_run", "tsk_1", request_options={"max_retries": 0})
    assert caught.value.run_may_exist is may_exist
    assert not of_a_read.value.run_may_exist
    assert pickle.loads(pickle.dumps(caught.value)).run_may_exist is may_exist
    nothing = status == 503 and body is not None
    assert getattr(caught.value, "came_to_nothing", False) is nothing
    assert getattr(of_a_read.value, "came_to_nothing", False) is False


DEEP = b'{"detail":' + b'{"a":[' * 300 + b"]}" * 300 + b"}"


@both
@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_an_error_with_a_deep_body_keeps_it_as_text_and_travels(
    kind: Kind, status: int
) -> None:
    transport = FakeTransport(httpx.Response(status, content=DEEP))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit()
    assert caught.value.body == DEEP.decode()
    assert pickle.loads(pickle.dumps(caught.value)).body == DEEP.decode()


REDIRECTS = [
    ("https://login.example.com/a?token=secret", "https://login.example.com"),
    ("http://[::1]:8080/x", "http://[::1]"),
    ("//other.example.com", "//other.example.com"),
    ("/elsewhere?token=secret", "another path"),
    ("https://me:secret@h.example/", "no host that can be"),
    ("https://[broken", "no host that can be"),
    (f"https://{'h' * 81}/secret", "no host that can be"),
    (f"https://{KEY}/", "https://[key]"),
]


@both
@pytest.mark.parametrize(("location", "place"), REDIRECTS)
async def test_a_redirect_that_is_not_followed_says_where_it_leads(
    kind: Kind, location: str, place: str
) -> None:
    transport = FakeTransport(answer(303, location=location))
    async with twin(kind, transport=transport) as client:
        with pytest.raises(ApiError) as caught:
            await client.call("cancel_run", "tsk_1")
    way = f"(a redirect to {place}, not followed)"
    assert str(caught.value) == f"POST /v1/runs/tsk_1/cancel: 303 null {way}".replace("null ", "")


async def test_threads_share_a_client() -> None:
    async with serving(answering(200, TASK)) as server:

        def work(client: AgentClient) -> set[str]:
            with ThreadPoolExecutor(8) as pool:
                runs = pool.map(lambda _: client.run_task(prompt="p"), range(200))
                return {run.run_id for run in runs}

        with Skyvern(api_key=KEY, base_url=server.url) as client:
            assert await asyncio.to_thread(work, client.agent) == {"tsk_1"}
        assert len(server.exchanges) == 200
        assert server.connections <= 8


async def test_a_blocking_call_asks_its_limiter_and_logs_in_the_thread_that_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []

    class Noting(RateLimiter):
        def reserve(self, kind: CallKind, at_most: float) -> float | None:
            asked.append(threading.get_ident())
            return super().reserve(kind, at_most)

    def call(url: str) -> int:
        with Skyvern(api_key=KEY, base_url=url, limiter=Noting()) as client:
            client.agent.get_run("tsk_1")
        return threading.get_ident()

    caplog.set_level(logging.DEBUG, "api_client")
    async with serving(answering(200, TASK)) as server:
        caller = await asyncio.to_thread(call, server.url)
    assert asked == [caller]
    assert [one.thread for one in caplog.records if one.name == "api_client"] == [caller]
