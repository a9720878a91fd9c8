"""A run in the shapes in which the server shows it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import orjson

from simulator.replies import Json
from simulator.runs import Run

_APP_URL = "https://app.skyvern.test/runs/"
_FILES_URL = "https://files.skyvern.test/"

_FAILURE_REASONS = {
    "failed": "The browser crashed (simulated).",
    "terminated": "The goal cannot be reached on this page (simulated).",
    "timed_out": "The run used up its steps (simulated).",
    "canceled": "The run was canceled.",
}


def run_answer(run: Run, now: float) -> Json:
    """The answer of a submission and of `get_run`."""
    status = run.status(now)
    over = now >= run.ended
    completed = status == "completed"
    pending = run.is_retry_pending(now)
    reason = _FAILURE_REASONS.get(status)
    return {
        "run_id": run.run_id,
        "run_type": run.submission.run_type,
        "status": status,
        "output": _output(run) if completed else None,
        "downloaded_files": _files(run) if completed else [],
        "recording_url": f"{_FILES_URL}{run.run_id}/recording.webm" if over else None,
        "screenshot_urls": [f"{_FILES_URL}{run.run_id}/screenshot.png"] if over else [],
        "failure_reason": reason,
        "errors": [{"error_code": "SIMULATED", "reasoning": reason}] if reason else [],
        "created_at": _stamp(run.created),
        "modified_at": _stamp(min(now, run.ended)),
        "queued_at": _stamp(run.created) if status != "created" else None,
        "started_at": _stamp(run.started) if run.has_started(now) else None,
        "finished_at": _stamp(run.ended) if over else None,
        "app_url": f"{_APP_URL}{run.run_id}",
        "step_count": _steps(run, now),
        "attempt": 1,
        "retry_pending": pending,
        "next_attempt_at": None,
        "run_request": orjson.Fragment(run.submission.request),
    }


def list_item(run: Run, now: float) -> Json:
    """One element of the list of runs."""
    over = now >= run.ended
    return {
        "run_id": run.run_id,
        "task_run_type": run.submission.run_type,
        "status": run.status(now),
        "title": run.submission.title,
        "url": run.submission.target if run.submission.kind == "task" else None,
        "workflow_permanent_id": run.submission.target
        if run.submission.kind == "workflow"
        else None,
        "created_at": _stamp(run.created),
        "started_at": _stamp(run.started) if run.has_started(now) else None,
        "finished_at": _stamp(run.ended) if over else None,
    }


def webhook_body(run: Run, now: float) -> bytes:
    """What a webhook reports; the time of sending makes a replay differ from the first one."""
    own_id = "task_id" if run.submission.kind == "task" else "workflow_run_id"
    return orjson.dumps(run_answer(run, now) | {"modified_at": _stamp(now), own_id: run.run_id})


def workflow_run_item(run: Run, now: float) -> Json:
    """A workflow run where its webhook's failure is shown."""
    return {
        "workflow_run_id": run.run_id,
        "workflow_permanent_id": run.submission.target,
        "workflow_id": run.submission.target,
        **_delivery(run, now),
    }


def task_item(run: Run, now: float) -> Json:
    """A task where its webhook's failure is shown."""
    return {"task_id": run.run_id, "title": run.submission.title, **_delivery(run, now)}


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
        "webhook_failure_reason": run.webhook_failure_reason,
    }


def _delivery(run: Run, now: float) -> Json:
    return {
        "run_id": run.run_id,
        "status": run.status(now),
        "webhook_url": run.submission.webhook_url,
        "webhook_failure_reason": run.webhook_failure_reason,
        "created_at": _stamp(run.created),
    }


def _output(run: Run) -> Json:
    output: Json = {"answer": f"Simulated result of {run.run_id}"}
    if run.plan.output_bytes:
        output["filler"] = "x" * run.plan.output_bytes
    return output


def _files(run: Run) -> list[Json]:
    return [
        {
            "url": f"{_FILES_URL}{run.run_id}/result.csv",
            "checksum": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "filename": "result.csv",
        }
    ]


def _steps(run: Run, now: float) -> int:
    """One step in ten seconds of work, and at least one."""
    worked = min(now, run.ended) - run.started
    return 1 + int(worked / 10) if worked >= 0 else 0


def _stamp(at: float) -> str:
    """The server's form of a time: UTC without saying so."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
