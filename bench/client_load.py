"""One way of calling the API, in a process of its own, which measures what it is told to.

python -m bench.client_load WAY BASE_URL

Each line of stdin is a call (`get` or `post`) and a number of calls at once, such as `get 64`; each
line of stdout is the CPU milliseconds that such a call took. The runs that are read are those the
simulator has when the line comes.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count, cycle
from typing import Any, cast

import aiohttp
import httpx
import orjson
import uvloop

from api_client import AsyncSkyvern, AsyncTransport, RateLimiter, Skyvern
from api_client.http.messages import Request
from api_client.http.request_builder import RequestFactory
from config.collector import calm_collector

KEY = "simulator-key"
TASK = {"prompt": "x" * 480, "url": "https://shop.test/1", "engine": "skyvern-1.0"}

#: Calls before anything is counted, or as many as are made at once.
WARM_UP = 100

#: Seconds during which CPU and calls are counted.
COUNTED = 0.3


@dataclass(frozen=True, slots=True)
class Calls:
    """The two calls, made one way.

    Attributes:
        post: submits `TASK` and returns the run's id.
        get: reads a run and returns its status.
    """

    post: Callable[[], Awaitable[str]]
    get: Callable[[str], Awaitable[str]]


Way = Callable[[str], AbstractAsyncContextManager[Calls]]


@asynccontextmanager
async def async_skyvern(base_url: str) -> AsyncIterator[Calls]:
    """The typed client with all that belongs to it."""
    # A limiter that is asked, and never has a call wait.
    limiter = RateLimiter(max_dispatches_per_second=1e9, max_burst_size=1_000_000)
    async with AsyncSkyvern(base_url=base_url, api_key=KEY, limiter=limiter) as client:

        async def post() -> str:
            return (await client.agent.run_task(**cast(Any, TASK))).run_id

        async def get(run_id: str) -> str:
            return (await client.agent.get_run(run_id)).status

        yield Calls(post, get)


@asynccontextmanager
async def bare_transport(base_url: str) -> AsyncIterator[Calls]:
    """Our transport, with the answer's bytes parsed and nothing else done."""
    requests = RequestFactory(base_url, KEY)
    async with AsyncTransport() as transport:

        async def parsed(request: Request) -> Any:
            return orjson.loads((await transport.exchange(request)).body)

        async def post() -> str:
            answer = await parsed(requests.make("POST", "v1/run/tasks", orjson.dumps(TASK)))
            return str(answer["run_id"])

        async def get(run_id: str) -> str:
            return str((await parsed(requests.make("GET", f"v1/runs/{run_id}")))["status"])

        yield Calls(post, get)


@asynccontextmanager
async def bare_aiohttp(base_url: str) -> AsyncIterator[Calls]:
    """An aiohttp session: the bound."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        headers = {"x-api-key": KEY}
        posted = headers | {"content-type": "application/json"}

        async def post() -> str:
            answer = await session.request(
                "POST", f"{base_url}/v1/run/tasks", data=orjson.dumps(TASK), headers=posted
            )
            return str(orjson.loads(await answer.read())["run_id"])

        async def get(run_id: str) -> str:
            answer = await session.request("GET", f"{base_url}/v1/runs/{run_id}", headers=headers)
            return str(orjson.loads(await answer.read())["status"])

        yield Calls(post, get)


@asynccontextmanager
async def plain_httpx(base_url: str) -> AsyncIterator[Calls]:
    """An httpx client over httpx's own transport, with its own limit of 100 connections."""
    async with httpx.AsyncClient(**_httpx_settings(base_url)) as client:
        yield _httpx_calls(client)


@asynccontextmanager
async def httpx_over_aiohttp(base_url: str) -> AsyncIterator[Calls]:
    """An httpx client over the httpx-aiohttp package, which is installed for this alone."""
    client = import_module("httpx_aiohttp").HttpxAiohttpClient(**_httpx_settings(base_url))
    async with client:
        yield _httpx_calls(client)


def _httpx_settings(base_url: str) -> dict[str, Any]:
    return {
        "base_url": base_url,
        "headers": {"x-api-key": KEY},
        "timeout": 60,
    }


def _httpx_calls(client: httpx.AsyncClient) -> Calls:
    posted = {"content-type": "application/json"}

    async def post() -> str:
        content = orjson.dumps(TASK)
        answer = await client.request("POST", "/v1/run/tasks", content=content, headers=posted)
        return str(orjson.loads(answer.content)["run_id"])

    async def get(run_id: str) -> str:
        return str(
            orjson.loads((await client.request("GET", f"/v1/runs/{run_id}")).content)["status"]
        )

    return Calls(post, get)


#: Every way of calling, but for the blocking one, by the name it has in a command.
WAYS: dict[str, Way] = {
    "aiohttp": bare_aiohttp,
    "transport": bare_transport,
    "async": async_skyvern,
    "httpx-aiohttp": httpx_over_aiohttp,
    "httpx": plain_httpx,
}

#: The way that blocks, and makes one call at a time.
BLOCKING = "blocking"


async def measure(way: Way, base_url: str, call: str, at_once: int) -> float:
    """Keep `at_once` calls going; return the CPU milliseconds of one, its warm-up left out."""
    run_ids = cycle(_known_runs(base_url) if call == "get" else [])
    async with way(base_url) as calls:

        async def make() -> None:
            await (calls.get(next(run_ids)) if call == "get" else calls.post())

        async def until_warm() -> None:
            for _ in warm_up:
                await make()

        async def until_end() -> None:
            while time.perf_counter() < end:
                await make()
                next(ended)

        warm_up = iter(range(max(WARM_UP, at_once)))
        await asyncio.gather(*(until_warm() for _ in range(at_once)))
        calm_collector()
        ended = count()
        end, start = time.perf_counter() + COUNTED, time.process_time()
        await asyncio.gather(*(until_end() for _ in range(at_once)))
        return 1000 * (time.process_time() - start) / next(ended)


def measure_blocking(base_url: str, call: str) -> float:
    """Make one call after the other with the blocking client; returns as `measure` does."""
    run_ids = cycle(_known_runs(base_url) if call == "get" else [])
    with Skyvern(base_url=base_url, api_key=KEY) as client:

        def make() -> None:
            if call == "get":
                client.agent.get_run(next(run_ids))
            else:
                client.agent.run_task(**cast(Any, TASK))

        for _ in range(WARM_UP):
            make()
        calm_collector()
        ended = 0
        end, start = time.perf_counter() + COUNTED, time.process_time()
        while time.perf_counter() < end:
            make()
            ended += 1
        return 1000 * (time.process_time() - start) / ended


def _known_runs(base_url: str) -> list[str]:
    lines = httpx.get(f"{base_url}/_ledger").content.splitlines()
    return [orjson.loads(line)["run_id"] for line in lines]


def main(name: str, base_url: str) -> None:
    """Measure what stdin asks for, line by line."""
    for line in sys.stdin:
        call, at_once = line.split()
        if name == BLOCKING:
            seen = measure_blocking(base_url, call)
        else:
            seen = uvloop.run(measure(WAYS[name], base_url, call, int(at_once)))
        print(seen, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
