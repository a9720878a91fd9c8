"""Differences between our models and Skyvern's that are meant, each with its reason."""

from __future__ import annotations

from typing import NamedTuple


class Accepted(NamedTuple):
    """A difference that is meant.

    Args:
        where: the place that the comparison names; `*` stands for any text.
        reason: why it is meant.
    """

    where: str
    reason: str


_KEPT = "kept as an attribute of the answer, as every field that the model does not name"
_BOUND = "a bound of ours against slips; no run needs more"
_NULL_VALUES = (
    "servers of 2025 took null values; server_rules refuses them, and RUNQUEUE_REQUEST_CHECKS=pass"
    " sends them"
)
_BASE = "the model of every run; of a task it is None"

ACCEPTED: tuple[Accepted, ...] = (
    # What is asked for.
    Accepted("POST /v1/run/* request.*max_screenshot_scroll* bounds", _BOUND),
    Accepted("POST /v1/run/* request.max_steps* bounds", _BOUND),
    Accepted("POST /v1/run/* request.download_timeout bounds", _BOUND),
    Accepted("POST /v1/run/* request.*_headers inner", _NULL_VALUES),
    Accepted("POST /v1/run/* request.error_code_mapping inner", _NULL_VALUES),
    Accepted(
        "POST /v1/run/agents request.run_metadata inner",
        "server_rules refuses what is no text, with the reason",
    ),
    Accepted(
        "POST /v1/run/agents *workflow_id",
        "the older name of agent_id, which the server takes as an alias"
        " (tests/real/test_server_rules.py submits by it)",
    ),
    Accepted(
        "POST /v1/run/agents request.agent_id is_required",
        "one of agent_id and workflow_id is required: checked across both fields",
    ),
    Accepted(
        "POST /v1/run/agents *.model",
        "servers of another release may take it; server_rules refuses it",
    ),
    Accepted(
        "POST /v1/run/tasks/* request.proxy_location types",
        "an object is refused by server_rules, with the reason",
    ),
    Accepted(
        "GET /v1/runs argument query.*",
        "filters that the project has no use for; request_options can send them",
    ),
    # What is answered.
    Accepted("* TaskRunResponse.attempt", _BASE),
    Accepted("* TaskRunResponse.retry_pending", _BASE),
    Accepted("* TaskRunResponse.next_attempt_at", _BASE),
    *(
        Accepted(f"* *RunResponse.{name}", _KEPT)
        for name in (
            "ai_fallback",
            "attempts",
            "browser_profile_id",
            "browser_seed_source",
            "browser_session_id",
            "browser_settings_receipt",
            "max_screenshot_scrolls",
            "recording_archived",
            "run_with",
            "script_id",
            "script_run",
        )
    ),
    *(
        Accepted(f"GET /v1/runs RunListItem.{name}", _KEPT)
        for name in ("created_by", "script_run", "task_run_id", "trigger_type", "workflow_deleted")
    ),
    *(
        Accepted(f"* Artifact.{name}", _KEPT)
        for name in ("ai_suggestion_id", "bundle_key", "observer_cruise_id", "observer_thought_id")
    ),
    *(
        Accepted(f"* BrowserSessionResponse.{name}", _KEPT)
        for name in (
            "browser_settings",
            "browser_settings_receipt",
            "created_by",
            "deleted_at",
            "download_path",
            "downloaded_files",
            "extensions",
            "generate_browser_profile",
            "recordings",
            "remaining_lifetime_seconds",
            "source",
            "stream_transport",
            "vnc_streaming_supported",
        )
    ),
    Accepted(
        "GET /v1/agents/runs",
        "the application makes it of the route of workflows, so the routers do not have it",
    ),
)
