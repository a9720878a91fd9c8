"""Runs of others on a real server: they take slots of the plan, until they end."""

import math
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import until
from runqueue.records.health import health_of
from tests.acceptance.factory import Factory
from tests.real.stack import stack
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PLAN, OTHERS, JOBS, RUN_SECONDS = 10, 6, 20, 6
LIVE = ("created", "queued", "running", "paused")
_SHARED = {
    "RUNQUEUE_MAX_CONCURRENT_RUNS": str(PLAN),
    "RUNQUEUE_SHARE_CAPACITY": "on",
    "RUNQUEUE_LOG_LEVEL": "DEBUG",
}


def _lasting(target: Target, title: str, seconds: float) -> str:
    """Make a workflow that takes so long."""
    block = {"block_type": "wait", "label": "wait", "wait_sec": seconds}
    return target.workflow(title, blocks=[block])


def _live(target: Target) -> int:
    return sum(item["status"] in LIVE for item in target.listed(status=list(LIVE)))


def _over(parts: Factory, ids: list[str]) -> int:
    return sum(state is not None and state.is_over for state, _ in parts.queue.states(ids))


def _time(moment: str | None) -> float:
    """Return a time of the server's, unix seconds."""
    return (
        math.inf
        if moment is None
        else datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    )


def _submit(target: Target, parts: Factory) -> list[str]:
    ours = _lasting(target, "ours", RUN_SECONDS)
    lines: list[dict[str, Any]] = [
        {"custom_id": f"rqt-{n}-z", "kind": "workflow", "body": {"workflow_id": ours}}
        for n in range(JOBS)
    ]
    ids = [job.job_id for job in parts.queue.enqueue_many(lines)]
    for _ in range(2):
        parts.start_worker()
    return ids


def test_no_job_is_submitted_while_the_plan_is_full_with_runs_of_others(
    target: Target, tmp_path: Path
) -> None:
    body = {"workflow_id": _lasting(target, "started by hand", 600)}
    others = [
        target.post("/v1/run/workflows", body).raise_for_status().json()["run_id"]
        for _ in range(OTHERS)
    ]
    until(lambda: _live(target) == OTHERS, 60, "the runs of others to be live")
    most = [0]

    def some_are_over(count: int) -> bool:
        most[0] = max(most[0], _live(target))
        return _over(parts, ids) >= count

    with stack(target, tmp_path, **_SHARED) as (parts, proxy):
        ids = _submit(target, parts)
        until(partial(some_are_over, JOBS // 2), 300, "half of the jobs to be over", every=0.2)
        beside, stats = most[0], parts.queue.stats()["default"]
        print(health_of(stats))
        assert (stats.others, stats.slots) == (OTHERS, PLAN - OTHERS)
        for run_id in others:
            target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
        until(partial(some_are_over, JOBS), 300, "all jobs to be over", every=0.2)
        submitted = sorted(one.at for one in proxy.submissions)
        runs = [target.run(run) for run in (*others, *(str(s.run_id) for s in proxy.submissions))]
    spans = [(_time(run["created_at"]), _time(run["finished_at"])) for run in runs]
    live_at = [sum(begun < at < ended for begun, ended in spans) for at in submitted]
    print(f"lists showed {beside} live at most beside {OTHERS} of others, {most[0]} later; at the")
    print(f"server were live when each job was submitted: {live_at}")
    assert len(submitted) == JOBS
    assert max(live_at) < PLAN, "a job was submitted while the plan was full"
    assert most[0] <= PLAN
    assert beside == PLAN, "all that others left was used"
