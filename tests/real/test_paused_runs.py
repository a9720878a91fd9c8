"""Runs that wait for a person, on a real server: listed, approved, and rejected."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import AsyncTransport, CancelClass, Cancellation, RawClient
from lab.waiting import until
from runqueue import Filter, Job, JobState
from runqueue.operator.decisions import Settled
from tests.acceptance.factory import Factory
from tests.real.mailbox import Mailbox, mailbox
from tests.real.stack import stack
from tests.real.target import Target, open_target

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

#: Seconds of one of its wait blocks.
WAITS = 2


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Mailbox]]:
    """A server of ours that can send mail, without which the block fails."""
    if os.environ.get("SKYVERN_BASE_URL"):
        pytest.skip("SKYVERN_BASE_URL names a server whose mail is not ours")
    with (
        mailbox(tmp_path_factory.mktemp("first")) as (box, settings),
        open_target(tmp_path_factory.mktemp("mailing"), **settings) as target,
    ):
        yield target, box


def workflow(target: Target, title: str) -> str:
    """Make a workflow that pauses between two waits."""
    person = {"block_type": "human_interaction", "label": "asks", "recipients": ["ops@example.com"]}
    waits: list[dict[str, Any]] = [
        {"block_type": "wait", "label": label, "wait_sec": WAITS} for label in ("before", "after")
    ]
    return target.workflow(title, blocks=[waits[0], person, waits[1]])


def approve(target: Target, run_id: str) -> Cancellation:
    async def call() -> Cancellation:
        async with AsyncTransport() as transport:
            client = RawClient(target.base_url, target.api_key, transport)
            return await client.continue_run(run_id)

    return asyncio.run(call())


def status_is(target: Target, run_id: str, status: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        run = target.run(run_id)
        return run if run["status"] == status else None

    return until(reached, 120, f"{run_id} to be {status}")


def test_only_a_paused_run_is_approved_and_then_it_goes_on(mailing: tuple[Target, Mailbox]) -> None:
    target, box = mailing
    body = {"workflow_id": workflow(target, "a person decides")}
    run_id = target.post("/v1/run/workflows", body).raise_for_status().json()["run_id"]
    early = approve(target, run_id)
    paused = status_is(target, run_id, "paused")
    listed = [item["run_id"] for item in target.listed(status="paused")]
    answer, again = approve(target, run_id), approve(target, run_id)
    at_once = target.run(run_id)["status"]
    over = target.wait_over(run_id)
    late, unknown = approve(target, run_id), approve(target, "wr_1")
    print({"early": early, "answer": answer, "again": again, "late": late, "unknown": unknown})
    print({name: paused[name] for name in ("app_url", "started_at", "finished_at", "modified_at")})
    print(at_once, over["status"], over["output"], box.subjects)

    assert (paused["app_url"].endswith(f"/runs/{run_id}"), listed) == (True, [run_id])
    assert (answer.outcome, answer.status_code, at_once) == (CancelClass.DONE, 200, "running")
    for refused in (early, again, late, unknown):
        assert (refused.outcome, refused.status_code) == (CancelClass.NOT_FOUND, 404)
        assert "Workflow run not found wr_" in refused.detail
    assert over["status"] == "completed"
    assert over["output"]["asks_output"] == {"success": True, "reason": "status_changed:running"}
    assert any(run_id in subject for subject in box.subjects)


def test_a_paused_run_is_listed_approved_and_completes_and_another_is_rejected(
    mailing: tuple[Target, Mailbox], tmp_path: Path
) -> None:
    target, _ = mailing
    with stack(target, tmp_path) as (parts, _):
        parts.start_worker()
        body = {"workflow_id": workflow(target, "of the queue")}
        # The limit is shorter than the pause, and longer than the work.
        line = {"kind": "workflow", "body": body, "max_run_seconds": 30}
        good, bad = (job.job_id for job in parts.queue.enqueue_many([line, line]))
        jobs = until(lambda: _both(parts), 120, "both to be listed, each with its link")
        assert {job.id for job in jobs} == {good, bad}
        for job in jobs:
            print(job.paused_since, job.paused_url)
            assert (job.paused_url or "").endswith(f"/runs/{job.run_id}")
        assert parts.queue.stats()["default"].paused_runs == 2
        time.sleep(35)  # longer than the runs may take: pauses do not count
        assert all(job.state is JobState.RUNNING for job in _listed(parts))

        assert parts.queue.approve([good]) == {good: Settled.DONE}
        parts.queue.cancel(bad)

        until(lambda: all(s and s.is_over for s, _ in parts.queue.states([good, bad])), 120, "ends")
        ends = {job.id: job.state for job in parts.queue.get_many([good, bad]) if job}
        assert ends == {good: JobState.COMPLETED, bad: JobState.CANCELED}
        assert parts.queue.approve([good]) == {good: Settled.NOT_PAUSED}
        assert parts.queue.stats()["default"].paused_runs == 0
        for job_id in (good, bad):
            print(*parts.queue.timeline(job_id)["timeline"], sep="\n")


def _listed(parts: Factory) -> list[Job]:
    return parts.queue.list_jobs(Filter(is_paused=True)).jobs


def _both(parts: Factory) -> list[Job] | None:
    found = _listed(parts)
    return found if len(found) == 2 and all(job.paused_url for job in found) else None
