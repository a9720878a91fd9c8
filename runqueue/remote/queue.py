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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Self, Unpack

import orjson

from runqueue import ids
from runqueue.errors import (
    BatchCanceled,
    BatchNotFound,
    FieldError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidBudget,
    InvalidGroup,
    InvalidJob,
    InvalidKeyLimit,
    InvalidRequest,
    JobNotFound,
    RunQueueError,
    UnknownAccount,
)
from runqueue.operator.selection import Settled
from runqueue.producer.chunks import Handed, check, placed
from runqueue.producer.handles import QueuedJob
from runqueue.producer.upload_report import LineConflict
from runqueue.records.account import AccountStats
from runqueue.records.batch import (
    NO_RULES,
    Batch,
    BatchPage,
    BatchRules,
    BatchStatus,
    JobPage,
    Retried,
)
from runqueue.records.job import Enqueued, Job, JobState
from runqueue.records.reasons import check_words
from runqueue.remote.connection import GatewayLink, T
from runqueue.remote.models import (
    line_of,
    read_answer,
    read_batch,
    read_budget_use,
    read_count,
    read_group,
    read_job,
    read_key_use,
    read_retried,
    read_stats,
    read_warnings,
)
from runqueue.remote.results import result_rows
from runqueue.remote.upload import Uploaded, callback_header, upload
from runqueue.request.job_options import EnqueueOptions
from runqueue.request.job_spec import JobSpec
from runqueue.request.private_targets import FieldWarning, log_warnings
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import AnyRunRequest
from runqueue.request.time_range import check_range
from runqueue.request.validation_errors import size_words
from runqueue.store import budgets, groups, key_limits
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import KEEP, Group, Keep
from runqueue.store.key_limits import KeyLimit, KeyUse

__all__ = ["FieldWarning", "LineConflict", "RemoteQueue", "Uploaded"]

#: Jobs, and bytes of them, that the gateway takes in one call.
MOST_JOBS, MOST_BYTES = 1_000, 4 * 1024 * 1024
#: Seconds that one call waits for a job's end, at most; and for what goes through all of a batch.
_WAIT, _LONG = 30.0, 300.0
_JSON = {"content-type": "application/json"}


