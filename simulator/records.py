"""A run as webhooks and the older routes show it."""

from typing import Any

import orjson

from simulator import answers
from simulator.model.runs import Run
from simulator.model.search import Found
from simulator.replies import ORGANIZATION, Json, stamp

#: Those of `forge/failure_classifier.py` (1.0.56).
CATEGORIES = (
    *("ANTI_BOT_DETECTION", "PROXY_ERROR", "BROWSER_ERROR", "BROWSER_SESSION_EXPIRED"),
    *("NAVIGATION_FAILURE", "PAGE_LOAD_TIMEOUT", "ELEMENT_STATE_TIMEOUT", "AUTH_FAILURE"),
    *("LLM_ERROR", "CREDENTIAL_ERROR", "DATA_EXTRACTION_FAILURE", "ELEMENT_NOT_FOUND"),
    *("WRONG_PAGE_STATE", "MAX_STEPS_EXCEEDED", "BUDGET_EXHAUSTED", "LLM_REASONING_ERROR"),
    *("INFRASTRUCTURE_ERROR", "WEBSITE_ERROR", "PARAMETER_BINDING_ERROR", "UNKNOWN"),
)


def webhook_content(run: Run, now: float, *, replay: bool = False) -> Json:
    """The body of a webhook.

    Args:
        run: the run that ended.
        now: unix seconds.
        replay: a further one that was requested, which shows less.
    """
    if run.submission.kind == "workflow":
        body = _workflow_webhook(run, now, replay=replay)
    elif run.submission.run_type == "task_v2":
        body = _two_webhook(run, now, replay=replay)
    else:
        body = task_record(run, now) | _without_request(run, now)
        body["webhook_failure_reason"] = run.webhook_failure_reason
        del body["request"]
    # The time of sending makes a replay differ from the first one.
    return body | {"modified_at": stamp(now)}


def task_record(run: Run, now: float) -> Json:
    """`GET /api/v1/tasks/{run_id}`"""
    echo = _echo(run)
    screenshots = answers.screenshot_urls(run, now)
    return {
        "request": {
            "title": run.submission.title,
            "url": echo["url"],
            "webhook_callback_url": echo["webhook_url"],
            "webhook_failure_reason": run.webhook_failure_reason,
            "totp_verification_url": echo["totp_url"],
            "totp_identifier": echo["totp_identifier"],
            "navigation_goal": echo["prompt"],
            "error_code_mapping": echo["error_code_mapping"],
            "proxy_location": echo["proxy_location"],
            "extracted_information_schema": echo["data_extraction_schema"],
            "task_type": "general",
            "include_action_history_in_verification": False,
            "max_screenshot_scrolls": echo["max_screenshot_scrolls"],
            "include_extracted_text": True,
            **dict.fromkeys(_NULLS_OF_A_TASK_REQUEST),
        },
        "task_id": run.run_id,
        **answers.common(run, now),
        "extracted_information": answers.output(run, now),
        "action_screenshot_urls": screenshots,
        "screenshot_url": screenshots and screenshots[0],
        "browser_console_log_url": None,
        "downloaded_file_urls": None,
        "failure_category": _category(run, now),
        "webhook_failure_reason": run.webhook_failure_reason,
        "max_steps_per_run": echo["max_steps"],
        "workflow_run_id": None,
        "max_screenshot_scrolls": echo["max_screenshot_scrolls"],
        "step_count": answers.steps(run, now),
    }


def workflow_record(run: Run, now: float) -> Json:
    """`GET /v1/workflows/runs/{run_id}`, without the workflow itself."""
    echo = _echo(run)
    return {
        **_of_workflows(run, echo, now),
        **answers.common(run, now),
        "workflow_id": run.submission.target,
        "attempts": answers.attempts(run, now),
        "parameters": echo["parameters"],
        "screenshot_urls": answers.screenshot_urls(run, now),
        "outputs": answers.output(run, now),
        "total_steps": answers.steps(run, now),
        **dict.fromkeys(_NULLS_OF_A_WORKFLOW_RUN),
    }


