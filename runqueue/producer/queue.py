# Generated from async_queue.py by tools/generate.py: change that, and run `make generate`.
"""`RunQueue`: enqueue jobs, read them, wait for them, cancel them, and operate accounts."""

import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from random import random
from typing import Any, Self, Unpack, cast

from runqueue import ids
from runqueue.connection.client import check_policy, find_url, speaking_of, sync_client
from runqueue.connection.redis_errors import damage_of
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchNotFound,
    InvalidRequest,
    JobNotFound,
    ScheduleNotFound,
)
from runqueue.operator import decisions, pausing
from runqueue.operator.decisions import ACTS, Settled, outcomes
from runqueue.operator.refused_lines import PAGE as LINES
from runqueue.operator.refused_lines import InboxPage, inbox_page, line_moves
from runqueue.producer import listing
from runqueue.producer.batch_upload import BatchUpload, discard_batch
from runqueue.producer.chunks import Handed, Packet, accepted, in_order, packets, traced
from runqueue.producer.dedup import Repeats
from runqueue.producer.handles import QueuedJob
from runqueue.producer.listener import EndListener
from runqueue.producer.listing import PAGE, Filter, JobCount
from runqueue.producer.ordered_sender import OrderedSender
from runqueue.producer.pages import list_jobs
from runqueue.producer.results import BatchResults, EndedResults, ResultReader
from runqueue.producer.upload import Checker
from runqueue.producer.upload_report import Uploaded
from runqueue.producer.waiters import JOBS_AT_ONCE, found, unfinished
from runqueue.records.account import AccountStats, unreadable
from runqueue.records.archived import Chart, ErrorGroups
from runqueue.records.batch import (
    NO_RULES,
    Batch,
    BatchPage,
    BatchRules,
    BatchStatus,
    JobPage,
    Retried,
)
from runqueue.records.job import Enqueued, Job, JobState, Orphan, is_run_id
from runqueue.records.limits import AccountLimits
from runqueue.records.reasons import check_words, has_words
from runqueue.records.schedule import Schedule, ScheduleChange
from runqueue.request.job_options import EnqueueOptions
from runqueue.request.job_spec import JobSpec
from runqueue.request.metadata import stored_metadata
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import WEB_URL_WORDS, AnyRunRequest, is_web_url
from runqueue.schedules import applying
from runqueue.schedules import calls as schedule_calls
from runqueue.schedules.line_check import NumberedLines
from runqueue.schedules.shown import shown
from runqueue.store import (
    audit,
    budgets,
    delivery_calls,
    groups,
    inbox_calls,
    job_calls,
    key_limits,
    limits,
    live_processes,
    operator_calls,
)
from runqueue.store.accounts import Accounts, account_of, pages
from runqueue.store.audit import AuditEntry
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import KEEP, Group, GroupCredits, Keep
from runqueue.store.history import JobHistory, read_history
from runqueue.store.key_limits import EndedHolder, KeyLimit, KeyUse
from runqueue.store.keys import ACCOUNTS, COMPARED_SECONDS, Keys
from runqueue.store.live_processes import Process
from runqueue.store.operator_calls import CancelCounts, Seen
from runqueue.store.replies import OfItems
from runqueue.store.scripts import TAKES_IN, ScriptCall, T
from runqueue.store.sending import check_format, run
from runqueue.tracing import enqueuing

#: Results that waiters read at once: thousands that are notified together must not take all
#: connections from the others, nor wait for one until that fails.
_READERS = 25
#: Jobs read in one call of `iter_results`: their results may be large.
_RESULTS = 100
#: Jobs checked in one script call of `retry_failed`, and then done again in one.
_RETRIED = 200
#: Pages that a count reads, at most.
_COUNTED_PAGES = 10
#: How often schedules are read and written until they are as they are to be.
_ROUNDS = 20
#: Keys of which one call compares who has them with the jobs.
_HOLDERS = 100


