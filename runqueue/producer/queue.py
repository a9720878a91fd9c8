"""`RunQueue`: enqueue jobs, read them, wait for them, cancel them (twin: `async_queue.py`)."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self

from runqueue import ids
from runqueue.connection.client import check_policy, find_url, speaking_of, sync_client
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.producer import flows
from runqueue.producer.batches import Batching
from runqueue.producer.chunks import Handed, Packet, accepted, in_order, packets, told
from runqueue.producer.controls import Controls
from runqueue.producer.handles import QueuedJob
from runqueue.producer.listener import Ends
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
from runqueue.store.scripts import TAKES_IN, ScriptCall, T, run
from runqueue.tracing import enqueuing


class RunQueue(Batching, Controls):
    """The queue, for plain Python. Thread-safe; one connection pool for its life.

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
            self._client = sync_client(self._url)
        self._accounts = Accounts()
        self._ends = Ends(self._url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._ends.close()
        self._client.close()

    def enqueue(
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
    ) -> QueuedJob:
        """Hand in one run request.

        Args:
            request: what Skyvern is to do.
            priority: urgent, high, normal or low (0 to 3); strict.
            group: whose share of the account it takes; groups take turns.
            run_at: not before this time (ISO 8601 with zone, aware datetime, or seconds from now).
            delay: seconds from now; instead of `run_at`.
            deadline: the job fails if it has not ended by then.
            idempotency_key: the same key with the same request is the same job.
            account: the Skyvern account.
            namespace: where the key is unique.
            on_unconfirmed: what becomes of the job when the submission's answer was lost and no run
                of it is found: auto, park or resubmit (see `JobSpec`).
            retry: when its run is tried again after a bad end; None = never.
            max_run_seconds: the longest that its run may take; None = the body's
                `max_elapsed_time_minutes` plus a margin, or else the account's limit.

        Returns:
            The answer, which can be waited for: `queue.enqueue(…).wait().output`.

        Raises:
            InvalidJob: a field is wrong; nothing was stored.
            IdempotencyConflict: the key was used for another request.
            UnknownAccount: no worker ever served this account.
            QueueFull: Redis is out of memory; nothing was stored.
        """
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
        return QueuedJob.of(accepted(self.enqueue_many([spec])[0]), self)

    def enqueue_many(self, jobs: Iterable[Handed], *, batch: str | None = None) -> list[Enqueued]:
        """Hand in many jobs, up to 1,000 in one round trip; all of them are accepted, or none.

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
            return told(self._hand_in(packets(jobs, self._checks), batch), step)

    def _hand_in(self, parts: Iterator[Packet], batch: str | None) -> list[Enqueued]:
        first = list(islice(parts, 2))
        self._know({packet.account for packet in first})
        if len(first) == 1:
            return self.send(first[0].call(batch))
        return self._upload(chain(first, parts), batch)

    def _upload(self, parts: Iterable[Packet], batch: str | None) -> list[Enqueued]:
        """Send packets, the server at work on one while the next is checked and packed."""
        opened: dict[str, str] = {}
        sent: list[tuple[list[int], Future[list[Enqueued]]]] = []
        try:
            with ThreadPoolExecutor(1) as sender:
                for packet in parts:
                    if batch is None and packet.account not in opened:
                        opened[packet.account] = self.open_batch(account=packet.account)
                    call = packet.call(batch or opened[packet.account])
                    if len(sent) > 1:
                        sent[-2][1].result()
                    sent.append((packet.positions, sender.submit(self.send, call)))
            answers = in_order((positions, answer.result()) for positions, answer in sent)
        except BaseException:
            for account, unfinished in opened.items():
                self._drive(flows.discard_batch(account, unfinished))
            raise
        for finished in opened.values():
            self.seal_batch(finished)
        return answers

    def look_up(self, jobs: Iterable[Handed]) -> list[Enqueued]:
        """Say what `enqueue_many` would answer, and store nothing.

        Returns:
            One answer a job, in order: `new` if handing it in would make a job.

        Raises:
            InvalidJob: fields named `[index].field`.
        """
        answers = []
        for packet in packets(jobs, self._checks):
            self._know({packet.account})
            call = job_calls.look_up(packet.account, packet.arguments, packet.keys)
            answers.append((packet.positions, self.send(call)))
        return in_order(answers)

    def get(self, job_id: str) -> Job:
        """Read a job, its result included.

        Raises:
            JobNotFound: no such job is on record.
        """
        job = self.send(job_calls.get_jobs(self._account(job_id), [job_id]))[0]
        if job is None:
            raise JobNotFound(job_id)
        return job

    def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results; None where there is no such job."""
        found: list[Job | None] = [None] * len(job_ids)
        for account, positions in pages(job_ids, self._owners(job_ids), job_calls.CHUNK):
            some = [job_ids[position] for position in positions]
            part = self.send(job_calls.get_jobs(account, some, result=result))
            for position, job in zip(positions, part, strict=True):
                found[position] = job
        return found

    def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        found: list[tuple[JobState | None, float]] = [(None, 0.0)] * len(job_ids)
        for account, positions in pages(job_ids, self._owners(job_ids), job_calls.CHUNK):
            some = [job_ids[position] for position in positions]
            part = self.send(job_calls.job_states(account, some))
            for position, state in zip(positions, part, strict=True):
                found[position] = state
        return found

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job has ended and return it.

        Args:
            job_id: the job.
            timeout: seconds; None = for ever (an unconfirmed job may need a person).

        Raises:
            JobNotFound: no such job is on record.
            TimeoutError: it has not ended in time; it goes on.
        """
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        with self._ends.watch([job_id]) as watch:
            if not self._ends.pause(watch, give_up, self.states):
                raise TimeoutError(f"job {job_id} is still {watch.state} after {timeout} s")
        return self.get(job_id)

    def as_completed(self, job_ids: Iterable[str], timeout: float | None = None) -> Iterator[Job]:
        """Yield jobs as they end, each once; what has ended already comes first.

        Args:
            job_ids: the jobs.
            timeout: seconds until the last has ended; None = for ever.

        Raises:
            JobNotFound: one of them is not on record.
            TimeoutError: not all have ended in time; they go on.
        """
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        with self._ends.watch(job_ids) as watch:
            total = len(watch.open)
            while watch.open or watch.over:
                if not self._ends.pause(watch, give_up, self.states):
                    raise TimeoutError(unfinished(len(watch.open), total, timeout))
                over = watch.take(JOBS_AT_ONCE)
                yield from found(over, self.get_many(over))

    def cancel(self, job_id: str) -> JobState:
        """Ask for the end of a job and return its state.

        A job that may have a run keeps its state until the run is known to have ended.

        Raises:
            JobNotFound: no such job is on record.
        """
        if self.send(job_calls.cancel(self._account(job_id), [job_id]))[0] == -1:
            raise JobNotFound(job_id)
        state, _ = self.states([job_id])[0]
        if state is None:
            raise JobNotFound(job_id)
        return state

    def stats(self) -> dict[str, AccountStats]:
        """Read the figures of every account.

        One whose keys are damaged hides no other: it tells so itself (`damage`).
        """
        accounts = self.accounts()
        reports = self.damage_reports(accounts)
        return {name: self._figures(name, reports.get(name)) for name in accounts}

    def _figures(self, account: str, report: DamageReport | None) -> AccountStats:
        try:
            found = self.send(job_calls.stats(account))
        except Exception as error:
            if (damage := damage_behind(error)) is None:
                raise
            return unreadable(account, damage)
        return found.with_report(report)

    def damage_reports(self, accounts: Sequence[str]) -> dict[str, DamageReport]:
        """Read which of these accounts have damaged keys, by what workers met of late."""
        with speaking_of(self._url):
            reply = self._client.mget(report_keys(accounts))
        return read_reports(accounts, reply)

    def accounts(self) -> list[str]:
        """Return the names of the known accounts, `default` first."""
        with speaking_of(self._url):
            return self._accounts.learn(self._client.smembers(ACCOUNTS))

    def server_info(self) -> dict[str, Any]:
        """Read what Redis tells of itself (`INFO`), parsed; what a cluster does, by node."""
        with speaking_of(self._url):
            return self._client.info()

    def check_server(self) -> None:
        """Make sure that Redis answers and keeps what it is given.

        Raises:
            QueueUnavailable: it does not answer.
            EvictingRedis: it is set up to drop keys.
        """
        with speaking_of(self._url):
            check_policy(self._client.info("memory"))
        self._accounts.checked = True

    def send(self, call: ScriptCall[T]) -> T:
        """Run one script; for the modules of this package."""
        if call.script.name in TAKES_IN and not self._accounts.checked:
            self.check_server()
        with speaking_of(self._url):
            return run(self._client, call)

    def _know(self, accounts: set[str]) -> None:
        if self._accounts.missing(accounts):
            self.accounts()
            self._accounts.require(accounts)

    def _owners(self, job_ids: Sequence[str]) -> list[str]:
        return self._accounts.known if self._accounts.know_all(job_ids) else self.accounts()

    def _account(self, job_id: str) -> str:
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        account = account_of(job_id, self._accounts.known) or account_of(job_id, self.accounts())
        if account is None:
            raise JobNotFound(job_id)
        return account

    def _owner(self, batch: str) -> str:
        try:
            return self._account(batch)
        except JobNotFound:
            raise BatchNotFound(batch) from None