def workflow_run_record(found: Found, now: float) -> Json:
    """One element of `GET /v1/workflows/runs`."""
    run, hidden = found
    echo = _echo(run)
    submission = run.submission
    shown = {
        **_of_workflows(run, echo, now),
        "workflow_id": submission.workflow and submission.workflow.version_id,
        "workflow_permanent_id": submission.target,
        "organization_id": ORGANIZATION,
        "start_fresh_browser": echo.get("start_fresh_browser"),
        "status": run.status(now),
        "attempts": [],
        "failure_reason": answers.failure_reason(run, now),
        "ai_fallback": submission.ai_fallback,
        "trigger_type": submission.trigger_type,
        "ignore_inherited_workflow_system_prompt": False,
        **answers.times(run, now),
        **dict.fromkeys(_NULLS_OF_A_LISTED_RUN),
    }
    if hidden:
        shown["workflow_run_id"], shown["workflow_id"] = run.hidden_id, f"w_{run.number}"
        shown |= {"workflow_permanent_id": answers.beneath(run), "webhook_callback_url": None}
    return shown


def _of_workflows(run: Run, echo: Any, now: float) -> Json:
    """The fields that both records of a workflow run have, besides those of every run."""
    submission = run.submission
    return {
        "workflow_run_id": run.run_id,
        **answers.attempt_shown(run, now),
        "failure_category": _category(run, now),
        "retried_from_workflow_run_id": None,
        "proxy_location": echo["proxy_location"],
        "webhook_callback_url": submission.webhook_url,
        "webhook_failure_reason": run.webhook_failure_reason,
        "totp_verification_url": echo["totp_url"],
        "totp_identifier": echo["totp_identifier"],
        "extra_http_headers": _headers(run),
        "cdp_connect_headers": _no_headers(run),
        "credits_used": answers.credits_of(run, now),
        "cached_credits_used": answers.credits_of(run, now) // 4,
        "workflow_title": submission.title,
        "browser_profile_id": None,
        "browser_seed_source": "fresh",
        "browser_sink_profile_id": None,
        "max_screenshot_scrolls": submission.scrolls,
        "browser_address": echo.get("browser_address"),
        "run_with": submission.run_with,
        "browser_type": None,
        "script_run": None,
    }


def timeline(run: Run, now: float) -> list[Json]:
    """`GET /v1/runs/{run_id}/timeline` of a workflow run or a 2.0 task: its blocks."""
    workflow = run.submission.workflow
    if workflow is None or not run.has_started(now):
        return []
    return [_block(run, number, now) for number in range(len(workflow.blocks))]


def _block(run: Run, number: int, now: float) -> Json:
    workflow = run.submission.workflow
    assert workflow is not None  # noqa: S101 # a block is a workflow's
    block = workflow.blocks[number]
    brought = answers.output(run, now) or {}
    times: Json = {"created_at": stamp(run.started), "modified_at": stamp(min(now, run.ended))}
    shown: Json = {
        "workflow_run_block_id": f"wrb_{run.number + number}",
        "workflow_run_id": run.run_id,
        "attempt_number": run.attempt(now),
        "organization_id": ORGANIZATION,
        "description": None,
        "block_type": block.block_type,
        "label": block.label,
        "status": run.status(now),
        "output": brought.get(f"{block.label}_output"),
        "failure_reason": answers.failure_reason(run, now),
        "error_codes": [],
        "actions": [],
        "continue_on_failure": False,
        "include_action_history_in_verification": False,
        "include_extracted_text": True,
        **dict.fromkeys(_OF_OTHER_BLOCKS),
    }
    line: Json = {"type": "block", "attempt": run.attempt(now), "block": shown | times}
    return line | {"thought": None, "children": []} | times


