"""A job's public view; a batch's is in `batch.py`, an account's in `account.py`.

States, and how a job moves between them:

    scheduled   → ready | canceled | dead (deadline) | unconfirmed (see below)
    ready       → submitting | canceled | dead (deadline) | unconfirmed (see below)
    submitting  → ready (surely no run) | running | unconfirmed (not known) | dead (refused)
    unconfirmed → running (its run was found) | ready (there is none, or an operator says so)
                  | scheduled (its worker died) | canceled (requested, and there is no run)
                  | dead (deadline, crash loop, an operator)
    running     → completed | failed | canceled | scheduled (its `retry` has it run again)
    dead, failed, canceled → ready (replayed)

Where it would go back to ready, a job goes to canceled if that was requested meanwhile, and to dead
if its deadline has passed. A run id that names a later attempt than the record knows (Redis lost
the claim) takes a scheduled or ready job to running as well; a run without a marker that may be of
a claim that Redis lost takes it to unconfirmed.

`failed` means that the run failed, was terminated or timed out (`run_status` says which). `dead`
means that no run is known and a person is needed. A cancel whose end is not known yet is a flag
(`cancel_requested`), not a state.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from runqueue.errors import FieldError
from runqueue.records.as_json import json_object
from runqueue.records.delivery import NO_WEBHOOK, DeliveryState, WebhookDelivery
from runqueue.records.run_figures import Usage, read_usage
from runqueue.records.waits import Wait
from runqueue.request.job_spec import Priority
from runqueue.request.metadata import entries_of
from runqueue.request.time_range import from_microseconds

#: What a line of a results file has of a run where there is something, and what kind of value.
RESULT_FIELDS: Final = {
    "app_url": "text",
    "recording_url": "text",
    "screenshot_urls": "json",
    "downloaded_files": "json",
    "result_omitted": "flag",
}
#: The columns of a table of results (`Job.as_row`), and what kind of value each has. Values of
#: Skyvern's API have any shape: they are JSON.
COLUMNS: Final = {
    "custom_id": "text",
    "job_id": "text",
    "state": "text",
    "run_id": "text",
    "run_status": "text",
    "output": "json",
    "failure_reason": "text",
    "failure_category": "text",
    "attempts": "whole",
    "runs": "whole",
    **dict.fromkeys(Usage._fields, "whole"),
    "kind": "text",
    "priority": "text",
    "group": "text",
    "batch": "text",
    "keys": "json",
    "metadata": "json",
    "created_at": "time",
    "started_at": "time",
    "ended_at": "time",
    "webhook": "text",
    **RESULT_FIELDS,
}


class JobState(StrEnum):
    """A job's state; the transitions are drawn at the top of this module."""

    SCHEDULED = "scheduled"
    READY = "ready"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    DEAD = "dead"

    @property
    def is_over(self) -> bool:
        """Return whether the job has ended."""
        return self in _OVER


_OVER = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.DEAD})


