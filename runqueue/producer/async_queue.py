# From this file `make generate` writes queue.py.
"""`AsyncRunQueue`: enqueue jobs, read them, wait for them, cancel them, and operate accounts."""

import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, Self, Unpack, cast

from runqueue import ids
from runqueue.connection.client import async_client, check_policy, find_url, speaking_of
from runqueue.connection.redis_errors import damage_of
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchNotFound,
    FieldError,
    InvalidRequest,
    JobNotFound,
)
from runqueue.producer import listing, pausing
from runqueue.producer.async_batch_upload import discard_batch
from runqueue.producer.async_handles import AwaitableJob
from runqueue.producer.async_listener import AsyncEnds
from runqueue.producer.async_ordered_sender import AsyncOrderedSender
from runqueue.producer.async_pages import list_jobs
from runqueue.producer.async_results import AsyncBatchResults, AsyncEndedResults, AsyncResultReader
from runqueue.producer.chunks import Handed, Packet, accepted, in_order, packets, told
from runqueue.producer.waiters import JOBS_AT_ONCE, found, unfinished
from runqueue.records.account import AccountStats, unreadable
from runqueue.records.batch import (
    ABORT_AFTER,
    CANARY_RATIO,
    Batch,
    BatchPage,
    BatchRules,
    JobPage,
    Retried,
    in_seconds,
    in_shares,
)
from runqueue.records.job import Enqueued, Job, JobState
from runqueue.records.limits import AccountLimits
from runqueue.records.reasons import check_words, has_words
from runqueue.request.job_options import EnqueueOptions
from runqueue.request.job_spec import JobSpec
from runqueue.request.private_targets import log_warnings, private_callback
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import AnyRunRequest
from runqueue.store import (
    audit,
    budgets,
    delivery_calls,
    groups,
    job_calls,
    key_limits,
    limits,
    live_processes,
    operator_calls,
)
from runqueue.store.accounts import Accounts, account_of, pages
from runqueue.store.async_sending import check_format_async, run_async
from runqueue.store.audit import AuditNote
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import KEEP, Group, Keep
from runqueue.store.key_limits import EndedHolder, KeyLimit, KeyUse
from runqueue.store.keys import ACCOUNTS, COMPARED_SECONDS
from runqueue.store.live_processes import GroupLine, Process
from runqueue.store.replies import OfItems
from runqueue.store.scripts import TAKES_IN, ScriptCall, T
from runqueue.tracing import enqueuing

if True:  # ASYNC
    import asyncio
else:
    from contextlib import nullcontext

#: Results that waiters read at once: thousands that are notified together must not take all
#: connections from the others, nor wait for one until that fails.
_READERS = 25
#: Jobs read in one call of `iter_results`: their results may be large.
_RESULTS = 100
#: Jobs checked in one script call of `retry_failed`, and then done again in one.
_RETRIED = 200
#: Keys of which one call compares who has them with the jobs.
_HOLDERS = 100


