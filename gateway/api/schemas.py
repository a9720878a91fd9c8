"""Jobs and batches as answers show them: the values, and their description for the OpenAPI file."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.job_schema import EXAMPLE_ID, with_fields_of
from runqueue import Batch, Enqueued, Job
from runqueue.connection.urls import shown_url
from runqueue.records.batch import BatchStatus

EXAMPLE_BATCH = "nma37qd2mzk4t3xvbu5wy6ae"
_TIME = "2026-11-25T22:59:04.581412+00:00"
_WHEN = Field(examples=[_TIME])
_OUTPUT = {"price": 12.5}


class Answer(BaseModel):
    """The outcome of a job; its other fields are the published ones."""

    model_config = ConfigDict(json_schema_extra=with_fields_of("enqueued"))


class Accepted(Answer):
    """A job is in the queue."""

    status: Literal["new", "known"] = Field(
        description="Known: its key named it before, with the same request; nothing changed.",
        examples=["new"],
    )


class Answered(Answer):
    """The outcome of one job of many."""

    status: Literal["new", "known", "conflict", "refused"] = Field(
        description="Conflict: its key names a job with another request, which stays. Refused:"
        " another job holds a file of it, or a strict budget is too small for it. Of these two"
        " nothing was stored.",
        examples=["new"],
    )
    error: str | None = Field(None, description="Why it is refused.", examples=[None])


class Counts(BaseModel):
    """Numbers of jobs by outcome."""

    new: int = Field(examples=[1])
    known: int = Field(examples=[0])
    conflict: int = Field(examples=[0])
    refused: int = Field(examples=[0])


class AcceptedMany(BaseModel):
    """The outcomes of many jobs, in the order in which they were submitted."""

    counts: Counts
    jobs: list[Answered]


class Delivery(BaseModel):
    """The delivery of the job's end to its `webhook_url`."""

    state: str = Field(examples=["none"])
    attempts: int = Field(examples=[0])
    status: int | None = Field(examples=[None])
    error: str | None = Field(examples=[None])
    url: str | None = Field(
        None,
        description="Where it goes instead of the request's own URL, without what may be secret.",
        examples=[None],
    )
    settled_at: datetime | None = Field(
        None, description="When it was delivered or abandoned.", examples=[None]
    )
    next_try_at: datetime | None = Field(
        None, description="When it is tried, or checked, again.", examples=[None]
    )


class CandidateShown(BaseModel):
    """A run that no job owns and that may be an unconfirmed job's."""

    run_id: str = Field(examples=["tsk_123"])
    status: str = Field(examples=["running"])
    created_at: datetime | None = Field(
        description="When it was made, as the server's list says.", examples=[None]
    )
    equal: list[str] = Field(
        description="Fields that the server shows as they were sent.", examples=[["prompt", "url"]]
    )
    different: list[str] = Field(
        description="Fields that it shows otherwise.", examples=[["engine"]]
    )


class WaitShown(BaseModel):
    """One reason why something is not submitted now."""

    kind: str = Field(examples=["budget"])
    name: str = Field(
        description="Of the group, the batch or the key; whose budget it is; the kind of the hold.",
        examples=["group:acme"],
    )
    until: datetime | None = Field(
        description="When it ends at the latest; null: nobody knows, or a person ends it.",
        examples=[_TIME],
    )
    needs_person: bool = Field(
        description="Whether it lasts until a person does something.", examples=[False]
    )
    reason: str = Field(description="Of a pause or a hold: why, as it was given.", examples=[""])
    words: str = Field(
        description="All of it in words.",
        examples=[
            "the budget of group acme is spent until 2026-12-01 00:00:00 UTC: 9 of 9 steps a day"
        ],
    )


class JobShown(BaseModel):
    """A job as it is now: a line of a results file, and more.

    Some runs have further fields, such as `recording_url`.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=with_fields_of("job"))

    failure_reason: str | None = Field(
        description="Why there is no result. Lists show its first 500 characters.", examples=[None]
    )
    account: str = Field(examples=["default"])
    namespace: str = Field(examples=[""])
    reason: str | None = Field(description="In our words.", examples=[None])
    cancel_requested: bool = Field(examples=[False])
    on_unconfirmed: str = Field(examples=["auto"])
    search_message: str | None = Field(
        description="Of an unconfirmed job: what the last search for its run came to.",
        examples=[None],
    )
    candidates: list[CandidateShown] = Field(
        description="Of an unconfirmed job: the runs that may be its own.", examples=[[]]
    )
    run_at: datetime | None = Field(examples=[None])
    deadline: datetime | None = Field(examples=[None])
    max_run_seconds: float | None = Field(
        description="The longest that its run may take; null: the account's limit.",
        examples=[None],
    )
    keys: list[str] = Field(
        description="What it uses together with other jobs; limits are set on keys.",
        examples=[["host:shop.example", "login:acme"]],
    )
    waits_for: list[WaitShown] = Field(
        description="Every reason why it is not submitted now, what a person has to end first;"
        " empty: nothing but its turn, or it is past that.",
        examples=[[]],
    )
    webhook: Delivery
    result: dict[str, Any] | None = Field(
        description="The run as Skyvern's API last showed it; null before the end, and if it was"
        " not requested.",
        examples=[{"run_id": "tsk_123", "status": "completed", "output": _OUTPUT}],
    )


class Callback(BaseModel):
    """Deliveries to a batch's `callback_url`: numbers of events."""

    endpoint: str = Field(
        "", description="Whom, without what may be secret.", examples=["https://shop.example"]
    )
    pending: int = Field(examples=[1])
    delivered: int = Field(examples=[1])
    abandoned: int = Field(examples=[0])
    error: str | None = Field(examples=[None])