#: Fields that are null here: what they are about does not exist in the simulator.
_NULLS_OF_A_TASK_REQUEST = (
    *("data_extraction_goal", "navigation_payload", "workflow_system_prompt", "application"),
    *("extra_http_headers", "cdp_connect_headers", "complete_criterion", "terminate_criterion"),
    *("browser_address", "download_timeout"),
)
_NULLS_OF_A_WORKFLOW_RUN = (
    *("retried_by_workflow_run_id", "recording_urls", "downloaded_file_urls", "total_cost"),
    *("task_v2", "script_id"),
)
_NULLS_OF_A_LISTED_RUN = (
    *("browser_session_id", "reuse_browser_session", "debug_session_id", "fallback_attempt"),
    *("parent_workflow_run_id", "max_elapsed_time_minutes", "browser_settings", "job_id"),
    *("browser_settings_receipt", "depends_on_workflow_run_id", "sequential_key", "code_gen"),
    *("sequential_credential_id", "workflow_schedule_id", "copilot_session_id", "created_by"),
)
#: Fields of a block in a timeline that blocks of other kinds fill.
_OF_OTHER_BLOCKS = (
    *("block_workflow_run_id", "parent_workflow_run_block_id", "engine", "task_id", "url"),
    *("final_url", "finish_reason", "navigation_goal", "navigation_payload", "prompt"),
    *("data_extraction_goal", "data_schema", "terminate_criterion", "complete_criterion"),
    *("duration", "loop_values", "current_value", "current_index", "recipients", "attachments"),
    *("subject", "body", "instructions", "positive_descriptor", "negative_descriptor"),
    *("executed_branch_id", "executed_branch_expression", "executed_branch_result"),
    *("executed_branch_next_block", "script_run", "downloaded_file_count"),
)


def _workflow_webhook(run: Run, now: float, *, replay: bool) -> Json:
    record = workflow_record(run, now)
    answer = answers.run_answer(run, now)
    own: Json = {
        "agent_id": run.submission.target,
        "agent_run_id": run.run_id,
        "run_id": run.run_id,
        "output": answer["output"],
        "app_url": answer["app_url"],
        "step_count": answer["step_count"],
        "run_type": answer["run_type"],
        "ai_fallback": run.submission.ai_fallback,
        "browser_settings_receipt": None,
    }
    if not replay:
        return record | own | {"run_request": answer["run_request"]}
    for name in ("webhook_callback_url", "totp_verification_url", "totp_identifier"):
        del record[name]
    del record["extra_http_headers"]
    return record | own | {"total_steps": None, "step_count": None}


def _two_webhook(run: Run, now: float, *, replay: bool) -> Json:
    if replay:
        return _without_request(run, now)
    echo = _echo(run)
    record: Json = {
        "task_id": run.run_id,
        "organization_id": ORGANIZATION,
        "workflow_run_id": run.hidden_id,
        "workflow_id": f"w_{run.number}",
        "workflow_permanent_id": answers.beneath(run),
        "prompt": echo["prompt"],
        "url": echo["url"],
        "summary": None,
        "totp_verification_url": echo["totp_url"],
        "totp_identifier": echo["totp_identifier"],
        "proxy_location": echo["proxy_location"],
        "webhook_callback_url": run.submission.webhook_url,
        "webhook_failure_reason": run.webhook_failure_reason,
        "extracted_information_schema": echo["data_extraction_schema"],
        "error_code_mapping": echo["error_code_mapping"],
        "workflow_system_prompt": None,
        "model": None,
        "max_screenshot_scrolling_times": None,
        "extra_http_headers": None,
        "cdp_connect_headers": None,
        "browser_address": None,
        "run_with": None,
        "failure_category": _category(run, now),
    }
    return record | _without_request(run, now)


def _without_request(run: Run, now: float) -> Json:
    answer = answers.run_answer(run, now)
    del answer["run_request"]
    return answer


def _category(run: Run, now: float) -> list[Json] | None:
    if answers.failure_reason(run, now) is None:
        return None
    category = CATEGORIES[run.number % len(CATEGORIES)]
    return [{"category": category, "confidence_float": 1.0, "reasoning": "simulated"}]


def _headers(run: Run) -> Any:
    sent = run.submission.extra_http_headers
    return dict(sent) if sent is not None else _no_headers(run)


def _no_headers(run: Run) -> Json | None:
    # A login or download makes its workflow with headers, if none.
    workflow = run.submission.workflow
    return {} if workflow and workflow.own_of_a_call else None


def _echo(run: Run) -> Any:
    return orjson.loads(run.submission.request)
