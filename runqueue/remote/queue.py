"""`RemoteQueue`: the queue over the gateway's HTTP API, for producers without access to Redis.

from runqueue.remote.queue import RemoteQueue

with RemoteQueue("https://queue.example.com") as queue:  # RUNQUEUE_URL, RUNQUEUE_TOKEN
    job = queue.enqueue(TaskRunRequest(prompt="…"), idempotency_key="order-17")
    print(queue.wait(job.job_id).output)

Needs httpx: `pip install 'runqueue[http]'`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Self, Unpack

import orjson

from runqueue import ids
from runqueue.errors import (
    BatchNotFound,
    FieldError,
    InvalidJob,
    JobNotFound,
    ScheduleNotFound,
    UnknownAccount,
)
from runqueue.operator.decisions import ACTS, Settled
from runqueue.operator.refused_lines import InboxPage
from runqueue.producer.chunks import Handed, check, placed
from runqueue.producer.handles import QueuedJob
from runqueue.producer.listing import ALL, PAGE, Filter, JobCount
from runqueue.producer.upload import line_of
from runqueue.producer.upload_report import LineConflict, Uploaded
from runqueue.producer.waiters import unfinished
from runqueue.records.account import AccountStats
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
from runqueue.records.job import Enqueued, Job, JobState, Orphan
from runqueue.records.limits import AccountLimits
from runqueue.records.reasons import check_words
from runqueue.records.schedule import Schedule, ScheduleChange
from runqueue.remote import models
from runqueue.remote.connection import GatewayLink, T
from runqueue.remote.models import read_batch, read_job
from runqueue.remote.results import result_rows
from runqueue.remote.upload import callback_header, metadata_given, rules_given, upload
from runqueue.request.job_options import EnqueueOptions
from runqueue.request.job_spec import JobSpec
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import AnyRunRequest
from runqueue.request.validation_errors import size_words
from runqueue.schedules.shown import read_values
from runqueue.store import budgets, groups, key_limits, limits
from runqueue.store.accounts import account_of
from runqueue.store.audit import AuditEntry
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import KEEP, Group, GroupCredits, Keep
from runqueue.store.key_limits import EndedHolder, KeyLimit, KeyUse
from runqueue.store.live_processes import Process
from runqueue.store.operator_calls import CancelCounts

__all__ = ["LineConflict", "RemoteQueue", "Uploaded"]

#: Jobs, and bytes of them, that the gateway takes in one call.
MOST_JOBS, MOST_BYTES = 1_000, 4 * 1024 * 1024
#: Seconds that one call waits for a job's end, at most; and for what goes through all of a batch.
_WAIT, _LONG = 30.0, 300.0
#: Bytes of a file of lines that are sent at once.
_PART = 64 * 1024
#: Seconds between two polls of many jobs.
_POLL = 0.5


class RemoteQueue:
    """The queue, over HTTP; thread-safe, with the methods of `RunQueue`, which describes them.

    Args:
        url: the gateway's; default RUNQUEUE_URL.
        token: default RUNQUEUE_TOKEN; '' = none. It is sent over https, or to this machine, alone.
        allow_http: send it over http all the same, with a warning; default RUNQUEUE_ALLOW_HTTP.
        patience: seconds that a gateway which says "later" is waited for, all in all.
        request_checks: as `RunQueue` takes it, for what is checked on this side (`enqueue`); the
            gateway checks by its own RUNQUEUE_REQUEST_CHECKS.

    Raises (from every method): `QueueUnavailable` when the gateway does not answer (three tries) or
    says "later" for too long; `NotAllowed` when it does not know the token, or its bearer may not
    do this. The constructor raises `InvalidRequest`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        allow_http: bool | None = None,
        patience: float = 30.0,
        request_checks: RequestChecks | str | None = None,
    ) -> None:
        self._checks = current_checks() if request_checks is None else read_checks(request_checks)
        self._link = GatewayLink(url, token, allow_http=allow_http, patience=patience)

    def __repr__(self) -> str:
        return f"RemoteQueue({self._link.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def enqueue(self, request: AnyRunRequest, **options: Unpack[EnqueueOptions]) -> QueuedJob:
        """Enqueue one run request.

        Without a key a job whose answer is lost is not sent a second time: it may be there.
        """
        spec = JobSpec.of(request, checks=self._checks, **options)
        answer = self._link.ask(
            "POST",
            "/v1/jobs",
            models.read_answer,
            content=line_of(spec),
            may_repeat=bool(spec.custom_id),
        )
        return QueuedJob.of(answer, self)

    def enqueue_many(self, jobs: Iterable[Handed], *, batch: str | None = None) -> list[Enqueued]:
        """Enqueue up to 1,000 jobs (4 MiB); all of them are accepted, or none.

        `upload` takes any number. Jobs whose answer is lost are sent a second time only if all of
        them have a key.

        Raises:
            InvalidJob: fields named `[index].field`, or there are too many; none was accepted.
        """
        specs = list(islice(_checked(jobs), MOST_JOBS + 1))
        body = b"[" + b",".join(map(line_of, specs)) + b"]"
        if len(specs) > MOST_JOBS or len(body) > MOST_BYTES:
            most = f"{MOST_JOBS:,} jobs of {size_words(MOST_BYTES)} in all"
            words = f"expected at most {most}; upload takes any number"
            raise InvalidJob([FieldError("jobs", words)])
        if not specs:
            return []
        return self._link.ask(
            "POST",
            "/v1/jobs:bulk",
            lambda values: list(map(models.read_answer, values["jobs"])),
            content=body,
            params={"batch": batch},
            may_repeat=all(spec.custom_id for spec in specs),
        )

    def get(self, job_id: str) -> Job:
        """Read a job, its result included."""
        return self._get(job_id)

    def get_many(self, job_ids: Sequence[str], *, result: bool = True) -> list[Job | None]:
        """Read jobs, with or without their results, one call each; None where there is none."""
        found: list[Job | None] = []
        for job_id in job_ids:
            try:
                found.append(self._get(job_id, result=result))
            except JobNotFound:
                found.append(None)
        return found

    def _get(self, job_id: str, *, result: bool = True, wait: float = 0.0) -> Job:
        params = {"result": "true" if result else "false", "wait": wait or None}
        return self._of_job("GET", job_id, "", read_job, params=params, timeout=_WAIT + wait)

    def _of_job(
        self, method: str, job_id: str, what: str, parse: Callable[[Any], T], **options: Any
    ) -> T:
        """Read a job, or do something to it; options as for `GatewayLink.ask`."""
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        return self._link.ask(method, f"/v1/jobs/{job_id}{what}", parse, **options)

    def _to_batch(self, batch: str, what: str, parse: Callable[[Any], T], **options: Any) -> T:
        """Do something to a batch; options as for `GatewayLink.ask`."""
        return self._link.ask("POST", f"{_path(batch)}/{what}", parse, **options)

    def states(self, job_ids: Sequence[str]) -> list[tuple[JobState | None, float]]:
        """Read the states of jobs, and for how many seconds each is unconfirmed."""
        found: list[tuple[JobState | None, float]] = []
        for some in _parts(job_ids):
            found += self._post("/v1/jobs:states", models.read_states, {"job_ids": some})
        return found

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job has ended and return it."""
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            left = give_up - time.monotonic()
            job = self._get(job_id, wait=max(0.0, min(left, _WAIT)))
            if job.is_over:
                return job
            if time.monotonic() >= give_up:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout} s")

    def as_completed(self, job_ids: Iterable[str], timeout: float | None = None) -> Iterator[Job]:
        """Yield jobs as they end, each once; what has ended already comes first."""
        give_up = time.monotonic() + (math.inf if timeout is None else timeout)
        left = list(dict.fromkeys(job_ids))
        total = len(left)
        while left:
            states = dict(zip(left, self.states(left), strict=True))
            left = [job_id for job_id, (state, _) in states.items() if state and not state.is_over]
            for job_id in states.keys() - set(left):
                yield self.get(job_id)
            if left and time.monotonic() >= give_up:
                raise TimeoutError(unfinished(len(left), total, timeout))
            time.sleep(_POLL if left else 0)

    def cancel(self, job_id: str) -> JobState:
        """Request the cancel of a job and return its state."""
        return self._of_job("POST", job_id, "/cancel", lambda values: JobState(values["state"]))

    def stats(self) -> dict[str, AccountStats]:
        """Read the statistics of every account that the token is for."""
        return self._link.ask(
            "GET",
            "/v1/stats",
            lambda values: {name: models.read_stats(name, one) for name, one in values.items()},
        )

    def group_credits(self, account: str = "default") -> list[GroupCredits]:
        """Read what the runs of each group took, those first that took most."""
        return self._read("/v1/group_credits", partial(_each, "groups", models.read_usage), account)

    def accounts(self) -> list[str]:
        """Return the names of the accounts that the token is for."""
        return list(self.stats())

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
        """Submit a batch of any length, in constant memory.

        An upload that breaks off is sent again if `lines` can be gone through again (a list, an
        object with `__iter__`; no generator). Where all was sent and only the answer was lost, it
        is sent again only if every line has a `custom_id`: lines without one would become second
        jobs.
        """
        options = {"name": name, "account": account, "namespace": namespace}
        more = {"skip_invalid": skip_invalid, **metadata_given(metadata)}
        return upload(self._link, lines, options | more, rules)

    def open_batch(
        self,
        name: str = "",
        *,
        account: str = "default",
        rules: BatchRules = NO_RULES,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Open a batch and return its id; its jobs run once it is sealed."""
        ruled, headers = rules_given(rules)
        return self._link.ask(
            "POST",
            "/v1/batches:open",
            lambda values: str(values["batch_id"]),
            params={"name": name or None, "account": account, **ruled, **metadata_given(metadata)},
            headers=headers,
            may_repeat=False,
        )

    def seal_batch(self, batch: str, expected: int | None = None) -> int:
        """Accept a batch; returns the number of its jobs. Repeating it changes nothing."""
        read = partial(models.read_count, name="jobs")
        return self._to_batch(batch, "seal", read, params={"expected": expected}, timeout=_LONG)

    def get_batch(self, batch: str) -> Batch:
        """Read a batch."""
        return self._link.ask("GET", _path(batch), read_batch)

    def list_batches(
        self,
        account: str = "default",
        *,
        status: BatchStatus | str | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> BatchPage:
        """Read a page of batches, the newest first; those that cannot be read are named apart."""

        def read(page: Any) -> BatchPage:
            return BatchPage([read_batch(one) for one in page["batches"]], *_rest(page))

        params = {"status": status, "cursor": cursor or None, "limit": limit}
        return self._read("/v1/batches", read, account, **params)

    def cancel_batch(self, batch: str) -> CancelCounts:
        """Cancel every job of a batch, whatever its size, in one step; returns what it came to."""
        return self._to_batch(batch, "cancel", models.read_canceled, timeout=_LONG)

    def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch, whatever its size, until it is resumed."""
        return self._to_batch(batch, "pause", read_batch)

    def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused, aborted, has expired, or waits for its canary.

        Sent once: a second time might end what came to hold it in between.
        """
        return self._to_batch(batch, "resume", read_batch, may_repeat=False)

    def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were abandoned; returns how many.

        Sent once: a second time would not know how many there were.
        """
        given = BatchRules(callback_url=url).callback_url
        return self._to_batch(
            batch,
            "retry-callbacks",
            partial(models.read_count, name="callbacks"),
            headers=callback_header(given) if given else None,
            may_repeat=False,
        )

    def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; returns how many of either.

        Sent once: a second time would have those done again that failed in between.
        """
        check_words(reason)
        params = {"reason": reason, "canceled": "true" if canceled else None}
        return self._to_batch(
            batch,
            "retry-failed",
            models.read_retried,
            params=params,
            may_repeat=False,
            timeout=_LONG,
        )

    def iter_results(
        self,
        batch: str | None = None,
        wanted: Filter = ALL,
        *,
        errors: bool = False,
        after: str | None = None,
        account: str = "default",
    ) -> Iterator[Job]:
        """Go through jobs that have ended, results included, in constant memory.

        A connection that breaks is made again, and goes on where it was. The jobs hold what a line
        of a results file has, and no more: no times to run, no whole result.
        """
        if batch is not None:
            owner = account_of(batch, self.accounts()) if ids.is_id(batch) else None
            if owner is None:
                raise BatchNotFound(batch)
            account, wanted = owner, wanted._replace(batch=batch)
        params = {**_of_filter(wanted), "account": account, "errors": "true" if errors else None}
        is_by_end = wanted.batch is None
        rows = result_rows(self._link, "/v1/results", params, after=after, by_end=is_by_end)
        read = partial(read_job, account=account)
        for row in rows:
            yield self._link.checked(read, row)

    def list_jobs(
        self, wanted: Filter = ALL, *, account: str = "default", cursor: str = "", limit: int = 100
    ) -> JobPage:
        """Read a page of jobs, without their results; those that cannot be read are named apart."""

        def read(page: Any) -> JobPage:
            return JobPage(
                [read_job(one) for one in page["jobs"]], *_rest(page), bool(page["lacks_archive"])
            )

        params = {**_of_filter(wanted), "cursor": cursor or None, "limit": limit}
        return self._read("/v1/jobs", read, account, **params)

    def job_pages(self, wanted: Filter = ALL, *, account: str | None = None) -> Iterator[JobPage]:
        """Go through jobs a page at a time, in the order of `list_jobs`."""
        for name in self._some(account):
            cursor = ""
            while True:
                page = self.list_jobs(wanted, account=name, cursor=cursor, limit=PAGE)
                yield page
                if not (cursor := page.cursor):
                    break

    def count_jobs(self, wanted: Filter = ALL, *, account: str = "default") -> JobCount:
        """Count jobs, up to 1,000 of them."""
        return self._read("/v1/count", models.read_job_count, account, **_of_filter(wanted))

    def list_errors(
        self, wanted: Filter = ALL, *, account: str = "default", limit: int = 50
    ) -> ErrorGroups:
        """Group the failures of an archive by their category and words, the largest group first."""
        params = _of_filter(wanted)
        return self._read("/v1/errors", models.read_errors, account, **params, limit=limit)

    def chart(
        self, wanted: Filter = ALL, *, by: str | None = None, account: str = "default"
    ) -> Chart:
        """Sum up what ended, by the hour, the day or the week: jobs, times, steps and credits."""
        return self._read("/v1/charts", models.read_chart, account, **_of_filter(wanted), by=by)

    def timeline(self, job_id: str) -> dict[str, Any]:
        """Read a job's request, as far as it may be shown, and the steps of its life."""
        found = self._of_job("GET", job_id, "/timeline", dict)
        del found["job_id"]
        return found

    def cancel_jobs(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Cancel jobs, in pages; returns what came of each."""
        return self._decide("cancel", job_ids)

    def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each.

        Each page is sent once, as are those of the other decisions: an answer that is lost raises
        `QueueUnavailable`.
        """
        return self._decide("replay", job_ids)

    def discard(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Remove dead jobs for good, their idempotency keys included; returns what came of each."""
        return self._decide("discard", job_ids)

    def adopt(self, job_id: str, run_id: str) -> Settled:
        """Give an unconfirmed job the run that is its own; it is followed from now on."""
        return self._decide("adopt", [job_id], run_id=run_id)[job_id]

    def resubmit(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that unconfirmed jobs have no run: they are submitted again."""
        return self._decide("resubmit", job_ids)

    def fail(self, job_ids: Iterable[str], reason: str = "") -> dict[str, Settled]:
        """End the search for the runs of unconfirmed jobs: they are dead."""
        return self._decide("fail", job_ids, reason=reason[:500])

    def deliver_again(self, job_ids: Iterable[str], url: str = "") -> dict[str, Settled]:
        """Have webhooks sent again, whatever came of them; returns what came of each job."""
        return self._decide("deliver", job_ids, url=url)

    def confirm_delivery(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that the results of jobs have arrived, however; returns what came of each job."""
        return self._decide("confirm_delivery", job_ids)

    def approve(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have paused runs go on: a worker tells Skyvern so; returns what came of each job."""
        return self._decide("approve", job_ids)

    def _decide(self, what: str, job_ids: Iterable[str], **more: str) -> dict[str, Settled]:
        found: dict[str, Settled] = {}
        for some in _parts(dict.fromkeys(job_ids)):
            found |= self._post(
                f"/v1/jobs:{what}",
                models.read_settled,
                {"job_ids": some, **more},
                may_repeat=False,
                timeout=_LONG,
            )
        return found

    def orphans(self, *, account: str | None = None) -> Iterator[Orphan]:
        """Go through the runs of ours that no job owns."""
        for name in self._some(account):
            cursor: str | None = "0"
            while cursor is not None:
                found, cursor = self._read(
                    "/v1/orphans", models.read_orphans, name, cursor=cursor, limit=PAGE
                )
                yield from found

    def cancel_orphans(self, orphans: Iterable[Orphan]) -> int:
        """Have orphan runs canceled by the workers; returns how many will be."""
        by_account: dict[str, list[str]] = {}
        for orphan in orphans:
            by_account.setdefault(orphan.account, []).append(orphan.run_id)
        return sum(
            self._post("/v1/orphans:cancel", _done, {"run_ids": some}, account=account)
            for account, run_ids in by_account.items()
            for some in _parts(run_ids)
        )

    def inbox_pages(self, *, account: str | None = None) -> Iterator[InboxPage]:
        """Go through the refused lines of inboxes and of Celery messages, the oldest first."""
        for name in self._some(account):
            start = 0
            while True:
                page = self._read("/v1/inbox", models.read_inbox, name, start=start)
                if page.lines or not start:
                    yield page
                start += len(page.lines)
                if not page.lines or start >= page.refused:
                    break

    def discard_lines(self, ids: Collection[str], account: str = "default") -> int:
        """Throw refused lines away; returns how many were still there."""
        return self._of_lines("discard", ids, account)

    def retry_lines(self, ids: Collection[str], account: str = "default") -> int:
        """Put refused lines back into the inbox; returns how many."""
        return self._of_lines("retry", ids, account)

    def _of_lines(self, what: str, line_ids: Collection[str], account: str) -> int:
        return sum(
            self._post(
                f"/v1/inbox:{what}",
                _done,
                {"line_ids": some},
                account=account,
                may_repeat=False,
                timeout=_LONG,
            )
            for some in _parts(line_ids)
        )

    def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; holds from the next claim on."""
        settings: dict[str, Any] = {}
        if max_concurrent is not KEEP:
            settings["max_concurrent"] = max_concurrent
        if paused is not None:
            settings["paused"] = paused
        # Refuses what is wrong; a name that is none could lead elsewhere in a path.
        groups.set_group(account, name, max_concurrent, paused)
        return self._set(f"/v1/groups/{name}", models.read_group, settings, account)

    def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most."""
        return self._read("/v1/groups", partial(_each, "groups", models.read_group), account)

    def set_key_limit(
        self, pattern: str, limit: KeyLimit | None, *, account: str = "default"
    ) -> bool:
        """Limit how many jobs use a key; holds from the next claim on, for what waits, too."""
        key_limits.set_limit(account, pattern, limit)  # as of groups
        values = None if limit is None else limit.as_dict()
        had = partial(_flag, "had_limit")
        return self._set(f"/v1/keys/{pattern}", had, values, account)

    def list_keys(self, account: str = "default") -> list[KeyUse]:
        """Read the keys that have limits, and those at which jobs wait, 1,000 of each at most."""
        return self._read("/v1/keys", partial(_each, "keys", models.read_key_use), account)

    def ended_holders(self, account: str = "default", *, drop: bool = False) -> list[EndedHolder]:
        """Find what still has a key, or steps of a strict budget, although it has ended."""
        return self._link.ask(
            "POST",
            "/v1/keys:repair",
            partial(_each, "holders", models.read_holder),
            params={"account": account, "drop": "true" if drop else "false"},
            timeout=_LONG,
        )

    def set_budget(self, scope: str, budget: Budget | None, *, account: str = "default") -> bool:
        """Limit how many steps runs may take; holds from the next claim on."""
        budgets.set_budget(account, scope, budget)  # as of groups
        values = None if budget is None else budget.as_dict()
        had = partial(_flag, "had_budget")
        return self._set(f"/v1/budgets/{scope}", had, values, account)

    def list_budgets(self, account: str = "default") -> list[BudgetUse]:
        """Read the budgets; of one for each of many keys, the 20 keys that took most."""
        return self._read("/v1/budgets", partial(_each, "budgets", models.read_budget_use), account)

    def store_schedule_lines(self, lines: Iterable[bytes], *, account: str = "default") -> str:
        """Store a file of jobs; returns its name, the `lines` of schedules."""
        params, kind = {"account": account}, {b"content-type": b"application/x-ndjson"}
        answer = self._link.patiently(
            lambda: self._link.post_stream("/v1/schedules:lines", params, _whole(lines), kind),
            lambda: True,
            can_repeat=lambda: iter(lines) is not lines,
        )
        return self._link.read(answer, lambda values: str(values["lines"]))

    def apply_schedules(
        self,
        schedules: Mapping[str, Mapping[str, Any]],
        *,
        account: str = "default",
        remove_others: bool = False,
        dry_run: bool = False,
    ) -> list[ScheduleChange]:
        """Make schedules what is said of them; returns what that changes."""
        flags = {"remove_others": remove_others, "dry_run": dry_run}
        return self._link.ask(
            "PUT",
            "/v1/schedules",
            partial(_each, "changes", models.read_schedule_change),
            params={"account": account, **{name: "true" for name in flags if flags[name]}},
            content=orjson.dumps({"schedules": schedules}),
            timeout=_LONG,
        )

    def list_schedules(self, account: str = "default") -> list[Schedule]:
        """Read the schedules by name, each with its newest firing, and its next ones."""
        return self._read("/v1/schedules", partial(_each, "schedules", read_values), account)

    def get_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Read a schedule, with its last firings and its next ones."""
        return self._to_schedule("GET", name, account)

    def pause_schedule(self, name: str, reason: str = "", *, account: str = "default") -> Schedule:
        """Have a schedule make no firings until it is resumed."""
        return self._to_schedule("POST", name, account, "/pause", reason=reason)

    def resume_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """End a schedule's pause; for its time nothing is made up."""
        return self._to_schedule("POST", name, account, "/resume")

    def fire_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Have a schedule fire once, now; sent once: a second time would fire twice."""
        return self._to_schedule("POST", name, account, "/fire")

    def backfill_schedule(
        self, name: str, since: datetime, until: datetime, *, account: str = "default"
    ) -> Schedule:
        """Have a schedule fire for each past time that has not fired, one after the other."""
        times = {"since": since.isoformat(), "until": until.isoformat()}
        return self._to_schedule("POST", name, account, "/backfill", **times)

    def remove_schedule(self, name: str, *, account: str = "default") -> Schedule:
        """Remove a schedule with its history; its jobs go on. Returns it as it was."""
        return self._to_schedule("DELETE", name, account)

    def _to_schedule(
        self, method: str, name: str, account: str, what: str = "", **params: str
    ) -> Schedule:
        if not ids.is_name(name):  # it could lead elsewhere in a path
            raise ScheduleNotFound(name)
        path, given = f"/v1/schedules/{name}{what}", {"account": account, **params}
        may_repeat = method == "GET" or what in {"/pause", "/resume"}
        return self._link.ask(method, path, read_values, params=given, may_repeat=may_repeat)

    def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; runs under way go on."""
        path = f"{_account_path(account)}/pause"
        return self._post(path, partial(_flag, "changed"), {"reason": reason})

    def resume(self, account: str = "default") -> str:
        """End a person's pause of an account; where there is none, its hold.

        Sent once: a second time would end the hold that the first has left.
        """
        return self._link.ask(
            "POST",
            f"{_account_path(account)}/resume",
            lambda found: str(found["ended"] or ""),
            may_repeat=False,
        )

    def set_limits(
        self, values: Mapping[str, float | None], account: str = "default"
    ) -> AccountLimits:
        """Set limits live: they win over the workers' environments until they are reset."""
        limits.set_limits(account, values)  # refuses what is wrong
        return self._link.ask(
            "PATCH" if values else "GET",
            f"{_account_path(account)}/limits",
            models.read_limits,
            content=orjson.dumps(dict(values)) if values else None,
        )

    def audit(
        self, account: str = "default", *, before: str = "", limit: int = 50
    ) -> list[AuditEntry]:
        """Read what people did, the newest first."""
        read = partial(_each, "entries", models.read_entry)
        return self._read("/v1/audit", read, account, before=before or None, limit=limit)

    def workers(self, account: str = "default") -> list[Process]:
        """Read the worker processes of an account, 200 at most, the one last heard of first."""
        return self._read("/v1/workers", partial(_each, "workers", models.read_worker), account)

    def _some(self, account: str | None) -> list[str]:
        return self.accounts() if account is None else [account]

    def _read(self, path: str, parse: Callable[[Any], T], account: str, **params: Any) -> T:
        """Read something of an account."""
        return self._link.ask("GET", path, parse, params={"account": account, **params})

    def _set(
        self, path: str, parse: Callable[[Any], T], values: dict[str, Any] | None, account: str
    ) -> T:
        """Set something of an account; None = clear it."""
        return self._link.ask(
            "DELETE" if values is None else "PUT",
            path,
            parse,
            params={"account": account},
            content=None if values is None else orjson.dumps(values),
        )

    def _post(
        self,
        path: str,
        parse: Callable[[Any], T],
        values: dict[str, Any],
        *,
        account: str | None = None,
        **options: Any,
    ) -> T:
        """Send values as JSON; options as for `GatewayLink.ask`."""
        params, content = {"account": account}, orjson.dumps(values)
        return self._link.ask("POST", path, parse, params=params, content=content, **options)


def _checked(jobs: Iterable[Handed]) -> Iterator[JobSpec]:
    for position, job in enumerate(jobs):
        try:
            yield check(job)
        except InvalidJob as error:
            raise placed(error, f"[{position}].") from None


def _parts(items: Collection[str]) -> Iterator[list[str]]:
    """Yield as many items as one call takes."""
    left = list(items)
    while left:
        yield left[:ACTS]
        del left[:ACTS]


def _each(name: str, read: Callable[[Any], T], values: Any) -> list[T]:
    return [read(one) for one in values[name]]


def _whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines in parts that are worth sending."""
    part = bytearray()
    for line in lines:
        part += line.rstrip(b"\n") + b"\n"
        if len(part) >= _PART:
            yield bytes(part)
            part.clear()
    yield bytes(part)


def _flag(name: str, values: Any) -> bool:
    return bool(values[name])


def _done(values: Any) -> int:
    return models.read_count(values, "done")


def _of_filter(wanted: Filter) -> dict[str, Any]:
    """Return the parameters of a filter.

    Raises:
        InvalidRequest: it is none.
    """
    found = wanted.checked()
    times = {"since": found.since, "until": found.until}
    params = found._asdict() | {name: at and at.isoformat() for name, at in times.items()}
    params |= {name: "true" if params[name] else None for name in ("is_open", "is_paused")}
    params["metadata"] = [f"{name}={text}" for name, text in dict(found.metadata).items()]
    params["error"] = None if found.error is None else str(found.error)
    return {name: value or None for name, value in params.items()}


def _account_path(account: str) -> str:
    """Return where an account is.

    Raises:
        UnknownAccount: the name is none, and could lead elsewhere.
    """
    if not ids.is_name(account):
        raise UnknownAccount(account)
    return f"/v1/accounts/{account}"


def _path(batch: str) -> str:
    """Return where a batch is read.

    Raises:
        BatchNotFound: it is no id.
    """
    if not ids.is_id(batch):
        raise BatchNotFound(batch)
    return f"/v1/batches/{batch}"


def _rest(page: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    return page["cursor"] or "", tuple(page["unread"])