class Rules(BaseModel):
    """The rules of a batch; null: it has no such rule, or no longer."""

    abort_at_failure_ratio: float | None = Field(None, examples=[0.2])
    abort_after: int | None = Field(None, examples=[50])
    canary: int | None = Field(None, examples=[None])
    canary_ratio: float | None = Field(None, examples=[None])
    expires_after: float | None = Field(None, description="Seconds.", examples=[86400.0])
    callback_at: list[float] = Field([], examples=[[0.5]])


class BatchShown(BaseModel):
    """A batch as it is now."""

    model_config = ConfigDict(extra="allow")

    batch_id: str = Field(examples=[EXAMPLE_BATCH])
    account: str = Field(examples=["default"])
    name: str = Field(examples=["prices"])
    status: BatchStatus = Field(examples=["in_progress"])
    sealed: bool = Field(description="Whether it is accepted.", examples=[True])
    held: str | None = Field(
        description="Why none of it is submitted now; null: nothing holds it.", examples=[None]
    )
    held_reason: str | None = Field(description="What a rule that aborted it saw.", examples=[None])
    total: int = Field(description="Its jobs.", examples=[1000])
    request_counts: dict[str, int] = Field(
        examples=[{"total": 1000, "completed": 90, "failed": 0, "canceled": 0, "dead": 0}]
    )
    states: dict[str, int] = Field(examples=[{"ready": 900, "running": 10, "completed": 90}])
    is_over: bool = Field(
        description="Whether every job of it has ended. One that was aborted, or has expired, is"
        " not over while jobs wait in it: `status` says whether anything happens by itself.",
        examples=[False],
    )
    created_at: datetime = _WHEN
    sealed_at: datetime | None = _WHEN
    canceled_at: datetime | None = Field(examples=[None])
    finished_at: datetime | None = Field(examples=[None])
    expires_at: datetime | None = Field(
        None, description="When it is too late for what was not submitted.", examples=[None]
    )
    eta: datetime | None = Field(
        None, description="When it will be over, at the rate of the last jobs.", examples=[_TIME]
    )
    seconds_left: float | None = Field(None, description="Until then.", examples=[1234.5])
    eta_note: str | None = Field(
        None, description="Why there is no eta although jobs are to end.", examples=[None]
    )
    waits_for: list[WaitShown] = Field(
        [], description="Why jobs of it are not submitted now, as of a job.", examples=[[]]
    )
    paused_group: str | None = Field(
        None, description="A paused group in which jobs of it wait.", examples=[None]
    )
    callback: Callback | None = Field(
        None, description="Where it has a `callback_url`.", examples=[None]
    )
    rules: Rules = Field(default_factory=Rules, description="What it does by itself.")


class BatchesShown(BaseModel):
    """A page of batches."""

    batches: list[BatchShown]
    cursor: str | None = Field(
        description="The `cursor` of the next page; null: this is the last.",
        examples=[None],
    )
    unread: list[str] = Field(
        description="Batches of this page that cannot be read; they are left out.", examples=[[]]
    )


class StepShown(BaseModel):
    """One step of a job's life."""

    at: datetime = _WHEN
    what: str = Field(examples=["running: its run is known"])
    cause: str = Field(description="Why; '' = that goes without saying.", examples=["tsk_123"])
    attempt: int | None = Field(description="Which attempt it is of, if of any.", examples=[1])
    ahead: bool = Field(description="Whether it is yet to come.", examples=[False])


class TimelineShown(BaseModel):
    """The request of a job, and the steps of its life."""

    job_id: str = Field(examples=[EXAMPLE_ID])
    request: dict[str, str | int] = Field(
        description="The fields that may be shown; URLs without user, query and fragment.",
        examples=[{"prompt": "Read the price.", "max_steps": 10}],
    )
    request_hidden: list[str] = Field(
        description="The names of its other fields, which may hold secrets.",
        examples=[["totp_identifier"]],
    )
    timeline: list[StepShown]
    earlier_runs: list[str] = Field(description="Ids of runs that it had before.", examples=[[]])


