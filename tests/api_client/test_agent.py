"""The typed calls: arguments, answers, errors, and what is tried again."""

import inspect
from typing import Any

import orjson
import pytest

from api_client import (
    AiohttpTransport,
    AnswerLostError,
    ApiError,
    AsyncSkyvern,
    BadRequestError,
    ConflictError,
    Environment,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    RunStatus,
    ServerError,
    SkyvernError,
    TaskRunResponse,
    UnprocessableEntityError,
    WorkflowRunResponse,
)
from tests.api_client.rawserver import (
    Behaviour,
    Server,
    answering,
    answering_in_turn,
    hangs,
    port_nobody_listens_on,
    reads_then_closes,
    response,
    serving,
)

TASK = response(200, b'{"run_id": "tsk_1", "status": "queued", "run_type": "task_v2"}')
WORKFLOW = response(200, b'{"run_id": "wr_1", "status": "queued", "run_type": "workflow_run"}')


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("api_client.retrying.FIRST_PAUSE", 0.0)


def client_of(server: Server) -> AsyncSkyvern:
    return AsyncSkyvern(api_key="a-secret-key", base_url=server.url, timeout=5)


async def test_a_task_is_sent_with_what_was_given_and_no_more() -> None:
    async with serving(answering_in_turn(TASK)) as server, client_of(server) as client:
        run = await client.agent.run_task(
            prompt="p", url=None, engine="skyvern-2.0", user_agent="ua", max_steps=3
        )
        [exchange] = server.exchanges
    assert isinstance(run, TaskRunResponse)
    assert (exchange.method, exchange.target) == ("POST", "/v1/run/tasks")
    assert orjson.loads(exchange.body) == {
        "prompt": "p",
        "url": None,
        "engine": "skyvern-2.0",
        "max_steps": 3,
    }
    assert exchange.headers["x-user-agent"] == "ua"
    assert "x-max-steps-override" not in exchange.headers


@pytest.mark.parametrize("name", ["workflow_id", "agent_id"])
async def test_a_workflow_is_sent_with_its_query_and_headers(name: str) -> None:
    async with serving(answering_in_turn(WORKFLOW)) as server, client_of(server) as client:
        given: dict[str, Any] = {name: "wpid_1"}
        run = await client.agent.run_workflow(
            **given, template=False, max_steps_override=5, parameters={"a": None}
        )
        [exchange] = server.exchanges
    assert isinstance(run, WorkflowRunResponse)
    assert exchange.target == "/v1/run/workflows?template=false"
    assert orjson.loads(exchange.body) == {name: "wpid_1", "parameters": {"a": None}}
    assert exchange.headers["x-max-steps-override"] == "5"


@pytest.mark.parametrize("given", [{}, {"workflow_id": "w", "agent_id": "w"}])
async def test_a_workflow_needs_one_id_and_not_two(given: dict[str, Any]) -> None:
    async with AsyncSkyvern(api_key="k") as client:
        with pytest.raises(TypeError, match="workflow_id or agent_id"):
            await client.agent.run_workflow(**given)


async def test_a_misspelt_argument_is_refused() -> None:
    async with AsyncSkyvern(api_key="k") as client:
        misspelt: dict[str, Any] = {"promt": "p"}
        with pytest.raises(TypeError, match="promt"):
            await client.agent.run_task(prompt="p", **misspelt)


async def test_request_options_add_to_the_call() -> None:
    async with serving(answering_in_turn(TASK)) as server, client_of(server) as client:
        await client.agent.run_task(
            prompt="p",
            request_options={
                "additional_headers": {"x-trace": "t"},
                "additional_query_parameters": {"q": 1},
                "additional_body_parameters": {"new_field": True},
            },
        )
        [exchange] = server.exchanges
    assert exchange.target == "/v1/run/tasks?q=1"
    assert orjson.loads(exchange.body) == {"prompt": "p", "new_field": True}
    assert exchange.headers["x-trace"] == "t"


async def test_a_run_is_read_as_the_kind_it_is() -> None:
    async with serving(answering_in_turn(TASK, WORKFLOW)) as server, client_of(server) as client:
        assert isinstance(await client.agent.get_run("tsk_1"), TaskRunResponse)
        assert isinstance(await client.agent.get_run("wr_1"), WorkflowRunResponse)


