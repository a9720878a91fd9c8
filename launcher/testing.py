"""A worker without Celery, and a simulated Skyvern without a web server: `QueueForTests.drain`.

The stages are the worker's own, run one after the other until a pass finds nothing to do. The time
is the environment's. Where something that Skyvern or the worker waits for is due later (the poll of
a run, a search, the end of a pause), the time is moved there, and a new process of a new name goes
on, since the lease of the last one is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from email.utils import formatdate
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx
import orjson
import redis.asyncio
from multidict import CIMultiDict
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from starlette.applications import Starlette
from starlette.routing import Route

from api_client.errors import AnswerLostError
from api_client.http.messages import HttpAnswer, Request
from api_client.http.transport import AsyncTransport
from config.settings import Account, Settings
from gateway.metrics import Metrics
from gateway.webhooks.receiver import PATH, Receiver
from gateway.webhooks.webhook_writer import WebhookWriter
from runqueue.connection.client import async_client
from runqueue.ids import DEFAULT, TAG_KEY, markers_in, own_tag
from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store.async_sending import run_async
from runqueue.store.scripts import ScriptCall, T
from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment, NotDrained
from runqueue.testing.jobs import EnqueuedJob
from runqueue.testing.skyvern import ANY_OUTPUT, Outcome, Skyvern, Submission
from simulator.api import RunApi
from simulator.delivery import Attempt, WebhookSender, signed_headers
from simulator.direct import answer_of, find_call
from simulator.faults import Switchboard
from simulator.model.options import Options
from simulator.model.plan import SIMULATED, End, Plan, Planner
from simulator.model.releases import DEFAULT_VERSION, RELEASES
from simulator.model.runs import Run
from simulator.model.store import Store
from simulator.replies import RefusedError
from simulator.webhooks import Webhooks
from webhooks.sender import MAX_ANSWER, Outbound, Posted
from worker.process.script_client import DirectCalls
from worker.runtime import AccountWorker
from worker.stages.consumer import Consumer
from worker.stages.list_runs import ListConsumer
from worker.stages.sweep import sweep

#: Neither is ever connected to.
_SKYVERN_URL, _GATEWAY_URL = "http://skyvern.invalid", "https://gateway.invalid"
#: In this order a pass runs the stages.
_STAGES: Final = (
    *("inbox", "submit", "poll", "list", "reconcile", "cancel"),
    *("webhooks", "callbacks"),
)
#: Those whose next time a drain moves to.
_MOVED_TO: Final = frozenset({"submit", "poll", "list", "reconcile", "cancel"})
#: Seconds by which it moves the time at most, in all.
_MOST_MOVED = 300.0
#: Jobs that a message names.
_NAMED = 5

#: What becomes of the submission that is being answered.
_PLAN: ContextVar[Plan | None] = ContextVar("_PLAN", default=None)


class _Settings(Settings):
    """Settings that are the same in every environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but the arguments."""
        del settings_cls, others, named
        return (init_settings,)


class _Planner(Planner):
    """Plans runs as the scripts say."""

    def plan(self, forced: dict[str, object], own: Plan | None = None) -> Plan:
        """Return the plan of the next run."""
        return _PLAN.get() or super().plan(forced, own)


class _Sender(WebhookSender):
    """Sends Skyvern's webhooks to a gateway's receiver."""

    def __init__(self) -> None:
        self._retry_delays = ()
        #: The receiver of the drain under way.
        self.gateway: Starlette

    async def send(self, url: str, body: bytes, api_key: str) -> Attempt:
        """Try once."""
        headers = signed_headers(body, api_key)
        answer = await _post(self.gateway, url, body, headers)
        return Attempt(headers, answer.status_code, 0, answer.text, None)


class _Account:
    """A simulated account, with its runs.

    Args:
        environment: its time, and the scripts.
    """

    def __init__(self, environment: Environment) -> None:
        clock = environment.clock.now
        self.keys = (environment.skyvern.api_key,)
        options = Options(
            api_keys=self.keys, duration=0.0, session_release=0.0, any_credential=True
        )
        #: Runs whose end is not reported.
        self._ended: list[Run] = []
        store = Store(options, clock, self._ended.append, _Planner(options))
        release, faults = RELEASES[DEFAULT_VERSION], Switchboard(0)
        self.sender = _Sender()
        self._webhooks = Webhooks(self.sender, clock, faults, store, release)
        self._clock = clock
        self.api = RunApi(options, store, self._webhooks, clock)

    async def report(self) -> None:
        """Send the webhooks of runs that have ended."""
        while self._ended:
            run = self._ended.pop(0)
            if run.is_over(self._clock()):
                await self._webhooks.report(run)


class _Transport(AsyncTransport):
    """Takes the worker's calls to Skyvern.

    Args:
        environment: its time, and the scripts.
        queue: reads the jobs that submissions are for.
        errors: gets what fails in it: the client would take it for a lost answer.
    """

    def __init__(
        self, environment: Environment, queue: AsyncQueueForTests, errors: list[Exception]
    ) -> None:
        super().__init__()
        self._errors = errors
        self._environment = environment
        self._queue = queue
        self._skyvern: Skyvern = environment.skyvern
        if self._skyvern.account is None:
            self._skyvern.account = _Account(environment)
        self._account = cast(_Account, self._skyvern.account)

    async def exchange(self, request: Request) -> HttpAnswer:
        """Answer a request.

        Raises:
            AnswerLostError: a script says so.
        """
        try:
            if request.name.startswith("POST /v1/run/"):
                return await self._submitted(request)
            return await self._handled(request)
        except AnswerLostError:
            raise
        except Exception as error:
            self._errors.append(error)
            raise

    async def _submitted(self, request: Request) -> HttpAnswer:
        body = orjson.loads(request.content)
        job_id, attempt = _marker_in(body)
        job = await self._queue.get(job_id)
        found = EnqueuedJob(job, await self._queue.request_of(job))
        outcome = self._skyvern.next_outcome(found)
        path = urlsplit(request.url).path
        self._skyvern.submissions.append(Submission(job_id, attempt, path, body, outcome))
        if outcome.status != 200:
            wait = outcome.retry_after
            more = {} if wait is None else {"retry-after": str(wait)}
            return self._answer(outcome.status, _refusal(outcome), more)
        answer = None
        if outcome.end:
            _PLAN.set(_plan_of(outcome))
            try:
                answer = await self._handled(request)
            finally:
                _PLAN.set(None)
        if outcome.is_lost or answer is None:
            raise AnswerLostError("the connection broke")
        return answer

    async def _handled(self, request: Request) -> HttpAnswer:
        try:
            call, parsed = find_call(
                *(request.method, request.url, request.headers, request.content), self._account.keys
            )
            reply = await answer_of(call, self._account.api, parsed)
        except RefusedError as refusal:
            reply = refusal.reply()
        return self._answer(reply.status, cast(bytes, reply.body or b""))

    def _answer(
        self, status: int, body: bytes, more: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        date = formatdate(int(self._environment.clock.now()), usegmt=True)
        headers = {"content-type": "application/json", "date": date, **(more or {})}
        return HttpAnswer(status, CIMultiDict(headers), body)


def _marker_in(body: dict[str, Any]) -> tuple[str, int]:
    """Return the job and the attempt that a submission is for."""
    if found := markers_in(f"{body.get('title')} {body.get('webhook_url')}"):
        return found.pop()
    tagged = own_tag(str((body.get("run_metadata") or {}).get(TAG_KEY)), "")
    if tagged is None:
        raise RuntimeError("a submission carries no marker")
    return tagged


def _refusal(outcome: Outcome) -> bytes:
    """Return the body of a refusal; that of a 422 names the field, else a run might exist."""
    words: object = outcome.reason
    if outcome.status == 422:
        words = [{"type": "value_error", "loc": ["body"], "msg": outcome.reason, "input": None}]
    return orjson.dumps({"detail": words})


def _plan_of(outcome: Outcome) -> Plan:
    output = SIMULATED if outcome.output is ANY_OUTPUT else outcome.output
    return Plan(cast(End, outcome.end), 0.0, output=output, reason=outcome.reason)


class _Receivers(Outbound):
    """Delivers webhooks to what a test has mounted, and nowhere else.

    Args:
        mounted: the receivers, by the beginning of their URLs.
        errors: gets what apps raise.
    """

    def __init__(self, mounted: Mapping[str, Any], errors: list[Exception]) -> None:
        super().__init__(allow_private=True)
        self._mounted = mounted
        self._errors = errors

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Posted:
        """Deliver a webhook."""
        for beginning in sorted(self._mounted, key=len, reverse=True):
            if url.startswith(beginning):
                receiver = self._mounted[beginning]
                if isinstance(receiver, str):
                    target = receiver + url.removeprefix(beginning)
                    return await super().post(target, body, headers, timeout)
                return await self._call(receiver, url, body, headers)
        return Posted(error="no receiver is mounted for it, see queue.mount", refused=True)

    async def _call(
        self, receiver: Any, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Posted:
        try:
            if callable(receiver):
                answer = await _post(receiver, url, body, headers)
            else:
                given = {"content": body, "headers": dict(headers)}
                answer = await asyncio.to_thread(receiver.post, url, **given)
        except Exception as error:  # noqa: BLE001 - raised by the drain
            self._errors.append(error)
            return Posted(error=f"the app raised {type(error).__name__}")
        said = "" if answer.is_success else f"the receiver answered {answer.status_code}"
        return Posted(answer.status_code, answer.content[:MAX_ANSWER], error=said)


async def _post(app: Any, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Post to an ASGI app."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.post(url, content=body, headers=dict(headers))


def _gateway(client: redis.asyncio.Redis, keys: tuple[str, ...]) -> Starlette:
    """Return the part of a gateway that takes Skyvern's webhooks."""
    writers = {DEFAULT: WebhookWriter(DEFAULT, client)}
    receiver = Receiver({DEFAULT: keys}, writers, Metrics(writers))
    return Starlette(routes=[Route(PATH, receiver)])


