"""What a submission's JSON may hold, checked and worded the way FastAPI does."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import AliasChoices, BaseModel, Field, ValidationError, computed_field

from simulator.plan import FORCED_KEYS
from simulator.replies import Json, RefusedError
from simulator.runs import Submission
from simulator.search import task_haystack, workflow_haystack

DEFAULT_ENGINE = "skyvern-2.0"

#: The title that this engine puts in place of the client's.
OVERWRITTEN_TITLE = "Simulated task"

_RUN_TYPES = {
    "skyvern-1.0": "task_v1",
    "skyvern-2.0": "task_v2",
    "skyvern-3.0": "task_v3",
    "openai-cua": "openai_cua",
    "anthropic-cua": "anthropic_cua",
    "ui-tars": "ui_tars",
    "yutori-navigator": "yutori_navigator",
}

ModelT = TypeVar("ModelT", bound=BaseModel)


class RunFields(BaseModel):
    """The fields that tasks and workflows share; unknown ones are ignored, as the server does."""

    title: str | None = None
    proxy_location: str | Json | None = None
    webhook_url: str | None = None
    totp_identifier: str | None = None
    totp_url: str | None = None
    browser_session_id: str | None = None
    browser_profile_id: str | None = None
    extra_http_headers: dict[str, str] | None = None
    cdp_connect_headers: dict[str, str] | None = None
    max_screenshot_scrolls: int | None = None
    browser_address: str | None = None
    run_with: str | None = None


class TaskFields(RunFields):
    """The body of `POST /v1/run/tasks`."""

    prompt: str
    url: str | None = None
    engine: str | None = DEFAULT_ENGINE
    data_extraction_schema: Json | list[object] | str | None = None
    error_code_mapping: dict[str, str | None] | None = None
    max_steps: int | None = None
    publish_workflow: bool | None = False
    include_action_history_in_verification: bool | None = False
    start_fresh_browser: bool | None = None
    model: Json | None = None


class WorkflowFields(RunFields):
    """The body of `POST /v1/run/workflows` and `/v1/run/agents`."""

    workflow_id: str = Field(validation_alias=AliasChoices("workflow_id", "agent_id"))
    parameters: Json | None = None
    reuse_browser_session: bool | None = None
    max_elapsed_time_minutes: int | None = None
    ai_fallback: bool | None = None
    run_metadata: Json | None = None

    @computed_field
    def agent_id(self) -> str:
        """The new name of `workflow_id`; the echo holds both."""
        return self.workflow_id


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """Read a request's body.

    Raises:
        RefusedError: 400 for what is not JSON, 422 for JSON of another shape.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = field_errors(error, "body")
    if problems[0]["type"] == "json_invalid":
        raise RefusedError(400, "There was an error parsing the body")
    raise RefusedError(422, problems)


def field_errors(error: ValidationError, where: str) -> list[Json]:
    """FastAPI's form of what is wrong.

    Args:
        error: what pydantic found.
        where: `body` or `query`.
    """
    return [
        {
            "type": item["type"],
            "loc": [where, *item["loc"]],
            "msg": item["msg"],
            "input": item["input"],
        }
        for item in error.errors(include_url=False, include_context=False)
    ]


def task_submission(body: bytes) -> Submission:
    """Read a task's body."""
    fields = parse(TaskFields, body)
    sent_title, engine = fields.title, fields.engine or DEFAULT_ENGINE
    if engine == "skyvern-2.0":
        fields.title = OVERWRITTEN_TITLE
    return Submission(
        kind="task",
        id_prefix="tsk_v2_" if engine == "skyvern-2.0" else "tsk_",
        run_type=_RUN_TYPES.get(engine, "task_v1"),
        title=fields.title,
        sent_title=sent_title,
        target=fields.url,
        webhook_url=fields.webhook_url,
        prompt=fields.prompt,
        request=_echo(fields),
        haystack=task_haystack(fields.title, fields.url, fields.extra_http_headers),
        forced=_forced_by_url(fields.url),
    )


def workflow_submission(body: bytes, declared: frozenset[str]) -> Submission:
    """Read a workflow run's body.

    Args:
        declared: the parameters that workflows declare; empty means all.
    """
    fields = parse(WorkflowFields, body)
    parameters = fields.parameters or {}
    return Submission(
        kind="workflow",
        id_prefix="wr_",
        run_type="workflow_run",
        # The list shows the workflow's own title: the one that a run is given is not kept there.
        title="Simulated workflow",
        sent_title=fields.title,
        target=fields.workflow_id,
        webhook_url=fields.webhook_url,
        prompt=None,
        request=_echo(fields),
        haystack=workflow_haystack(
            fields.webhook_url, parameters, declared, fields.extra_http_headers
        ),
        forced={key: parameters[key] for key in FORCED_KEYS if key in parameters},
    )


def _echo(fields: RunFields) -> bytes:
    # Not orjson: its bytes keep the 8 kB they were written into for as long as the run lives.
    return fields.model_dump_json().encode()


def _forced_by_url(url: str | None) -> dict[str, object]:
    if url is None or "sim_" not in url:
        return {}
    return {key: value for key, value in parse_qsl(urlsplit(url).query) if key in FORCED_KEYS}