async def test_a_cancel_sends_no_body_and_gives_nothing_back() -> None:
    async with serving(answering(200, b"null")) as server, client_of(server) as client:
        await client.agent.cancel_run("tsk_1")
        [exchange] = server.exchanges
    assert (exchange.method, exchange.target) == ("POST", "/v1/runs/tsk_1/cancel")
    assert exchange.headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, ApiError),
        (402, ApiError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, ApiError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_an_answer_that_says_no_raises_the_error_of_its_status(
    status: int, error: type[ApiError]
) -> None:
    behaviour = answering(
        status, {"detail": "No, a-secret-key"}, x_request_id="r1", retry_after="0"
    )
    async with serving(behaviour) as server, client_of(server) as client:
        with pytest.raises(ApiError) as caught:
            await client.agent.run_task(prompt="p", request_options={"max_retries": 0})
    assert type(caught.value) is error
    assert str(caught.value) == f"POST /v1/run/tasks: {status} No, [key]"
    assert caught.value.status_code == status
    assert caught.value.request_id == "r1"
    if isinstance(caught.value, RateLimitError | ServerError):
        assert caught.value.retry_after == 0.0


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"run_id": "", "status": "queued"}'])
async def test_an_answer_that_is_no_run_is_an_api_error(body: bytes) -> None:
    async with serving(answering(200, body)) as server, client_of(server) as client:
        with pytest.raises(ApiError, match="200, and the body cannot be read"):
            await client.agent.run_task(prompt="p")
        assert len(server.exchanges) == 1


READ_AGAIN: list[Behaviour] = [
    reads_then_closes,
    answering(408),
    answering(429, retry_after="0"),
    answering(500),
    answering(502),
    answering(503),
]


@pytest.mark.parametrize("behaviour", READ_AGAIN)
async def test_a_read_that_fails_in_passing_is_made_again(behaviour: Behaviour) -> None:
    async with serving(behaviour) as server, client_of(server) as client:
        with pytest.raises(SkyvernError):
            await client.agent.get_run("tsk_1", request_options={"max_retries": 3})
        assert len(server.exchanges) == 4


async def test_a_read_ends_with_the_first_answer_that_is_good() -> None:
    behaviour = answering_in_turn(response(500), response(503), TASK)
    async with serving(behaviour) as server, client_of(server) as client:
        run = await client.agent.get_run("tsk_1")
        assert len(server.exchanges) == 3
    assert run.run_id == "tsk_1"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_a_read_that_was_refused_is_not_made_again(status: int) -> None:
    async with serving(answering(status)) as server, client_of(server) as client:
        with pytest.raises(ApiError):
            await client.agent.get_run("tsk_1")
        assert len(server.exchanges) == 1


@pytest.mark.parametrize(
    "first",
    [response(429, retry_after="0"), response(503, b'{"detail": "No run was created"}')],
)
async def test_a_submission_known_to_have_made_no_run_is_made_again(first: bytes) -> None:
    async with serving(answering_in_turn(first, TASK)) as server, client_of(server) as client:
        run = await client.agent.run_task(prompt="p")
        assert len(server.exchanges) == 2
    assert run.status is RunStatus.QUEUED


@pytest.mark.parametrize("behaviour", [answering(500), answering(503), answering(408)])
async def test_a_submission_that_may_have_made_a_run_is_not_made_again(
    behaviour: Behaviour,
) -> None:
    async with serving(behaviour) as server, client_of(server) as client:
        with pytest.raises(ApiError):
            await client.agent.run_task(prompt="p")
        assert len(server.exchanges) == 1


async def test_a_submission_or_cancel_whose_answer_is_lost_is_not_made_again() -> None:
    async with serving(reads_then_closes) as server, client_of(server) as client:
        with pytest.raises(AnswerLostError):
            await client.agent.run_task(prompt="p")
        with pytest.raises(AnswerLostError):
            await client.agent.cancel_run("tsk_1")
        assert len(server.exchanges) == 2


async def test_a_submission_that_was_not_sent_says_so() -> None:
    with port_nobody_listens_on() as port:
        url = f"http://127.0.0.1:{port}"
        async with AsyncSkyvern(api_key="k", base_url=url) as client:
            with pytest.raises(NotSentError):
                await client.agent.run_task(prompt="p")


async def test_a_call_s_own_time_limit_goes_before_the_client_s() -> None:
    async with serving(hangs) as server, client_of(server) as client:
        with pytest.raises(AnswerLostError, match="Timeout"):
            await client.agent.run_task(prompt="p", request_options={"timeout_in_seconds": 0.5})


def test_no_repr_shows_the_key() -> None:
    client = AsyncSkyvern(api_key="a-secret-key", environment=Environment.STAGING)
    assert repr(client) == "AsyncSkyvern(base_url='https://api-staging.skyvern.com/')"
    assert "a-secret-key" not in repr((client.raw, client.agent, client.raw.requests))


async def test_a_transport_that_was_passed_in_is_left_open() -> None:
    async with serving(answering_in_turn(TASK)) as server, AiohttpTransport() as transport:
        for _ in range(2):
            async with AsyncSkyvern(
                api_key="k", base_url=server.url, transport=transport
            ) as client:
                await client.agent.get_run("tsk_1")
        assert server.connections == 1


@pytest.mark.parametrize("name", ["run_task", "run_workflow"])
def test_every_argument_of_a_submission_is_keyword_only_with_the_options_last(name: str) -> None:
    signature = inspect.signature(getattr(AsyncSkyvern(api_key="k").agent, name))
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert list(signature.parameters)[-1] == "request_options"
