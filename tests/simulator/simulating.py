"""A simulator within the test's own event loop, a client for it, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from simulator.app import Simulator
from simulator.model.options import DEFAULT_API_KEY, Options
from simulator.server import serving

KEY = {"x-api-key": DEFAULT_API_KEY}


@dataclass
class FakeClock:
    """A clock that stands still until it is moved."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Client:
    """Calls one simulator; every answer is its status and its JSON."""

    url: str
    session: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"} | (KEY if headers is None else headers)
        async with self.session.request(
            method, self.url + path, data=data, headers=headers
        ) as answer:
            return answer.status, json.loads(await answer.read())

    async def get(self, path: str) -> Any:
        status, answer = await self.call("GET", path)
        assert status == 200, answer
        return answer

    async def post(self, path: str, body: Any = None) -> Any:
        status, answer = await self.call("POST", path, body)
        assert status == 200, answer
        return answer

    async def run_task(self, **fields: Any) -> str:
        fields = {"prompt": "Do it", "engine": "skyvern-1.0"} | fields
        return str((await self.post("/v1/run/tasks", fields))["run_id"])

    async def run_workflow(self, **fields: Any) -> str:
        fields = {"workflow_id": "wpid_1"} | fields
        return str((await self.post("/v1/run/workflows", fields))["run_id"])

    async def status(self, run_id: str) -> str:
        return str((await self.get(f"/v1/runs/{run_id}"))["status"])

    async def search(self, query: str) -> list[str]:
        return [item["run_id"] for item in await self.get(f"/v1/runs?{query}")]

    async def ledger(self) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/_ledger") as answer:
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    async def fault(self, action: dict[str, Any], **rule: Any) -> None:
        await self.post("/_faults", [{"action": action, **rule}])


@asynccontextmanager
async def simulating(
    clock: Callable[[], float] = time.time, **options: Any
) -> AsyncIterator[Client]:
    """Serve a simulator on a free port.

    Args:
        clock: unix seconds.
        options: those of `Options`.
    """
    chosen = Options(**options)
    async with (
        serving(Simulator(chosen, clock), keepalive_timeout=chosen.keepalive_timeout) as url,
        aiohttp.ClientSession() as session,
    ):
        yield Client(url, session)


@dataclass
class Receiver:
    """Takes webhooks and answers them with the given statuses in turn, the last one for ever."""

    statuses: list[int]
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        turn = min(len(self.bodies), len(self.statuses)) - 1
        return web.Response(status=self.statuses[turn], text="noted")


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve a receiver that does as it likes, and give its URL."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """Serve a receiver of webhooks on a free port."""
    receiver = Receiver(list(statuses) or [200])
    async with answering(receiver.take) as receiver.url:
        yield receiver


async def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds; it may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        result = holds()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.01)
