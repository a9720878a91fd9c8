"""Typical uses, which the type checker reads and nobody runs.

`assert_type` pins what each call returns. A wrong use carries `type: ignore` with its code: strict
checking refuses an ignore that is not needed, so the line fails once the mistake is no error.
"""

import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, assert_type

import httpx

from api_client import (
    OMIT,
    AgentClient,
    ApiError,
    AsyncAgentClient,
    AsyncSkyvern,
    AsyncTransport,
    BulkCancelRunsResponse,
    CallKind,
    FileInfo,
    Limiter,
    ProxyLocation,
    RateLimiter,
    RateLimitError,
    RawClient,
    RequestOptions,
    RetryPolicy,
    RunEngine,
    RunListItem,
    RunReading,
    RunResponse,
    RunStatus,
    RunWebhookReplayResponse,
    ServerError,
    Skyvern,
    SkyvernEnvironment,
    Submission,
    TaskRunResponse,
    WaitTimeoutError,
    WorkflowRunResponse,
    verify_webhook,
)

OPTIONS: RequestOptions = {
    "timeout_in_seconds": 7.5,
    "max_retries": 0,
    "additional_headers": {"x-trace": "t"},
    "additional_query_parameters": {"q": [1, 2]},
    "additional_body_parameters": None,
    "chunk_size": 1024,
}


def blocking_calls(run_id: str) -> None:
    with Skyvern(api_key="k", environment=SkyvernEnvironment.STAGING) as client:
        assert_type(client, Skyvern)
        agent = client.agent
        assert_type(agent, AgentClient)
        assert_type(agent.run_task(prompt="p"), TaskRunResponse)
        assert_type(agent.run_workflow(workflow_id="wpid_1"), WorkflowRunResponse)
        assert_type(agent.run_workflow(agent_id="wpid_1"), WorkflowRunResponse)
        assert_type(agent.get_run(run_id), TaskRunResponse | WorkflowRunResponse)
        assert_type(agent.get_run(run_id=run_id, request_options=OPTIONS), RunResponse)
        assert_type(agent.retry_run_webhook(run_id), RunWebhookReplayResponse | None)
        assert_type(agent.list_runs(status=["created"], page=2), list[RunListItem])
        assert_type(agent.iter_runs(search_key="[b:"), Iterator[RunListItem])
        assert_type(agent.cancel_runs([run_id]), BulkCancelRunsResponse)
        assert_type(agent.cancel_runs(one for one in (run_id,)), BulkCancelRunsResponse)
        assert_type(agent.webhook_failure_reason(run_id), str | None)
        assert_type(agent.wait_for_run(run_id, timeout=60), RunResponse)
        agent.cancel_run(run_id)
        for item in agent.iter_runs(status="running"):
            assert_type(item, RunListItem)


def every_argument_of_a_task(agent: AgentClient) -> None:
    agent.run_task(
        prompt="p",
        user_agent="ua",
        url="https://a.example",
        engine=RunEngine.SKYVERN_V2,
        title=None,
        proxy_location=ProxyLocation.US_CA,
        data_extraction_schema={"type": "object"},
        error_code_mapping={"OUT": "The item is sold out", "OTHER": None},
        max_steps=10,
        webhook_url=OMIT,
        publish_workflow=False,
        model={"name": "m"},
        extra_http_headers={"x-a": "b"},
        request_options={"max_retries": 3},
    )
    agent.run_task(prompt="p", engine="of tomorrow", proxy_location={"country": "FR"})
    agent.run_task(prompt="p", data_extraction_schema=["a"])
    agent.run_task(prompt="p", data_extraction_schema="a text")
    agent.run_workflow(
        workflow_id="wpid_1",
        template=True,
        max_steps_override=5,
        parameters={"a": [1, None]},
        run_metadata={"team": "a"},
    )


def what_a_run_tells(run: RunResponse, replay: RunWebhookReplayResponse) -> None:
    assert_type(run.is_over, bool)
    assert_type(run.run_id, str)
    assert_type(run.status, RunStatus | str)
    assert_type(run.output, dict[str, Any] | list[Any] | str | None)
    assert_type(run.downloaded_files, list[FileInfo] | None)
    assert_type(run.created_at, datetime | None)
    assert_type(run.failure_reason, str | None)
    assert_type(run.run_request, dict[str, Any] | None)
    assert_type(run.unreadable_fields, dict[str, Any] | None)
    assert_type(replay.delivered, bool)
    assert_type(replay.payload, str | None)
    if isinstance(run, WorkflowRunResponse):
        assert_type(run, WorkflowRunResponse)
    if run.status is RunStatus.COMPLETED:
        return


