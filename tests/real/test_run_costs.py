"""What ended jobs have of their runs' ends: category, steps and credits, by webhook and by list.

On a real server (1.0.56, as docs/results/failure_categories.csv) and on the simulator.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.waiting import until
from runqueue import Job
from tests.acceptance.factory import Factory
from tests.real.listener import Listener
from tests.real.simulated import SimulatedTarget, simulated_target
from tests.real.stack import gateway, stack
from tests.real.target import Target
from tests.real.test_failure_categories import TABLE, fitting, named, request_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

#: Of the simulator, where credits cost something.
CREDITS_PER_STEP = 5
WEBHOOKS, ALL = "webhooks", "polled, all details"
_FAILED = {"failed", "terminated", "timed_out"}
_FORCED = [{"key": n, "workflow_parameter_type": "string"} for n in ("sim_end", "sim_seconds")]


class Shown(NamedTuple):
    """What a job shows of its run."""

    status: str | None
    category: str | None
    steps: int | None
    credits: int | None
    cached_credits: int | None


@pytest.fixture(params=["real", "simulated"])
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    if request.param == "simulated":
        with simulated_target("--credits-per-step", str(CREDITS_PER_STEP)) as target:
            yield target
        return
    target = request.getfixturevalue("target")
    if target.version != "1.0.56":
        pytest.skip(f"the table is that of 1.0.56, this is {target.version}")
    yield target


def _line(server: Target, page: str, name: str) -> dict[str, Any]:
    """Return a job of a kind; the simulator is told how it ends."""
    status = TABLE[name]["status"]
    kind = "task" if name.startswith("task") else "workflow"
    if not isinstance(server, SimulatedTarget):
        return {"custom_id": name, "kind": kind, "body": request_of(server, page, name)}
    forced = {"sim_end": status, "sim_seconds": "2"}
    if status == "canceled":
        forced = {"sim_end": "completed", "sim_seconds": "300"}
    if kind == "workflow":
        body = {"workflow_id": server.workflow(name, _FORCED), "parameters": forced}
    else:
        query = "&".join(f"{key}={value}" for key, value in forced.items())
        body = {"prompt": name, "url": f"{page}?{query}", "engine": f"skyvern-{name[5:8]}"}
    return {"custom_id": name, "kind": kind, "body": body}


def _run(server: Target, parts: Factory, page: str, names: list[str]) -> dict[str, Job]:
    """Have a job of each kind end."""
    enqueued = parts.queue.enqueue_many([_line(server, page, name) for name in names])
    ids = {name: one.job_id for name, one in zip(names, enqueued, strict=True)}
    for name in names:
        if TABLE[name]["status"] == "canceled":
            until(partial(_is_running, server, parts, ids[name]), 300, f"{name} to run", 0.5)
            parts.queue.cancel(ids[name])
    until(lambda: all(job.is_over for job in _jobs(parts, ids).values()), 900, "all ends", 0.5)
    return _jobs(parts, ids)


def _is_running(server: Target, parts: Factory, job_id: str) -> bool:
    run_id = parts.queue.get(job_id).run_id
    return run_id is not None and server.run(run_id)["status"] == "running"


def _jobs(parts: Factory, ids: dict[str, str]) -> dict[str, Job]:
    found = parts.queue.get_many([*ids.values()])
    return {name: job for name, job in zip(ids, found, strict=True) if job is not None}


def _expected(server: Target, name: str, job: Job, way: str) -> tuple[Shown, bool]:
    """Return what a job has to show, and whether its details are read in the list."""
    run = server.run(str(job.run_id))
    workflow_run = re.search(r"\bwr_\w+", f"{run['run_id']} {run['app_url']}")
    item = server.workflow_runs()[workflow_run[0]] if workflow_run else None
    row, status = TABLE[name], TABLE[name]["status"]
    if isinstance(server, SimulatedTarget):
        record = item or server.get(f"/api/v1/tasks/{job.run_id}").json()
        row = {"webhook": named(record), "list": named(item)}
    assert (row["list"] == "absent") == (item is None), name
    said = row["webhook"] if _is_by_webhook(job) else "null"
    bills = _is_by_webhook(job) and run["run_id"].startswith("wr_")
    is_wanted = way == ALL or (status in _FAILED and said == "null")
    is_read = item is not None and not bills and is_wanted
    # A poll may see an end first: its webhook comes, too.
    category = row["webhook"] if way == WEBHOOKS else "null"
    if is_read and category == "null":
        category = row["list"]
    known = item if item is not None and (bills or is_read) else {}
    surest = None if category == "null" else category.partition(" > ")[0]
    billed = [known.get(field) for field in ("credits_used", "cached_credits_used")]
    return Shown(status, surest, run["step_count"], *billed), is_read


def _is_by_webhook(job: Job) -> bool:
    """Whether a job's end came by webhook: the other answers have no such field."""
    return "failure_category" in (job.result or {})


def _seen(parts: Factory, ids: dict[str, str]) -> dict[str, Shown]:
    jobs = _jobs(parts, ids)
    return {
        name: Shown(j.run_status, j.failure_category, j.steps, j.credits, j.cached_credits)
        for name, j in jobs.items()
    }


@pytest.mark.parametrize("way", [WEBHOOKS, "polled", ALL])
def test_category_steps_and_credits_of_ended_jobs(
    server: Target, hooks: Listener, tmp_path: Path, way: str
) -> None:
    details = "all" if way == ALL else "failed"
    with ExitStack() as opened:
        parts, _ = opened.enter_context(stack(server, tmp_path, RUNQUEUE_RUN_DETAILS=details))
        if way == WEBHOOKS:
            opened.enter_context(gateway(parts))
        parts.start_worker()
        parts.start_worker()
        jobs = _run(server, parts, f"{hooks.url}/page", fitting(server.has_browser))
        wanted = {name: _expected(server, name, job, way) for name, job in jobs.items()}
        ids = {name: job.id for name, job in jobs.items()}
        expected = {name: shown for name, (shown, _) in wanted.items()}
        with suppress(TimeoutError):  # details are read later; a webhook may come after a poll
            until(lambda: _seen(parts, ids) == expected, 60, every=0.5)
        seen, totals = _seen(parts, ids), parts.queue.stats()["default"].totals
    by_webhook = [name for name, job in jobs.items() if _is_by_webhook(job)]
    for name, shown in seen.items():
        by = "webhook" if name in by_webhook else "poll"
        print(f"{name} | {by}{', list' * wanted[name][1]} | {shown}")
    assert bool(by_webhook) == (way == WEBHOOKS)
    assert seen == expected
    assert totals.get("details:read", 0) == sum(is_read for _, is_read in wanted.values())