class _Calls(DirectCalls):
    """Script calls at the environment's time.

    Args:
        client: the queue's Redis.
        environment: the environment.
    """

    def __init__(self, client: redis.asyncio.Redis, environment: Environment) -> None:
        super().__init__(client)
        self._environment = environment

    async def run(self, call: ScriptCall[T]) -> T:
        """Run a script."""
        return await run_async(self.client, call, self._environment.clock.now_us())


async def drain(environment: Environment, seconds: float) -> None:
    """Work until nothing is left to do; see `QueueForTests.drain`."""
    async with AsyncQueueForTests(environment) as queue:
        try:
            async with asyncio.timeout(seconds):
                await _drain(environment, queue)
        except TimeoutError:
            left = [found.job for found in await queue.enqueued() if not found.job.is_over]
            lines = [
                f"  {job.id} in group {job.group!r}: {job.state} after {job.attempts} attempts,"
                f" {job.reason or job.search_message or 'no reason is known'}"
                for job in left[:_NAMED]
            ]
            raise NotDrained(
                "\n".join([f"not drained in {seconds:g} s: {len(left)} jobs are left", *lines])
            ) from None


async def _drain(environment: Environment, queue: AsyncQueueForTests) -> None:
    client, moved, errors = async_client(environment.url), 0.0, list[Exception]()
    transport = _Transport(environment, queue, errors)
    skyvern = cast(_Account, environment.skyvern.account)
    skyvern.sender.gateway = _gateway(client, skyvern.keys)
    try:
        while True:
            async with _process(environment, client, transport, errors) as worker:
                next_us: int | None = None
                while next_us is None:
                    next_us = await _pass(worker, skyvern, errors)
            span = (next_us - environment.clock.now_us()) / 1e6
            if not next_us or moved + span > _MOST_MOVED:
                return
            if span > 0:
                environment.clock.advance(span)
                moved += span
    finally:
        await transport.aclose()
        await client.aclose()


