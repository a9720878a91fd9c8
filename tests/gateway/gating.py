"""A gateway within the test's own event loop, on a real socket, and jobs for it to be told of."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import redis
from fastapi.routing import APIRoute
from starlette.routing import Match

from api_client.elapsed import elapsed_us
from config.gateway import ApiToken
from config.settings import Settings
from gateway.server import Server
from gateway.tenants.in_flight import InFlight
from runqueue import Job, RunQueue
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.ids import title_marker, url_marker
from runqueue.records.claim_items import Claimed, Finished, Lost, RunAccepted
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from webhooks import receiver_address

KEY = "sk-live-0123456789"
#: Where the jobs' consumers want to be told.
HOOK = "https://user.test/hook"
_MINUTE_US = 60_000_000
#: Bytes of a chunk of a large body.
_CHUNK = 1024 * 1024


@dataclass
class Answer:
    """What the gateway said."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def verdict(self) -> str:
        """Of a webhook that was taken."""
        assert self.status == 200, self
        return str(self.body["verdict"])


@dataclass
class Door:
    """A running gateway."""

    url: str
    session: aiohttp.ClientSession
    server: Server
    #: The token that the gateway made; '' = others are set up.
    secret: str = ""

    def in_flight(self, name: str) -> InFlight:
        """What a token has in flight."""
        return self.server._gate.in_flight[name]

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask for anything; a body that is not bytes goes as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"content-type": "application/json"} if data is not None else {}
        # aiohttp warns of large bodies that are bytes.
        content = io.BytesIO(data) if data else data
        async with self.session.request(
            method, self.url + path, data=content, headers={**kind, **(headers or {})}
        ) as answer:
            raw = await answer.read()
            is_json = answer.content_type.endswith(("/json", "+json"))
            said = {name.lower(): value for name, value in answer.headers.items()}
            found = Answer(answer.status, said, json.loads(raw) if is_json else raw)
            if answer.content_type == "application/problem+json":
                self._check_listed(method, answer.url.path, found)
            return found

    def _check_listed(self, method: str, path: str, answer: Answer) -> None:
        """Whether the description of a route lists the problem that it answered with."""
        app: Any = self.server.config.app
        for route in app.routes:
            scope = {"type": "http", "method": method, "path": path}
            if isinstance(route, APIRoute) and route.matches(scope)[0] is Match.FULL:
                kinds = listed(route.responses).get(answer.status, ())
                assert answer.body["type"] in kinds, (method, path, answer)
                return

    async def webhook(
        self,
        job: Claimed,
        body: Any,
        *,
        account: str = "default",
        key: str = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a webhook to a job's address, as Skyvern does."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask("POST", address(job, account, key), raw, headers or signed(raw, key))


def listed(responses: Mapping[Any, Any]) -> dict[int, list[str]]:
    """The types of problems that the description of a route lists, by status."""
    schemas = {
        int(status): one["content"]["application/problem+json"]["schema"]["allOf"]
        for status, one in responses.items()
        if "application/problem+json" in one.get("content", {})
    }
    return {status: own["properties"]["type"]["enum"] for status, (_, own) in schemas.items()}


def address(job: Claimed, account: str = "default", key: str = KEY) -> str:
    """The path of the address that a worker makes for an attempt."""
    made = receiver_address.address("", account, job.job_id, job.attempt, key)
    return f"{made}?{url_marker(job.job_id, job.attempt)}"


def signed(raw: bytes, key: str = KEY, timestamp: str = "1764080000") -> dict[str, str]:
    """The headers that Skyvern sends."""
    signature = hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()
    return {"x-skyvern-signature": signature, "x-skyvern-timestamp": timestamp}


def told(job: Claimed, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """What Skyvern tells of an attempt's run."""
    request = {"title": f"Price {title_marker(job.job_id, job.attempt)}", "webhook_url": HOOK}
    return {
        "run_id": run_of(job),
        "status": status,
        "output": {"price": "12.50", "note": "schön"},
        "failure_reason": None,
        "retry_pending": False,
        "run_request": request,
        **fields,
    }


def run_of(job: Claimed) -> str:
    """The id of an attempt's run."""
    return f"tsk_{job.job_id}_{job.attempt}"


@dataclass
class Desk:
    """Jobs in whatever state a test needs them, as a worker that has a receiver leaves them."""

    queue: RunQueue
    client: redis.Redis

    def claimed(
        self,
        n: int = 1,
        *,
        hook: str | None = HOOK,
        body: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Claimed]:
        """Hand in jobs and claim them: they are being submitted."""
        body = {"prompt": "Read it.", **({"webhook_url": hook} if hook else {}), **(body or {})}
        self.queue.enqueue_many([{"kind": "task", "body": body, **options} for _ in range(n)])
        return self.claim()

    def claim(self, account: str = "default") -> list[Claimed]:
        """Claim whatever is ready."""
        beat = worker_calls.heartbeat(account, "test", _MINUTE_US, -1, elapsed_us(), first=True)
        run(self.client, beat)
        claim_id = str(self.client.incr("test:claims"))
        claim = worker_calls.claim(account, "test", claim_id, 500, 0, receives=True)
        return list(run(self.client, claim).items)

    def accept(self, *jobs: Claimed, run_id: str = "") -> list[int]:
        """Record the answers of submissions."""
        runs = [RunAccepted(j.job_id, j.attempt, run_id or run_of(j), "created", 0) for j in jobs]
        return run(self.client, worker_calls.mark_running("default", runs))

    def running(self, n: int = 1, **options: Any) -> list[Claimed]:
        """Jobs whose runs are under way."""
        jobs = self.claimed(n, **options)
        assert self.accept(*jobs) == [1] * n
        return jobs

    def ended(
        self, state: str, rows: list[dict[str, Any]], batch: str | None = None, reason: str = "no"
    ) -> list[str]:
        """The ids of jobs whose runs ended so, or of dead ones."""
        ids = [answer.job_id for answer in self.queue.enqueue_many(rows, batch=batch)]
        if batch:
            self.queue.seal_batch(batch)
        jobs = self.claim()
        if state == "dead":
            lost = [Lost(job.job_id, job.attempt, reason) for job in jobs]
            run(self.client, worker_calls.mark_dead("default", lost))
            return ids
        self.accept(*jobs)
        ends = [
            Finished(job.job_id, job.attempt, run_of(job), state, state, reason, b'{"output": 1}')
            for job in jobs
        ]
        run(self.client, worker_calls.finish("default", ends))
        return ids

    def unconfirmed(self) -> Claimed:
        """A job whose submission's answer is lost."""
        (job,) = self.claimed()
        lost = Lost(job.job_id, job.attempt, "no answer")
        run(self.client, worker_calls.mark_unconfirmed("default", [lost]))
        return job

    def job(self, job: Claimed) -> Job:
        """Read a job."""
        return self.queue.get(job.job_id)

    def field(self, job: Claimed, name: str) -> str:
        """Read a field of a job's record; '' = it has none."""
        found: Any = self.client.hget(f"{Keys('default').prefix}job:{job.job_id}", name)
        return (found or b"").decode()

    def batches(self) -> list[str]:
        """The batches on record, the oldest first."""
        found: Any = self.client.zrange(f"{Keys('default').prefix}batches", 0, -1)
        return [raw.decode() for raw in found]

    def unsealed(self) -> dict[str, float]:
        """Uploads that were not accepted, by when they were begun; 0 = given up."""
        found: Any = self.client.zrange(f"{Keys('default').prefix}unsealed", 0, -1, withscores=True)
        return {raw.decode(): score for raw, score in found}

    def abandoned(self) -> int:
        """How many uploads were abandoned, and removed as far as one script call goes."""
        return int(self.client.hget(f"{Keys('default').prefix}counters", "batches_expired") or 0)

    def everything(self) -> dict[bytes, bytes]:
        """All that Redis holds."""
        keys: Any = self.client.keys("*")
        dumps: dict[bytes, Any] = {key: self.client.dump(key) for key in keys}
        return dumps


def token(name: str, secret: str, *scopes: Any, accounts: tuple[str, ...] = ()) -> ApiToken:
    """A token as it is set up."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return ApiToken(name, frozenset(scopes), digest, accounts)


def bearer(secret: str) -> dict[str, str]:
    """The header of who has a token."""
    return {"authorization": f"Bearer {secret}"}


def own_bearer() -> dict[str, str]:
    """The header of who has the token that a gateway made here."""
    return bearer(TOKEN_FILE.read_text().strip())


@asynccontextmanager
async def gating(url: str, *, key: str = KEY, **settings: Any) -> AsyncIterator[Door]:
    """Serve a gateway on a free port; where it makes a token, all that is sent bears that.

    Args:
        url: the queue's Redis.
        key: the account's API key.
        settings: those of the gateway.
    """
    chosen = Settings(**{"SKYVERN_API_KEY": key, "gateway_port": 0, **settings})
    began: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = Server(chosen, url, began.set_result)
    serving = asyncio.create_task(server.serve())
    both: list[asyncio.Future[Any]] = [began, serving]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    made = "" if chosen.api_tokens else TOKEN_FILE.read_text().strip()
    try:
        async with aiohttp.ClientSession(headers=bearer(made) if made else {}) as session:
            yield Door(began.result(), session, server, made)
    finally:
        server.should_exit = True
        await serving


@contextmanager
def hanging(client: redis.Redis) -> Iterator[None]:
    """Stop the process of a Redis until the end."""
    pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def unended(path: str, size: int, headers: str = "") -> bytes:
    """Return a POST whose body has so many bytes in chunks, and no end.

    Args:
        path: where it goes.
        size: bytes of the body.
        headers: further lines of its head, each with its line break.
    """
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n{headers}\r\n"
    sizes = [min(_CHUNK, size - start) for start in range(0, size, _CHUNK)]
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (one, b" " * one) for one in sizes)


async def speak(door: Door, raw: bytes) -> bytes:
    """Send bytes as they are, and return what is said until the connection ends or rests."""
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    said = await reader.readuntil(b"}")
    writer.close()
    return said
