"""Skyvern: the model of `simulator/` without its web server, and the network on the way to it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from multidict import CIMultiDict, MultiDict

from api_client.errors import AnswerLostError, NotSentError
from api_client.http.messages import HttpAnswer, Request
from api_client.http.transport import AsyncTransport
from simulation.conduct_ledger import Outcome, SentSubmission
from simulation.history import EventHistory
from simulation.ledger import JOB_NUMBER
from simulation.processes import SimulatedProcess, start_in
from simulator.api import RunApi
from simulator.delivery import Attempt, WebhookSender, signed_headers
from simulator.faults import Switchboard
from simulator.model.options import Options
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.store import Store
from simulator.replies import RefusedError, not_found
from simulator.routes import CALLS, RouteCall
from simulator.webhooks import Webhooks

#: Sends a webhook: URL, body, headers; returns the status, None if nobody was reached.
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int | None]]

_ROUTES = [
    (call, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", call.path) + r"\Z")) for call in CALLS
]


#: Seconds that a 429 asks to wait.
_RETRY_AFTER = (2, 10, 30)


@dataclass(slots=True)
class NetworkFaults:
    """What happens to calls on the way, as shares of them; changed by the faults of a plan."""

    #: The connection is refused.
    refused: float = 0.0
    #: The request is lost after it was written; it has no effect.
    lost: float = 0.0
    #: It takes effect, and the answer is lost.
    unanswered: float = 0.0
    #: The client is cut off, and the effect comes later.
    late: float = 0.0
    #: The answer breaks off, or is no JSON.
    garbled: float = 0.0
    #: A 500, without an effect; a 503; a 429.
    failing: float = 0.0
    unavailable: float = 0.0
    limited: float = 0.0
    #: Whether the key is refused.
    no_key: bool = False
    #: Whether lists of runs fail.
    no_list: bool = False
    #: Seconds that an answer takes longer.
    slowness: float = 0.0
    #: Webhooks that are dropped; that are sent twice.
    dropped: float = 0.0
    doubled: float = 0.0
    #: Seconds by which such an effect is late at most.
    lateness: float = 50.0


@dataclass(slots=True)
class _HandlerRequest:
    """What the simulator's handlers read of an aiohttp request."""

    path: str
    query: MultiDict[str]
    headers: CIMultiDict[str]
    match_info: dict[str, str]
    content: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0]

    async def read(self) -> bytes:
        return self.content


class _Sender(WebhookSender):
    """Sends webhooks over the simulated network."""

    def __init__(self, post: Post, retry_delays: tuple[float, ...]) -> None:
        self._post = post
        self._retry_delays = retry_delays

    async def send(self, url: str, body: bytes, api_key: str) -> Attempt:
        """Try once."""
        headers = signed_headers(body, api_key)
        status = await self._post(url, body, headers)
        error = "Could not reach URL: All connection attempts failed" if status is None else None
        return Attempt(headers, status, 10, "" if status else None, error)


