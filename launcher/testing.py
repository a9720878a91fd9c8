"""A worker in a test's process, without Celery: `QueueForTests.drain`.

The stages are the worker's own, run one after the other until a pass finds nothing to do. If
something that Skyvern or the worker waits for is due later (the poll of a run, a search, the end of
a pause), the time is moved there. A process of a new name goes on: the lease of the last one is
over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx
import redis.asyncio
from pydantic import SecretStr
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
from runqueue.ids import DEFAULT, markers_in
from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store.async_sending import run_async
from runqueue.store.scripts import ScriptCall, T
from runqueue.testing.async_queue import AsyncQueueForTests
from runqueue.testing.environment import Environment, NotDrained
from webhooks.sender import Outbound, Posted
from worker.process.script_client import DirectCalls
from worker.runtime import AccountWorker
from worker.stages.consumer import Consumer
from worker.stages.list_runs import ListConsumer
from worker.stages.sweep import sweep

#: Neither is ever connected to.
_SKYVERN_URL, _GATEWAY_URL = "http://skyvern.invalid", "https://gateway.invalid"
#: The stages in the order of a pass: those whose next time a drain moves to, and the others.
_MOVED_TO: Final = ("submit", "poll", "list", "reconcile", "cancel")
_STAGES: Final = ("inbox", "schedules", *_MOVED_TO, "webhooks", "callbacks", "details")
#: Seconds by which it moves the time at most, in all.
_MOST_MOVED = 300.0


class _Drain:
    """One drain.

    Args:
        environment: the time, Skyvern, and the receivers.
        queue: reads jobs.
        client: the queue's Redis.
    """

    def __init__(
        self, environment: Environment, queue: AsyncQueueForTests, client: redis.asyncio.Redis
    ) -> None:
        self.environment = environment
        self.queue = queue
        self.client = client
        #: What is raised where the worker would go on.
        self.errors: list[Exception] = []
        writers = {DEFAULT: WebhookWriter(DEFAULT, client)}
        keys = {DEFAULT: (environment.skyvern.api_key,)}
        receiver = Receiver(keys, writers, Metrics(writers))
        self._gateway = Starlette(routes=[Route(PATH, receiver)])

    async def work(self) -> None:
        """Work until nothing is left to do."""
        clock, moved = self.environment.clock, 0.0
        while True:
            worker, next_us = self._new_worker(), None
            await worker.start()
            try:
                while next_us is None:
                    next_us = await self._pass(worker)
            finally:
                await worker.stop(0)
            span = max(0.0, (next_us - clock.now_us()) / 1e6)
            if not next_us or moved + span > _MOST_MOVED:
                return
            clock.advance(span)
            moved += span

    def _new_worker(self) -> AccountWorker:
        skyvern = self.environment.skyvern
        account = Account(
            api_key=SecretStr(skyvern.api_key),
            base_url=_SKYVERN_URL,
            proxy=SecretStr("none"),
            webhook_secrets=(SecretStr(skyvern.webhook_secret),),
            max_submissions_per_second=0,
            max_concurrent_runs=0,
            max_requests_per_second=0,
            max_webhooks_per_second=0,
        )
        # Not those of the environment, which are of the machine that the tests run on.
        settings = Settings.model_construct(public_url=_GATEWAY_URL)
        calls, transport = _Calls(self.client), _Transport(self)
        worker = AccountWorker(DEFAULT, account, settings, calls, transport)
        worker.outbound = _Receivers(self)
        # Polls are made by the next pass.
        cast(ListConsumer, worker.consumers["list"]).on_missing = lambda: None
        return worker

    async def _pass(self, worker: AccountWorker) -> int | None:
        """Run every stage once.

        Returns:
            None = something was done. Else when something is due that the time is moved to; 0 =
            nothing is.
        """
        await sweep(worker)
        is_idle, times = True, list[int]()
        for stage in _STAGES:
            taken = await _run(worker, worker.consumers[stage])
            await self.environment.skyvern.report(self._report)
            if self.errors:
                raise self.errors[0]
            is_idle = is_idle and not taken.items
            if taken.next_us and stage in _MOVED_TO:
                times.append(taken.next_us)
        return min(times, default=0) if is_idle else None

    async def _report(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        return (await post(self._gateway, url, body, headers)).status_code


async def _run(worker: AccountWorker, consumer: Consumer[Any]) -> Taken[Any]:
    taken = await consumer.take(consumer.capacity, 0)
    if taken.answer is not ClaimAnswer.OK:
        raise RuntimeError(f"the stage {consumer.stage} was refused: {taken.answer}")
    for item in taken.items:  # one by one: scripts have an order
        for writer, record in await consumer.handle(item):
            writer.put(record, lambda: None)
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError  # some stages take it for the end of their worker
    await worker.writers.settled()
    return taken


async def post(app: Any, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Post to an ASGI app, or by a client of a web service; a redirect is the answer."""
    sent: dict[str, Any] = {"content": body, "headers": dict(headers), "follow_redirects": False}
    if not callable(app):
        answer: httpx.Response = await asyncio.to_thread(app.post, url, **sent)
        return answer
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.post(url, **sent)


