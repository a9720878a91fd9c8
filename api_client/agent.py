"""The typed calls: Skyvern's run API with its own argument names, errors raised, answers modelled.

Every argument is keyword-only, so that a misspelt one is refused here: the server ignores a field
it does not know. `OMIT`, the default, is not sent at all; None is sent as null.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

from api_client.failures import api_error, read_answer
from api_client.raw import RawClient
from api_client.requests import (
    OMIT,
    SUBMIT_PATHS,
    Call,
    Omit,
    RequestOptions,
    cancel_path,
    check_options,
    json_body,
    query_string,
    run_headers,
    run_path,
)
from api_client.retrying import (
    DEFAULT_MAX_RETRIES,
    call_with_retries,
    may_read_again,
    may_write_again,
)
from api_client.types import (
    Engine,
    Proxy,
    RunResponse,
    Schema,
    TaskRunResponse,
    WorkflowRunResponse,
    parse_run,
)

_Run = TypeVar("_Run", TaskRunResponse, WorkflowRunResponse)
_Result = TypeVar("_Result")

#: A request, its answer, and the answer's body.
_Exchanged = tuple[httpx.Request, httpx.Response, bytes]


class AsyncAgentClient:
    """The run calls of one account; made by `AsyncSkyvern`.

    Args:
        raw: what sends.
        timeout: seconds one attempt of a call may take.

    Raises (every call): `ApiError` and its kind for an answer that says no; `NotSentError` when
    nothing left this machine; `AnswerLostError` when something did, and no answer came back (after
    a submission a run may exist: do not repeat it blindly). Arguments that cannot be sent are a
    TypeError or ValueError.
    """

    def __init__(self, raw: RawClient, *, timeout: float) -> None:
        self._raw = raw
        self._timeout = timeout

    async def run_task(
        self,
        *,
        prompt: str,
        user_agent: str | None = None,
        url: str | Omit | None = OMIT,
        engine: Engine | Omit | None = OMIT,
        title: str | Omit | None = OMIT,
        proxy_location: Proxy | Omit | None = OMIT,
        data_extraction_schema: Schema | Omit | None = OMIT,
        error_code_mapping: Mapping[str, str | None] | Omit | None = OMIT,
        max_steps: int | Omit | None = OMIT,
        webhook_url: str | Omit | None = OMIT,
        totp_identifier: str | Omit | None = OMIT,
        totp_url: str | Omit | None = OMIT,
        browser_session_id: str | Omit | None = OMIT,
        publish_workflow: bool | Omit | None = OMIT,
        include_action_history_in_verification: bool | Omit | None = OMIT,
        browser_profile_id: str | Omit | None = OMIT,
        start_fresh_browser: bool | Omit | None = OMIT,
        model: Mapping[str, Any] | Omit | None = OMIT,
        extra_http_headers: Mapping[str, str] | Omit | None = OMIT,
        cdp_connect_headers: Mapping[str, str] | Omit | None = OMIT,
        max_screenshot_scrolls: int | Omit | None = OMIT,
        browser_address: str | Omit | None = OMIT,
        run_with: str | Omit | None = OMIT,
        request_options: RequestOptions | None = None,
    ) -> TaskRunResponse:
        """Start a run of a task. Submitted again only where it is known that no run was made."""
        fields = {
            "prompt": prompt,
            "url": url,
            "engine": engine,
            "title": title,
            "proxy_location": proxy_location,
            "data_extraction_schema": data_extraction_schema,
            "error_code_mapping": error_code_mapping,
            "max_steps": max_steps,
            "webhook_url": webhook_url,
            "totp_identifier": totp_identifier,
            "totp_url": totp_url,
            "browser_session_id": browser_session_id,
            "publish_workflow": publish_workflow,
            "include_action_history_in_verification": include_action_history_in_verification,
            "browser_profile_id": browser_profile_id,
            "start_fresh_browser": start_fresh_browser,
            "model": model,
            "extra_http_headers": extra_http_headers,
            "cdp_connect_headers": cdp_connect_headers,
            "max_screenshot_scrolls": max_screenshot_scrolls,
            "browser_address": browser_address,
            "run_with": run_with,
        }
        call = Call(SUBMIT_PATHS["task"], fields, run_headers(user_agent=user_agent))
        return await self._submit(TaskRunResponse, call, request_options)

    async def run_workflow(
        self,
        *,
        workflow_id: str | Omit = OMIT,
        agent_id: str | Omit = OMIT,
        template: bool | None = None,
        max_steps_override: int | None = None,
        user_agent: str | None = None,
        parameters: Mapping[str, Any] | Omit | None = OMIT,
        title: str | Omit | None = OMIT,
        proxy_location: Proxy | Omit | None = OMIT,
        webhook_url: str | Omit | None = OMIT,
        totp_url: str | Omit | None = OMIT,
        totp_identifier: str | Omit | None = OMIT,
        browser_session_id: str | Omit | None = OMIT,
        browser_profile_id: str | Omit | None = OMIT,
        start_fresh_browser: bool | Omit | None = OMIT,
        model: Mapping[str, Any] | Omit | None = OMIT,
        reuse_browser_session: bool | Omit | None = OMIT,
        max_elapsed_time_minutes: int | Omit | None = OMIT,
        ai_fallback: bool | Omit | None = OMIT,
        run_metadata: Mapping[str, Any] | Omit | None = OMIT,
        extra_http_headers: Mapping[str, str] | Omit | None = OMIT,
        cdp_connect_headers: Mapping[str, str] | Omit | None = OMIT,
        max_screenshot_scrolls: int | Omit | None = OMIT,
        browser_address: str | Omit | None = OMIT,
        run_with: str | Omit | None = OMIT,
        request_options: RequestOptions | None = None,
    ) -> WorkflowRunResponse:
        """Start a run of a workflow; `agent_id` is what newer servers call `workflow_id`.

        Raises:
            TypeError: neither of the two ids, or both.
        """
        if (workflow_id is OMIT) == (agent_id is OMIT):
            raise TypeError("run_workflow takes workflow_id or agent_id, and one of them")
        fields = {
            "workflow_id": workflow_id,
            "agent_id": agent_id,
            "parameters": parameters,
            "title": title,
            "proxy_location": proxy_location,
            "webhook_url": webhook_url,
            "totp_url": totp_url,
            "totp_identifier": totp_identifier,
            "browser_session_id": browser_session_id,
            "browser_profile_id": browser_profile_id,
            "start_fresh_browser": start_fresh_browser,
            "model": model,
            "reuse_browser_session": reuse_browser_session,
            "max_elapsed_time_minutes": max_elapsed_time_minutes,
            "ai_fallback": ai_fallback,
            "run_metadata": run_metadata,
            "extra_http_headers": extra_http_headers,
            "cdp_connect_headers": cdp_connect_headers,
            "max_screenshot_scrolls": max_screenshot_scrolls,
            "browser_address": browser_address,
            "run_with": run_with,
        }
        headers = run_headers(user_agent=user_agent, max_steps_override=max_steps_override)
        call = Call(SUBMIT_PATHS["workflow"], fields, headers, {"template": template})
        return await self._submit(WorkflowRunResponse, call, request_options)

    async def get_run(
        self, run_id: str, *, request_options: RequestOptions | None = None
    ) -> RunResponse:
        """Read a run; a read that fails for a passing reason is made again."""
        options = check_options(request_options)
        path = run_path(run_id)

        async def attempt(timeout: float) -> RunResponse:
            request = self._raw.requests.get(
                path,
                query=query_string({}, options.get("additional_query_parameters")),
                headers=options.get("additional_headers"),
                timeout=timeout,
            )
            return read_answer(parse_run, *await self._exchange(request))

        return await self._with_retries(attempt, may_read_again, options)

    async def cancel_run(
        self, run_id: str, *, request_options: RequestOptions | None = None
    ) -> None:
        """Ask Skyvern to end a run; asked again only when it is known that nothing came of it.

        A task that is over answers 400 (`BadRequestError`), which is why a cancel whose answer was
        lost is not repeated here: the second one would fail because the first succeeded.
        """
        await self._post(Call(cancel_path(run_id)), request_options)

    async def _submit(
        self, model: type[_Run], call: Call, request_options: RequestOptions | None
    ) -> _Run:
        exchanged = await self._post(call, request_options)
        return read_answer(model.model_validate, *exchanged)

    async def _post(self, call: Call, request_options: RequestOptions | None) -> _Exchanged:
        options = check_options(request_options)
        additional = options.get("additional_body_parameters")
        content = json_body(call.fields, additional) if call.fields or additional else b""
        query = query_string(call.query, options.get("additional_query_parameters"))
        headers = {**call.headers, **(options.get("additional_headers") or {})}

        async def attempt(timeout: float) -> _Exchanged:
            request = self._raw.requests.post(
                call.path, content, query=query, headers=headers, timeout=timeout
            )
            return await self._exchange(request)

        return await self._with_retries(attempt, may_write_again, options)

    async def _exchange(self, request: httpx.Request) -> _Exchanged:
        response, body = await self._raw.send(request)
        if not response.is_success:
            raise api_error(request, response, body, self._raw.cut_key)
        return request, response, body

    async def _with_retries(
        self,
        attempt: Callable[[float], Awaitable[_Result]],
        may_again: Callable[[BaseException], bool],
        options: RequestOptions,
    ) -> _Result:
        return await call_with_retries(
            attempt,
            may_again=may_again,
            attempt_timeout=options.get("timeout_in_seconds", self._timeout),
            max_retries=options.get("max_retries", DEFAULT_MAX_RETRIES),
        )
