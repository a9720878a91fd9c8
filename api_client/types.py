"""Skyvern's answers as frozen models.

They are lenient by design. Servers of many versions answer, and a field or a value that
is not known here must not stop a caller from reading the rest, least of all the id of a run that
was just made: unknown fields are kept, unknown statuses and engines stay the strings they are, a
field in an odd shape is None and kept aside, and only the run's id and status are required.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetPydanticSchema, InstanceOf
from pydantic_core import core_schema

#: A run with one of these statuses is over, unless the server is about to try it again.
TERMINAL_STATUSES = frozenset({"completed", "failed", "terminated", "timed_out", "canceled"})


def is_over(run_status: object, retry_pending: object) -> bool:
    """Say whether a run is over: its status is terminal and no retry of it is pending."""
    return (
        isinstance(run_status, str)
        and run_status in TERMINAL_STATUSES
        and retry_pending is not True
    )


class RunStatus(StrEnum):
    """The status of a run."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    #: Infrastructure; trying again may help.
    FAILED = "failed"
    #: The agent judged the goal out of reach; trying again unchanged gives the same.
    TERMINATED = "terminated"
    #: The step or time budget is used up.
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"


class RunEngine(StrEnum):
    """What executes a task."""

    SKYVERN_V1 = "skyvern-1.0"
    SKYVERN_V2 = "skyvern-2.0"
    SKYVERN_V3 = "skyvern-3.0"
    OPENAI_CUA = "openai-cua"
    ANTHROPIC_CUA = "anthropic-cua"
    UI_TARS = "ui-tars"
    YUTORI_NAVIGATOR = "yutori-navigator"


class ProxyLocation(StrEnum):
    """Where a run's traffic comes from."""

    RESIDENTIAL = "RESIDENTIAL"
    RESIDENTIAL_ES = "RESIDENTIAL_ES"
    RESIDENTIAL_IE = "RESIDENTIAL_IE"
    RESIDENTIAL_GB = "RESIDENTIAL_GB"
    RESIDENTIAL_IN = "RESIDENTIAL_IN"
    RESIDENTIAL_JP = "RESIDENTIAL_JP"
    RESIDENTIAL_FR = "RESIDENTIAL_FR"
    RESIDENTIAL_DE = "RESIDENTIAL_DE"
    RESIDENTIAL_NZ = "RESIDENTIAL_NZ"
    RESIDENTIAL_ZA = "RESIDENTIAL_ZA"
    RESIDENTIAL_AR = "RESIDENTIAL_AR"
    RESIDENTIAL_AU = "RESIDENTIAL_AU"
    RESIDENTIAL_BR = "RESIDENTIAL_BR"
    RESIDENTIAL_TR = "RESIDENTIAL_TR"
    RESIDENTIAL_CA = "RESIDENTIAL_CA"
    RESIDENTIAL_MX = "RESIDENTIAL_MX"
    RESIDENTIAL_IT = "RESIDENTIAL_IT"
    RESIDENTIAL_NL = "RESIDENTIAL_NL"
    RESIDENTIAL_PH = "RESIDENTIAL_PH"
    RESIDENTIAL_KR = "RESIDENTIAL_KR"
    RESIDENTIAL_SA = "RESIDENTIAL_SA"
    RESIDENTIAL_ISP = "RESIDENTIAL_ISP"
    US_CA = "US-CA"
    US_NY = "US-NY"
    US_TX = "US-TX"
    US_FL = "US-FL"
    US_WA = "US-WA"
    NONE = "NONE"


class CredentialType(StrEnum):
    """Where the credential of a login is stored."""

    SKYVERN = "skyvern"
    BITWARDEN = "bitwarden"
    ONEPASSWORD = "1password"
    AZURE_VAULT = "azure_vault"


class SkyvernEnvironment(StrEnum):
    """The base URLs people use by name; newer SDKs say CLOUD and LOCAL."""

    PRODUCTION = "https://api.skyvern.com"
    STAGING = "https://api-staging.skyvern.com"
    DEVELOPMENT = "http://localhost:8000"
    CLOUD = PRODUCTION
    LOCAL = DEVELOPMENT


#: What arguments take: the known values, and any other a newer server may know.
Engine = RunEngine | str
CredentialKind = CredentialType | str
Proxy = ProxyLocation | str | dict[str, Any]
Schema = dict[str, Any] | list[Any] | str


def _utc(value: Any) -> Any:
    """Read a timestamp as UTC, which is what the server means where it names no zone.

    Anything that is none is left for pydantic to judge.
    """
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError):
        return value
    except OverflowError:  # the year 1 in a zone east of Greenwich
        return None


#: A timestamp. Python parses only one that does not itself say that it is in UTC, since a
#: validator in Python costs as much as the rest of a small model.
_Time = Annotated[
    Annotated[datetime, GetPydanticSchema(lambda *_: core_schema.datetime_schema(tz_constraint=0))]
    | Annotated[datetime | None, BeforeValidator(_utc)],
    Field(union_mode="left_to_right"),
]

#: JSON as it was parsed: neither looked through nor copied.
_Object = InstanceOf[dict[str, Any]]

