"""The whole queue on a real server: a mixed load with trouble."""

import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import until
from runqueue import Job, JobState
from tests.acceptance.factory import Factory
from tests.real.listener import Listener, listener
from tests.real.lossy import LossyProxy
from tests.real.request_kinds import HOST
from tests.real.stack import gateway, stack
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

#: Jobs of each kind: 200 in all, of which every fifth is canceled at some time.
QUICK, LASTING, BAD, TASKS, TASKS_2 = 80, 40, 20, 40, 20

_RELAYING = {"RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS": "true"}


def _lines(target: Target, hooks: Listener) -> list[dict[str, Any]]:
    """Return 200 mixed jobs; all but every seventh want to be told of their ends."""
    wait = {"block_type": "wait", "label": "wait", "wait_sec": 600}
    call = {"block_type": "http_request", "label": "call", "method": "GET", "url": f"{HOST}/"}
    quick = target.workflow("quick")
    lasting, bad = target.workflow("lasting", blocks=[wait]), target.workflow("bad", blocks=[call])
    bodies: list[tuple[str, str, dict[str, Any]]] = []
    bodies += [("quick", "workflow", {"workflow_id": quick}) for _ in range(QUICK)]
    bodies += [("lasting", "workflow", {"workflow_id": lasting}) for _ in range(LASTING)]
    bodies += [("bad", "workflow", {"workflow_id": bad}) for _ in range(BAD)]
    bodies += [("task", "task", {"url": f"{hooks.url}/page"}) for _ in range(TASKS)]
    task_2 = {"url": f"{hooks.url}/page", "engine": "skyvern-2.0"}
    bodies += [("task 2.0", "task", task_2) for _ in range(TASKS_2)]
    random.Random(5).shuffle(bodies)
    lines = []
    for number, (name, kind, fields) in enumerate(bodies):
        key = f"rqt-{number}-z"
        # Both kinds carry the token: workflows ignore titles, the server ours.
        body = {"prompt": key, **fields} if kind == "task" else {"title": key, **fields}
        if number % 7:
            body["webhook_url"] = f"{hooks.url}/{key}"
        lines.append({"custom_id": f"{name}/{key}", "kind": kind, "body": body})
    return lines


def _all_jobs(parts: Factory, ids: list[str]) -> list[Job]:
    return [job for job in parts.queue.get_many(ids) if job is not None]


def _all_over(parts: Factory, ids: list[str]) -> bool:
    return all(state is not None and state.is_over for state, _ in parts.queue.states(ids))


def _token(job: Job) -> str:
    assert job.custom_id is not None
    return job.custom_id.rpartition("/")[2]


def test_200_mixed_jobs_with_a_killed_worker_and_cancels_are_each_right_and_told_once(
    target: Target, tmp_path: Path
) -> None:
    before = target.all_run_ids()
    with listener() as hooks, stack(target, tmp_path, **_RELAYING) as (parts, proxy):
        with gateway(parts):
            lines = _lines(target, hooks)
            ids = [job.job_id for job in parts.queue.enqueue_many(lines)]
            names = [str(line["custom_id"]) for line in lines]
            parts.start_worker()
            victim = parts.start_worker()
            until(lambda: len(proxy.submissions) > 80, 300, "work to be under way")
            victim.kill()
            victim.wait()
            # The first lasting ones run by now; the last have not been submitted yet.
            canceled = [i for i, n in zip(ids, names, strict=True) if n.startswith("lasting")]
            canceled += ids[-20:]
            for job_id in canceled:
                parts.queue.cancel(job_id)
            until(partial(_all_over, parts, ids), 900, "every job to be over")
            jobs = _all_jobs(parts, ids)
            wanted = _told(jobs, lines)
            until(lambda: not wanted - _paths(hooks), 120, "every URL to be told")
        runs = target.all_run_ids() - before
        _judge(target, jobs, set(canceled), proxy, runs)
        told = Counter(path for path in _every_path(hooks) if path != "page")
        ids_of = {path: {r.headers["webhook-id"] for r in hooks.at(f"/{path}")} for path in told}
        print(f"200 jobs, {len(runs)} runs, {Counter(job.state.value for job in jobs)}")
        print(f"{len(told)} URLs told, {told.total() - len(told)} of them more than once")
        assert set(told) == wanted
        assert {len(found) for found in ids_of.values()} == {1}


def _judge(
    target: Target, jobs: list[Job], canceled: set[str], proxy: LossyProxy, runs: set[str]
) -> None:
    """Hold each job to its kind, to the server's own record, and to its one run."""
    assert len(jobs) == QUICK + LASTING + BAD + TASKS + TASKS_2
    assert {s.run_id for s in proxy.submissions if s.run_id} == runs
    for job in jobs:
        own = {s.run_id for s in proxy.of(_token(job)) if s.run_id}
        assert len(own) <= 1, job
        assert {job.run_id} - {None} == own, job
        if not own:
            assert (job.state, job.id in canceled) == (JobState.CANCELED, True), job
            continue
        run = target.run(str(job.run_id))
        assert _STATES[run["status"]] is job.state, (job, run["status"])
        assert job.state in _allowed(job, target, job.id in canceled), job


_STATES = {
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "terminated": JobState.FAILED,
    "timed_out": JobState.FAILED,
    "canceled": JobState.CANCELED,
}


def _allowed(job: Job, target: Target, is_canceled: bool) -> set[JobState]:
    """Return the states in which a job of its kind may end."""
    name = str(job.custom_id).partition("/")[0]
    ends = {
        "quick": JobState.COMPLETED,
        "lasting": JobState.CANCELED,
        "bad": JobState.FAILED,
        "task": JobState.COMPLETED if target.has_browser else JobState.FAILED,
        "task 2.0": JobState.COMPLETED if target.has_browser else JobState.FAILED,
    }
    return {ends[name], JobState.CANCELED} if is_canceled else {ends[name]}


def _told(jobs: list[Job], lines: list[Mapping[str, Any]] | list[dict[str, Any]]) -> set[str]:
    """Return the paths of the URLs that have to be told: of jobs with a run, if they ask for it."""
    asked = {str(line["custom_id"]) for line in lines if "webhook_url" in line["body"]}
    return {_token(job) for job in jobs if job.custom_id in asked and job.run_id is not None}


def _every_path(hooks: Listener) -> list[str]:
    return [each.path.partition("?")[0].strip("/") for each in list(hooks.received)]


def _paths(hooks: Listener) -> set[str]:
    return set(_every_path(hooks))
