"""Recording webhooks: in groups; after a bad end the job's `retry` policy decides."""

import asyncio
import random
from collections.abc import Sequence

import redis.asyncio

from api_client.answers.occupied import found_occupied
from gateway.metrics import WebhookOutcome
from gateway.webhooks.payload import WebhookReport
from runqueue.connection.redis_errors import Cause, cause_of
from runqueue.observe.run_spans import TracedRuns
from runqueue.records.claim_items import RunAgain
from runqueue.records.delivery import Report, Reported, WebhookVerdict
from runqueue.request.retry_policy import Retry
from runqueue.store import delivery_calls, worker_calls
from runqueue.store.async_sending import run_async

#: Webhooks in one script call, and bytes: Redis does one thing at a time.
GROUP, GROUP_BYTES = 100, 16 * 1024 * 1024
#: Seconds in which a webhook has to be recorded.
RECORD_SECONDS = 10.0

_Waiting = tuple[Reported, "asyncio.Future[Report]"]


class WebhookWriter:
    """Records the webhooks of one account, one script call at a time.

    No timer: the first is recorded at once, those that arrive meanwhile go into the next call.

    Args:
        account: its name.
        client: the queue's Redis.
    """

    def __init__(self, account: str, client: redis.asyncio.Redis) -> None:
        self._account = account
        self._client = client
        self._traces = TracedRuns(account, lambda call: run_async(client, call))
        self._waiting: dict[asyncio.Future[Report], Reported] = {}
        self._task: asyncio.Task[None] | None = None

    async def record(self, item: Reported, webhook: WebhookReport) -> WebhookOutcome:
        """Record a webhook and return its outcome.

        Raises:
            RedisError, OSError, TimeoutError: it is not known to be recorded.
        """
        async with asyncio.timeout(RECORD_SECONDS):
            report = await self._record(item)
            if report.verdict is WebhookVerdict.POLICY:
                return await self._bad_end(item, webhook, report)
            return WebhookOutcome(report.verdict)

    async def poll_now(self, job_id: str) -> None:
        """Have a job's run polled now, if it runs: its webhook does not say how it ended.

        Raises:
            RedisError, OSError, TimeoutError: the poll comes when it is due.
        """
        async with asyncio.timeout(RECORD_SECONDS):
            await run_async(self._client, worker_calls.poll_now(self._account, [job_id]))

    async def _bad_end(
        self, item: Reported, webhook: WebhookReport, report: Report
    ) -> WebhookOutcome:
        """Have the job run again where its policy says so, or its session was occupied.

        Else record the end.
        """
        retry, is_occupied = (
            Retry.read(report.retry),
            found_occupied(webhook.parsed, report.session),
        )
        backoff = retry.backoff(report.runs + 1, webhook.status, webhook.parsed, random.random())
        if backoff is None and not is_occupied:
            return WebhookOutcome((await self._record(item._replace(final=True))).verdict)
        again = RunAgain(
            item.job_id,
            item.attempt,
            item.run_id,
            webhook.status,
            item.reason or f"the run {webhook.status}",
            int((backoff or 0.0) * 1e6),
            item.body,
            item.figures,
            int(is_occupied),
        )
        (code,) = await run_async(self._client, worker_calls.retry_run(self._account, [again]))
        if code == 1:
            return WebhookOutcome.RETRIED
        # It ended after all, so its own webhook carries the body that Skyvern signed; or another
        # process was faster.
        report = await self._record(item._replace(final=code == 2))
        if report.verdict is WebhookVerdict.POLICY:
            return WebhookOutcome.NOTED  # it runs under another attempt's number: polling ends it
        return WebhookOutcome.ENDED if code == 2 else WebhookOutcome(report.verdict)

    async def _record(self, item: Reported) -> Report:
        waiting: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = item
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            return await waiting
        finally:
            # The caller has gone: while Redis does not answer, bodies must not gather.
            self._waiting.pop(waiting, None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                # One more turn of the loop: webhooks that arrive now join the group.
                await asyncio.sleep(0)
                await self._send(self._next_group())
        finally:
            self._task = None

    def _next_group(self) -> list[_Waiting]:
        group, size = list[_Waiting](), 0
        for waiting, item in self._waiting.items():
            size += len(item.body)
            if len(group) == GROUP or (group and size > GROUP_BYTES):
                break
            group.append((item, waiting))
        for _, waiting in group:
            del self._waiting[waiting]
        # The caller of one that is done has gone.
        return [(item, waiting) for item, waiting in group if not waiting.done()]

    async def _send(self, group: Sequence[_Waiting]) -> None:
        """Record a group; one webhook that Redis refuses must not block the others."""
        if not group:
            return
        call = delivery_calls.record_webhook(self._account, [item for item, _ in group])
        try:
            reports = await run_async(self._client, call)
        except Exception as error:  # noqa: BLE001 - raised in each waiting caller
            if cause_of(error) is not Cause.SERVER and len(group) > 1:
                half = len(group) // 2
                await self._send(group[:half])
                await self._send(group[half:])
                return
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        reported = zip(group, reports, strict=True)
        over = [item for (item, _), report in reported if report.verdict is WebhookVerdict.ENDED]
        self._traces.over(over, "webhook")
        for (_, waiting), report in zip(group, reports, strict=True):
            if not waiting.done():
                waiting.set_result(report)
