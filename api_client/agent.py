"""The typed calls: Skyvern's run API with its own argument names, errors raised, answers modelled.

The calls, how a request is built and how an answer is read are written once, as pure
functions (`calls.py`, `flows.py`, `failures.py`); a method here is such a function, sent. How it is
sent is written once, too, as coroutines: `AsyncAgentClient` awaits them. `AgentClient` gives them a
sender and a sleep that block, so they wait for nothing and end at their first step, in its thread.

Raises (every call): `ApiError` and its kind for an answer that says no; `NotSentError` when nothing
left this machine; `AnswerLostError` when something did, and no answer came back (after a submission
a run may exist: do not repeat it blindly); `NotSupported` when the server has no such call. An
argument that cannot be sent is a TypeError or ValueError.
"""

import asyncio
import inspect
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from time import monotonic
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import httpx
from tenacity import AsyncRetrying

from api_client.arguments import RequestOptions
from api_client.call import Call
from api_client.caller import Caller
from api_client.calls import calls, flows, run_calls, session_calls
from api_client.calls.flows import Flow, Pause
from api_client.errors import SkyvernError
from api_client.http.exchange import Sender, blocking_sender_of, finish, follow, sender_of
from api_client.http.httpx_adapter import OwnClient
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


class _Operation(Generic[P, T]):
    """A call of both clients: a method that blocks in one, and is awaited in the other.

    Args:
        build: builds what to send from the call's arguments.
    """

    def __init__(self, build: Callable[P, Call[T] | Flow[T]]) -> None:
        def blocking(self: "AgentClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
            return finish(self._send(build(*args, **kwargs)))

        async def awaited(self: "AsyncAgentClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await self._send(build(*args, **kwargs))

        self._blocking = _as_method(blocking, build, "AgentClient")
        self._awaited = _as_method(awaited, build, "AsyncAgentClient")

    @overload
    def __get__(self, client: "AgentClient", owner: object) -> Callable[P, T]: ...

    @overload
    def __get__(
        self, client: "AsyncAgentClient", owner: object
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(
        self, client: None, owner: "type[AgentClient]"
    ) -> "Callable[Concatenate[AgentClient, P], T]": ...

    @overload
    def __get__(
        self, client: None, owner: "type[AsyncAgentClient]"
    ) -> "Callable[Concatenate[AsyncAgentClient, P], Coroutine[Any, Any, T]]": ...

    def __get__(self, client: object, owner: Any) -> Any:
        method: Any = self._blocking if issubclass(owner, AgentClient) else self._awaited
        return method.__get__(client, owner)


class _Calls:
    """The run calls of one account, and how each of them is sent.

    Args:
        caller: the account.
        sender: sends a request.
        sleep: waits for so many seconds.
    """

    def __init__(
        self, caller: Caller, sender: Sender, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._caller = caller
        self._sender = sender
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._caller.base_url!r})"

    run_task = _Operation(calls.run_task)
    run_workflow = _Operation(calls.run_workflow)
    login = _Operation(calls.login)
    download_files = _Operation(calls.download_files)
    get_run = _Operation(calls.get_run)
    cancel_run = _Operation(calls.cancel_run)
    retry_run_webhook = _Operation(calls.retry_run_webhook)
    list_runs = _Operation(calls.list_runs)
    cancel_runs = _Operation(flows.cancel_runs)
    webhook_failure_reason = _Operation(flows.webhook_failure_reason)
    wait_for_run = _Operation(flows.wait_for_run)
    get_run_artifacts = _Operation(run_calls.get_run_artifacts)
    get_run_timeline = _Operation(run_calls.get_run_timeline)
    retry_workflow_run = _Operation(run_calls.retry_workflow_run)
    get_run_tags = _Operation(run_calls.get_run_tags)
    apply_run_tags = _Operation(run_calls.apply_run_tags)
    create_browser_session = _Operation(session_calls.create_browser_session)
    get_browser_session = _Operation(session_calls.get_browser_session)
    extend_browser_session = _Operation(session_calls.extend_browser_session)
    close_browser_session = _Operation(session_calls.close_browser_session)

    def _send(self, what: Call[T] | Flow[T]) -> Coroutine[Any, Any, T]:
        return self._call(what) if isinstance(what, Call) else flows.drive(what, self._step)

    async def _step(self, step: Call[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return await self._sleep(step.seconds)
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
        return await AsyncRetrying(sleep=self._sleep, **budget.retrying())(again)

    async def _attempt(self, call: Call[T], budget: RetryBudget) -> T:
        if wait := self._caller.wait(call, budget):
            await self._sleep(wait)
        request = self._caller.request(call, budget)
        start = monotonic()
        answer = await self._sender.exchange(request)
        if answer.is_redirect and self._caller.follow:
            answer = await follow(self._sender, request, answer, start)
        return self._caller.read(call, request, answer)


class AgentClient(_Calls):
    """The run calls of one account, which block; made by `Skyvern`. Threads may share it.

    Args:
        caller: the account.
        transport: what sends.
    """

    def __init__(self, caller: Caller, transport: OwnClient | httpx.BaseTransport) -> None:
        super().__init__(caller, blocking_sender_of(transport), _sleep_here)

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
            yield from pages.new_items(finish(self._call(page)))


class AsyncAgentClient(_Calls):
    """The run calls of one account, which are awaited; made by `AsyncSkyvern`.

    Args:
        caller: the account.
        transport: what sends.
    """

    def __init__(self, caller: Caller, transport: OwnClient | httpx.AsyncBaseTransport) -> None:
        super().__init__(caller, sender_of(transport), asyncio.sleep)

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


async def _sleep_here(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - no loop waits for it
