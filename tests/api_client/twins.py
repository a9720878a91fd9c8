"""Both clients behind one face, so that a test says each behaviour once; and what they stand on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import pytest

from api_client import AsyncSkyvern, RetryPolicy, Skyvern

Kind = Literal["async", "blocking"]
KINDS: tuple[Kind, ...] = ("async", "blocking")
KEY = "a-secret-key"
AT_ONCE = RetryPolicy(min_backoff=0.0, max_backoff=0.0)
TASK = {"run_id": "tsk_1", "status": "queued", "run_type": "task_v2"}

both = pytest.mark.parametrize("kind", KINDS)


class Twin:
    """One of the two clients; a blocking call is made in a thread, the server needs the loop."""

    def __init__(self, kind: Kind, **options: Any) -> None:
        given: dict[str, Any] = {"api_key": KEY, "base_url": "http://skyvern.test"}
        given |= {"retry": AT_ONCE} | options
        make = AsyncSkyvern if kind == "async" else Skyvern
        self.client: AsyncSkyvern | Skyvern = make(**given)

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self.client.agent, name)
        if isinstance(self.client, AsyncSkyvern):
            return await method(*args, **kwargs)
        return await asyncio.to_thread(method, *args, **kwargs)

    async def submit(self, **options: Any) -> Any:
        return await self.call("run_task", prompt="p", request_options=options or None)

    async def iterate(self, **kwargs: Any) -> list[Any]:
        if isinstance(self.client, AsyncSkyvern):
            return [item async for item in self.client.agent.iter_runs(**kwargs)]
        return await asyncio.to_thread(lambda: list(self.client.agent.iter_runs(**kwargs)))  # type: ignore[arg-type]

    async def close(self) -> None:
        if isinstance(self.client, AsyncSkyvern):
            await self.client.aclose()
        else:
            self.client.close()


@asynccontextmanager
async def twin(kind: Kind, **options: Any) -> AsyncIterator[Twin]:
    one = Twin(kind, **options)
    try:
        yield one
    finally:
        await one.close()


Answer = httpx.Response | Exception


class FakeTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answer without a network: from a list (its last item for ever), or from a function."""

    def __init__(self, *answers: Answer, by: Callable[[httpx.Request], Answer] | None = None):
        self._answers = list(answers)
        self._by = by
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self._by is not None:
            answer = self._by(request)
        else:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is read once; the list's last item is given again.
        return httpx.Response(
            answer.status_code, headers=answer.headers.raw, stream=httpx.ByteStream(answer.content)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)

    @property
    def timeouts(self) -> list[float]:
        """What each attempt was given."""
        return [request.extensions["timeout"]["read"] for request in self.requests]


def answer(status: int, fields: Any = None, **headers: str) -> httpx.Response:
    """Make an answer of JSON; `retry_after="5"` becomes `retry-after: 5`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=fields, headers=named)


_TIMED = ("messages", "exchange", "async_exchange")


class Clock:
    """Time that passes only when somebody sleeps, for the client and for tenacity."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        fake = SimpleNamespace(monotonic=self.monotonic, sleep=self.sleep)
        for module in ("caller", "calls.sequences"):
            monkeypatch.setattr(f"api_client.{module}.time", fake)
        monkeypatch.setattr("api_client.agent.time", fake)
        monkeypatch.setattr("asyncio.sleep", self.asleep)
        for module in ("raw", "retrying", *map("http.".__add__, _TIMED)):
            monkeypatch.setattr(f"api_client.{module}.monotonic", self.monotonic)
        monkeypatch.setattr("tenacity.time", fake)
        monkeypatch.setattr("tenacity.nap.time", fake)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