class SimulatedSkyvern:
    """One account's server.

    Args:
        options: of the simulator.
        process: runs the server.
        chance: of latencies and faults.
        post: sends its webhooks.
        history: records each call.
    """

    def __init__(
        self,
        options: Options,
        process: SimulatedProcess,
        chance: Random,
        post: Post,
        history: EventHistory,
    ) -> None:
        self.process = process
        self.faults = NetworkFaults()
        self.faults_met: Counter[str] = Counter()
        self._options = options
        self._chance = chance
        self._history = history
        self._known: set[str] = set()
        self.store = Store(options, process.wall, on_change=self._on_change)
        self._webhooks = Webhooks(
            _Sender(self._post, options.webhook_retry_delays),
            process.wall,
            Switchboard(options.seed),
            self.store,
            RELEASES[options.version],
        )
        self._send = post
        self.api = RunApi(options, self.store, self._webhooks, process.wall)
        #: When submissions were written to it, and calls of all kinds; simulated seconds.
        self.submitted: list[float] = []
        self.called: list[float] = []
        #: Called with each run that is made.
        self.on_created: Callable[[Run], None] = lambda _: None
        #: Called with each submission as it is written: its content; returns its record.
        self.on_submitted: Callable[[bytes], SentSubmission | None] = lambda _: None
        #: Called with the content of each submission that arrives, and with the seconds of a
        #: `Retry-After` that is answered to one.
        self.on_arrived: Callable[[bytes], None] = lambda _: None
        self.on_limited: Callable[[float], None] = lambda _: None
        #: Called before a submission is sent: whether its process dies of it.
        self.kills: Callable[[SimulatedProcess, bytes], bool] = lambda *_: False
        #: Jobs whose runs can neither be read nor canceled, by their numbers.
        self.stuck_jobs: set[int] = set()

    def _on_change(self, run: Run) -> None:
        if run.run_id not in self._known:
            self._known.add(run.run_id)
            self.on_created(run)
        self._webhooks.schedule(run)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        await asyncio.sleep(self._chance.uniform(0.01, 0.1))
        if self._chance.random() < self.faults.dropped:
            self.faults_met["webhook: dropped"] += 1
            return None
        if self._chance.random() < self.faults.doubled:
            self.faults_met["webhook: doubled"] += 1
            await self._send(url, body, headers)
        return await self._send(url, body, headers)

    async def exchange(self, client: SimulatedProcess, request: Request) -> HttpAnswer:
        """Take a request from a process, and return the answer.

        Raises:
            NotSentError, AnswerLostError: as the transport's.
        """
        sent: SentSubmission | None = None
        if request.name.startswith("POST /v1/run/"):
            if self.kills(client, request.content):
                await asyncio.sleep(0)  # and never returns
            sent = self.on_submitted(request.content)
        try:
            answer = await self._exchange(client, request)
        except NotSentError:
            if sent is not None:
                sent.outcome = Outcome.NOT_SENT
            raise
        if sent is not None and answer.status != 500:
            sent.outcome, sent.status = Outcome.ANSWERED, answer.status
            sent.answered_at = asyncio.get_running_loop().time()
            sent.wait = float(answer.headers.get("retry-after", 0))
        return answer

    async def _exchange(self, client: SimulatedProcess, request: Request) -> HttpAnswer:
        limit = request.timeout or 60.0
        faults, draw = self.faults, self._chance.random()
        await asyncio.sleep(self._chance.uniform(0.005, 0.08))
        name, now = request.name, asyncio.get_running_loop().time()
        self.called.append(now)
        if name.startswith("POST /v1/run/"):
            self.submitted.append(now)
            self.on_arrived(request.content)
        if draw < faults.refused:
            self.faults_met["call: not sent"] += 1
            self._note(client, name, "refused")
            raise NotSentError("connection refused")
        draw -= faults.refused
        if draw < faults.lost:
            self.faults_met["call: lost"] += 1
            self._note(client, name, "lost")
            raise AnswerLostError("the connection broke")
        draw -= faults.lost
        if request.method == "POST":
            if draw < faults.late:
                self.faults_met["call: a late effect"] += 1
                self._note(client, name, "cut, its effect is late")
                wait = self._chance.uniform(0.5, faults.lateness)
                start_in(self.process, self._handle(request, wait))
                raise AnswerLostError("the connection broke")
            draw -= faults.late
        failure = self._stuck_answer(request) or self._fault_answer(draw) or self._list_answer(name)
        if failure is not None:
            self._note(client, name, str(failure.status))
            if failure.status == 429 and name.startswith("POST /v1/run/"):
                self.on_limited(float(failure.headers["retry-after"]))
            return failure
        return await self._answered(client, request, limit)

    async def _answered(
        self, client: SimulatedProcess, request: Request, limit: float
    ) -> HttpAnswer:
        """Let a request take effect, and return what the client gets of the answer."""
        faults, name = self.faults, request.name
        # A client that goes away does not stop it.
        handling = start_in(self.process, self._handle(request))
        await asyncio.wait([handling])
        answer: HttpAnswer = handling.result()
        self._note(client, name, f"{answer.status}")
        wait = self._chance.uniform(0.005, 0.15) + self._chance.random() * faults.slowness
        if wait > limit:
            self.faults_met["call: an answer that comes too late"] += 1
            await asyncio.sleep(limit)
            raise AnswerLostError(f"no answer within {limit:g} s")
        await asyncio.sleep(wait)
        if self._chance.random() < faults.unanswered:
            self.faults_met["call: an answer lost"] += 1
            self._note(client, name, "its answer is lost")
            raise AnswerLostError("the connection broke")
        if self._chance.random() < faults.garbled:
            self.faults_met["call: an answer garbled"] += 1
            return HttpAnswer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])
        return answer

    def _note(self, client: SimulatedProcess, name: str, text: str) -> None:
        self._history.note(client.name, f"skyvern {name} {text}")

    def _stuck_answer(self, request: Request) -> HttpAnswer | None:
        """Return a 500 to a call about a run that answers none."""
        if not self.stuck_jobs or (request.method == "POST" and "/run/" in request.url):
            return None
        for run in self.store.oldest_first():
            found = JOB_NUMBER.search(run.submission.request)
            if found and int(found[1]) in self.stuck_jobs and run.run_id in request.url:
                self.faults_met["call: about a run that answers none"] += 1
                return self._answer(500, b'{"detail":"Internal Server Error"}')
        return None

    def _fault_answer(self, draw: float) -> HttpAnswer | None:
        """Return what the network, or a proxy in it, answers in the server's place."""
        faults = self.faults
        if draw < faults.failing:
            self.faults_met["call: 500"] += 1
            return self._answer(500, b'{"detail":"Internal Server Error"}')
        draw -= faults.failing
        if draw < faults.unavailable:
            self.faults_met["call: 503"] += 1
            return self._answer(503, b"Service Unavailable")
        draw -= faults.unavailable
        if draw < faults.limited:
            self.faults_met["call: 429"] += 1
            wait = str(self._chance.choice(_RETRY_AFTER))
            return self._answer(429, b'{"detail":"Rate limit exceeded"}', {"retry-after": wait})
        if faults.no_key:
            self.faults_met["call: a refused key"] += 1
            return self._answer(403, b'{"detail":"Invalid credentials"}')
        return None

    def _list_answer(self, name: str) -> HttpAnswer | None:
        if not self.faults.no_list or name != "GET /v1/runs":
            return None
        self.faults_met["call: no list"] += 1
        return self._answer(500, b'{"detail":"Internal Server Error"}')

    def _answer(
        self, status: int, body: bytes, more: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        headers = {
            "content-type": "application/json",
            "date": formatdate(int(self.process.wall()), usegmt=True),
            **(more or {}),
        }
        return HttpAnswer(status, CIMultiDict(headers), body)

    async def _handle(self, request: Request, wait: float = 0.0) -> HttpAnswer:
        if wait:
            await asyncio.sleep(wait)
        url = urlsplit(request.url)
        try:
            call, names = _find(request.method, url.path)
            parsed = _HandlerRequest(
                url.path,
                MultiDict(parse_qsl(url.query, keep_blank_values=True)),
                CIMultiDict(request.headers),
                names,
                request.content,
            )
            if not call.open:
                self._check_key(parsed)
            reply = await call.answer(self.api, cast(web.Request, parsed))
        except RefusedError as refusal:
            reply = refusal.reply()
        body = reply.body if isinstance(reply.body, bytes) else b""
        return self._answer(reply.status, body)

    def _check_key(self, parsed: _HandlerRequest) -> None:
        if parsed.headers.get("x-api-key") not in self._options.api_keys:
            raise RefusedError(403, "Invalid credentials")


def _find(method: str, path: str) -> tuple[RouteCall, dict[str, str]]:
    for call, pattern in _ROUTES:
        if call.method == method and (found := pattern.match(path)):
            return call, found.groupdict()
    raise not_found()


class SimulatedTransport(AsyncTransport):
    """The transport of a process's calls to Skyvern.

    Args:
        server: receives them.
        client: the process.
    """

    def __init__(self, server: SimulatedSkyvern, client: SimulatedProcess) -> None:
        super().__init__()
        self._server = server
        self._client = client

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once."""
        return await self._server.exchange(self._client, request)

    def drop_connections(self) -> None:
        """Do nothing: no connection is open."""

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""