@asynccontextmanager
async def _process(
    environment: Environment,
    client: redis.asyncio.Redis,
    transport: _Transport,
    errors: list[Exception],
) -> AsyncIterator[AccountWorker]:
    """Give a process's account, whose limits bound nothing."""
    account = Account(
        api_key=SecretStr(environment.skyvern.api_key),
        base_url=_SKYVERN_URL,
        max_submissions_per_second=0,
        max_concurrent_runs=0,
        max_requests_per_second=0,
        max_webhooks_per_second=0,
        webhook_secrets=(SecretStr(environment.skyvern.webhook_secret),),
    )
    settings = _Settings(public_url=_GATEWAY_URL)
    calls = _Calls(client, environment)
    worker = AccountWorker(DEFAULT, account, settings, calls, transport)
    worker.outbound = _Receivers(environment.receivers, errors)
    # Polls are made by the next pass.
    cast(ListConsumer, worker.consumers["list"]).on_missing = _nothing
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop(0)


async def _pass(worker: AccountWorker, skyvern: _Account, errors: list[Exception]) -> int | None:
    """Run every stage once.

    Returns:
        None = something was done. Else when something is due that the time is moved to; 0 = nothing
        is.
    """
    await sweep(worker)
    is_idle, times = True, list[int]()
    for stage in _STAGES:
        taken = await _run(worker, worker.consumers[stage])
        await skyvern.report()
        if errors:
            raise errors[0]
        is_idle = is_idle and not taken.items
        if taken.next_us and stage in _MOVED_TO:
            times.append(taken.next_us)
    return min(times, default=0) if is_idle else None


async def _run(worker: AccountWorker, consumer: Consumer[Any]) -> Taken[Any]:
    taken = await consumer.take(consumer.capacity, 0)
    if taken.answer is not ClaimAnswer.OK:
        raise RuntimeError(f"the stage {consumer.stage} was refused: {taken.answer}")
    for item in taken.items:  # one by one: scripts have an order
        for writer, record in await consumer.handle(item):
            writer.put(record, _nothing)
    await worker.writers.settled()
    return taken


def _nothing() -> None:
    """Stand for what a worker does then, and a drain does not need."""