def what_an_error_tells(agent: AgentClient) -> None:
    try:
        agent.run_task(prompt="p")
    except (RateLimitError, ServerError) as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.run_may_exist, bool)
    except ApiError as error:
        assert_type(error.status_code, int)
        assert_type(error.request_id, str | None)
        assert_type(error.headers, dict[str, str])
        assert_type(error.body, Any)
    except WaitTimeoutError as error:
        assert_type(error.run, RunResponse | None)


def ways_to_make_a_client(limiter: Limiter, context: ssl.SSLContext) -> None:
    Skyvern()
    Skyvern(api_key="k", timeout=5, follow_redirects=None, headers={"x-team": "a"})
    Skyvern(httpx_client=httpx.Client(proxy="http://localhost:3128"))
    Skyvern(transport=httpx.HTTPTransport(verify=context))
    Skyvern(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    Skyvern(limiter=RateLimiter(max_submissions_per_second=2, max_burst_size=5))
    Skyvern(limiter=limiter, retry=RetryPolicy(max_retries=5, deadline=60))
    AsyncSkyvern(httpx_client=httpx.AsyncClient(), environment=SkyvernEnvironment.LOCAL)
    AsyncSkyvern(transport=AsyncTransport(timeout=5), limiter=RateLimiter())


class SlowLimiter:
    """A limiter of one's own needs no base class."""

    def reserve(self, kind: CallKind, at_most: float) -> float | None:
        return 1.0 if kind is CallKind.SUBMISSION and at_most >= 1.0 else None

    def hold(self, seconds: float) -> None:
        del seconds


async def a_queue_s_calls(transport: httpx.AsyncBaseTransport, headers: Mapping[str, str]) -> None:
    Skyvern(limiter=SlowLimiter())
    raw = RawClient("http://localhost:8000", "k", transport)
    assert_type(await raw.submit("task", b"{}", headers=headers), Submission)
    assert_type(await raw.get_run("tsk_1", timeout=5), RunReading)
    assert_type(await raw.check_key(), bool | None)
    await raw.submit("tasks", b"{}")  # type: ignore[arg-type]
    assert_type(verify_webhook(b"{}", None, ["old", "new"]), bool)
    verify_webhook("{}", None, "key")  # type: ignore[arg-type]


def wrong_uses(agent: AgentClient, awaited: AsyncAgentClient) -> None:
    agent.run_task()  # type: ignore[call-arg]
    agent.run_task("p")  # type: ignore[call-arg]
    agent.run_task(prompt=None)  # type: ignore[arg-type]
    agent.run_task(prompt="p", promt="p")  # type: ignore[call-arg]
    agent.run_task(prompt="p", max_steps="many")  # type: ignore[arg-type]
    agent.run_task(prompt="p", user_agent=5)  # type: ignore[arg-type]
    agent.run_task(prompt="p", user_agent=OMIT)  # type: ignore[arg-type]
    agent.run_task(prompt="p", workflow_id="w")  # type: ignore[call-arg]
    agent.run_workflow(workflow_id=None)  # type: ignore[arg-type]
    agent.run_workflow(workflow_id="w", prompt="p")  # type: ignore[call-arg]
    agent.run_workflow(workflow_id="w", parameters=["a"])  # type: ignore[arg-type]
    agent.get_run()  # type: ignore[call-arg]
    agent.get_run("a", OPTIONS)  # type: ignore[call-arg]
    agent.get_run("a", request_options={"timeout": 5})  # type: ignore[arg-type]
    agent.get_run("a", request_options={"max_retries": "2"})  # type: ignore[arg-type]
    agent.cancel_run(5)  # type: ignore[arg-type]
    agent.list_runs(page="1")  # type: ignore[arg-type]
    agent.iter_runs(page=1)  # type: ignore[call-arg]
    agent.wait_for_run("a", interval=1)  # type: ignore[call-arg]
    agent.get_run("a").status = "over"  # type: ignore[misc]
    for _ in awaited.iter_runs():  # type: ignore[attr-defined]
        pass


def wrong_clients() -> None:
    Skyvern("k")  # type: ignore[call-arg]
    Skyvern(api_keys="k")  # type: ignore[call-arg]
    Skyvern(httpx_client=httpx.AsyncClient())  # type: ignore[arg-type]
    Skyvern(transport=AsyncTransport())  # type: ignore[arg-type]
    AsyncSkyvern(httpx_client=httpx.Client())  # type: ignore[arg-type]
    Skyvern(limiter=RetryPolicy())  # type: ignore[arg-type]
    Skyvern(environment="https://api.skyvern.com")  # type: ignore[arg-type]
    RateLimiter(5)  # type: ignore[call-arg]
    RateLimiter(max_per_second=5)  # type: ignore[call-arg]
    with AsyncSkyvern():  # type: ignore[attr-defined]
        pass