class EnqueueStatus(StrEnum):
    """What became of a job that was enqueued."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"
    REFUSED = "refused"

    @property
    def is_stored(self) -> bool:
        """Return whether the job is in the queue."""
        return self in _STORED


_STORED = frozenset({EnqueueStatus.NEW, EnqueueStatus.KNOWN})


class Enqueued(NamedTuple):
    """The answer to one job enqueued.

    Args:
        job_id: the job's id; with an idempotency key the same key gives the same id.
        status: new; known (same key, same body: nothing changed); conflict (the key has another
            body); or refused (`fault` says why). Of the last two nothing was stored.
        custom_id: the job's idempotency key.
        state: the job's state now.
        batch: the batch the job belongs to, if any.
        created_at: when the job was first enqueued.
        fault: of one that is refused: the field that another job conflicts with (state and time
            are that job's then), or that a strict budget refuses.
    """

    job_id: str
    status: EnqueueStatus
    custom_id: str | None
    state: JobState
    batch: str | None
    created_at: datetime
    fault: FieldError | None = None


class Orphan(NamedTuple):
    """A run of ours that no job owns.

    Args:
        run_id: Skyvern's name for it.
        job_id, attempt: what it was submitted for.
        since: when it was found to have no owner.
        why: how that came.
    """

    run_id: str
    account: str
    job_id: str
    attempt: int
    since: datetime
    why: str


#: What Skyvern calls runs.
_RUN_ID = re.compile(r"(?:tsk|wr)_[A-Za-z0-9_-]{1,120}")


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id: tsk_… or wr_…"""
    return _RUN_ID.fullmatch(text) is not None


class Candidate(NamedTuple):
    """A run that no job owns and that may be an unconfirmed job's.

    Args:
        run_id: Skyvern's name for it.
        status: as the list of runs showed it.
        created_at: when it was made, as the list says; None = it does not.
        equal: the fields of the request that the server shows as they were sent.
        different: those that it shows otherwise.
    """

    run_id: str
    status: str
    created_at: datetime | None = None
    equal: tuple[str, ...] = ()
    different: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return json_object(self)


_CANDIDATES = TypeAdapter(tuple[Candidate, ...])


def read_candidates(raw: bytes | str | None) -> tuple[Candidate, ...]:
    """Read the candidates of a job's record, or of an answer; none of what is no such list."""
    try:
        return _CANDIDATES.validate_json(raw) if raw else ()
    except ValidationError:
        return ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now; a snapshot, read again with `RunQueue.get`.

    Args:
        attempts: how many times it was claimed for submission (the marker's number), counted on
            from a discarded job that had its key for another request. What is given back because
            the account was in trouble counts here, and against no limit of the job.
        runs: how many runs of it have ended; `retry.max_attempts` bounds those since it was last
            replayed.
        steps, credits, cached_credits, credits_estimated: what its runs took, all together; see
            `Usage`. Lists, which read no results, do not know the steps of a job whose one run
            reported no credits.
        failure_category: why its last run failed, in a word of Skyvern's; None = not known.
        reason: why it is dead, unconfirmed, failed or canceled, in words.
        result: the run as Skyvern's API last gave it, parsed; None before the end.
        on_unconfirmed: what becomes of it when its answer was lost: auto, hold or resubmit.
        webhook: how the news of its end got to the request's `webhook_url`.
        search_message: of an unconfirmed job, what the last search for its run came to.
        candidates: of an unconfirmed job, the runs that may be its own.
        max_run_seconds: the longest that its run may take; None = the account's limit.
        keys: what it uses together with other jobs: those that it names, and those that follow
            from its request.
        metadata: its own names and texts; its batch's are its batch's.
        waits_for: every reason why it is not submitted now, what a person has to end first; () =
            nothing but its turn, or it is past that. See `waits.read_waits`.
        workflow: which one it runs; None = none, or its request was dropped.
        archived: whether an archive alone has its request, its reason and its result.
        paused_since: since when its run waits for a person; None = it does not. paused_url: where
            the person decides; None = not known yet.
    """

    id: str
    account: str
    kind: str
    state: JobState
    custom_id: str | None
    namespace: str
    priority: Priority
    group: str
    batch: str | None
    attempts: int
    runs: int
    run_id: str | None
    run_status: str | None
    reason: str | None
    cancel_requested: bool
    created_at: datetime
    run_at: datetime | None
    deadline: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    result: dict[str, Any] | None = field(default=None, repr=False)
    on_unconfirmed: str = "auto"
    webhook: WebhookDelivery = NO_WEBHOOK
    traceparent: str = ""
    search_message: str | None = None
    candidates: tuple[Candidate, ...] = ()
    max_run_seconds: float | None = None
    keys: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict, repr=False, hash=False)
    waits_for: tuple[Wait, ...] = ()
    steps: int | None = None
    credits: int | None = None
    cached_credits: int | None = None
    credits_estimated: int | None = None
    failure_category: str | None = None
    paused_since: datetime | None = None
    paused_url: str | None = None
    workflow: str | None = None
    archived: bool = False

    @property
    def usage(self) -> Usage:
        """What its runs took."""
        return Usage(self.steps, self.credits, self.cached_credits, self.credits_estimated)

    @property
    def is_over(self) -> bool:
        """Return whether the job has ended."""
        return self.state.is_over

    @property
    def output(self) -> Any:
        """What the run brought, as Skyvern's API gave it."""
        return self.result.get("output") if self.result else None

    @property
    def failure_reason(self) -> str | None:
        """Why there is no result: our own reason, such as a deadline, else the run's words.

        A list, which reads no results, has the first 500 characters of the run's words.
        """
        words = self.result.get("failure_reason") if self.result else None
        if self.reason and self.state is not JobState.COMPLETED:
            return words if self.reason == short_reason(words) else self.reason
        return str(words) if words else None

    def as_row(self) -> dict[str, Any]:
        """Return the job as a line of a results file."""
        result = self.result or {}
        row: dict[str, Any] = {
            "custom_id": self.custom_id,
            "job_id": self.id,
            "state": self.state.value,
            "run_id": self.run_id,
            "run_status": self.run_status,
            "output": self.output,
            "failure_reason": self.failure_reason,
            "failure_category": self.failure_category,
            "attempts": self.attempts,
            "runs": self.runs,
            **self.usage._asdict(),
            "kind": self.kind,
            "priority": self.priority.name.lower(),
            "group": self.group,
            "batch": self.batch,
            "keys": list(self.keys),
            "metadata": self.metadata,
            "created_at": self.created_at.isoformat(),
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "webhook": self.webhook.state.value,
        }
        return row | {name: result[name] for name in RESULT_FIELDS if result.get(name) is not None}


def read_job(
    account: str,
    job_id: str,
    fields: Mapping[str, bytes],
    envelope: tuple[str, str | None, str, str, str | None],
    *,
    is_batch_canceled: bool = False,
    result: dict[str, Any] | None = None,
    waits_for: tuple[Wait, ...] = (),
) -> Job:
    """Read a job's record.

    Args:
        account: whose it is.
        job_id: its id.
        fields: the record.
        envelope: its kind, custom_id, namespace, traceparent and workflow.
        is_batch_canceled: whether its batch was; the sweep may not have come to it yet.
        result: its result.
        waits_for: why it is not submitted now.
    """
    kind, custom_id, namespace, traceparent, workflow = envelope
    state = JobState(fields["state"].decode())
    if is_batch_canceled and state in {JobState.READY, JobState.SCHEDULED}:
        state = JobState.CANCELED
    is_deferred = "deferred" in fields  # for a budget: its time is not its user's
    batch = text(fields.get("batch"))
    return Job(
        id=job_id,
        account=account,
        kind=kind,
        state=state,
        custom_id=custom_id,
        namespace=namespace,
        priority=Priority(int(fields.get("priority", Priority.NORMAL))),
        group=fields.get("group", b"default").decode(),
        batch=None if batch == "-" else batch,
        attempts=int(fields.get("attempt", 0)),
        runs=int(fields.get("runs", 0)) + int(fields.get("past_runs", 0)),
        run_id=text(fields.get("run_id")),
        run_status=text(fields.get("run_status")),
        reason=None if is_deferred else text(fields.get("reason")),
        cancel_requested="cancel" in fields,
        created_at=from_microseconds(int(fields["created"])),
        run_at=None if is_deferred else moment(fields.get("run_at")),
        deadline=moment(fields.get("deadline")),
        started_at=moment(fields.get("started")),
        ended_at=moment(fields.get("ended")),
        result=result,
        on_unconfirmed=fields.get("on_unconfirmed", b"auto").decode(),
        webhook=_webhook(fields),
        traceparent=traceparent,
        search_message=text(fields.get("search_message")),
        candidates=read_candidates(fields.get("candidates")),
        max_run_seconds=int(fields["max_run"]) / 1e6 if "max_run" in fields else None,
        keys=tuple((text(fields.get("keys")) or "").split()),
        metadata=entries_of(fields.get("metadata")),
        waits_for=waits_for,
        **_usage(fields.get("usage"), result)._asdict(),
        failure_category=text(fields.get("category")) or None,
        paused_since=moment(fields.get("paused_since")),
        paused_url=text(fields.get("paused_url")),
        workflow=workflow,
        archived="archived" in fields,
    )


def _usage(raw: bytes | None, result: dict[str, Any] | None) -> Usage:
    """Read what a job's runs took: where one run reported its steps alone, its result has them."""
    steps = (result or {}).get("step_count")
    return read_usage(raw) if raw or type(steps) is not int else Usage(steps)


def _webhook(fields: Mapping[str, bytes]) -> WebhookDelivery:
    status = fields.get("delivery_status")
    return WebhookDelivery(
        state=DeliveryState(fields.get("delivery", b"none").decode()),
        attempts=int(fields.get("tries", 0)),
        status=int(status) if status else None,
        error=text(fields.get("delivery_error")),
        url=text(fields.get("url")),
        settled_at=moment(fields.get("delivery_at")),
        next_try_at=moment(fields.get("next_try")),
    )


def moment(microseconds: bytes | str | float | None) -> datetime | None:
    """Return microseconds since 1970 as an aware time; None stays None."""
    if microseconds is None or microseconds == b"":
        return None
    return from_microseconds(int(microseconds))


def parse_result(raw: bytes) -> dict[str, Any] | None:
    """Return a stored result as an object; None where it is none."""
    if not raw:
        return None
    try:
        result = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return result if isinstance(result, dict) else None


def text(raw: bytes | None) -> str | None:
    """Return a field as text, whatever its bytes are; None stays None."""
    return None if raw is None else raw.decode(errors="replace")


def fields_of(flat: Any) -> dict[str, bytes]:
    """Return a HGETALL inside a script's reply (a flat list) as a dict."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


# How runs end, in Skyvern's words and in ours.

#: What Skyvern calls the ends of a run, and what the job is then.
STATES: Final = {
    "completed": "completed",
    "canceled": "canceled",
    "failed": "failed",
    "terminated": "failed",
    "timed_out": "failed",
}
#: Characters of a run's failure reason that its job's record keeps, for lists and filters, which
#: read no results. The result has all of it.
REASON_CHARS: Final = 500


def short_reason(words: object) -> str:
    """Return the beginning of a run's failure reason, as a record keeps it; '' if it has none."""
    if not isinstance(words, str):
        return ""
    # Half a surrogate pair is no UTF-8.
    return words[:REASON_CHARS].encode(errors="replace").decode()