class JobsShown(BaseModel):
    """A page of jobs, without their results."""

    jobs: list[JobShown]
    cursor: str | None = Field(
        description="The `cursor` of the next page; null: this is the last.",
        examples=["ended-20782:1:17:4:"],
    )
    unread: list[str] = Field(
        description="Jobs of this page that cannot be read; they are left out.", examples=[[]]
    )


class GroupShown(BaseModel):
    """A group as it is now."""

    group: str = Field(examples=["shop-a"])
    account: str = Field(examples=["default"])
    max_concurrent: int | None = Field(
        description="Its slots at most; null: as many as there are.", examples=[2]
    )
    paused: bool = Field(description="Whether nothing of it is submitted.", examples=[False])
    live: int = Field(description="Slots that it takes now.", examples=[1])
    waiting: bool = Field(description="Whether ready jobs of it are waiting.", examples=[True])


class GroupsShown(BaseModel):
    """The groups that have settings or ready jobs, 1,000 at most."""

    groups: list[GroupShown]


class KeyShown(BaseModel):
    """A key as it is now, or a pattern for many keys, of which the limit is shown."""

    key: str = Field(examples=["host:shop.example"])
    max_concurrent: int | None = Field(
        description="How many jobs may have it at a time; null: there is no such limit.",
        examples=[2],
    )
    interval_seconds: float | None = Field(
        description="Seconds between two jobs that begin; null: there is no such limit.",
        examples=[None],
    )
    live: int = Field(description="Jobs and orphan runs that have it.", examples=[2])
    waiting: int = Field(description="Jobs that wait for it.", examples=[14])
    waiting_since: datetime | None = Field(
        description="When the first of them was enqueued.", examples=[None]
    )
    has_limit: bool = Field(
        description="Whether it has a limit of its own, if only one that lets any number go.",
        examples=[True],
    )
    paused_until: datetime | None = Field(
        description="Of a browser session that Skyvern calls occupied: until when no job gets it.",
        examples=[None],
    )


class KeysShown(BaseModel):
    """The keys that have limits, and those at which jobs wait, 1,000 of each at most."""

    keys: list[KeyShown]


class BudgetShown(BaseModel):
    """A budget as it is now; of one for each of many keys, of one key."""

    scope: str = Field(description="What it is set for.", examples=["key:customer:*"])
    target: str = Field(
        description="What the figures are of: the scope, or a key of it.",
        examples=["key:customer:acme"],
    )
    steps: int = Field(description="How many steps runs may take.", examples=[5000])
    per: str = Field(examples=["day"])
    timezone: str = Field(examples=["Europe/Berlin"])
    strict: bool = Field(examples=[False])
    expected: int = Field(
        description="Steps that a run is expected to take until one has ended.", examples=[10]
    )
    resets_at: datetime | None = Field(description="When its window ends; null: never.")
    spent: int = Field(description="Steps of the runs that ended in it.", examples=[4170])
    estimated_runs: int = Field(
        description="Runs of these whose steps are not known: they count as expected.", examples=[0]
    )
    live: int = Field(description="Runs that are live.", examples=[12])
    committed: float = Field(
        description="Steps that these are expected to take, or may take if it is strict.",
        examples=[96.0],
    )
    mean_steps: float | None = Field(
        description="Steps a run so far; null: none has ended.", examples=[8.0]
    )
    left: float = Field(description="Steps that are neither spent nor committed.", examples=[734.0])
    next_check_at: datetime | None = Field(
        description="When what waits for it is checked again; null: nothing waits.",
        examples=[None],
    )


class BudgetsShown(BaseModel):
    """The budgets; of one for each of many keys, the 20 keys that took most."""

    budgets: list[BudgetShown]


_OF_ANSWERS = ("job_id", "status", "state", "custom_id", "batch", "created_at")


def answer_values(answer: Enqueued) -> dict[str, Any]:
    """Return the answer to one submitted job."""
    values = {name: getattr(answer, name) for name in _OF_ANSWERS}
    return values if answer.fault is None else {**values, "error": str(answer.fault)}


def job_values(job: Job, *, result: bool) -> dict[str, Any]:
    """Return a job as answers show it.

    Args:
        job: the job.
        result: with its result, and the fields read from it.
    """
    url = job.webhook.url
    return {
        **job.as_row(),
        **{name: getattr(job, name) for name in JobShown.model_fields},
        "candidates": [candidate.as_dict() for candidate in job.candidates],
        "waits_for": [wait.as_dict() for wait in job.waits_for],
        "webhook": job.webhook._replace(url=url and shown_url(url))._asdict(),
        "result": job.result if result else None,
    }


def batch_values(batch: Batch) -> dict[str, Any]:
    """Return a batch as answers show it."""
    shown = batch.as_dict()
    return {"batch_id": shown.pop("batch"), "total": shown.pop("jobs"), **shown}
