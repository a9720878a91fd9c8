"""Calls about one run beside reading and ending it: its files, what it did, its tags, a new run.

As in `calls.py`: arguments in, a `Call` out; each function is a method of both clients. All of them
are newer servers' (`NotSupported` elsewhere).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api_client.answers.parsing import (
    parse_artifacts,
    parse_tags,
    parse_timeline,
    parse_workflow_run,
)
from api_client.arguments import OMIT, Omit, RequestOptions, header_arguments, run_path, segment
from api_client.call import Call, CallKind, make_call
from api_client.types import Artifact, RunTagsResponse, WorkflowRunResponse, WorkflowRunTimeline


def get_run_artifacts(
    run_id: str,
    *,
    artifact_type: str | Iterable[str] | None = None,
    request_options: RequestOptions | None = None,
) -> Call[list[Artifact]]:
    """Read which files the server keeps of a run (GET v1/runs/{run_id}/artifacts).

    Args:
        run_id: the run; of one that there is not the list is empty.
        artifact_type: one type, or several: `recording`, `screenshot_final`, `har`, …; else all.
        request_options: as everywhere.
    """
    types = [artifact_type] if isinstance(artifact_type, str) else list(artifact_type or ())
    return make_call(
        CallKind.READ,
        run_path(run_id, "artifacts"),
        parse_artifacts,
        query={"artifact_type": types or None},
        request_options=request_options,
        route="artifacts",
    )


def get_run_timeline(
    run_id: str, *, request_options: RequestOptions | None = None
) -> Call[list[WorkflowRunTimeline]]:
    """Read what a run did, newest first (GET v1/runs/{run_id}/timeline).

    Workflow runs and tasks of engine 2.0 have a timeline; of another task it is a
    `BadRequestError`.
    """
    return make_call(
        CallKind.READ,
        run_path(run_id, "timeline"),
        parse_timeline,
        request_options=request_options,
        route="timeline",
    )


def retry_workflow_run(
    run_id: str,
    *,
    max_steps_override: int | None = None,
    user_agent: str | None = None,
    request_options: RequestOptions | None = None,
) -> Call[WorkflowRunResponse]:
    """Start a new run of a workflow run that is over (POST v1/workflows/runs/{run_id}/retry).

    The new run has an id of its own, the old one's parameters, and the old one's tags. It is a
    submission, and never made again by the client, whatever `max_retries` says.
    """
    return make_call(
        CallKind.SUBMISSION,
        f"v1/workflows/runs/{segment(run_id)}/retry",
        parse_workflow_run,
        headers=header_arguments(user_agent=user_agent, max_steps_override=max_steps_override),
        request_options=request_options,
        route="retry_workflow_run",
        once=True,
    )


def get_run_tags(
    run_id: str, *, request_options: RequestOptions | None = None
) -> Call[RunTagsResponse]:
    """Read the tags of a workflow run (GET v1/runs/{run_id}/tags); a task has none (404)."""
    return make_call(
        CallKind.READ,
        run_path(run_id, "tags"),
        parse_tags,
        request_options=request_options,
        route="run_tags",
    )


def apply_run_tags(
    run_id: str,
    *,
    tags: Sequence[Mapping[str, Any]] | Omit = OMIT,
    tags_to_delete: Sequence[Mapping[str, Any]] | Omit = OMIT,
    colors: Mapping[str, str] | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[RunTagsResponse]:
    """Set and remove tags of a workflow run, all at once (POST v1/runs/{run_id}/tags).

    Args:
        run_id: a workflow run.
        tags: those to set: `{"key": …, "value": …}`, or `{"value": …}` for a label. One
            whose key is there replaces it.
        tags_to_delete: those to remove: `{"key": …}`, or `{"value": …}` for such a label.
        colors: palette colours by key.
        request_options: as everywhere.
    """
    return make_call(
        CallKind.CHANGE,
        run_path(run_id, "tags"),
        parse_tags,
        fields={"tags": tags, "tags_to_delete": tags_to_delete, "colors": colors},
        request_options=request_options,
        route="run_tags",
    )
