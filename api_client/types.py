"""Skyvern's answers as frozen models.

They are lenient by design. Servers of many versions answer, and a field or a value that nobody
here has heard of must not stop a caller from reading the rest: unknown fields are kept, unknown
statuses and engines stay the strings they are, and only the run's id and status are required.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api_client.outcomes import is_over


class RunStatus(StrEnum):
    """Where a run stands."""

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
    RESIDENTIAL_ISP = "RESIDENTIAL_ISP"
    US_CA = "US-CA"
    US_NY = "US-NY"
    US_TX = "US-TX"
    US_FL = "US-FL"
    US_WA = "US-WA"
    NONE = "NONE"


class Environment(StrEnum):
    """The base URLs people use by name."""

    CLOUD = "https://api.skyvern.com"
    STAGING = "https://api-staging.skyvern.com"
    LOCAL = "http://localhost:8000"


#: What arguments take: the known values, and any other a newer server may know.
Engine = RunEngine | str
Proxy = ProxyLocation | str | dict[str, Any]
Schema = dict[str, Any] | list[Any] | str


def _aware(moment: datetime) -> datetime:
    """Read a timestamp without a zone as UTC, which is what the server means by it."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_aware)]
#: A known status becomes the enum's member; a new one stays a string.
Status = Annotated[RunStatus | str, Field(union_mode="left_to_right")]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class FileInfo(_Answer):
    """A file that a run downloaded; the signed `url` expires after 24 hours."""

    url: str
    checksum: str | None = None
    filename: str | None = None
    modified_at: Moment | None = None


class _RunResponse(_Answer):
    run_id: str = Field(min_length=1)
    status: Status
    run_type: str | None = None
    output: dict[str, Any] | list[Any] | str | None = None
    downloaded_files: list[FileInfo] | None = None
    recording_url: str | None = None
    screenshot_urls: list[str] | None = None
    failure_reason: str | None = None
    app_url: str | None = None
    run_request: dict[str, Any] | None = None
    errors: list[Any] | None = None
    step_count: int | None = None
    attempt: int | None = None
    retry_pending: bool | None = None
    next_attempt_at: Moment | None = None
    created_at: Moment | None = None
    modified_at: Moment | None = None
    queued_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None

    @property
    def is_over(self) -> bool:
        """Say whether the run is over: a terminal status, and no retry of it pending."""
        return is_over(self.status, self.retry_pending)


class TaskRunResponse(_RunResponse):
    """A run of a task."""


class WorkflowRunResponse(_RunResponse):
    """A run of a workflow."""


RunResponse = TaskRunResponse | WorkflowRunResponse


def parse_run(fields: dict[str, Any]) -> RunResponse:
    """Read a run of either kind, told apart by `run_type`.

    A server too old to send `run_type` is asked by the run's id (`wr_…` is a workflow's); a type
    that nobody knows yet is read as a task, whose fields are those of every run.

    Raises:
        pydantic.ValidationError: no id, no status, or a field in a shape it cannot have.
    """
    run_type = fields.get("run_type")
    if run_type is None:
        is_workflow = str(fields.get("run_id")).startswith("wr_")
    else:
        is_workflow = run_type == "workflow_run"
    model = WorkflowRunResponse if is_workflow else TaskRunResponse
    return model.model_validate(fields)
