"""`RemoteQueue`: the queue over the gateway's HTTP API, for whom Redis is out of reach.

from runqueue.remote.queue import RemoteQueue

with RemoteQueue("https://queue.example.com") as queue:  # RUNQUEUE_URL, RUNQUEUE_TOKEN
    job = queue.enqueue(TaskRunRequest(prompt="…"), idempotency_key="order-17")
    print(queue.wait(job.job_id).output)

Needs httpx: `pip install 'runqueue[http]'`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Self

from runqueue import ids
from runqueue.errors import (
    FieldError,
    IdempotencyConflict,
    InvalidJob,
    JobNotFound,
)
from runqueue.producer.chunks import Handed, check
from runqueue.producer.handles import QueuedJob
from runqueue.records.account import AccountStats
from runqueue.records.job import Enqueued, Job, JobState
from runqueue.remote.batches import RemoteBatching
from runqueue.remote.connection import GatewayLink
from runqueue.remote.models import (
    line_of,
    read_answer,
    read_job,
    read_stats,
    read_warnings,
)
from runqueue.remote.upload import LineConflict, Uploaded
from runqueue.request.job_spec import JobSpec, Priority
from runqueue.request.private_targets import FieldWarning, log_warnings
from runqueue.request.request_checks import RequestChecks, current_checks, read_checks
from runqueue.request.requests import AnyRunRequest
from runqueue.request.retry_policy import Retry

__all__ = ["FieldWarning", "LineConflict", "RemoteQueue", "Uploaded"]

#: Jobs, and bytes of them, that the gateway takes in one call.
MOST_JOBS, MOST_BYTES = 10_000, 32 * 1024 * 1024
#: Seconds that one call waits for a job's end, at most.
_WAIT = 30.0
_JSON = {"content-type": "application/json"}


class RemoteQueue(RemoteBatching):
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

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

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
        """Hand in one run request; arguments and errors as for `RunQueue.enqueue`.

        Without a key a job whose answer is lost is not handed in a second time: it may be there.
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
        key = spec.custom_id or ""
        used = IdempotencyConflict(key, ids.job_id_for(spec.account, spec.namespace, key))
        answer = self._link.ask(
            "POST",
            "/v1/jobs",
            content=line_of(spec),
            headers=_JSON,
            may_repeat=bool(key),
            meant={409: used},
            refused=InvalidJob,
        )
        log_warnings(self._link.read(answer, read_warnings))
        return QueuedJob.of(self._link.read(answer, read_answer), self)

    def enqueue_many(self, jobs: Iterable[Handed]) -> list[Enqueued]:
        """Hand in up to 10,000 jobs (32 MiB); all of them are accepted, or none.

        `upload` takes any number. Jobs whose answer is lost are handed in a second time only if all
        of them have a key.

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
            most = f"{MOST_JOBS:,} jobs and {MOST_BYTES:,} bytes"
            raise InvalidJob([FieldError("jobs", f"expected at most {most}: upload takes more")])
        if not specs:
            return []
        answer = self._link.ask(
            "POST",
            "/v1/jobs:bulk",
            content=body,
            headers=_JSON,
            may_repeat=all(spec.custom_id for spec in specs),
            refused=InvalidJob,
        )
        log_warnings(self._link.read(answer, read_warnings))
        return self._link.read(answer, lambda values: list(map(read_answer, values["jobs"])))

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
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        params = {"result": "true" if result else "false", "wait": wait or None}
        answer = self._link.ask(
            "GET",
            f"/v1/jobs/{job_id}",
            params=params,
            timeout=_WAIT + wait,
            meant={404: JobNotFound(job_id)},
        )
        return self._link.read(answer, read_job)

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
        """Ask for the end of a job and return its state; as `RunQueue.cancel`.

        Raises:
            JobNotFound: no such job is on record.
        """
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        answer = self._link.ask(
            "POST", f"/v1/jobs/{job_id}/cancel", meant={404: JobNotFound(job_id)}
        )
        return self._link.read(answer, lambda values: JobState(values["state"]))

    def stats(self) -> dict[str, AccountStats]:
        """Read the figures of every account that the token is for."""
        answer = self._link.ask("GET", "/v1/stats")
        return self._link.read(
            answer, lambda values: {name: read_stats(name, one) for name, one in values.items()}
        )

    def accounts(self) -> list[str]:
        """Return the names of the accounts that the token is for."""
        return list(self.stats())


def _checked(jobs: Iterable[Handed]) -> Iterator[JobSpec]:
    for position, job in enumerate(jobs):
        try:
            yield check(job)
        except InvalidJob as error:
            raise InvalidJob(
                [FieldError(f"[{position}].{f.field}", f.message) for f in error.errors]
            ) from None
