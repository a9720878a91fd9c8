"""An HTTP proxy between workers and a Skyvern server that loses answers of submissions.

It remembers every submission that it saw, with the run that the server made of it. So it is a
witness of its own: neither the queue's word nor its markers are needed to tell whose run is whose.
"""

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web

#: What names a job in its request: it stands in the prompt, a parameter or a URL.
TOKEN = re.compile(r"rqt-[a-z0-9.-]+-z")
_HOP_BY_HOP = {"connection", "content-encoding", "content-length", "transfer-encoding", "host"}


class Loss(StrEnum):
    """How the answer of a job's first submission is lost."""

    CUT = "cut after the run was made"
    ERROR = "500 after the run was made"
    KILL = "worker killed while it waits"
    BEFORE = "cut before the server saw it"
    NONE = "not lost"

    @property
    def makes_run(self) -> bool:
        """Whether the server makes a run of it."""
        return self is not Loss.BEFORE


@dataclass(slots=True)
class Submission:
    """One POST of a run, as the proxy saw it.

    Args:
        key: whose it is: the token in it, or what else was announced.
        loss: what was done to its answer.
        path, body: what was asked.
        status: what the server answered; None = it was not asked, or has not answered.
        run_id: the run that the server made of it; None = none, or the proxy got no answer.
        at: when it came (unix seconds).
    """

    key: str
    loss: Loss
    path: str
    body: Mapping[str, Any]
    status: int | None = None
    run_id: str | None = None
    at: float = field(default_factory=time.time)


@dataclass(slots=True)
class LossyProxy:
    """The proxy, on a thread of its own; use it as a context manager.

    Args:
        upstream: the server's base URL.
    """

    upstream: str
    base_url: str = ""
    submissions: list[Submission] = field(default_factory=list)
    #: How many answers were held back so far, for a worker that is to die waiting for them.
    held: int = 0
    _losses: dict[str, deque[Loss]] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="lossy", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join()
        self._loop.close()

    def announce(self, key: str, losses: Iterable[Loss]) -> None:
        """Say what is to be done to the first submissions of a key; later ones pass.

        Args:
            key: a token, or a workflow's id for requests that can hold no token.
            losses: one for each job of that key, in the order in which they come.
        """
        self._losses[key] = deque(losses)

    def release(self) -> None:
        """Hold answers no longer: who waited for them is gone."""
        self._loop.call_soon_threadsafe(self._released.set)

    def of(self, key: str) -> list[Submission]:
        """Return the submissions of a key."""
        return [each for each in list(self.submissions) if each.key == key]

    def key_of(self, text: str, request: Mapping[str, Any]) -> str:
        """Return the key of a request: the token in its text, else its workflow."""
        # Our own marker names the job, too; it holds no such token.
        if found := TOKEN.search(text):
            return found[0]
        return str(request.get("workflow_id") or request.get("agent_id") or "")

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=600),
            # The server closes kept connections under its clients after some failures.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            auto_decompress=True,
        )
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{anything:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.method == "POST" and request.path.startswith("/v1/run/"):
            # A worker that dies must not take the submission back from the server.
            return await asyncio.shield(asyncio.ensure_future(self._submit(request, body)))
        return _passed(*await self._ask(request, body))

    async def _submit(self, request: web.Request, body: bytes) -> web.StreamResponse:
        parsed = orjson.loads(body)
        key = self.key_of(body.decode(), parsed)
        losses = self._losses.get(key)
        loss = losses.popleft() if losses else Loss.NONE
        seen = Submission(key, loss, request.path, parsed)
        self.submissions.append(seen)
        if loss is Loss.BEFORE:
            return _cut(request)
        status, headers, answer = await self._ask(request, body)
        seen.status = status
        if status == 200:
            seen.run_id = orjson.loads(answer)["run_id"]
        elif loss is not Loss.NONE and losses is not None:
            # The server refused it, or was busy: the loss waits for one that makes a run.
            losses.appendleft(loss)
            seen.loss = Loss.NONE
            return _passed(status, headers, answer)
        if loss is Loss.CUT:
            return _cut(request)
        if loss is Loss.ERROR:
            return web.json_response({"error": "Unexpected error: OperationalError"}, status=500)
        if loss is Loss.KILL:
            self.held += 1
            await self._released.wait()
        return _passed(status, headers, answer)

    async def _ask(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {n: v for n, v in request.headers.items() if n.lower() not in _HOP_BY_HOP}
        url = f"{self.upstream}{request.raw_path}"
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in _HOP_BY_HOP}
                return answer.status, kept, await answer.read()
        except aiohttp.ClientError:
            with suppress(AttributeError):
                _cut(request)
            raise


def _cut(request: web.Request) -> web.Response:
    """Reset a request's connection."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _passed(status: int, headers: Mapping[str, str], body: bytes) -> web.Response:
    return web.Response(status=status, headers=headers, body=body)
