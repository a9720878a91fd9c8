"""Skyvern: the model of `simulator/` without its web server, and the network on the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from itertools import takewhile
from random import Random
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import orjson
from aiohttp import web
from multidict import CIMultiDict

from api_client.errors import AnswerLostError, NotSentError, SkyvernError
from api_client.http.messages import HttpAnswer, Request
from api_client.http.transport import AsyncTransport
from simulation import processes
from simulation.history import EventHistory
from simulation.judges.ledger import JOB_NUMBER, job_number
from simulation.observer import Observer, Outcome, SentSubmission
from simulation.processes import SimulatedProcess, start_in
from simulation.virtual.network import (
    LIST,
    READ,
    SUBMIT,
    FaultyProxy,
    NetworkFaults,
    StoreAsItWas,
    StoreWithoutWorkflows,
)
from simulator.api import RunApi
from simulator.delivery import DeliveryAttempt, WebhookSender, signed_headers
from simulator.direct import DirectRequest, answer_of, find_call
from simulator.faults import Switchboard
from simulator.model.options import Options
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.store import Store
from simulator.records import webhook_content
from simulator.replies import RefusedError, json_reply
from simulator.routes import RouteCall
from simulator.webhooks import Webhooks

#: Sends a webhook: URL, body, headers; returns the status, None if nobody was reached.
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int | None]]

#: Seconds for which a failed attempt of a workflow run is shown as an end, although a further one
#: will come (`tests/real/test_run_ends.py`).
_UNDECIDED_SECONDS = 3.0

#: The id of a run.
_RUN_ID = re.compile(r"(?<=/)(?:tsk|tsk_v2|wr)_\d+")

#: Seconds that a 429 asks to wait.
_RETRY_AFTER = (2, 10, 30)


class _Sender(WebhookSender):
    """Sends webhooks over the simulated network."""

    def __init__(self, post: Post, retry_delays: tuple[float, ...]) -> None:
        self._post = post
        self._retry_delays = retry_delays

    async def send(self, url: str, body: bytes, api_key: str) -> DeliveryAttempt:
        """Try once."""
        headers = signed_headers(body, api_key)
        status = await self._post(url, body, headers)
        error = "Could not reach URL: All connection attempts failed" if status is None else None
        return DeliveryAttempt(headers, status, 10, "" if status else None, error)


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
        self._proxy = FaultyProxy(self.faults, chance, self.faults_met, self._typed_answer)
        #: When submissions were written to it, and calls of all kinds; simulated seconds.
        self.submitted: list[float] = []
        self.called: list[float] = []
        #: Is told of submissions and runs.
        self.observer = Observer()
        #: Jobs whose runs can neither be read nor canceled, by their numbers.
        self.stuck_jobs: set[int] = set()
        #: Before this time lists show no runs of workflows, unix seconds.
        self.lists_workflows_from = 0.0

    def _on_change(self, run: Run) -> None:
        if run.run_id not in self._known:
            self._known.add(run.run_id)
            if run.plan.end == "flap":
                start_in(self.process, self._report_first_attempt(run))
            self.observer.on_run_created(run)
        self._webhooks.schedule(run)

    async def _report_first_attempt(self, run: Run) -> None:
        """Send the webhook of an attempt that failed, as `webhook_on_retry` has it."""
        decided = run.first_attempt_ended + _UNDECIDED_SECONDS
        await asyncio.sleep(decided - self.process.wall())
        url = run.submission.webhook_url
        if url is not None and run.is_retry_pending(self.process.wall()):
            body = orjson.dumps(webhook_content(run, self.process.wall()))
            await self._post(url, body, signed_headers(body, run.api_key))

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

        What was written arrives, whatever becomes of the client meanwhile.

        Raises:
            NotSentError, AnswerLostError: as the transport's.
        """
        sent: SentSubmission | None = None
        if request.name.startswith(SUBMIT):
            if self.observer.kills(client, request.content):
                await asyncio.sleep(0)  # and never returns
            sent = self.observer.on_submitted(client, request.content)
        # A client that goes away does not stop it.
        call = start_in(self.process, self._exchange(client, request))
        await asyncio.wait([call])
        result: HttpAnswer | SkyvernError = call.result()
        if isinstance(result, SkyvernError):
            if sent is not None and isinstance(result, NotSentError):
                sent.outcome = Outcome.NOT_SENT
            raise result
        if sent is not None and self._settles(sent, result):
            sent.outcome, sent.status = Outcome.ANSWERED, result.status
        return result

    def _settles(self, sent: SentSubmission, answer: HttpAnswer) -> bool:
        """Say whether an answer shows what became of a submission."""
        if not answer.is_success:
            return answer.status != 500 and not self._made_a_run(sent)
        with contextlib.suppress(ValueError, AttributeError):
            run = self.store.get(orjson.loads(answer.body).get("run_id", ""))
            return run is not None and job_number(run) == sent.number
        return False

    def _made_a_run(self, sent: SentSubmission) -> bool:
        """Say whether a run of the job was made since: then the refusal is not Skyvern's."""
        since = processes.EPOCH + sent.at
        runs = takewhile(lambda run: run.created >= since, self.store.newest_first())
        return any(job_number(run) == sent.number for run in runs)

    def forget(self, client: SimulatedProcess) -> None:
        """Close a client's connections."""
        self._proxy.forget(client)

    async def _exchange(
        self, client: SimulatedProcess, request: Request
    ) -> HttpAnswer | SkyvernError:
        """Return the answer to a request, or what the client meets instead."""
        limit = request.timeout or 60.0
        faults, draw = self.faults, self._chance.random()
        await asyncio.sleep(self._chance.uniform(0.005, 0.08))
        name, now = request.name, asyncio.get_running_loop().time()
        self.called.append(now)
        if name.startswith(SUBMIT):
            self.submitted.append(now)
            self.observer.on_arrived(request.content)
        if draw < faults.refused:
            self.faults_met["call: not sent"] += 1
            self._note(client, request, "refused")
            return NotSentError("connection refused")
        draw -= faults.refused
        if draw < faults.lost:
            self.faults_met["call: lost"] += 1
            self._note(client, request, "lost")
            return AnswerLostError("the connection broke")
        draw -= faults.lost
        if request.method == "POST":
            if draw < faults.late:
                self.faults_met["call: a late effect"] += 1
                self._note(client, request, "cut, its effect is late")
                wait = self._chance.uniform(0.5, faults.lateness)
                start_in(self.process, self.handle(request, wait))
                return AnswerLostError("the connection broke")
            draw -= faults.late
        answer = self._stuck_answer(request) or self._fault_answer(request, draw)
        answer = answer or self._proxy.cached(request)
        if answer is not None:
            self._note(client, request, str(answer.status))
            if answer.status == 429 and name.startswith(SUBMIT):
                self.observer.on_limited(float(answer.headers.get("retry-after", 0)))
            return answer
        return await self._answered(client, request, limit)

    async def _answered(
        self, client: SimulatedProcess, request: Request, limit: float
    ) -> HttpAnswer | SkyvernError:
        """Let a request take effect, and return what the client gets of the answer."""
        faults, started = self.faults, asyncio.get_running_loop().time()
        delay = self._delay(request)
        if delay > limit:
            self.faults_met["call: an effect that comes after the client's limit"] += 1
            self._note(client, request, "no answer in time")
            start_in(self.process, self.handle(request, delay))
            await asyncio.sleep(limit)
            return AnswerLostError(f"no answer within {limit:g} s")
        answer = await self.handle(request, delay)
        self._note(client, request, f"{answer.status}")
        left = max(0.0, limit - (asyncio.get_running_loop().time() - started))
        wait = self._chance.uniform(0.005, 0.15) + self._chance.random() * faults.slowness
        if wait > left:
            self.faults_met["call: an answer that comes too late"] += 1
            await asyncio.sleep(left)
            return AnswerLostError(f"no answer within {limit:g} s")
        await asyncio.sleep(wait)
        if self._chance.random() < faults.unanswered:
            self.faults_met["call: an answer lost"] += 1
            self._note(client, request, "its answer is lost")
            return AnswerLostError("the connection broke")
        if self._chance.random() < faults.garbled:
            self.faults_met["call: an answer garbled"] += 1
            return HttpAnswer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])
        return self._proxy.passed_on(client, request, answer)

    def _delay(self, request: Request) -> float:
        """Return after how many seconds a call takes effect."""
        if not request.name.startswith(SUBMIT):
            return 0.0
        most = self.faults.delay
        if self.faults.model_delay and _lacks_url(request):
            self.faults_met["call: a model that is slow"] += 1
            most = self.faults.model_delay
        return self._chance.random() * most if most else 0.0

    def _note(self, client: SimulatedProcess, request: Request, text: str) -> None:
        number = self._number_in(request)
        named = "" if number is None else f" job {number}"
        self._history.record(client.name, f"skyvern {request.name} {text}{named}")

    def _number_in(self, request: Request) -> int | None:
        """Return the number of the job that a request is about; None = of none that is known."""
        if found := JOB_NUMBER.search(request.content):
            return int(found[1])
        run = self.store.get(run_id[0]) if (run_id := _RUN_ID.search(request.url)) else None
        return None if run is None else job_number(run)

    def _stuck_answer(self, request: Request) -> HttpAnswer | None:
        """Return a 500 to a call about a run that answers none."""
        if not self.stuck_jobs or (request.method == "POST" and "/run/" in request.url):
            return None
        for run in self.store.oldest_first():
            if run.run_id in request.url and job_number(run) in self.stuck_jobs:
                self.faults_met["call: about a run that answers none"] += 1
                return self._answer(500, b'{"detail":"Internal Server Error"}')
        return None

    def _fault_answer(self, request: Request, draw: float) -> HttpAnswer | None:
        """Return what the network, or a proxy in it, answers in the server's place."""
        faults = self.faults
        if self._fails_alone(request):
            return self._answer(500, b'{"detail":"Internal Server Error"}')
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
            wait = {"retry-after": str(self._chance.choice(_RETRY_AFTER))}
            more = wait if faults.asks_to_wait else None
            return self._answer(429, b'{"detail":"Rate limit exceeded"}', more)
        if faults.no_key:
            self.faults_met["call: a refused key"] += 1
            return self._answer(403, b'{"detail":"Invalid credentials"}')
        return None

    def _answer(
        self, status: int, body: bytes, more: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        headers = {
            "content-type": "application/json",
            "date": formatdate(int(self.process.wall()), usegmt=True),
            **(more or {}),
        }
        return HttpAnswer(status, CIMultiDict(headers), body)

    def _fails_alone(self, request: Request) -> bool:
        """Say whether a call of this kind fails, while others need not."""
        faults, name = self.faults, request.name
        if name.startswith("POST /v1/runs/") and name.endswith("cancel"):
            return faults.no_cancels
        share = faults.unreadable * name.startswith(READ)
        if name == LIST:
            page = int(dict(parse_qsl(urlsplit(request.url).query)).get("page", 1))
            share = faults.unlistable * (page >= faults.unlistable_from)
        if not share or self._chance.random() >= share:
            return False
        self.faults_met[f"call: a {'list' if name == LIST else 'read'} that fails"] += 1
        return True

    def _typed_answer(self, status: int, body: bytes, content_type: str) -> HttpAnswer:
        return self._answer(status, body, {"content-type": content_type})

    async def handle(self, request: Request, wait: float = 0.0) -> HttpAnswer:
        """Let a request take effect after some seconds, and return the answer."""
        if wait:
            await asyncio.sleep(wait)
        try:
            call, parsed = find_call(
                *(request.method, request.url, request.headers, request.content),
                self._options.api_keys,
            )
            if request.name == LIST:
                reply = await self._list(call, parsed)
            else:
                reply = await answer_of(call, self.api, parsed)
                reply = self._as_undecided(parsed.match_info.get("run_id", ""), reply)
        except RefusedError as refusal:
            reply = refusal.reply()
        body = reply.body if isinstance(reply.body, bytes) else b""
        return self._answer(reply.status, body)

    def _as_undecided(self, run_id: str, reply: web.Response) -> web.Response:
        """Show a failed attempt as an end for as long as a further one is not decided on."""
        run = self.store.get(run_id) if run_id else None
        now = self.process.wall()
        if run is None or run.plan.end != "flap" or not run.is_retry_pending(now):
            return reply
        shown = orjson.loads(cast(bytes, reply.body))
        if now - run.first_attempt_ended < _UNDECIDED_SECONDS and isinstance(shown, dict):
            return json_reply(shown | {"retry_pending": False, "next_attempt_at": None})
        return reply

    async def _list(self, call: RouteCall, parsed: DirectRequest) -> web.Response:
        """Answer a list: it may stand still, and its pages may be bounded."""
        faults, api = self.faults, self.api
        if faults.page_size:
            requested = int(parsed.query.get("page_size", "10"))
            parsed.query["page_size"] = str(min(faults.page_size, requested))
        if faults.listed_at:
            self.faults_met["call: a list that stands still"] += 1
            api.store = StoreAsItWas(self.store, faults.listed_at)
            api.clock = lambda: faults.listed_at
        if self.process.wall() < self.lists_workflows_from:
            api.store = StoreWithoutWorkflows(api.store)
        try:
            return await answer_of(call, api, parsed)
        finally:
            api.store, api.clock = self.store, self.process.wall


def _lacks_url(request: Request) -> bool:
    """Say whether a model finds the address of a task first."""
    return request.name == "POST /v1/run/tasks" and b'"url"' not in request.content


class SimulatedTransport(AsyncTransport):
    """The transport of a process's calls to Skyvern.

    Args:
        server: receives them.
        client: the process.
        servers: receive those of other accounts, by API key.
    """

    def __init__(
        self,
        server: SimulatedSkyvern,
        client: SimulatedProcess,
        servers: Mapping[str, SimulatedSkyvern],
    ) -> None:
        super().__init__()
        self._server = server
        self._client = client
        self._servers = servers

    async def exchange(self, request: Request) -> HttpAnswer:
        """Send a request once."""
        key = CIMultiDict(request.headers).get("x-api-key", "")
        return await self._servers.get(key, self._server).exchange(self._client, request)

    def drop_connections(self) -> None:
        """Use no connection again that there is now."""
        for server in (self._server, *self._servers.values()):
            server.forget(self._client)

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""
