"""`AsyncRunQueue`: `RunQueue` for coroutines; what each method does is told in `queue.py`."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self, cast

from runqueue import ids
from runqueue.connection.client import async_client, check_policy, find_url, speaking_of
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.producer import flows
from runqueue.producer.async_batches import AsyncBatching
from runqueue.producer.async_controls import AsyncControls
from runqueue.producer.chunks import Handed, Packet, accepted, in_order, packets, told
from runqueue.producer.handles import AwaitableJob
from runqueue.producer.listener import AsyncEnds
from runqueue.producer.waiters import JOBS_AT_ONCE, found, unfinished
from runqueue.records.account import AccountStats, DamageReport, unreadable
from runqueue.records.job import Enqueued, Job, JobState
from runqueue.request.job_spec import JobSpec, Priority
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import AnyRunRequest
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls
from runqueue.store.accounts import Accounts, account_of, pages
from runqueue.store.damage import damage_behind, read_reports, report_keys
from runqueue.store.keys import ACCOUNTS
from runqueue.store.scripts import TAKES_IN, ScriptCall, T, run_async
from runqueue.tracing import enqueuing

#: Results that those who wait read at once: thousands that are told together must not take all
#: connections from the others, nor wait for one until that fails.
_READERS = 25


class AsyncRunQueue(AsyncBatching, AsyncControls):
    """The queue, for coroutines of one event loop; one connection pool for its life.

    Args:
        url: the queue's Redis; default RUNQUEUE_REDIS_URL, else the embedded server's.
        request_checks: refuse, warn or pass: what becomes of unknown fields of a run request, and
            of values that Skyvern is known not to take; default RUNQUEUE_REQUEST_CHECKS, else
            refuse. Another word is a ValueError.

    Raises (from every method): `QueueUnavailable` within 5 s when Redis cannot be reached; where
    jobs are handed in, `EvictingRedis` when it is set up to drop keys.
    """

    def __init__(
        self, url: str | None = None, *, request_checks: RequestChecks | str | None = None
    ) -> None:
        self._checks = current_checks() if request_checks is None else read_checks(request_checks)
        self._url = find_url(url)
        with speaking_of(self._url):
            self._client = async_client(self._url)
        self._accounts = Accounts()
        self._ends = AsyncEnds(self._url)
        self._reading = asyncio.Semaphore(_READERS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._ends.close()
        await self._client.aclose()

    async def enqueue(
        self,
        request: AnyRunRequest,
        *,
        priority: Priority | str | int = Priority.NORMAL,
        group: str = "default",
        run_at: datetime | str | float | None = None,
        delay: timedelta | float | None = None,
        deadline: datetime | timedelta | str | float | None = None,
        idempotency_key: str | None = None,
        account: str = "default",
        namespace: str = "",
        on_unconfirmed: str | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        max_run_seconds: timedelta | float | None = None,
    ) -> AwaitableJob:
        """Hand in one run request; awaiting what this returns waits for the job's end."""
        spec = JobSpec.of(
            request,
            priority=priority,
            group=group,
            run_at=run_at,
            delay=delay,
            deadline=deadline,
            idempotency_key=idempotency_key,
            account=account,
            namespace=namespace,
            on_unconfirmed=on_unconfirmed,
            retry=retry,
            checks=self._checks,
            max_run_seconds=max_run_seconds,
        )
        return AwaitableJob.of(accepted((await self.enqueue_many([spec]))[0]), self)

    async def enqueue_many(
        self, jobs: Iterable[Handed], *, batch: str | None = None
    ) -> list[Enqueued]:
        """Hand in many jobs; all of them are accepted, or none."""
        with enqueuing() as step:
            return told(await self._hand_in(packets(jobs, self._checks), batch), step)

    async def _hand_in(self, parts: Iterator[Packet], batch: str | None) -> list[Enqueued]:
        first = list(islice(parts, 2))
        await self._know({packet.account for packet in first})
        if len(first) == 1:
            return await self.send(first[0].call(batch))
        return await self._upload(chain(first, parts), batch)

    async def _upload(self, parts: Iterable[Packet], batch: str | None) -> list[Enqueued]:
        """Send packets, the server at work on one while the next is checked and packed."""
        opened: dict[str, str] = {}
        sent: list[tuple[list[int], asyncio.Task[list[Enqueued]]]] = []
        try:
            for packet in parts:
                if batch is None and packet.account not in opened:
                    opened[packet.account] = await self.open_batch(account=packet.account)
                call = packet.call(batch or opened[packet.account])
                if sent:
                    await sent[-1][1]
                sent.append((packet.positions, asyncio.create_task(self.send(call))))
                await asyncio.sleep(0)  # lets the packet go out before the next is packed
            answers = in_order([(positions, await answer) for positions, answer in sent])
        except BaseException:
            await asyncio.gather(*(answer for _, answer in sent), return_exceptions=True)
            for account, unfinished in opened.items():
                await self._drive(flows.discard_batch(account, unfinished))
            raise
        for finished in opened.values():
            await self.seal_batch(finished)
        return answers

    async def look_up(self, jobs: Iterable[Handed]) -> list[Enqueued]:
        """Say what `enqueue_many` would answer, and store nothing."""
        answers = []
        for packet in packets(jobs, self._checks):
            await self._know({packet.account})
            call = job_calls.look_up(packet.account, packet.arguments, packet.keys)
            answers.append((packet.positions, await self.send(call)))
        return in_order(answers)

    async def get(self, job_id: str) -> Job:
        """Read a job, its result included."""
        job = (await self.send(job_calls.get_jobs(await self._account(job_id), [job_id])))[0]
        if job is None:
            raise JobNotFound(job_id)
        return job

    async def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results; None where there is no such job."""
        found: list[Job | None] = [None] * len(job_ids)
        for account, positions in pages(job_ids, await self._owners(job_ids), job_calls.CHUNK):
            some = [job_ids[position] for position in positions]
            part = await self.send(job_calls.get_jobs(account, some, result=result))
            for position, job in zip(positions, part, strict=True):
                found[position] = job
        return found

    async def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        found: list[tuple[JobState | None, float]] = [(None, 0.0)] * len(job_ids)
        for account, positions in pages(job_ids, await self._owners(job_ids), job_calls.CHUNK):
            some = [job_ids[position] for position in positions]
            part = await self.send(job_calls.job_states(account, some))
            for position, state in zip(positions, part, strict=True):
                found[position] = state
        return found

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job has ended and return it."""
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        with self._ends.watch([job_id]) as watch:
            if not await self._ends.pause(watch, give_up, self.states):
                raise TimeoutError(f"job {job_id} is still {watch.state} after {timeout} s")
        async with self._reading:
            return await self.get(job_id)

    async def as_completed(
        self, job_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncIterator[Job]:
        """Yield jobs as they end, each once; what has ended already comes first."""
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        with self._ends.watch(job_ids) as watch:
            total = len(watch.open)
            while watch.open or watch.over:
                if not await self._ends.pause(watch, give_up, self.states):
                    raise TimeoutError(unfinished(len(watch.open), total, timeout))
                over = watch.take(JOBS_AT_ONCE)
                for job in found(over, await self.get_many(over)):
                    yield job

    async def cancel(self, job_id: str) -> JobState:
        """Ask for the end of a job and return its state."""
        if (await self.send(job_calls.cancel(await self._account(job_id), [job_id])))[0] == -1:
            raise JobNotFound(job_id)
        state, _ = (await self.states([job_id]))[0]
        if state is None:
            raise JobNotFound(job_id)
        return state

    async def stats(self) -> dict[str, AccountStats]:
        """Read the figures of every account; one whose keys are damaged tells so (`damage`)."""
        accounts = await self.accounts()
        reports = await self.damage_reports(accounts)
        return {name: await self._figures(name, reports.get(name)) for name in accounts}

    async def _figures(self, account: str, report: DamageReport | None) -> AccountStats:
        try:
            found = await self.send(job_calls.stats(account))
        except Exception as error:
            if (damage := damage_behind(error)) is None:
                raise
            return unreadable(account, damage)
        return found.with_report(report)

    async def damage_reports(self, accounts: Sequence[str]) -> dict[str, DamageReport]:
        """Read which of these accounts have damaged keys, by what workers met of late."""
        with speaking_of(self._url):
            reply = await cast(Awaitable[Any], self._client.mget(report_keys(accounts)))
        return read_reports(accounts, reply)

    async def accounts(self) -> list[str]:
        """Return the names of the known accounts, `default` first."""
        with speaking_of(self._url):
            return self._accounts.learn(await cast(Awaitable[Any], self._client.smembers(ACCOUNTS)))

    async def server_info(self) -> dict[str, Any]:
        """Read what Redis tells of itself (`INFO`), parsed; what a cluster does, by node."""
        with speaking_of(self._url):
            return await self._client.info()

    async def check_server(self) -> None:
        """Make sure that Redis answers and keeps what it is given."""
        with speaking_of(self._url):
            check_policy(await self._client.info("memory"))
        self._accounts.checked = True

    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script; for the modules of this package."""
        if call.script.name in TAKES_IN and not self._accounts.checked:
            await self.check_server()
        with speaking_of(self._url):
            return await run_async(self._client, call)

    async def _know(self, accounts: set[str]) -> None:
        if self._accounts.missing(accounts):
            await self.accounts()
            self._accounts.require(accounts)

    async def _owners(self, job_ids: Sequence[str]) -> list[str]:
        return self._accounts.known if self._accounts.know_all(job_ids) else await self.accounts()

    async def _account(self, job_id: str) -> str:
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        account = account_of(job_id, self._accounts.known) or account_of(
            job_id, await self.accounts()
        )
        if account is None:
            raise JobNotFound(job_id)
        return account

    async def _owner(self, batch: str) -> str:
        try:
            return await self._account(batch)
        except JobNotFound:
            raise BatchNotFound(batch) from None


async def enqueue_packets(queue: AsyncRunQueue, parts: Sequence[Packet]) -> list[Enqueued]:
    """Do as `enqueue_many` with jobs that were checked and packed elsewhere; for the gateway."""
    return await queue._hand_in(iter(parts), None)  # noqa: SLF001 - its own module