class RunQueue:
    """The queue, for plain Python. Thread-safe; one connection pool for its life.

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
            self._client = sync_client(self._url)
        self._accounts = Accounts()
        #: When the format is compared next, monotonic seconds.
        self._compare_at = -math.inf
        self._listeners: dict[int, EndListener] = {}
        self._reading = nullcontext()

    @property
    def _ends(self) -> EndListener:
        """The listener of this process: of its parent's, a fork has neither threads nor loops."""
        process = os.getpid()  # uWSGI forks without Python's hooks
        found = self._listeners.get(process)
        return found or self._listeners.setdefault(process, EndListener(self._url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if (ends := self._listeners.get(os.getpid())) is not None:
            ends.close()
        self._client.close()

    def enqueue(self, request: AnyRunRequest, **options: Unpack[EnqueueOptions]) -> QueuedJob:
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
        (answer,) = self.enqueue_many([spec])
        return QueuedJob.of(accepted(answer), self)

    def enqueue_many(self, jobs: Iterable[Handed], *, batch: str | None = None) -> list[Enqueued]:
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
            return traced(self._enqueue_parts(packets(jobs, self._checks), batch), step)

    def _enqueue_parts(self, parts: Iterator[Packet], batch: str | None) -> list[Enqueued]:
        if batch is not None and not ids.is_id(batch):
            raise BatchNotFound(batch)
        first = list(islice(parts, 2))
        self._know({packet.account for packet in first})
        if len(first) == 1:
            return self.send(first[0].call(batch))
        return self._upload(chain(first, parts), batch)

    def _upload(self, parts: Iterable[Packet], batch: str | None) -> list[Enqueued]:
        """Send packets, the server at work on one while the next is checked and encoded."""
        opened: dict[str, str] = {}
        answers: list[tuple[list[int], list[Enqueued]]] = []

        def send(part: tuple[list[int], ScriptCall[list[Enqueued]]]) -> None:
            positions, call = part
            answers.append((positions, self.send(call)))

        try:
            with OrderedSender(send) as sender:
                for packet in parts:
                    if batch is None and packet.account not in opened:
                        opened[packet.account] = self.open_batch(account=packet.account)
                    call = packet.call(batch or opened[packet.account])
                    sender.put((packet.positions, call))
                sender.finish()
        except BaseException:
            for account, half_done in opened.items():
                discard_batch(self.send, account, half_done)
            raise
        for finished in opened.values():
            self.seal_batch(finished)
        return in_order(answers)

    def upload(
        self,
        lines: Iterable[Handed],
        *,
        name: str = "",
        account: str = "default",
        namespace: str = "",
        skip_invalid: bool = False,
        rules: BatchRules = NO_RULES,
        metadata: Mapping[str, str] | None = None,
    ) -> Uploaded:
        """Submit a batch of any length, in constant memory; none of it runs before all is there.

        Args:
            lines: the jobs, as `enqueue_many` takes them; a file's lines may have their newlines.
            name: shown to people.
            account, namespace: of jobs that name none; a `JobSpec` names its account.
            skip_invalid: accept the good lines although others are bad.
            rules: what the batch does by itself.
            metadata: the batch's, as a job's `metadata` is.

        Raises:
            InvalidBatch: the metadata is not valid.
            InvalidJob: lines are bad, named `line N: field`, or JSON cannot carry one, whatever
                `skip_invalid` says; nothing was accepted.
            UnknownAccount: no worker ever served this account.
        """
        stored = stored_metadata(metadata)
        self._know({account})
        with Repeats() as repeats:
            checker = Checker(repeats, namespace, account=account)
            sender = BatchUpload(self.send, name, rules, stored, is_patient=False)
            return sender.submit(lines, checker, skip_invalid=skip_invalid)

    def get(self, job_id: str) -> Job:
        """Read a job, its result included.

        Raises:
            JobNotFound: no such job is on record.
        """
        self._account(job_id)
        (job,) = self.get_many([job_id])
        if job is None:
            raise JobNotFound(job_id)
        return job

    def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results; None where there is no such job."""
        return self._paged(job_ids, partial(job_calls.get_jobs, result=result), None)

    def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        return self._paged(job_ids, job_calls.job_states, (None, 0.0))

    def _paged(self, job_ids: Sequence[str], call: OfItems[str, list[T]], unknown: T) -> list[T]:
        """Read something of jobs, in calls of bounded size; `unknown` is of ids of no account."""
        found = [unknown] * len(job_ids)
        for account, positions in pages(job_ids, self._owners(job_ids), job_calls.CHUNK):
            part = self.send(call(account, [job_ids[position] for position in positions]))
            for position, one in zip(positions, part, strict=True):
                found[position] = one
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
        give_up, ends = time.monotonic() + (math.inf if timeout is None else timeout), self._ends
        with ends.watch([job_id]) as watch:
            if not ends.pause(watch, give_up, self.states):
                raise TimeoutError(f"job {job_id} is still {watch.state} after {timeout} s")
        with self._reading:
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
        give_up, ends = time.monotonic() + (math.inf if timeout is None else timeout), self._ends
        with ends.watch(job_ids) as watch:
            total = len(watch.open)
            while watch.open or watch.over:
                if not ends.pause(watch, give_up, self.states):
                    raise TimeoutError(unfinished(len(watch.open), total, timeout))
                over = watch.take(JOBS_AT_ONCE)
                yield from found(over, self.get_many(over))

    def cancel(self, job_id: str) -> JobState:
        """Request the cancel of a job and return its state.

        A job that may have a run keeps its state until the run is known to have ended.

        Raises:
            JobNotFound: no such job is on record.
        """
        (found,) = self.send(job_calls.cancel(self._account(job_id), [job_id]))
        ((state, _),) = self.states([job_id])
        if found == -1 or state is None:
            raise JobNotFound(job_id)
        return state

    def stats(self) -> dict[str, AccountStats]:
        """Read the statistics of every account.

        One whose keys are damaged hides no other: its own `damage` reports it.
        """
        accounts = self.accounts()
        return {name: self._statistics(name) for name in accounts}

    def _statistics(self, account: str) -> AccountStats:
        try:
            return self.send(job_calls.stats(account))
        except Exception as error:
            if (damage := damage_of(error)) is None:
                raise
            return unreadable(account, damage)

    def group_credits(self, account: str = "default") -> list[GroupCredits]:
        """Read the credits of each group, those first that took most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._of(account, groups.group_credits(account))

    def accounts(self) -> list[str]:
        """Return the names of the known accounts, `default` first."""
        self._check_format()
        with speaking_of(self._url):
            return self._accounts.learn(cast(Any, self._client).smembers(ACCOUNTS))

    def server_info(self) -> dict[str, Any]:
        """Read what Redis reports of itself (`INFO`), parsed; what a cluster does, by node."""
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

    def open_batch(
        self,
        name: str = "",
        *,
        account: str = "default",
        rules: BatchRules = NO_RULES,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Open a batch and return its id; its jobs run once it is sealed.

        Args:
            name: shown to people.
            account: whose jobs it will hold.
            rules: what it does by itself.
            metadata: its own, as a job's `metadata` is.

        Raises:
            InvalidBatch: the metadata is not valid.
            UnknownAccount: no worker ever served this account.
        """
        stored = stored_metadata(metadata)
        self._know({account})
        batch = ids.new_id(account)
        self.send(job_calls.open_batch(account, batch, name, rules, stored))
        return batch

    def seal_batch(self, batch: str, expected: int | None = None) -> int:
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
        reply = self.send(job_calls.seal_batch(self._owner(batch), batch, expected))
        return job_calls.sealed(batch, reply, expected)

    def get_batch(self, batch: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        return self._batch(self._owner(batch), batch)

    def list_batches(
        self,
        account: str = "default",
        *,
        status: BatchStatus | str | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> BatchPage:
        """Read a page of batches, the newest first; those that cannot be read are named apart.

        Args:
            account: whose.
            status: only such batches; then a page that is not the last may be empty.
            cursor: that of the page before; '' = the first page.
            limit: how many are read, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a status that is none, or a limit out of its range.
        """
        which = listing.one_of("status", status, BatchStatus)
        page = self._of(account, job_calls.list_batches(account, cursor, limit))
        shown = [batch for batch in page.batches if which in {None, batch.status}]
        return replace(page, batches=shown)

    def cancel_batch(self, batch: str) -> CancelCounts:
        """Cancel every job of a batch, whatever its size, in one step; returns what it came to.

        A batch whose jobs have all ended stays what it is.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        done = self.send(operator_calls.cancel_batch(self._owner(batch), batch))
        if done is None:
            raise BatchNotFound(batch)
        return done

    def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch, whatever its size, until it is resumed.

        Runs that are under way go on.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        account = self._owner(batch)
        self.send(job_calls.hold_batch(account, batch, "pause"))
        return self._living(account, batch)

    def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused, aborted, has expired, or waits for its canary.

        A pause ends alone: a canary that has not been decided goes on. A batch that a rule holds
        goes on without its rules, one that has expired without an end of its time.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            BatchExpired: its upload took too long.
        """
        account = self._owner(batch)
        before = self._living(account, batch)
        if before.held is None:
            return before
        self.send(job_calls.hold_batch(account, batch, "resume", before.held))
        return self._batch(account, batch)

    def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were abandoned; returns how many.

        They go with the ids that they had, and give the batch's state now.

        Args:
            batch: its id.
            url: the batch's `callback_url` from now on; None = the one that it has.

        Raises:
            BatchNotFound: no such batch is on record.
            InvalidBatch: the url is none; nothing was done.
        """
        rules, account = BatchRules(callback_url=url), self._owner(batch)
        call = delivery_calls.callback_again(account, batch, rules.callback_url or "")
        done = self.send(call)
        if done is None:
            raise BatchNotFound(batch)
        return done

    def retry_failed(
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
        pages = list(self._retry_pages(batch, reason, canceled=canceled))
        return pages[-1]

    def _retry_pages(
        self, batch: str, reason: str | None = None, *, canceled: bool = False
    ) -> Iterator[Retried]:
        """Do as `retry_failed`, a page at a time; yields what is done again by then."""
        check_words(reason)
        account = self._owner(batch)
        self._living(account, batch)
        start, seen, left = 0, 1, 0
        states = Counter[JobState]()
        while seen:
            call = job_calls.ended_badly(account, batch, start, _RETRIED)
            seen, found = self.send(call)
            start += seen
            fitting = [job for job in found if has_words(job.reason, reason)]
            bad = [job for job in fitting if canceled or job.state is not JobState.CANCELED]
            left += len(fitting) - len(bad)
            if bad:
                codes = self.send(operator_calls.replay(account, [job.seen for job in bad]))
                states.update(job.state for job, code in zip(bad, codes, strict=True) if code == 1)
                yield Retried(dict(states))
                if 2 in codes:
                    raise BatchCanceled(batch)
        yield Retried(dict(states), left)

    def iter_results(
        self,
        batch: str | None = None,
        wanted: Filter = listing.ALL,
        *,
        errors: bool = False,
        after: str | None = None,
        account: str = "default",
    ) -> Iterator[Job]:
        """Go through jobs that have ended, results included, in constant memory.

        Those of a batch come in the order of the upload; else they are an account's, of any batch
        or none, the newest end first.

        Args:
            batch: its id, in place of the filter's.
            wanted: only these; those that ended in some time with `since` and `until`.
            errors: only those that failed, were canceled or are dead; of a batch unconfirmed ones,
                too.
            after: only those behind this job, which was among them; its id, or its `life_name`.
            account: whose, without a batch.

        Raises:
            BatchNotFound: no such batch is on record.
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter, or a job to begin behind, that is none.
        """
        reader = self.open_results(batch, wanted, errors=errors, after=after, account=account)
        while (job_ids := reader.ids()) is not None:
            for start in range(0, len(job_ids), _RESULTS):
                yield from reader.jobs(job_ids[start : start + _RESULTS])

    def open_results(
        self,
        batch: str | None,
        wanted: Filter = listing.ALL,
        *,
        errors: bool = False,
        after: str | None = None,
        account: str = "default",
    ) -> ResultReader:
        """Return what reads the jobs of `iter_results`, whose arguments and errors it has."""
        if batch is not None:
            account, wanted = self._owner(batch), wanted._replace(batch=batch)
        else:
            self._know({account})
            if wanted.batch is not None and self._owner(wanted.batch) != account:
                raise BatchNotFound(wanted.batch)
        reader = self._results(account, wanted.checked(), errors=errors)
        if after is not None:
            reader.go_behind(after)
        return reader

    def _results(self, account: str, wanted: Filter, *, errors: bool) -> ResultReader:
        if field := wanted.archived_field:
            raise listing.refused(field, listing.NO_ARCHIVE)
        if wanted.batch is None:
            return EndedResults(self.send, self.get_many, account, wanted, errors=errors)
        batch = self._batch(account, wanted.batch)
        return BatchResults(self.send, self.get_many, batch, wanted, errors=errors)

    def list_jobs(
        self,
        wanted: Filter = listing.ALL,
        *,
        account: str = "default",
        cursor: str = "",
        limit: int = 100,
    ) -> JobPage:
        """Read a page of jobs, without their results; those that cannot be read are named apart.

        Jobs of a batch come in the order of its upload; ended ones of a state the newest end first,
        dead ones apart, who come like those of the other states with an index (scheduled,
        unconfirmed, running, paused runs) the first in time first. All others are searched for
        through all keys, in no order, and a job may come twice.

        The work of a call is bounded, so a page may be empty that is not the last.

        Args:
            wanted: which jobs.
            account: whose.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter, a cursor or a limit that is none.
        """
        self._know({account})
        wanted = wanted.checked()
        page = list_jobs(self.send, account, wanted, cursor, limit)
        is_found = bool(wanted.webhook or (page.jobs and (wanted.batch or wanted.custom_id)))
        # Redis retains jobs for a day at least.
        is_young = wanted.since is not None and (datetime.now(UTC) - wanted.since).days < 1
        if cursor or is_found or is_young or not wanted.is_of_ended:
            return page
        return replace(page, lacks_archive=self._archive_id(account) is not None)

    def _archive_id(self, account: str) -> str | None:
        """Return the id of the archive that an account's workers write to; None = of none."""
        with speaking_of(self._url):
            found = cast(Any, self._client).hget(f"{Keys(account).prefix}archive", "id")
        return None if found is None else str(found.decode())

    def job_pages(
        self, wanted: Filter = listing.ALL, *, account: str | None = None
    ) -> Iterator[JobPage]:
        """Go through jobs a page at a time, in the order of `list_jobs`.

        A page is bounded work, and may hold no job that is meant. Jobs of a webhook's state come
        in the order in which that was decided, pending ones as they are due; of these, and of jobs
        without an index, one may come twice.

        Args:
            wanted: which jobs.
            account: of one account; None = of every one.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter that is none.
        """
        for name in self._some(account):
            cursor = ""
            while True:
                page = self.list_jobs(wanted, account=name, cursor=cursor, limit=PAGE)
                yield page
                if not (cursor := page.cursor):
                    break

    def count_jobs(self, wanted: Filter = listing.ALL, *, account: str = "default") -> JobCount:
        """Count jobs, up to 1,000 of them: bounded work, after which it says "at least".

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter that is none.
        """
        cursor, counted = "", set[str]()
        for _ in range(_COUNTED_PAGES):
            page = self.list_jobs(wanted, account=account, cursor=cursor, limit=listing.MOST)
            counted.update(job.id for job in page.jobs)
            if not (cursor := page.cursor) or len(counted) >= listing.MOST:
                break
        return JobCount(min(len(counted), listing.MOST), not cursor)

    def list_errors(
        self, wanted: Filter = listing.ALL, *, account: str = "default", limit: int = 50
    ) -> ErrorGroups:
        """Group the failures of an archive by their category and words, the largest group first.

        Args:
            wanted: of which jobs; `error` chooses one group.
            account: whose.
            limit: how many groups, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter that is none, or there is no archive.
            ArchiveUnavailable: it cannot be read now.
        """
        listing.check_limit(limit)
        raise self._no_archive(wanted, account)

    def chart(
        self, wanted: Filter = listing.ALL, *, by: str | None = None, account: str = "default"
    ) -> Chart:
        """Sum up what ended, by the hour, the day or the week: jobs, durations, steps and credits.

        Args:
            wanted: since when (a week ago, if it does not say), until when, and of which group,
                batch or workflow; nothing else.
            by: `group`, `batch` or `workflow`: all of them are compared, up to 1,000.
            account: whose.

        Raises: as `list_errors`.
        """
        listing.charted(wanted, by)
        raise self._no_archive(wanted, account)

    def _no_archive(self, wanted: Filter, account: str) -> InvalidRequest:
        self._know({account})
        wanted.checked()
        return listing.refused("archive", listing.NO_ARCHIVE)

    def timeline(self, job_id: str) -> dict[str, Any]:
        """Read a job's request, as far as it may be shown, and the steps of its life, as JSON has.

        Raises:
            JobNotFound: no such job is on record.
        """
        history = self._history(job_id)
        if history is None:
            raise JobNotFound(job_id)
        return history.as_dict()

    def _history(self, job_id: str) -> JobHistory | None:
        return self.send(read_history(self._account(job_id), job_id))

    def cancel_jobs(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Cancel jobs, in pages; returns what came of each."""
        return outcomes(self._each(job_ids, job_calls.cancel), decisions.CANCEL)

    def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each."""
        return outcomes(self._each_seen(job_ids, operator_calls.replay), decisions.REPLAY)

    def discard(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Remove dead jobs for good, their idempotency keys included; returns what came of each."""
        return outcomes(self._each(job_ids, operator_calls.discard), decisions.DISCARD)

    def adopt(self, job_id: str, run_id: str) -> Settled:
        """Give an unconfirmed job the run that is its own; it is followed from now on.

        Raises:
            JobNotFound: no such job is on record.
            InvalidRequest: what is no run's id.
        """
        if not is_run_id(run_id):
            raise listing.refused("run_id", "expected a run's id: tsk_… or wr_…")
        job = self.get(job_id)
        if job.state is not JobState.UNCONFIRMED:
            is_done = job.state is JobState.RUNNING and job.run_id == run_id
            return Settled.DONE if is_done else Settled.NOT_UNCONFIRMED
        code = self.send(operator_calls.adopt(job.account, job_id, job.attempts, run_id))
        return outcomes({job_id: code}, decisions.ADOPT)[job_id]

    def resubmit(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that unconfirmed jobs have no run: they are submitted again."""
        return self._settle(job_ids, "resubmit", "")

    def fail(self, job_ids: Iterable[str], reason: str = "") -> dict[str, Settled]:
        """End the search for the runs of unconfirmed jobs: they are dead.

        Args:
            job_ids: the jobs.
            reason: shown on them.
        """
        words = f"failed by a person{': ' if reason else ''}{reason}"
        return self._settle(job_ids, "fail", words[:500])

    def _settle(self, job_ids: Iterable[str], what: str, reason: str) -> dict[str, Settled]:
        def settle(account: str, jobs: Sequence[Seen]) -> ScriptCall[list[int]]:
            return operator_calls.settle(account, jobs, what, reason)

        return outcomes(self._each_seen(job_ids, settle), decisions.SETTLE)

    def deliver_again(self, job_ids: Iterable[str], url: str = "") -> dict[str, Settled]:
        """Have webhooks sent again, whatever came of them; returns what came of each job.

        Args:
            job_ids: the jobs.
            url: where to, from now on; '' = where they were to go. With it jobs without a
                receiver have a webhook, too.

        Raises:
            InvalidRequest: the url is none; nothing was done.
        """
        if url and not is_web_url(url):  # it is not shown, as it may hold a password
            raise listing.refused("url", f"expected {WEB_URL_WORDS}")

        def deliver(account: str, some: Sequence[str]) -> ScriptCall[list[int]]:
            return delivery_calls.deliver_again(account, some, url)

        meanings = decisions.DELIVER_ELSEWHERE if url else decisions.CONFIRM
        return outcomes(self._each(job_ids, deliver), meanings)

    def confirm_delivery(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that the results of jobs have arrived, however; returns what came of each job."""
        codes = self._each(job_ids, delivery_calls.confirm_delivery)
        return outcomes(codes, decisions.CONFIRM)

    def approve(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have paused runs go on: a worker tells Skyvern so; returns what came of each job."""
        codes = self._each(job_ids, operator_calls.approve)
        return outcomes(codes, decisions.APPROVE)

    def _each_seen(self, job_ids: Iterable[str], call: OfItems[Seen, list[int]]) -> dict[str, int]:
        """Do as `_each`, to the attempt that each job is at now, and to its end."""
        some = list(dict.fromkeys(job_ids))
        jobs = self.get_many(some, result=False)
        seen = {job.id: decisions.seen(job) for job in jobs if job is not None}

        def of_ids(account: str, page: Sequence[str]) -> ScriptCall[list[int]]:
            return call(account, [seen.get(job_id, (job_id, -1, 0)) for job_id in page])

        return self._each(some, of_ids)

    def _each(self, job_ids: Iterable[str], call: OfItems[str, list[int]]) -> dict[str, int]:
        """Make one script call for each `ACTS` jobs of one account, and return each job's code."""
        some = list(dict.fromkeys(job_ids))
        codes = dict.fromkeys(some, -1)
        for account, positions in pages(some, self.accounts(), ACTS):
            page = [some[position] for position in positions]
            answers = self.send(call(account, page))
            codes.update(zip(page, answers, strict=True))
        return codes

    def orphans(self, *, account: str | None = None) -> Iterator[Orphan]:
        """Go through the runs of ours that no job owns; arguments and errors as of `job_pages`."""
        for name in self._some(account):
            cursor = ""
            while cursor != "0":
                call = operator_calls.list_orphans(name, cursor or "0", PAGE)
                cursor, found = self.send(call)
                yield from found

    def cancel_orphans(self, orphans: Iterable[Orphan]) -> int:
        """Have orphan runs canceled by the workers; returns how many will be."""
        by_account: dict[str, list[str]] = {}
        for orphan in orphans:
            by_account.setdefault(orphan.account, []).append(orphan.run_id)
        done = 0
        for account, run_ids in by_account.items():
            for start in range(0, len(run_ids), PAGE):
                call = operator_calls.cancel_orphans(account, run_ids[start : start + PAGE])
                codes = self.send(call)
                done += codes.count(1)
        return done

    def inbox_pages(self, *, account: str | None = None) -> Iterator[InboxPage]:
        """Go through the refused lines of inboxes and of Celery messages, the oldest first.

        Of each account a page comes, if an empty one. Arguments and errors as of `job_pages`.
        """
        for name in self._some(account):
            start = 0
            while True:
                look = self.send(inbox_calls.inbox_look(name, start, LINES))
                if look.page or not start:
                    yield inbox_page(name, look)
                start += LINES
                if len(look.page) < LINES:
                    break

    def discard_lines(self, ids: Collection[str], account: str = "default") -> int:
        """Throw refused lines away; returns how many were still there.

        Args:
            ids: of the lines.
            account: in whose list they are.
        """
        return self._take_lines(account, ids, ())

    def retry_lines(self, ids: Collection[str], account: str = "default") -> int:
        """Put refused lines back into the inbox; returns how many.

        Lines of Celery messages go to that of the account they name; a line of an inbox that names
        another account stays where it is. Arguments as of `discard_lines`.
        """
        return self._take_lines(account, ids, self.accounts())

    def _take_lines(self, account: str, ids: Collection[str], known: Collection[str]) -> int:
        self._know({account})
        start = taken = 0
        while True:
            look = self.send(inbox_calls.inbox_look(account, start, LINES))
            moves = line_moves(account, look, ids, known)
            for move in moves:
                if move.to != account:
                    # First there, then off the list here: it has its key, and comes to one job.
                    self.send(inbox_calls.inbox_again(move.to, [(b"", move.line)]))
            here = [(move.stored, move.line if move.to == account else b"") for move in moves]
            gone = self.send(inbox_calls.inbox_again(account, here)) if here else 0
            taken += gone
            start += len(look.page) - gone
            if len(look.page) < LINES:
                return taken

    def set_group(
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
        return self._of(account, call)

    def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        names = self._of(account, groups.group_names(account))
        names.sort()
        found: list[Group] = []
        for start in range(0, len(names), groups.A_CALL):
            call = groups.read_groups(account, names[start : start + groups.A_CALL])
            some = self.send(call)
            found += some
        return found

    def set_key_limit(
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
        return self._of(account, key_limits.set_limit(account, pattern, limit))

    def list_keys(self, account: str = "default") -> list[KeyUse]:
        """Read the keys that have limits, and those at which jobs wait, 1,000 of each at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._of(account, key_limits.list_keys(account))

    def ended_holders(self, account: str = "default", *, drop: bool = False) -> list[EndedHolder]:
        """Find what still has a key, or steps of a strict budget, although it has ended.

        Jobs would wait for it for ever. There is none unless Redis lost writes or a record was
        damaged. All keys of the account are scanned.

        Args:
            account: whose keys.
            drop: have it no more.
        """
        cursor, ended = "", dict[EndedHolder, None]()
        while cursor != "0":
            cursor, names = self.send(key_limits.list_holders(account, cursor or "0"))
            left = [(name, "0") for name in names]
            while left:
                call = key_limits.check_holders(account, left[:_HOLDERS], drop=drop)
                checked = self.send(call)
                again = [(name, at) for name, at, _ in checked if at != "0"]
                ended |= {EndedHolder(name, one): None for name, _, f in checked for one in f}
                left = again + left[len(checked) :]
        return [*ended]

    def set_budget(self, scope: str, budget: Budget | None, *, account: str = "default") -> bool:
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
        return self._of(account, budgets.set_budget(account, scope, budget))

    def list_budgets(self, account: str = "default") -> list[BudgetUse]:
        """Read the budgets; of one for each of many keys, the 20 keys that took most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        scopes = self._of(account, budgets.budget_scopes(account))
        scopes.sort()
        found: list[BudgetUse] = []
        for start in range(0, len(scopes), budgets.A_CALL):
            call = budgets.read_budgets(account, scopes[start : start + budgets.A_CALL])
            some = self.send(call)
            found += some
        return found

    def store_schedule_lines(self, lines: Iterable[bytes], *, account: str = "default") -> str:
        """Store a file of jobs; returns its name, the `lines` of schedules.

        It is retained for two days, and as long as a schedule names it.

        Args:
            lines: of the file, as `upload` takes them, in JSON.
            account: whose schedules.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidJob: lines are bad, named `line N: field`.
            InvalidRequest: there are none, or too many.
        """
        self._know({account})
        found = NumberedLines(lines)
        if not self._has_lines(account, found.packed.name):
            found.check()
        place = 0
        while place < len(found.packed.chunks):
            place = self.send(schedule_calls.put_lines(account, found.packed, place))
        return found.packed.name

    def apply_schedules(
        self,
        schedules: Mapping[str, Mapping[str, Any]],
        *,
        account: str = "default",
        remove_others: bool = False,
        dry_run: bool = False,
    ) -> list[ScheduleChange]:
        """Make schedules what is said of them; returns what that changes.

        Who applies others at the same time has all of his changes, or none.

        Args:
            schedules: by name; the fields are those of a file of schedules, in place of `file` what
                `store_schedule_lines` returned.
            account: whose.
            remove_others: whether the account has no others then.
            dry_run: whether nothing is changed.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidRequest: it names every field at fault; nothing was changed.
        """
        self._know({account})
        wanted, first = applying.checked(schedules), list[ScheduleChange]()
        for number in range(_ROUNDS):
            # Two who undo each other's changes would go on: one of them comes last.
            time.sleep(number * random() / _ROUNDS)
            page, now_us = self._schedules(account)
            found = {one.spec.name: one for one in page}
            changes = applying.differences(found, wanted, remove_others=remove_others)
            first = first or changes
            left = [one.name for one in changes if one.change != "unchanged"]
            files = {wanted[name].lines for name in left if name in wanted} - {""}
            stored = {one for one in files if self._has_lines(account, one)}
            applying.check_writable(found, wanted, files - stored, remove_others=remove_others)
            if dry_run or not left:
                return first
            for name in left:
                before, spec = found.get(name), wanted.get(name)
                if spec is not None:
                    after = applying.applied(before, spec, account, now_us)
                    self.send(schedule_calls.write_schedule(before, after))
                elif before is not None:
                    self.send(schedule_calls.remove_schedule(before))
        raise listing.refused("schedules", "others change them at the same time: apply them again")

    def _has_lines(self, account: str, file: str) -> bool:
        return self.send(schedule_calls.read_lines(account, file, -1)) == []

    def list_schedules(self, account: str = "default") -> list[Schedule]:
        """Read the schedules by name, each with its newest firing, and its next ones.

        Of a job that one enqueues `job` has its kind and the names of its fields.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        found, now_us = self._schedules(account)
        return [shown(replace(one, firings=one.firings[:1]), now_us) for one in found]

    def get_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Read a schedule, with its last firings and its next ones; `job` as in `list_schedules`.

        Raises:
            UnknownAccount: no worker ever served this account.
            ScheduleNotFound: it has no schedule of this name.
        """
        return shown(*self._schedule(name, account))

    def pause_schedule(self, name: str, reason: str = "", *, account: str = "default") -> Schedule:
        """Have a schedule make no firings until it is resumed; errors as of `get_schedule`."""
        return self._change(name, account, partial(applying.paused, reason=reason))

    def resume_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """End a schedule's pause; for its time nothing is made up. Errors as of `get_schedule`."""
        return self._change(name, account, applying.resumed)

    def fire_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Have a schedule fire once, now, also while it is paused.

        Raises:
            UnknownAccount, ScheduleNotFound: as `get_schedule`.
            InvalidRequest: too many firings wait.
        """
        return self._change(name, account, applying.fired)

    def backfill_schedule(
        self, name: str, since: datetime, until: datetime, *, account: str = "default"
    ) -> Schedule:
        """Have a schedule fire for each past time that has not fired, one after the other.

        Args:
            name: of the schedule.
            since, until: the range of times, from `since` to before `until`.
            account: whose.

        Raises: as `fire_schedule`.
        """
        change = partial(applying.backfilled, since=since, until=until)
        return self._change(name, account, change)

    def remove_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Remove a schedule with its history; its jobs go on. Returns it as it was.

        Errors as of `get_schedule`.
        """
        while True:
            found, now_us = self._schedule(name, account)
            if self.send(schedule_calls.remove_schedule(found)):
                return shown(found, now_us)

    def _change(self, name: str, account: str, change: applying.Change) -> Schedule:
        """Write a changed schedule, unless somebody else wrote it: then from the start."""
        while True:
            found, now_us = self._schedule(name, account)
            after = change(found, now_us)
            if version := self.send(schedule_calls.write_schedule(found, after)):
                return shown(replace(after, version=version), now_us)

    def _schedule(self, name: str, account: str) -> tuple[Schedule, int]:
        """Read a schedule, and the queue's time."""
        found = self._of(account, schedule_calls.read_schedule(account, name))
        if found is None:
            raise ScheduleNotFound(name)
        return found.schedule, found.now_us

    def _schedules(self, account: str) -> tuple[list[Schedule], int]:
        """Read all schedules of an account, and the queue's time."""
        found, after = list[Schedule](), ""
        while True:
            page = self.send(schedule_calls.read_schedules(account, after))
            found += page.schedules
            if not (after := page.after):
                return found, page.now_us

    def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; runs under way go on.

        Args:
            account: which.
            reason: shown wherever the account is.

        Returns:
            Whether it was not paused before.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._of(account, pausing.pause(account, reason))

    def resume(self, account: str = "default") -> str:
        """End a person's pause of an account; where there is none, its hold.

        By ending a hold the operator confirms that its cause was checked and submissions may go on.

        Returns:
            The reason of what was ended, '' if there was nothing.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        found = self._of(account, job_calls.stats(account))
        if not found.paused:
            return self.send(job_calls.resume(account))
        self.send(pausing.end_pause(account))
        return found.hold_reason or ""

    def set_limits(
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
        return self._of(account, call)

    def audit(
        self, account: str = "default", *, before: str = "", limit: int = 50
    ) -> list[AuditEntry]:
        """Read what people did, the newest first.

        Args:
            account: to which account.
            before: the id of the last entry of the page before; '' = the first page.
            limit: how many.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._of(account, audit.read_entries(account, before, limit))

    def workers(self, account: str = "default") -> list[Process]:
        """Read the worker processes of an account, 200 at most, the one last heard of first.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._of(account, live_processes.processes(account))

    def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""
        self._check_format()
        if call.script.name in TAKES_IN and not self._accounts.checked:
            self.check_server()
        with speaking_of(self._url):
            return run(self._client, call)

    def _check_format(self) -> None:
        if time.monotonic() < self._compare_at:
            return
        with speaking_of(self._url):
            check_format(self._client)
        self._compare_at = time.monotonic() + COMPARED_SECONDS

    def _of(self, account: str, call: ScriptCall[T]) -> T:
        """Run one script of an account that has to be known."""
        self._know({account})
        return self.send(call)

    def _batch(self, account: str, batch: str) -> Batch:
        found = self.send(job_calls.get_batch(account, batch))
        if found is None:
            raise BatchNotFound(batch)
        return found

    def _living(self, account: str, batch: str) -> Batch:
        """Read a batch that may go on."""
        found = self._batch(account, batch)
        if found.held == "canceled":
            raise BatchCanceled(batch)
        if found.held == "expired" and not found.sealed:
            raise BatchExpired(batch)
        return found

    def _some(self, account: str | None) -> list[str]:
        """Return the account, or if it is None, every one."""
        if account is None:
            return self.accounts()
        self._know({account})
        return [account]

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
