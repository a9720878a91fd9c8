"""A run in the shapes in which the server shows it."""

import math
from typing import Any

import orjson

from simulator.model.plan import SIMULATED
from simulator.model.runs import Run
from simulator.model.search import Found
from simulator.model.workflows import PERSON
from simulator.replies import Json, stamp

_APP_URL = "https://app.skyvern.test/"
_FILES_URL = "https://files.skyvern.test/"

_FAILURE_REASONS = {
    "failed": "The browser crashed (simulated).",
    "terminated": "The goal cannot be reached on this page (simulated).",
    "timed_out": "The run used up its steps (simulated).",
}

#: Fields that the answer of a submission does not show yet.
_NOT_YET = dict.fromkeys(
    ("downloaded_files", "screenshot_urls", "errors", "step_count", "max_screenshot_scrolls")
)


def first_answer(run: Run, echo: bytes, now: float) -> Json:
    """The answer of a submission.

    Args:
        run: the one that was made.
        echo: the request as it was understood, JSON.
        now: unix seconds.
    """
    answer = run_answer(run, now) | {"run_request": orjson.Fragment(echo)}
    if run.is_over(now):
        return answer
    two = run.submission.run_type == "task_v2"
    answer |= _NOT_YET
    answer |= {"status": "queued" if two else "created", "queued_at": None}
    answer["app_url"] = f"{_APP_URL}runs/{run.hidden_id if two else run.run_id}"
    return answer


def run_answer(run: Run, now: float) -> Json:
    """The answer of `get_run`."""
    submission = run.submission
    answer = _answer(run, now) | {"run_type": submission.run_type}
    if submission.kind == "workflow":
        answer |= attempt_shown(run, now) | {
            "attempts": attempts(run, now),
            "run_with": submission.run_with,
            "ai_fallback": submission.ai_fallback,
            "script_id": None,
            "browser_seed_source": "fresh",
            "browser_settings_receipt": None,
            "max_screenshot_scrolls": submission.scrolls,
        }
    elif run.plan.end == "flap":
        # Only workflows have these on the real server; a task that flaps here has to show them.
        answer |= attempt_shown(run, now)
    return answer | {"run_request": orjson.Fragment(submission.request)}


def list_item(found: Found, now: float) -> Json:
    """One element of the list of runs."""
    run, hidden = found
    submission = run.submission
    is_workflow = submission.kind == "workflow" or hidden
    permanent_id = submission.target if submission.kind == "workflow" else beneath(run)
    return {
        "task_run_id": run.hidden_id if hidden else run.listed_id,
        "run_id": run.hidden_id if hidden else run.run_id,
        "task_run_type": "workflow_run" if hidden else submission.run_type,
        "status": run.status(now),
        "title": submission.title,
        "started_at": started_at(run, now),
        "finished_at": finished_at(run, now),
        "created_at": stamp(run.created),
        "workflow_permanent_id": permanent_id if is_workflow else None,
        "workflow_deleted": False,
        "script_run": False,
        "trigger_type": submission.trigger_type if is_workflow else None,
        "created_by": None,
        **attempt_shown(run, now),
    }


def ledger_line(run: Run, now: float) -> Json:
    """One run really created, with the title that the client sent; times are unix seconds."""
    return {
        "run_id": run.run_id,
        "kind": run.submission.kind,
        "title": run.submission.sent_title,
        "prompt": run.submission.prompt,
        "webhook_url": run.submission.webhook_url,
        "url": run.submission.target if run.submission.kind == "task" else None,
        "workflow_id": run.submission.target if run.submission.kind == "workflow" else None,
        "created": run.created,
        "ended": run.ended if math.isfinite(run.ended) else None,
        "status": run.status(now),
        "steps": steps(run, now),
        "webhook_failure_reason": run.webhook_failure_reason,
    }


def attempts(run: Run, now: float) -> list[Json]:
    """A workflow run's attempts so far."""
    if not run.has_started(now):
        return []
    number, status = run.attempt(now), run.status(now)
    shown = [_attempt_line(run, number, status, now)]
    if number == 2:
        shown.insert(0, _attempt_line(run, 1, "failed", now))
    return shown


def failure_reason(run: Run, now: float) -> str | None:
    """Why it failed, where it did; a canceled run has no reason."""
    if now >= run.ended and run.end_replaced:
        return run.end_replaced
    if run.occupied and run.status(now) == "failed":
        return run.occupied
    if run.plan.reason and run.status(now) in _FAILURE_REASONS:
        return run.plan.reason
    return _FAILURE_REASONS.get(run.status(now))


def started_at(run: Run, now: float) -> str | None:
    """When it began to work."""
    return stamp(run.started) if run.has_started(now) else None


def finished_at(run: Run, now: float) -> str | None:
    """When it ended, or its last attempt did."""
    if run.is_retry_pending(now):
        return stamp(run.first_attempt_ended)
    return stamp(run.ended) if now >= run.ended else None


def app_url(run: Run) -> str:
    """The URL at which a user sees it."""
    if run.submission.run_type == "task_v2":
        return f"{_APP_URL}runs/{run.hidden_id}"
    kind = "tasks" if run.submission.kind == "task" else "runs"
    return f"{_APP_URL}{kind}/{run.run_id}"


def beneath(run: Run) -> str:
    """The id of the workflow beneath a 2.0 task."""
    return f"wpid_{run.number}"


