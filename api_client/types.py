"""Skyvern's answers as frozen models.

They are lenient by design. Servers of many versions answer, and a field or a value that nobody
here has heard of must not stop a caller from reading the rest, least of all the id of a run that
was just made: unknown fields are kept, unknown statuses and engines stay the strings they are, a
field in an odd shape is None and kept aside, and only the run's id and status are required.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

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


class SkyvernEnvironment(StrEnum):
    """The base URLs people use by name; newer SDKs say CLOUD and LOCAL."""

    PRODUCTION = "https://api.skyvern.com"
    STAGING = "https://api-staging.skyvern.com"
    DEVELOPMENT = "http://localhost:8000"
    CLOUD = PRODUCTION
    LOCAL = DEVELOPMENT


#: What arguments take: the known values, and any other a newer server may know.
Engine = RunEngine | str
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


#: A known status becomes the enum's member; a new one stays a string.
Status = Annotated[RunStatus | str, Field(union_mode="left_to_right")]


class NotAListError(ValueError):
    """Where a list was asked for, the server answered something else: it has no such list."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class FileInfo(_Answer):
    """A file that a run downloaded; the signed `url` expires after 24 hours."""

    url: str
    checksum: str | None = None
    filename: str | None = None
    file_size: int | None = None
    modified_at: Annotated[datetime, BeforeValidator(_utc)] | None = None
    artifact_id: str | None = None


class _Lenient(_Answer):
    #: Fields that came in a shape they cannot have, as they came; they are None here.
    unreadable_fields: dict[str, Any] | None = None


class _Timed(_Lenient):
    #: The timestamps among the fields.
    _times: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _times_in_utc(cls, fields: Any) -> Any:
        # One validator for all, since each in Python costs as much as the rest of a small model.
        if not isinstance(fields, dict):
            return fields
        fields = fields.copy()
        for name in cls._times:
            text = fields.get(name)
            if text is not None:
                # As the server writes it: microseconds and no zone, 26 characters. To name the zone
                # is the cheapest way to UTC.
                plain = text.__class__ is str and len(text) == 26 and text[19] == "."
                fields[name] = text + "Z" if plain else _utc(text)
        return fields


class _RunResponse(_Timed):
    _times = (
        "created_at",
        "modified_at",
        "queued_at",
        "started_at",
        "finished_at",
        "next_attempt_at",
    )

    run_id: str = Field(min_length=1)
    status: Status
    run_type: str | None = None
    output: Annotated[
        dict[str, Any] | list[Any] | str | None, Field(union_mode="left_to_right")
    ] = None
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
    next_attempt_at: datetime | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Say whether the run is over: a terminal status, and no retry of it pending."""
        return is_over(self.status, self.retry_pending)


class TaskRunResponse(_RunResponse):
    """A run of a task."""


class WorkflowRunResponse(_RunResponse):
    """A run of a workflow."""


RunResponse = TaskRunResponse | WorkflowRunResponse
_Model = TypeVar("_Model", bound=_Lenient)


class RunListItem(_Timed):
    """A run as the list of runs shows it."""

    _times = ("created_at", "started_at", "finished_at")

    run_id: str = Field(min_length=1)
    status: Status
    task_run_type: str | None = None
    title: str | None = None
    workflow_permanent_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class RunWebhookReplayResponse(_Lenient):
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


class BulkCancelRunsResponse(_Answer):
    """Which runs the server canceled, and which it could not: unknown, or over before."""

    cancelled: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)


_RUN_LIST = TypeAdapter(list[RunListItem])


def parse_run(fields: Any) -> RunResponse:
    """Read a run of either kind, told apart by `run_type`.

    A server too old to send `run_type` is asked by the run's id (`wr_…` is a workflow's); a type
    that nobody knows yet is read as a task, whose fields are those of every run.

    Raises:
        pydantic.ValidationError: no id, no status.
    """
    if not isinstance(fields, dict):
        return TaskRunResponse.model_validate(fields)  # which says what is wrong
    run_type = fields.get("run_type")
    if run_type is None:
        is_workflow = str(fields.get("run_id")).startswith("wr_")
    else:
        is_workflow = run_type == "workflow_run"
    return parse_workflow_run(fields) if is_workflow else parse_task_run(fields)


def parse_task_run(fields: Any) -> TaskRunResponse:
    """Read a run of a task; raises as `parse_run` does."""
    return _lenient(TaskRunResponse, fields)


def parse_workflow_run(fields: Any) -> WorkflowRunResponse:
    """Read a run of a workflow; raises as `parse_run` does."""
    return _lenient(WorkflowRunResponse, fields)


def _lenient(model: type[_Model], fields: Any) -> _Model:
    """Read an answer; what cannot be read of it is set aside, but for the fields it must have."""
    try:
        return model.model_validate(fields)
    except ValidationError as exc:
        odd = {str(fault["loc"][0]) for fault in exc.errors() if fault["loc"]}
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        if not odd or odd & required:
            raise
        kept = {name: value for name, value in fields.items() if name not in odd}
        kept["unreadable_fields"] = {name: fields[name] for name in odd if name in fields}
        return model.model_validate(kept)


def parse_bulk_cancel(answer: Any) -> BulkCancelRunsResponse:
    """Read what a bulk cancel came to.

    Raises:
        NotAListError: another shape, which is what a server without the call may answer.
        pydantic.ValidationError: ids that are no text.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("cancelled"), list):
        raise NotAListError("it is not a bulk cancel's answer")
    failed = answer.get("failed")
    return BulkCancelRunsResponse.model_validate(answer | {"failed": failed or []})


def parse_replay(answer: Any) -> RunWebhookReplayResponse | None:
    """Read what a server says of a webhook's replay; old ones say null.

    Raises:
        pydantic.ValidationError: neither an object nor null.
    """
    return None if answer is None else _lenient(RunWebhookReplayResponse, answer)


def parse_run_list(answer: Any) -> list[RunListItem]:
    """Read a page of the list of runs.

    Raises:
        NotAListError: anything but an array, which is what a server without the list may answer.
        pydantic.ValidationError: an item without an id or a status.
    """
    if not isinstance(answer, list):
        raise NotAListError("it is not a list")
    try:
        return _RUN_LIST.validate_python(answer)
    except ValidationError:
        return [_lenient(RunListItem, item) for item in answer]
