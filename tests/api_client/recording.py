"""A transport that answers from a function and keeps what it was given; one way to call each twin.

`called` makes a call by its name in either way, so that one table serves both clients; `account`
does so with a simulator.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import orjson

from api_client import AsyncSkyvern, RetryPolicy, Skyvern
from simulator.model.options import DEFAULT_API_KEY
from tests.simulator.simulating import Client, simulating

Way = Literal["blocking", "awaited"]
WAYS: tuple[Way, ...] = ("blocking", "awaited")

BASE_URL = "https://api.example.com"
KEY = "a-secret-key"

#: Tries again at once.
AT_ONCE = RetryPolicy(min_backoff=0.0)

Respond = Callable[[httpx.Request], httpx.Response]
Call = Callable[..., Any]


def answering(status: int = 200, content: Any = None, **headers: str) -> Respond:
    """Answer every request alike; content that is not bytes is written as JSON."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers=given)

    return respond


#: The least that a call promises, by the end of its path; else a run.
_LEAST: list[tuple[str, Any]] = [
    ("/v1/runs/cancel", {"cancelled": [], "failed": []}),
    ("/cancel", None),
    ("/retry_webhook", None),
    ("/artifacts", []),
    ("/timeline", []),
    ("/tags", {"workflow_run_id": "wr_1", "tags": []}),
    ("/v1/runs", []),
]
_RUN = {"run_id": "tsk_1", "status": "completed", "webhook_failure_reason": None}


def agreeable(request: httpx.Request) -> httpx.Response:
    """Answer any call with the least that it promises."""
    path = request.url.path
    if path == "/v1/agents/runs":
        return httpx.Response(200, json=[_RUN | {"run_id": "wr_1"}])
    if path.startswith("/v1/browser_sessions"):
        return httpx.Response(200, json={"browser_session_id": "pbs_1"})
    least = next((least for end, least in _LEAST if path.endswith(end)), _RUN)
    return httpx.Response(200, json=least)


@dataclass
class Recording(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers each request by a function, blocking or awaited, and keeps the requests."""

    respond: Respond = agreeable
    requests: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return self.respond(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return self.respond(request)

    @property
    def only(self) -> httpx.Request:
        """The one request there was."""
        [request] = self.requests
        return request


def called(way: Way, transport: Recording, method: str, *args: Any, **given: Any) -> Any:
    """Call a method of one of the twins and return its result; of an iterator, a list.

    Args:
        way: which twin.
        transport: what sends.
        method: the method's name.
        args, given: its arguments.
    """
    with maker(way, transport) as make:
        return make(method, *args, **given)


@contextmanager
def maker(way: Way, transport: Recording, **client: Any) -> Iterator[Callable[..., Any]]:
    """Give a function that calls methods of one client; `client` are more arguments of it."""
    settings: dict[str, Any] = {
        "api_key": KEY,
        "base_url": BASE_URL,
        "retry": AT_ONCE,
        "transport": transport,
    }
    if way == "blocking":
        with Skyvern(**settings | client) as blocking:

            def make(method: str, *args: Any, **given: Any) -> Any:
                result = getattr(blocking.agent, method)(*args, **given)
                return list(result) if isinstance(result, Iterator) else result

            yield make
        return
    with asyncio.Runner() as runner:
        awaited = AsyncSkyvern(**settings | client)

        def make_awaited(method: str, *args: Any, **given: Any) -> Any:
            result = getattr(awaited.agent, method)(*args, **given)
            return runner.run(_listed(result) if isinstance(result, AsyncIterator) else result)

        yield make_awaited
        runner.run(awaited.aclose())


async def _listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


@asynccontextmanager
async def calling(way: Way, url: str, **client: Any) -> AsyncIterator[Call]:
    """Give a function that makes a call by its name; a blocking one runs in a thread."""
    given = {"api_key": DEFAULT_API_KEY, "base_url": url} | client
    if way == "awaited":
        async with AsyncSkyvern(**given) as awaited:

            async def await_call(name: str, *args: Any, **arguments: Any) -> Any:
                result = getattr(awaited.agent, name)(*args, **arguments)
                return [i async for i in result] if name == "iter_runs" else await result

            yield await_call
        return
    with Skyvern(**given) as blocking:

        def block(name: str, *args: Any, **arguments: Any) -> Any:
            result = getattr(blocking.agent, name)(*args, **arguments)
            return list(result) if name == "iter_runs" else result

        async def block_elsewhere(name: str, *args: Any, **arguments: Any) -> Any:
            return await asyncio.to_thread(block, name, *args, **arguments)

        yield block_elsewhere


@asynccontextmanager
async def account(way: Way, **options: Any) -> AsyncIterator[tuple[Call, Client]]:
    """Give a way to call, and the simulator that answers."""
    async with simulating(**options) as simulator, calling(way, simulator.url) as call:
        yield call, simulator