#: A known status becomes the enum's member; a new one stays a string.
Status = Annotated[RunStatus | str, Field(union_mode="left_to_right")]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class FileInfo(_Answer):
    """A file that a run downloaded; the signed `url` expires after 24 hours."""

    url: str
    checksum: str | None = None
    filename: str | None = None
    file_size: int | None = None
    modified_at: _Time | None = None
    artifact_id: str | None = None


class Lenient(_Answer):
    """An answer of which what cannot be read is set aside."""

    #: Fields that came in a shape they cannot have, as they came; they are None here.
    unreadable_fields: dict[str, Any] | None = None


class _RunResponse(Lenient):
    run_id: str = Field(min_length=1)
    status: Status
    run_type: str | None = None
    output: Annotated[
        _Object | InstanceOf[list[Any]] | str | None, Field(union_mode="left_to_right")
    ] = None
    downloaded_files: list[FileInfo] | None = None
    recording_url: str | None = None
    screenshot_urls: list[str] | None = None
    failure_reason: str | None = None
    app_url: str | None = None
    run_request: _Object | None = None
    errors: list[Any] | None = None
    step_count: int | None = None
    attempt: int | None = None
    retry_pending: bool | None = None
    next_attempt_at: _Time | None = None
    created_at: _Time | None = None
    modified_at: _Time | None = None
    queued_at: _Time | None = None
    started_at: _Time | None = None
    finished_at: _Time | None = None

    @property
    def is_over(self) -> bool:
        """Say whether the run is over: a terminal status, and no retry of it pending."""
        return is_over(self.status, self.retry_pending)


class TaskRunResponse(_RunResponse):
    """A run of a task."""


class WorkflowRunResponse(_RunResponse):
    """A run of a workflow."""


RunResponse = TaskRunResponse | WorkflowRunResponse


class RunListItem(Lenient):
    """A run as the list of runs shows it."""

    run_id: str = Field(min_length=1)
    status: Status
    task_run_type: str | None = None
    title: str | None = None
    workflow_permanent_id: str | None = None
    created_at: _Time | None = None
    started_at: _Time | None = None
    finished_at: _Time | None = None


class RunWebhookReplayResponse(Lenient):
    """What came of one attempt to send a run's webhook again.

    Attributes:
        payload: the exact body that was sent; it holds the run's result.
        headers: those sent along, the signature among them.
        status_code: the receiver's answer; None if it could not be reached.
        latency_ms: how long the receiver took, milliseconds.
    """

    run_id: str | None = None
    run_type: str | None = None
    default_webhook_url: str | None = None
    target_webhook_url: str | None = None
    payload: str | None = None
    headers: dict[str, str] | None = None
    status_code: int | None = None
    latency_ms: float | None = None
    response_body: str | None = None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """Say whether the receiver took the webhook."""
        return self.status_code is not None and 200 <= self.status_code < 300 and not self.error


class Artifact(Lenient):
    """A file that the server keeps of a run: a screenshot, a recording, a log, a script."""

    artifact_id: str = Field(min_length=1)
    artifact_type: str | None = None
    uri: str | None = None
    signed_url: str | None = None
    archived: bool | None = None
    file_size: int | None = None
    checksum: str | None = None
    run_id: str | None = None
    workflow_run_id: str | None = None
    workflow_run_block_id: str | None = None
    task_id: str | None = None
    step_id: str | None = None
    browser_session_id: str | None = None
    organization_id: str | None = None
    created_at: _Time | None = None
    modified_at: _Time | None = None


class WorkflowRunTimeline(Lenient):
    """One entry of what a run did: a block or a thought, and what is below it.

    Attributes:
        type: `block`, `thought`, or a newer word.
        block, thought: what it was, as the server has it.
        children: the entries below, of the same shape.
        attempt: the server's own attempt at the run, from 1.
    """

    type: str = Field(min_length=1)
    block: _Object | None = None
    thought: _Object | None = None
    children: InstanceOf[list[Any]] | None = None
    attempt: int | None = None
    created_at: _Time | None = None
    modified_at: _Time | None = None


class TagResponse(Lenient):
    """A tag of a run; one without a key is a label."""

    key: str | None = None
    value: str
    source: str | None = None
    set_by: str | None = None
    set_at: _Time | None = None


class RunTagsResponse(Lenient):
    """The tags that a run has now, the server's own (`skyvern.…`) included."""

    workflow_run_id: str = Field(min_length=1)
    tags: list[TagResponse]


class BrowserSessionResponse(Lenient):
    """A browser that outlives a run.

    Attributes:
        timeout: minutes it may live, counted from its start.
        warning: what the server did otherwise than requested.
    """

    browser_session_id: str = Field(min_length=1)
    status: str | None = None
    timeout: int | None = None
    browser_address: str | None = None
    browser_type: str | None = None
    browser_profile_id: str | None = None
    runnable_type: str | None = None
    runnable_id: str | None = None
    organization_id: str | None = None
    app_url: str | None = None
    warning: str | None = None
    started_at: _Time | None = None
    completed_at: _Time | None = None
    created_at: _Time | None = None
    modified_at: _Time | None = None


class BulkCancelRunsResponse(_Answer):
    """Which runs the server canceled, and which it could not: unknown, or over before."""

    cancelled: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)