class RemoteQueue:
    """The queue, over HTTP; thread-safe, with the names and types of `RunQueue`.

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
        """Enqueue one run request; arguments and errors as for `RunQueue.enqueue`.

        Without a key a job whose answer is lost is not sent a second time: it may be there.
        """
        spec = JobSpec.of(request, checks=self._checks, **options)
        key = spec.custom_id or ""
        used = IdempotencyConflict(key, ids.job_id_for(spec.account, spec.namespace, key))
        answer = self._link.ask(
            "POST",
            "/v1/jobs",
            _warned(read_answer),
            content=line_of(spec),
            headers=_JSON,
            may_repeat=bool(key),
            meant={409: used},
            refused=InvalidJob,
        )
        return QueuedJob.of(answer, self)

    def enqueue_many(self, jobs: Iterable[Handed]) -> list[Enqueued]:
        """Enqueue up to 1,000 jobs (4 MiB); all of them are accepted, or none.

        `upload` takes any number. Jobs whose answer is lost are sent a second time only if all of
        them have a key.

        Args:
            jobs: request objects, `JobSpec`s, or lines of a batch file (objects or JSON text).

        Returns:
            One answer a job, in order; a job whose key was used for another body is `conflict`.

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
            _warned(lambda values: list(map(read_answer, values["jobs"]))),
            content=body,
            headers=_JSON,
            may_repeat=all(spec.custom_id for spec in specs),
            refused=InvalidJob,
        )

    def get(self, job_id: str) -> Job:
        """Read a job, its result included.

        Raises:
            JobNotFound: no such job is on record.
        """
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
        self,
        method: str,
        job_id: str,
        what: str,
        parse: Callable[[Any], T],
        *,
        meant: Mapping[int, RunQueueError] | None = None,
        **options: Any,
    ) -> T:
        """Read a job, or do something to it; options as for `GatewayLink.ask`."""
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        meant = {404: JobNotFound(job_id), **(meant or {})}
        return self._link.ask(method, f"/v1/jobs/{job_id}{what}", parse, meant=meant, **options)

    def _to_batch(self, batch: str, what: str, parse: Callable[[Any], T], **options: Any) -> T:
        """Do something to a batch; options as for `GatewayLink.ask`."""
        path = f"{_path(batch)}/{what}"
        return self._link.ask("POST", path, parse, meant=_of(batch), **options)

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
        while True:
            left = give_up - time.monotonic()
            job = self._get(job_id, wait=max(0.0, min(left, _WAIT)))
            if job.is_over:
                return job
            if time.monotonic() >= give_up:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout} s")

    def cancel(self, job_id: str) -> JobState:
        """Cancel a job and return its state; as `RunQueue.cancel`.

        Raises:
            JobNotFound: no such job is on record.
        """
        return self._of_job("POST", job_id, "/cancel", lambda values: JobState(values["state"]))

    def stats(self) -> dict[str, AccountStats]:
        """Read the statistics of every account that the token is for."""
        return self._link.ask(
            "GET",
            "/v1/stats",
            lambda values: {name: read_stats(name, one) for name, one in values.items()},
        )

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
    ) -> Uploaded:
        """Submit a batch of any length, in constant memory.

        None of it runs before all of it is there. An upload that breaks off is sent again if
        `lines` can be gone through again (a list, an object with `__iter__`; no generator). Where
        all was sent and only the answer was lost, it is sent again only if every line has a
        `custom_id`: lines without one would become second jobs.

        Args:
            lines: the jobs, as `enqueue_many` takes them; a file's lines may have their newlines.
            name: shown to people.
            account, namespace: of jobs that name none; a `JobSpec` names its account.
            skip_invalid: accept the good lines although others are bad.
            rules: what the batch does by itself when its jobs end badly.

        Raises:
            InvalidJob: lines are bad, named `line N: field`, or JSON cannot carry one, whatever
                `skip_invalid` says; nothing was accepted.
            InvalidBatch: the gateway does not know the rules.
            UnknownAccount: no worker ever served this account.
        """
        options = {
            "name": name,
            "account": account,
            "namespace": namespace,
            "skip_invalid": "true" if skip_invalid else "",
        }
        return upload(self._link, lines, options, rules)

    def get_batch(self, batch: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        return self._link.ask("GET", _path(batch), read_batch, meant=_of(batch))

    def list_batches(
        self,
        account: str = "default",
        *,
        status: BatchStatus | str | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> BatchPage:
        """Read a page of batches, the newest first.

        Args:
            account: whose.
            status: only such batches.
            cursor: that of the page before; '' = the first page.
            limit: how many, 1,000 at most.
        """
        chosen = {"account": account, "status": status, "cursor": cursor or None, "limit": limit}
        return self._link.ask(
            "GET",
            "/v1/batches",
            lambda page: BatchPage([read_batch(one) for one in page["batches"]], *_rest(page)),
            params=chosen,
        )

    def cancel_batch(self, batch: str) -> int:
        """Cancel every job of a batch, whatever its size; returns how many it has.

        Raises:
            BatchNotFound: no such batch is on record.
        """
        read = partial(read_count, name="jobs")
        return self._to_batch(batch, "cancel", read, timeout=_LONG)

    def pause_batch(self, batch: str) -> Batch:
        """Submit nothing more of a batch until it is resumed; runs under way go on.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
        """
        return self._to_batch(batch, "pause", read_batch)

    def resume_batch(self, batch: str) -> Batch:
        """Go on with a batch that was paused or that its rules hold; as `RunQueue.resume_batch`.

        Sent once: a second time might end what came to hold it in between.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
        """
        return self._to_batch(batch, "resume", read_batch, may_repeat=False)

    def retry_callbacks(self, batch: str, url: str | None = None) -> int:
        """Have the callbacks of a batch sent again that were given up; as `RunQueue` has it.

        Sent once: a second time would not know how many there were.

        Raises:
            BatchNotFound: no such batch is on record.
            InvalidBatch: the url is none; nothing was done.
        """
        given = BatchRules(callback_url=url).callback_url
        return self._to_batch(
            batch,
            "retry-callbacks",
            _warned(partial(read_count, name="callbacks")),
            headers=callback_header(given) if given else None,
            may_repeat=False,
            refused=InvalidBatch,
        )

    def retry_failed(
        self, batch: str, *, reason: str | None = None, canceled: bool = False
    ) -> Retried:
        """Have the dead and failed jobs of a batch done again; as `RunQueue.retry_failed`.

        Sent once: a second time would have those done again that failed in between.

        Raises:
            BatchNotFound: no such batch is on record.
            BatchCanceled: it was canceled.
            InvalidRequest: an empty reason.
        """
        check_words(reason)
        params = {"reason": reason, "canceled": "true" if canceled else None}
        return self._to_batch(
            batch, "retry-failed", read_retried, params=params, may_repeat=False, timeout=_LONG
        )

    def iter_results(
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
    ) -> Iterator[Job]:
        """Go through jobs that have ended; as `RunQueue.iter_results`.

        A connection that breaks is made again, and goes on where it was. The jobs hold what a line
        of a results file has, and no more: no times to run, no whole result.

        Raises:
            BatchNotFound: no such batch is on record.
            UnknownAccount: no worker ever served this account.
            InvalidRequest: a filter, or a job to begin behind, that is none.
        """
        read = partial(read_job, account=self.get_batch(batch).account if batch else account)
        rows = self.iter_rows(
            batch,
            errors=errors,
            after=after,
            group=group,
            state=state,
            since=since,
            until=until,
            account=account,
        )
        for row in rows:
            yield self._link.checked(read, row)

    def iter_rows(
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
    ) -> Iterator[dict[str, Any]]:
        """Go through the lines of a results file; arguments and errors as for `iter_results`."""
        filters = {"group": group, "state": state, **_times(since, until)}
        if batch is not None:
            if any(filters.values()):
                raise InvalidRequest([FieldError("batch", "expected without a filter")])
            path = f"{_path(batch)}/{'errors' if errors else 'results'}"
            return result_rows(self._link, path, {}, {404: BatchNotFound(batch)}, after=after)
        params = {"account": account, "errors": "true" if errors else None, **filters}
        return result_rows(self._link, "/v1/results", params, {}, after=after, by_end=True)

    def list_jobs(
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
        """Read a page of jobs, without their results; as `RunQueue.list_jobs`."""
        check_words(reason)
        params = {
            "state": state,
            "group": group,
            "batch": batch,
            "reason": reason,
            "custom_id": custom_id,
            "namespace": namespace or None,
            **_times(since, until),
            "account": account,
            "cursor": cursor or None,
            "limit": limit,
        }
        return self._link.ask(
            "GET",
            "/v1/jobs",
            lambda page: JobPage([read_job(one) for one in page["jobs"]], *_rest(page)),
            params=params,
        )

    def replay(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Have dead, failed or canceled jobs done again; returns what came of each.

        One call each, and each sent once: an answer that is lost raises `QueueUnavailable`.
        """
        return {job_id: self._replay(job_id) for job_id in job_ids}

    def _replay(self, job_id: str) -> Settled:
        refused = {409: _NotReplayedError()}
        try:
            self._of_job("POST", job_id, "/replay", dict, may_repeat=False, meant=refused)
        except JobNotFound:
            return Settled.NO_SUCH_JOB
        except _NotReplayedError:
            batch = self._get(job_id, result=False).batch
            canceled = batch is not None and self.get_batch(batch).held == "canceled"
            return Settled.BATCH_CANCELED if canceled else Settled.NOT_ENDED_BADLY
        return Settled.DONE

    def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; as `RunQueue.pause`.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._link.ask(
            "POST",
            f"{_account_path(account)}/pause",
            lambda found: bool(found["changed"]),
            content=orjson.dumps({"reason": reason}),
            headers=_JSON,
        )

    def resume(self, account: str = "default") -> str:
        """End a person's pause of an account, or its hold; as `RunQueue.resume`.

        Sent once: a second time would end the hold that the first has left.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._link.ask(
            "POST",
            f"{_account_path(account)}/resume",
            lambda found: str(found["ended"] or ""),
            may_repeat=False,
        )

    def set_group(
        self,
        name: str,
        *,
        max_concurrent: int | Keep | None = KEEP,
        paused: bool | None = None,
        account: str = "default",
    ) -> Group:
        """Cap a group's share of the account, or pause it; as `RunQueue.set_group`.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidGroup: the name or the cap is none.
        """
        settings: dict[str, Any] = {}
        if max_concurrent is not KEEP:
            settings["max_concurrent"] = max_concurrent
        if paused is not None:
            settings["paused"] = paused
        # Refuses what is wrong; a name that is none could lead elsewhere in a path.
        groups.set_group(account, name, max_concurrent, paused)
        return self._link.ask(
            "PUT",
            f"/v1/groups/{name}",
            read_group,
            params={"account": account},
            content=orjson.dumps(settings),
            headers=_JSON,
            refused=InvalidGroup,
        )

    def groups(self, account: str = "default") -> list[Group]:
        """Read the groups that have settings or ready jobs, 1,000 at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._link.ask(
            "GET",
            "/v1/groups",
            lambda found: [read_group(one) for one in found["groups"]],
            params={"account": account},
        )

    def set_key_limit(
        self, pattern: str, limit: KeyLimit | None, *, account: str = "default"
    ) -> bool:
        """Limit how many jobs use a key; as `RunQueue.set_key_limit`.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidKeyLimit: the pattern or the limit is none.
        """
        # Refuses what is wrong; a pattern that is none could lead elsewhere in a path.
        key_limits.set_limit(account, pattern, limit)
        return self._link.ask(
            "DELETE" if limit is None else "PUT",
            f"/v1/keys/{pattern}",
            lambda found: bool(found["had_limit"]),
            params={"account": account},
            content=None if limit is None else orjson.dumps(limit.as_dict()),
            headers=_JSON,
            refused=InvalidKeyLimit,
        )

    def list_keys(self, account: str = "default") -> list[KeyUse]:
        """Read the keys that have limits, and those at which jobs wait, 1,000 of each at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._link.ask(
            "GET",
            "/v1/keys",
            lambda found: [read_key_use(one) for one in found["keys"]],
            params={"account": account},
        )

    def set_budget(self, scope: str, budget: Budget | None, *, account: str = "default") -> bool:
        """Limit how many steps runs may take; as `RunQueue.set_budget`.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidBudget: the scope or the budget is none.
        """
        # Refuses what is wrong; a scope that is none could lead elsewhere in a path.
        budgets.set_budget(account, scope, budget)
        return self._link.ask(
            "DELETE" if budget is None else "PUT",
            f"/v1/budgets/{scope}",
            lambda found: bool(found["had_budget"]),
            params={"account": account},
            content=None if budget is None else orjson.dumps(budget.as_dict()),
            headers=_JSON,
            refused=InvalidBudget,
        )

    def list_budgets(self, account: str = "default") -> list[BudgetUse]:
        """Read the budgets; of one for each of many keys, the 20 keys that took most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        return self._link.ask(
            "GET",
            "/v1/budgets",
            lambda found: [read_budget_use(one) for one in found["budgets"]],
            params={"account": account},
        )


def _warned(parse: Callable[[Any], T]) -> Callable[[Any], T]:
    """Have the warnings of an answer logged as it is read."""

    def read(values: Any) -> T:
        log_warnings(read_warnings(values))
        return parse(values)

    return read


def _checked(jobs: Iterable[Handed]) -> Iterator[JobSpec]:
    for position, job in enumerate(jobs):
        try:
            yield check(job)
        except InvalidJob as error:
            raise placed(error, f"[{position}].") from None


class _NotReplayedError(RunQueueError):
    """The job is in no state for a replay."""


def _times(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    """Return the parameters of a range of times.

    Raises:
        InvalidRequest: it is none.
    """
    check_range(since, until)
    return {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }


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


def _of(batch: str) -> Mapping[int, RunQueueError]:
    return {404: BatchNotFound(batch), 409: BatchCanceled(batch)}


def _rest(page: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    return page["cursor"] or "", tuple(page["unread"])
