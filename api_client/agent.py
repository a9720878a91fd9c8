"""The typed calls: Skyvern's run API with its own argument names, errors raised, answers modelled.

The two clients are twins that cannot drift: what there is to call, how a request is built and how
an answer is read stands once, in pure functions (`calls.py`, `flows.py`, `failures.py`); a method
here is such a function, sent.

Raises (every call): `ApiError` and its kind for an answer that says no; `NotSentError` when nothing
left this machine; `AnswerLostError` when something did, and no answer came back (after a submission
a run may exist: do not repeat it blindly); `NotSupported` when the server has no such call. An
argument that cannot be sent is a TypeError or ValueError.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from time import monotonic
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from api_client.arguments import RequestOptions
from api_client.call import Call
from api_client.caller import Caller
from api_client.calls import calls, flows, run_calls, session_calls
from api_client.calls.flows import Flow, Pause
from api_client.errors import SkyvernError
from api_client.http.exchange import async_sender, follow, follow_blocking, sender
from api_client.http.httpx_adapter import OwnAsyncClient, OwnClient
from api_client.retrying import RetryBudget
from api_client.types import RunListItem

P = ParamSpec("P")
T = TypeVar("T")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _as_method(method: _Method, build: Callable[..., Any], owner: str) -> _Method:
    """Give a method the name, arguments and docstring of the function that builds its call."""
    signature = inspect.signature(build)
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = build.__name__
    method.__qualname__ = f"{owner}.{build.__name__}"
    method.__doc__ = build.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first, *signature.parameters.values()],
        return_annotation=signature.return_annotation.__args__[-1],  # the T of Call[T], Flow[T]
    )
    return method


def _sent(build: Callable[P, Call[T] | Flow[T]]) -> "Callable[Concatenate[AgentClient, P], T]":
    def method(self: "AgentClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        what = build(*args, **kwargs)
        return self._call(what) if isinstance(what, Call) else self._run(what)

    return _as_method(method, build, "AgentClient")


def _awaited(
    build: Callable[P, Call[T] | Flow[T]],
) -> "Callable[Concatenate[AsyncAgentClient, P], Coroutine[Any, Any, T]]":
    async def method(self: "AsyncAgentClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        what = build(*args, **kwargs)
        return await (self._call(what) if isinstance(what, Call) else self._run(what))

    return _as_method(method, build, "AsyncAgentClient")


class AgentClient:
    """The run calls of one account, which block; made by `Skyvern`. Threads may share it.

    Args:
        caller: the account.
        transport: what sends.
    """

    def __init__(self, caller: Caller, transport: OwnClient | httpx.BaseTransport) -> None:
        self._caller = caller
        self._sender = sender(transport)

    def __repr__(self) -> str:
        return f"AgentClient({self._caller.base_url!r})"

    run_task = _sent(calls.run_task)
    run_workflow = _sent(calls.run_workflow)
    login = _sent(calls.login)
    download_files = _sent(calls.download_files)
    get_run = _sent(calls.get_run)
    cancel_run = _sent(calls.cancel_run)
    retry_run_webhook = _sent(calls.retry_run_webhook)
    list_runs = _sent(calls.list_runs)
    cancel_runs = _sent(flows.cancel_runs)
    webhook_failure_reason = _sent(flows.webhook_failure_reason)
    wait_for_run = _sent(flows.wait_for_run)
    get_run_artifacts = _sent(run_calls.get_run_artifacts)
    get_run_timeline = _sent(run_calls.get_run_timeline)
    retry_workflow_run = _sent(run_calls.retry_workflow_run)
    get_run_tags = _sent(run_calls.get_run_tags)
    apply_run_tags = _sent(run_calls.apply_run_tags)
    create_browser_session = _sent(session_calls.create_browser_session)
    get_browser_session = _sent(session_calls.get_browser_session)
    extend_browser_session = _sent(session_calls.extend_browser_session)
    close_browser_session = _sent(session_calls.close_browser_session)

    def iter_runs(
        self,
        *,
        search_key: str | None = None,
        status: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> Iterator[RunListItem]:
        """Go through the account's runs, newest first, page by page; arguments as in `list_runs`.

        A run is given once, although runs that begin meanwhile push others to the next page. The
        server shows 10,000 runs at most, and 1,000 with a search.
        """
        pages = flows.Pages(
            search_key=search_key, status=status, tags=tags, request_options=request_options
        )
        while (page := pages.next_page()) is not None:
            yield from pages.new_items(self._call(page))

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    result = self._step(step)
                except SkyvernError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what a Flow[T] returns is a T

    def _step(self, step: Call[Any] | Pause) -> Any:
        return time.sleep(step.seconds) if isinstance(step, Pause) else self._call(step)

    def _call(self, call: Call[T]) -> T:
        budget = self._caller.budget(call)
        try:
            return self._attempt(call, budget)
        except SkyvernError as error:
            if not budget.may_again(error):
                raise
            failed = [error]

        def again() -> T:
            if failed:  # the attempt that was made already
                raise failed.pop()
            return self._attempt(call, budget)

        # tenacity costs a fifth of a call; nearly all calls do not come here.
        return Retrying(**budget.retrying())(again)

    def _attempt(self, call: Call[T], budget: RetryBudget) -> T:
        if wait := self._caller.wait(call, budget):
            time.sleep(wait)
        request = self._caller.request(call, budget)
        start = monotonic()
        answer = self._sender.exchange(request)
        if answer.is_redirect and self._caller.follow:
            answer = follow_blocking(self._sender, request, answer, start)
        return self._caller.read(call, request, answer)


class AsyncAgentClient:
    """The run calls of one account, which are awaited; made by `AsyncSkyvern`.

    Args:
        caller: the account.
        transport: what sends.
    """

    def __init__(
        self, caller: Caller, transport: OwnAsyncClient | httpx.AsyncBaseTransport
    ) -> None:
        self._caller = caller
        self._sender = async_sender(transport)

    def __repr__(self) -> str:
        return f"AsyncAgentClient({self._caller.base_url!r})"

    run_task = _awaited(calls.run_task)
    run_workflow = _awaited(calls.run_workflow)
    login = _awaited(calls.login)
    download_files = _awaited(calls.download_files)
    get_run = _awaited(calls.get_run)
    cancel_run = _awaited(calls.cancel_run)
    retry_run_webhook = _awaited(calls.retry_run_webhook)
    list_runs = _awaited(calls.list_runs)
    cancel_runs = _awaited(flows.cancel_runs)
    webhook_failure_reason = _awaited(flows.webhook_failure_reason)
    wait_for_run = _awaited(flows.wait_for_run)
    get_run_artifacts = _awaited(run_calls.get_run_artifacts)
    get_run_timeline = _awaited(run_calls.get_run_timeline)
    retry_workflow_run = _awaited(run_calls.retry_workflow_run)
    get_run_tags = _awaited(run_calls.get_run_tags)
    apply_run_tags = _awaited(run_calls.apply_run_tags)
    create_browser_session = _awaited(session_calls.create_browser_session)
    get_browser_session = _awaited(session_calls.get_browser_session)
    extend_browser_session = _awaited(session_calls.extend_browser_session)
    close_browser_session = _awaited(session_calls.close_browser_session)

    async def iter_runs(
        self,
        *,
        search_key: str | None = None,
        status: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> AsyncIterator[RunListItem]:
        """Go through the account's runs, as `AgentClient.iter_runs` does."""
        pages = flows.Pages(
            search_key=search_key, status=status, tags=tags, request_options=request_options
        )
        while (page := pages.next_page()) is not None:
            for item in pages.new_items(await self._call(page)):
                yield item

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._step(step)
                except SkyvernError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what a Flow[T] returns is a T

    async def _step(self, step: Call[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._call(step)

    async def _call(self, call: Call[T]) -> T:
        budget = self._caller.budget(call)
        try:
            return await self._attempt(call, budget)
        except SkyvernError as error:
            if not budget.may_again(error):
                raise
            failed = [error]

        async def again() -> T:
            if failed:  # the attempt that was made already
                raise failed.pop()
            return await self._attempt(call, budget)

        # tenacity costs a fifth of a call; nearly all calls do not come here.
        return await AsyncRetrying(**budget.retrying())(again)

    async def _attempt(self, call: Call[T], budget: RetryBudget) -> T:
        if wait := self._caller.wait(call, budget):
            await asyncio.sleep(wait)
        request = self._caller.request(call, budget)
        start = monotonic()
        answer = await self._sender.exchange(request)
        if answer.is_redirect and self._caller.follow:
            answer = await follow(self._sender, request, answer, start)
        return self._caller.read(call, request, answer)
