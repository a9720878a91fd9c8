"""What the server answered, read into the models of `types`.

A field in an odd shape is set aside (`unreadable_fields`), but for those that an answer must have.
"""

from functools import partial
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from api_client.types import (
    Artifact,
    BrowserSessionResponse,
    BulkCancelRunsResponse,
    Lenient,
    RunListItem,
    RunResponse,
    RunTagsResponse,
    RunWebhookReplayResponse,
    TaskRunResponse,
    WorkflowRunResponse,
    WorkflowRunTimeline,
)

_Model = TypeVar("_Model", bound=Lenient)


class NotAListError(ValueError):
    """The server answered a request for a list with something else: it has no such list."""


def parse_run(fields: Any) -> RunResponse:
    """Read a run of either kind, distinguished by `run_type`.

    Without `run_type` (old servers) the run's id decides (`wr_…` is a workflow's); a type
    that is not known yet is read as a task, whose fields are those of every run.

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


def _each(model: type[_Model], answer: Any) -> list[_Model]:
    """Read a list.

    Raises:
        NotAListError: anything but an array, which is what a server without the list may answer.
        pydantic.ValidationError: an item without what it must have: an id, a status.
    """
    if not isinstance(answer, list):
        raise NotAListError("it is not a list")
    return [_lenient(model, item) for item in answer]


def parse_nothing(_: Any) -> None:
    """Read an answer that has nothing to say."""


#: A run of either kind; they raise as `parse_run` does.
parse_task_run: Final = partial(_lenient, TaskRunResponse)
parse_workflow_run: Final = partial(_lenient, WorkflowRunResponse)
#: A page of the list, the files of a run, and what it did; they raise as `_each` does.
parse_run_list: Final = partial(_each, RunListItem)
parse_artifacts: Final = partial(_each, Artifact)
parse_timeline: Final = partial(_each, WorkflowRunTimeline)
#: What has an id that it must have; `pydantic.ValidationError` without one.
parse_tags: Final = partial(_lenient, RunTagsResponse)
parse_session: Final = partial(_lenient, BrowserSessionResponse)