class AsyncRunQueue:
    """The queue, for coroutines of one event loop; one connection pool for its life.

    Args:
        url: the queue's Redis; default RUNQUEUE_REDIS_URL, else the embedded server's.
        request_checks: refuse, warn or pass: what becomes of unknown fields of a run request, and
            of values that Skyvern is known not to take; default RUNQUEUE_REQUEST_CHECKS, else
            refuse. Another word is a ValueError.

    Raises (from every method): `QueueUnavailable` within 5 s when Redis cannot be reached,
    `OtherFormat` when another version wrote there; where jobs are enqueued, `EvictingRedis` when it
    is set up to drop keys.
    """

    def __init__(
        self, url: str | None = None, *, request_checks: RequestChecks | str | None = None
    ) -> None:
        self._checks = current_checks() if request_checks is None else read_checks(request_checks)
        self._url = find_url(url)
        with speaking_of(self._url):
            self._client = async_client(self._url)
        self._accounts = Accounts()
        #: When the format is compared next, monotonic seconds.
        self._compare_at = -math.inf
        self._listeners: dict[int, AsyncEnds] = {}
        if True:  # ASYNC
            self._reading = asyncio.Semaphore(_READERS)
        else:  # threads are fewer, and a lock that another thread holds in a fork is held for ever
            self._reading = nullcontext()

    @property
    def _ends(self) -> AsyncEnds:
        """The listener of this process: of its parent's, a fork has neither threads nor loops."""
        process = os.getpid()  # uWSGI forks without Python's hooks
        found = self._listeners.get(process)
        return found or self._listeners.setdefault(process, AsyncEnds(self._url))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if (ends := self._listeners.get(os.getpid())) is not None:
            await ends.close()
        await self._client.aclose()

    async def enqueue(
        self, request: AnyRunRequest, **options: Unpack[EnqueueOptions]
    ) -> AwaitableJob:
        """Enqueue one run request.

        Args:
            request: what Skyvern is to do.
            options: when, for whom and how urgently it is to run; see `EnqueueOptions`.

        Returns:
            The answer, whose `wait` returns the job once it has ended.

        Raises:
            InvalidJob: a field is wrong; nothing was stored.
            IdempotencyConflict: the key was used for another request.
            UnknownAccount: no worker ever served this account.
            QueueFull: Redis is out of memory; nothing was stored.
        """
        spec = JobSpec.of(request, checks=self._checks, **options)
        (answer,) = await self.enqueue_many([spec])
        return AwaitableJob.of(accepted(answer), self)

    async def enqueue_many(
        self, jobs: Iterable[Handed], *, batch: str | None = None
    ) -> list[Enqueued]:
        """Enqueue many jobs, up to 1,000 in one round trip; all of them are accepted, or none.

        More than 1,000, or fewer that have hundreds of groups, travel as a batch: nothing of it
        counts as accepted before the last has arrived (each account has a batch of its own, and
        these are accepted one after the other).
        With a `batch` of your own, that moment is your `seal_batch`.

        Args:
            jobs: request objects, `JobSpec`s, or lines of a batch file (objects or JSON text); an
                iterator is read in constant memory.
            batch: an open batch of one account.

        Returns:
            One answer a job, in order; a job whose key was used for another body is `conflict`.

        Raises:
            InvalidJob: fields named `[index].field`; no job was accepted.
            BatchNotFound: the batch is unknown or sealed.
        """
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
        answers: list[tuple[list[int], list[Enqueued]]] = []

        async def send(part: tuple[list[int], ScriptCall[list[Enqueued]]]) -> None:
            positions, call = part
            answers.append((positions, await self.send(call)))

        try:
            async with AsyncOrderedSender(send) as sender:
                for packet in parts:
                    if batch is None and packet.account not in opened:
                        opened[packet.account] = await self.open_batch(account=packet.account)
                    call = packet.call(batch or opened[packet.account])
                    await sender.put((packet.positions, call))
                await sender.finish()
        except BaseException:
            for account, half_done in opened.items():
                await discard_batch(self.send, account, half_done)
            raise
        for finished in opened.values():
            await self.seal_batch(finished)
        return in_order(answers)

    async def look_up(self, jobs: Iterable[Handed]) -> list[Enqueued]:
        """Say what `enqueue_many` would answer, and store nothing.

        Returns:
            One answer a job, in order: `new` if enqueuing it would make a job.

        Raises:
            InvalidJob: fields named `[index].field`.
        """
        answers = []
        for packet in packets(jobs, self._checks):
            await self._know({packet.account})
            call = job_calls.look_up(packet.account, packet.arguments, packet.keys)
            answers.append((packet.positions, await self.send(call)))
        return in_order(answers)

    async def get(self, job_id: str) -> Job:
        """Read a job, its result included.

        Raises:
            JobNotFound: no such job is on record.
        """
        (job,) = await self.send(job_calls.get_jobs(await self._account(job_id), [job_id]))
        if job is None:
            raise JobNotFound(job_id)
        return job

    async def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results; None where there is no such job."""
        return await self._paged(job_ids, partial(job_calls.get_jobs, result=result), None)

    async def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        return await self._paged(job_ids, job_calls.job_states, (None, 0.0))

    async def _paged(
        self, job_ids: Sequence[str], call: OfItems[str, list[T]], unknown: T
    ) -> list[T]:
        """Read something of jobs, in calls of bounded size; `unknown` is of ids of no account."""
        found = [unknown] * len(job_ids)
        for account, positions in pages(job_ids, await self._owners(job_ids), job_calls.CHUNK):
            part = await self.send(call(account, [job_ids[position] for position in positions]))
            for position, one in zip(positions, part, strict=True):
                found[position] = one
        return found

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job has ended and return it.

        Args:
            job_id: the job.
            timeout: seconds; None = for ever (an unconfirmed job may need a person).

        Raises:
            JobNotFound: no such job is on record.
            TimeoutError: it has not ended in time; it goes on.
        """
        give_up, ends = time.monotonic() + (math.inf if timeout is None else timeout), self._ends
        with ends.watch([job_id]) as watch:
            if not await ends.pause(watch, give_up, self.states):
                raise TimeoutError(f"job {job_id} is still {watch.state} after {timeout} s")
        async with self._reading:
            return await self.get(job_id)

    async def as_completed(
        self, job_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncIterator[Job]:
        """Yield jobs as they end, each once; what has ended already comes first.

        Args:
            job_ids: the jobs.
            timeout: seconds until the last has ended; None = for ever.

        Raises:
            JobNotFound: one of them is not on record.
            TimeoutError: not all have ended in time; they go on.
        """
        give_up, ends = time.monotonic() + (math.inf if timeout is None else timeout), self._ends
        with ends.watch(job_ids) as watch:
            total = len(watch.open)
            while watch.open or watch.over:
                if not await ends.pause(watch, give_up, self.states):
                    raise TimeoutError(unfinished(len(watch.open), total, timeout))
                over = watch.take(JOBS_AT_ONCE)
                for job in found(over, await self.get_many(over)):
                    yield job

    async def cancel(self, job_id: str) -> JobState:
        """Request the cancel of a job and return its state.

        A job that may have a run keeps its state until the run is known to have ended.

        Raises:
            JobNotFound: no such job is on record.
        """
        (found,) = await self.send(job_calls.cancel(await self._account(job_id), [job_id]))
        ((state, _),) = await self.states([job_id])
        if found == -1 or state is None:
            raise JobNotFound(job_id)
        return state

    async def stats(self) -> dict[str, AccountStats]:
        """Read the statistics of every account.

        One whose keys are damaged hides no other: its own `damage` reports it.
        """
        accounts = await self.accounts()
        return {name: await self._statistics(name) for name in accounts}

    async def _statistics(self, account: str) -> AccountStats:
        try:
            return await self.send(job_calls.stats(account))
        except Exception as error:
            if (damage := damage_of(error)) is None:
                raise
            return unreadable(account, damage)

    async def accounts(self) -> list[str]:
        """Return the names of the known accounts, `default` first."""
        await self._check_format()
        with speaking_of(self._url):
            return self._accounts.learn(await cast(Any, self._client).smembers(ACCOUNTS))

    async def server_info(self) -> dict[str, Any]:
        """Read what Redis reports of itself (`INFO`), parsed; what a cluster does, by node."""
        with speaking_of(self._url):
            return await self._client.info()

    async def check_server(self) -> None:
        """Make sure that Redis answers and keeps what it is given.

        Raises:
            QueueUnavailable: it does not answer.
            EvictingRedis: it is set up to drop keys.
        """
        with speaking_of(self._url):
            check_policy(await self._client.info("memory"))
        self._accounts.checked = True

    async def open_batch(
        self,
        name: str = "",
        *,
        account: str = "default",
        abort_at_failure_ratio: float | None = None,
        abort_after: int = ABORT_AFTER,
        canary: int | None = None,
        canary_ratio: float = CANARY_RATIO,
        expires_after: timedelta | float | None = None,
        callback_url: str | None = None,
        callback_at: Sequence[float] = (),
    ) -> str:
        """Open a batch and return its id; its jobs run once it is sealed.

        Args:
            name: shown to people.
            account: whose jobs it will hold.
            abort_at_failure_ratio, abort_after, canary, canary_ratio: when it is aborted by itself,
                and how many jobs go first to see; see `BatchRules`.
            expires_after: what has not been submitted by then is not submitted any more; seconds
                or a timedelta, from the sealing on.
            callback_url: is sent a webhook when the batch is over.
            callback_at: and when these shares of its jobs have ended (0.5 = half of them).

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidBatch: a rule is of another type, or out of its range.
        """
        rules = BatchRules(
            abort_at_failure_ratio,
            abort_after,
            canary,
            canary_ratio,
            in_seconds(expires_after),
            callback_url,
            in_shares(callback_at),
        )
        await self._know({account})
        batch = ids.new_id(account)
        await self.send(job_calls.open_batch(account, batch, name, rules))
        log_warnings(private_callback(rules.callback_url))
        return batch

    async def seal_batch(self, batch: str, expected: int | None = None) -> int:
        """Accept a batch; returns the number of its jobs. Repeating it changes nothing.

        Args:
            batch: its id.
            expected: how many jobs were enqueued to it. Until it is sealed, an upload of the same
                keys may take jobs of it over: then nothing is accepted. None = whatever it holds.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchExpired: its upload took too long; its jobs were not accepted.
            BatchMismatch: it holds another number of jobs than was expected, and stays as it is.
        """
        reply = await self.send(job_calls.seal_batch(await self._owner(batch), batch, expected))
        return job_calls.sealed(batch, reply, expected)

    async def get_batch(self, batch: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        return await self._batch(await self._owner(batch), batch)

    async def list_batches(
        self,
        account: str = "default",
        *,
        cursor: str = "",
        limit: int = 100,
    ) -> BatchPage:
        """Read a page of batches, the newest first; those that cannot be read are named apart.

        Args:
            account: whose.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a limit out of its range.
        """
        return await self._of(account, job_calls.list_batches(account, cursor, limit))

    async def cancel_batch(self, batch: str) -> int:
        """Cancel every job of a batch, whatever its size, in one step; returns how many it has.

        A batch whose jobs have all ended stays what it is.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        reply = await self.send(job_calls.cancel_batch(await self._owner(batch), batch))
        return job_calls.sealed(batch, reply)

    async def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch, whatever its size, until it is resumed.

        Runs that are under way go on.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        account = await self._owner(batch)
        await self.send(job_calls.hold_batch(account, batch, "pause"))
        return await self._living(account, batch)

    async def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused, aborted, has expired, or waits for its canary.

        A pause ends alone: a canary that has not been decided goes on. A batch that a rule holds
        goes on without its rules, one that has expired without an end of its time.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        account = await self._owner(batch)
        before = await self._living(account, batch)
        if before.held is None:
            return before
        await self.send(job_calls.hold_batch(account, batch, "resume", before.held))
        return await self._batch(account, batch)

    async def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were given up; returns how many.

        They go with the ids that they had, and give the batch's state now.

        Args:
            batch: its id.
            url: the batch's `callback_url` from now on; None = the one that it has.

        Raises:
            BatchNotFound: no such batch is on record.
            InvalidBatch: the url is none; nothing was done.
        """
        rules, account = BatchRules(callback_url=url), await self._owner(batch)
        call = delivery_calls.callback_again(account, batch, rules.callback_url or "")
        done = await self.send(call)
        if done is None:
            raise BatchNotFound(batch)
        log_warnings(private_callback(url))
        return done

    async def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; returns how many of either.

        A batch that was over is `in_progress` again. One that was aborted, or has expired, stays
        held until it is resumed.

        Args:
            batch: its id.
            reason: only jobs whose reason contains this text, whatever its case.
            canceled: its canceled jobs, too.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
            InvalidRequest: an empty reason.
        """
        pages = [page async for page in self._retry_pages(batch, reason, canceled=canceled)]
        return pages[-1]

    async def _retry_pages(
        self, batch: str, reason: str | None = None, *, canceled: bool = False
    ) -> AsyncIterator[Retried]:
        """Do as `retry_failed`, a page at a time; yields what is done again by then."""
        check_words(reason)
        account = await self._owner(batch)
        await self._living(account, batch)
        start, seen, left = 0, 1, 0
        states = Counter[JobState]()
        while seen:
            call = job_calls.ended_badly(account, batch, start, _RETRIED)
            seen, found = await self.send(call)
            start += seen
            fitting = [job for job in found if has_words(job.reason, reason)]
            bad = [job for job in fitting if canceled or job.state is not JobState.CANCELED]
            left += len(fitting) - len(bad)
            if bad:
                codes = await self.send(operator_calls.replay(account, [job.seen for job in bad]))
                states.update(job.state for job, code in zip(bad, codes, strict=True) if code == 1)
                yield Retried(dict(states))
                if 2 in codes:
                    raise BatchCanceled(batch)
        yield Retried(dict(states), left)

    async def iter_results(
        self,
        batch: str | None = None,
        *,
        errors: bool = False,
        after: str | None = None,
        group: str | None = None,
        state: JobState | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        account: str = "default",
    ) -> AsyncIterator[Job]:
        """Go through jobs that have ended, results included, in constant memory.

        Those of a batch come in the order of the upload; else they are an account's, of any batch
        or none, the newest end first.

        Args:
            batch: its id; then no filter is taken.
            errors: only those that failed, were canceled or are dead; of a batch unconfirmed ones,
                too.
            after: only those behind this job, which was among them.
            group, state: only such jobs.
            since, until: only those that ended then or later, and before.
            account: whose, without a batch.

        Raises:
            BatchNotFound: no such batch is on record.
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter, or a job to begin behind, that is none.
        """
        wanted = listing.wanted(state, group, None, since=since, until=until)
        reader = await self.open_results(batch, wanted, errors=errors, after=after, account=account)
        while (job_ids := await reader.ids()) is not None:
            for start in range(0, len(job_ids), _RESULTS):
                for job in await reader.jobs(job_ids[start : start + _RESULTS]):
                    yield job

    async def open_results(
        self,
        batch: str | None,
        wanted: listing.Filter = listing.ALL,
        *,
        errors: bool = False,
        after: str | None = None,
        account: str = "default",
    ) -> AsyncResultReader:
        """Return what reads the jobs of `iter_results`, whose arguments and errors it has."""
        reader: AsyncResultReader
        if batch is None:
            await self._know({account})
            reader = AsyncEndedResults(self.send, account, wanted, errors=errors)
        elif wanted != listing.ALL:
            raise InvalidRequest([FieldError("batch", "expected without a filter")])
        else:
            reader = AsyncBatchResults(self.send, await self.get_batch(batch), errors=errors)
        if after is not None:
            await reader.go_behind(after)
        return reader

    async def list_jobs(
        self,
        state: JobState | str | None = None,
        *,
        group: str | None = None,
        batch: str | None = None,
        reason: str | None = None,
        custom_id: str | None = None,
        namespace: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        account: str = "default",
        cursor: str = "",
        limit: int = 100,
    ) -> JobPage:
        """Read a page of jobs, without their results; those that cannot be read are named apart.

        Jobs of a batch come in the order of its upload; ended ones of a state the newest end first,
        dead ones apart, who come like those of the other states with an index (scheduled,
        unconfirmed, running) the first in time first. All others are searched for through all keys,
        in no order, and a job may come twice.

        The work of a call is bounded, so a page may be empty that is not the last.

        Args:
            state, group, batch: only such jobs.
            reason: only jobs whose reason contains this text, whatever its case.
            custom_id, namespace: only the job of this name.
            since, until: only jobs that ended then or later, and before; of those that have not
                ended, the ones that were enqueued then.
            account: whose.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a state, a reason, a name, a time, a cursor or a limit that is none.
        """
        wanted = listing.wanted(
            state, group, batch, custom_id, namespace, reason=reason, since=since, until=until
        )
        await self._know({account})
        return await list_jobs(self.send, account, wanted, cursor, limit)

    async def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; holds from the next claim on.

        Args:
            name: the group.
            max_concurrent: how many of its jobs may have a slot at once; None = no cap of its own,
                KEEP = as it is.
            paused: whether nothing of it is submitted; None = as it is.
            account: whose group.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidGroup: the name or the cap is none.
        """
        call = groups.set_group(account, name, max_concurrent, paused)
        return await self._of(account, call)

    async def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        names = await self._of(account, groups.group_names(account))
        names.sort()
        found: list[Group] = []
        for start in range(0, len(names), groups.A_CALL):
            call = groups.read_groups(account, names[start : start + groups.A_CALL])
            some = await self.send(call)
            found += some
        return found

    async def set_key_limit(
        self, pattern: str, limit: KeyLimit | None, *, account: str = "default"
    ) -> bool:
        """Limit how many jobs use a key; holds from the next claim on, for what waits, too.

        Args:
            pattern: a key (`host:shop.example`), or `<first segment>:*` for each such key that has
                no limit of its own.
            limit: the limit; None = none of its own. `KeyLimit()` = any number of jobs.
            account: whose keys.

        Returns:
            Whether it had a limit before.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidKeyLimit: the pattern or the limit is none.
        """
        return await self._of(account, key_limits.set_limit(account, pattern, limit))

    async def list_keys(self, account: str = "default") -> list[KeyUse]:
        """Read the keys that have limits, and those at which jobs wait, 1,000 of each at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return await self._of(account, key_limits.list_keys(account))

    async def ended_holders(
        self, account: str = "default", *, drop: bool = False
    ) -> list[EndedHolder]:
        """Find what still has a key, or steps of a strict budget, although it has ended.

        Jobs would wait for it for ever. There is none unless Redis lost writes or a record was
        damaged. All keys of the account are scanned.

        Args:
            account: whose keys.
            drop: have it no more.
        """
        cursor, ended = "", dict[EndedHolder, None]()
        while cursor != "0":
            cursor, names = await self.send(key_limits.list_holders(account, cursor or "0"))
            left = [(name, "0") for name in names]
            while left:
                call = key_limits.check_holders(account, left[:_HOLDERS], drop=drop)
                checked = await self.send(call)
                again = [(name, at) for name, at, _ in checked if at != "0"]
                ended |= {EndedHolder(name, one): None for name, _, f in checked for one in f}
                left = again + left[len(checked) :]
        return [*ended]

    async def set_budget(
        self, scope: str, budget: Budget | None, *, account: str = "default"
    ) -> bool:
        """Limit how many steps runs may take; holds from the next claim on.

        Args:
            scope: `account`, `group:<group>`, `batch:<batch's id>`, `key:<key>`, or
                `key:<first segment>:*` for each such key.
            budget: the budget; None = none. What was spent in its window stays spent, unless the
                window becomes another.
            account: of which account.

        Returns:
            Whether it had a budget before.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidBudget: the scope or the budget is none.
        """
        return await self._of(account, budgets.set_budget(account, scope, budget))

    async def list_budgets(self, account: str = "default") -> list[BudgetUse]:
        """Read the budgets; of one for each of many keys, the 20 keys that took most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        scopes = await self._of(account, budgets.budget_scopes(account))
        scopes.sort()
        found: list[BudgetUse] = []
        for start in range(0, len(scopes), budgets.A_CALL):
            call = budgets.read_budgets(account, scopes[start : start + budgets.A_CALL])
            some = await self.send(call)
            found += some
        return found

    async def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; runs under way go on.

        Args:
            account: which.
            reason: shown wherever the account is.

        Returns:
            Whether it was not paused before.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return await self._of(account, pausing.pause(account, reason))

    async def resume(self, account: str = "default") -> str:
        """End a person's pause of an account; where there is none, its hold.

        By ending a hold the operator confirms that its cause was checked and submissions may go on.

        Returns:
            The reason of what was ended, '' if there was nothing.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        found = await self._of(account, job_calls.stats(account))
        if not found.paused:
            return await self.send(job_calls.resume(account))
        await self.send(pausing.end_pause(account))
        return found.hold_reason or ""

    async def set_limits(
        self, values: Mapping[str, float | None], account: str = "default"
    ) -> AccountLimits:
        """Set limits live: they win over the workers' environments until they are reset.

        Args:
            values: by name (`concurrent_runs`, …), 0 = none, None = reset to the environment's;
                those that are not named stay. Empty: only reads them.
            account: whose.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidLimits: a name or a value is none; nothing was changed.
        """
        call = limits.set_limits(account, values)
        return await self._of(account, call)

    async def note(
        self, who: str, what: str, target: str = "", detail: str = "", *, account: str = "default"
    ) -> str:
        """Note what was done to an account, and return the note's id; see `AuditNote`."""
        return await self.send(audit.note(account, who, what, target, detail))

    async def audit(
        self, account: str = "default", *, before: str = "", limit: int = 50
    ) -> list[AuditNote]:
        """Read what people did, the newest first.

        Args:
            account: to which account.
            before: the id of the last note of the page before; '' = the first page.
            limit: how many.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return await self._of(account, audit.notes(account, before, limit))

    async def workers(self, account: str = "default") -> list[Process]:
        """Read the worker processes of an account, 200 at most, the one last heard of first.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return await self._of(account, live_processes.processes(account))

    async def longest_lines(
        self, account: str = "default", count: int = 20, *, groups: int = live_processes.ALL_GROUPS
    ) -> tuple[int, list[GroupLine]]:
        """Read how many groups have ready jobs or settings, and the longest of their lines.

        Args:
            account: whose.
            count: lines, at most.
            groups: groups that are checked, at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return await self._of(account, live_processes.longest_lines(account, count, groups))

    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""
        await self._check_format()
        if call.script.name in TAKES_IN and not self._accounts.checked:
            await self.check_server()
        with speaking_of(self._url):
            return await run_async(self._client, call)

    async def _check_format(self) -> None:
        if time.monotonic() < self._compare_at:
            return
        with speaking_of(self._url):
            await check_format_async(self._client)
        self._compare_at = time.monotonic() + COMPARED_SECONDS

    async def _of(self, account: str, call: ScriptCall[T]) -> T:
        """Run one script of an account that has to be known."""
        await self._know({account})
        return await self.send(call)

    async def _batch(self, account: str, batch: str) -> Batch:
        found = await self.send(job_calls.get_batch(account, batch))
        if found is None:
            raise BatchNotFound(batch)
        return found

    async def _living(self, account: str, batch: str) -> Batch:
        """Read a batch that may go on."""
        found = await self._batch(account, batch)
        if found.held == "canceled":
            raise BatchCanceled(batch)
        if found.held == "expired" and not found.sealed:
            raise BatchExpired(batch)
        return found

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


if True:  # ASYNC

    async def enqueue_packets(queue: AsyncRunQueue, parts: Sequence[Packet]) -> list[Enqueued]:
        """As `enqueue_many`, of jobs that were checked and packed elsewhere; for the gateway."""
        return await queue._hand_in(iter(parts), None)  # noqa: SLF001 - its own module

    def retry_pages(
        queue: AsyncRunQueue, batch: str, reason: str | None = None, *, canceled: bool
    ) -> AsyncIterator[Retried]:
        """Do as `retry_failed`, a page at a time, so that its progress is seen; for the gateway."""
        return queue._retry_pages(batch, reason, canceled=canceled)  # noqa: SLF001 - likewise