class _Calls(DirectCalls):
    """Script calls at the environment's time, which redis-py's own calls have."""

    async def run(self, call: ScriptCall[T]) -> T:
        """Run a script."""
        return await run_async(self.client, call)


class _Transport(AsyncTransport):
    """Takes the worker's calls to Skyvern."""

    def __init__(self, drain: _Drain) -> None:
        super().__init__()
        self._drain = drain

    async def exchange(self, request: Request) -> HttpAnswer:
        """Answer a request.

        Raises:
            AnswerLostError: a script says so.
        """
        found, queue = None, self._drain.queue
        try:
            if request.name.startswith("POST /v1/run/"):
                ((job_id, _),) = markers_in(request.content.decode().rpartition('"webhook_url"')[2])
                found = await queue.with_request(await queue.get(job_id))
            answer = await self._drain.environment.skyvern.answer(
                request.method, request.url, request.headers, request.content, found
            )
        except Exception as error:
            self._drain.errors.append(error)  # the client takes it for a lost answer
            raise
        if answer is None:
            raise AnswerLostError("the connection broke")
        return HttpAnswer(answer.status, answer.headers, answer.body or b"")


class _Receivers(Outbound):
    """Delivers webhooks to what a test has mounted, and nowhere else."""

    def __init__(self, drain: _Drain) -> None:
        super().__init__(allow_private=True)
        self._drain = drain

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Posted:
        """Deliver a webhook."""
        mounted = self._drain.environment.receivers
        beginning = max(filter(url.startswith, mounted), key=len, default=None)
        if beginning is None:
            return Posted(error="no receiver is mounted for it, see queue.mount", refused=True)
        receiver = mounted[beginning]
        if isinstance(receiver, str):
            return await super().post(url.replace(beginning, receiver, 1), body, headers, timeout)
        try:
            answer = await post(receiver, url, body, headers)
        except Exception as error:  # noqa: BLE001 - raised by the drain
            self._drain.errors.append(error)
            return Posted(error=f"the app raised {type(error).__name__}")
        return Posted.of(answer.status_code, answer.headers)


async def drain(environment: Environment, seconds: float) -> None:
    """Work until nothing is left to do; see `QueueForTests.drain`."""
    client = async_client(environment.url)
    async with AsyncQueueForTests(environment) as queue, client:
        try:
            async with asyncio.timeout(seconds) as limit:
                await _Drain(environment, queue, client).work()
        except TimeoutError:
            if not limit.expired():  # it is a receiver's
                raise
            jobs = [one.job for one in await queue.enqueued()]
            left = [job for job in jobs if not job.is_over or job.webhook.state == "pending"]
            lines = [
                f"\n  {job.id} in group {job.group!r}: {job.state} after {job.attempts} attempts,"
                f" webhook {job.webhook.state};"
                f" {job.webhook.error or job.reason or job.search_message or 'no reason is known'}"
                for job in left[:5]
            ]
            raise NotDrained(
                f"not drained in {seconds:g} s, {len(left)} jobs are left:{''.join(lines)}"
            ) from None