def output(run: Run, now: float) -> Any:
    """The output of its last attempt."""
    workflow = run.submission.workflow
    status = run.status(now)
    if run.end_replaced:
        # It ended well, and keeps its output.
        return _output(run) if now >= run.ended and run.plan.status == "completed" else None
    if workflow is None or not workflow.blocks or run.plan.output is not SIMULATED:
        return _output(run) if status == "completed" else None
    if status not in ("completed", "failed", "terminated"):
        return None
    done: object = {"success": True}
    if status != "completed":
        done = {"error": "refused", "error_type": "unknown"} if workflow.fails else None
    elif workflow.seconds is None:
        done = _output(run)
    person = {"success": True, "reason": "status_changed:running"}
    return {
        **{
            f"{block.label}_output": person if block.block_type == PERSON and done else done
            for block in workflow.blocks
        },
        "extracted_information": [],
    }


def files(run: Run, now: float) -> list[Json]:
    """Its downloads; a workflow that only waits has no browser."""
    if run.status(now) != "completed" or not _has_browser(run):
        return []
    return [
        {
            "url": f"{_FILES_URL}{run.run_id}/result.csv",
            "checksum": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "filename": "result.csv",
            "file_size": 0,
            "modified_at": finished_at(run, now),
            "artifact_id": None,
        }
    ]


def recording_url(run: Run, now: float) -> str | None:
    """Its recording, if its browser did not crash."""
    shows = now >= run.ended and run.status(now) != "failed" and _has_browser(run)
    return f"{_FILES_URL}{run.run_id}/recording.webm" if shows else None


def screenshot_urls(run: Run, now: float) -> list[str] | None:
    """Its screenshots, if its browser did not crash."""
    shows = recording_url(run, now) is not None
    return [f"{_FILES_URL}{run.run_id}/screenshot.png"] if shows else None


def errors(run: Run, now: float) -> list[Json]:
    """Its error codes."""
    reason = failure_reason(run, now)
    return [{"error_code": "SIMULATED", "reasoning": reason}] if reason else []


def steps(run: Run, now: float) -> int:
    """One step in ten seconds of work, and at least one."""
    worked = min(now, run.ended) - run.started
    return 1 + int(worked / 10) if worked >= 0 else 0


def credits_of(run: Run, now: float) -> int:
    """What a run is billed so far: as many for each step as the simulator was told."""
    return steps(run, now) * run.credits_per_step


def _session_shown(run: Run) -> str | None:
    """Its browser session, which a 1.0 task is shown without (as 1.0.56 does)."""
    return None if run.submission.run_type == "task_v1" else run.submission.session_id


def _answer(run: Run, now: float) -> Json:
    return {
        "run_id": run.run_id,
        **common(run, now),
        "output": output(run, now),
        "screenshot_urls": screenshot_urls(run, now),
        "app_url": app_url(run),
        "browser_session_id": _session_shown(run),
        "browser_profile_id": None,
        "max_screenshot_scrolls": None,
        "script_run": None,
        "step_count": steps(run, now),
    }


def common(run: Run, now: float) -> Json:
    """The fields that every record of a run has."""
    return {
        "status": run.status(now),
        **times(run, now),
        "downloaded_files": files(run, now),
        "recording_url": recording_url(run, now),
        "recording_archived": False,
        "failure_reason": failure_reason(run, now),
        "errors": errors(run, now),
        "browser_session_id": run.submission.session_id,
    }


def times(run: Run, now: float) -> Json:
    """The times of a run."""
    return {
        "created_at": stamp(run.created),
        "modified_at": stamp(min(now, run.ended)),
        "queued_at": queued_at(run, now),
        "started_at": started_at(run, now),
        "finished_at": finished_at(run, now),
    }


def queued_at(run: Run, now: float) -> str | None:
    """When it was queued, which tasks of most engines are not."""
    own_queue = run.submission.kind == "workflow" or run.submission.run_type == "task_v2"
    return stamp(run.created) if own_queue and run.status(now) != "created" else None


def attempt_shown(run: Run, now: float) -> Json:
    """The number of its attempt, and whether another one follows."""
    return {
        "attempt": run.attempt(now),
        "retry_pending": run.is_retry_pending(now),
        "next_attempt_at": stamp(run.next_attempt) if run.is_retry_pending(now) else None,
    }


def _attempt_line(run: Run, number: int, status: str, now: float) -> Json:
    over = run.attempt(now) > number
    return {
        "attempt_number": number,
        "status": status,
        "failure_reason": _FAILURE_REASONS.get(status),
        "error_codes": [],
        "started_at": stamp(run.started),
        "finished_at": stamp(run.first_attempt_ended) if over else finished_at(run, now),
        "retry_decision": "retry" if run.plan.end == "flap" and number == 1 else None,
        "decision_reason": None,
        "next_attempt_at": None,
        "webhook_sent_at": None,
    }


def _has_browser(run: Run) -> bool:
    workflow = run.submission.workflow
    return workflow is None or (workflow.seconds is None and not workflow.fails)


def _output(run: Run) -> Any:
    if run.plan.output is not SIMULATED:
        return run.plan.output
    brought: Json = {"answer": f"Simulated result of {run.run_id}"}
    if run.plan.output_bytes:
        brought["filler"] = "x" * run.plan.output_bytes
    return brought
