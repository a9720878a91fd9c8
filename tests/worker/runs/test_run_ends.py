"""Ends that are not what they are called, or not yet: what a terminal status means for the job."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from runqueue import JobState, TaskRunRequest, WorkflowRunRequest
from runqueue.store.history import read_history
from tests.simulator.simulating import receiving
from tests.worker.delivering import delivered
from tests.worker.retrying import RETRY
from tests.worker.working import ENDLESS, INSTANT, KEYS, Bench, Work
from worker.process import account as account_module

REASON = "Failed to run task 2.0: Failed to send webhook.    task_v2_id=tsk_v2_1"
NOTE = "completed: Skyvern 1.0.40 calls it failed, for its webhook was not delivered"


def run(status: str, *, ago: float = 60, **fields: Any) -> dict[str, Any]:
    """What a GET shows of a run that ended so long ago."""
    ended = datetime.fromtimestamp(time.time() - ago, UTC).replace(tzinfo=None).isoformat()
    return {"status": status, "output": None, "finished_at": ended, **fields}


def large(bench: Bench, job_id: str, status: str) -> dict[str, Any]:
    """What a GET shows of a job's run, with a large output."""
    return {"run_id": bench.job(job_id).run_id, **run(status, output="x" * 20_000)}


def lie(**fields: Any) -> dict[str, Any]:
    """What 1.0.40 shows of a 2.0 run that completed while its webhook met a closed port."""
    whole = {"run_type": "task_v2", "output": {"price": 12}, "failure_reason": REASON}
    return run(**{"status": "failed", **whole, **fields})


async def shows(bench: Bench, body: Any, *, times: int | None = None) -> None:
    """Have the API show runs like that."""
    action = {"status": 200, "body": body}
    await bench.api.fault(action, match={"route": "get_run"}, times=times)


class Server:
    """What the server answers to the question for its version, in turn; the last answer stays."""

    def __init__(self, *answers: str | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def server_version(self, timeout: float) -> str | None:  # noqa: ARG002 - as of the client
        """Answer as `RawClient.server_version` does."""
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def says_version(bench: Bench, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> Server:
    """Have the server say that it is of a version."""
    server = Server(*answers)
    monkeypatch.setattr(bench.account.client, "server_version", server.server_version)
    return server


async def poll(bench: Bench, *job_ids: str) -> None:
    """Poll runs now."""
    for job_id in job_ids:
        bench.client.zadd(f"{KEYS.prefix}poll", {job_id: bench.now_us()})
    await bench.one_pass("poll")


@pytest.mark.parametrize("options", [{}, {"retry": RETRY}])
async def test_a_completed_run_that_1_0_40_calls_failed_is_completed_with_a_note(
    work: Work, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(**options)
        await shows(bench, lie())
        says_version(bench, monkeypatch, "1.0.40")

        await poll(bench, job_id)

        job = bench.job(job_id)
        assert (job.state, job.run_status, job.reason) == (JobState.COMPLETED, "failed", NOTE)
        assert job.output == {"price": 12}
        assert bench.score("due", job_id) is None, "its retry is for runs that failed"
        history = await bench.account.send(read_history("default", job_id))
        assert history is not None
        assert NOTE in [step.cause for step in history.steps]
        assert await bench.submissions() == 1


async def test_the_webhook_of_such_a_job_says_that_it_completed(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, relay() as bench:
        says_version(bench, monkeypatch, "1.0.40")
        request = TaskRunRequest(prompt="Read it.", url=ENDLESS, webhook_url=user.url)
        job_id = bench.queue.enqueue(request).job_id
        await bench.one_pass("submit")
        await shows(bench, lie())
        await poll(bench, job_id)
        await delivered(bench, job_id)

        (body,), (headers,) = user.bodies, user.headers
        assert orjson.loads(body)["status"] == "failed"
        assert headers["runqueue-job-state"] == bench.job(job_id).state == "completed"


async def test_a_server_that_does_not_say_its_version_just_now_is_asked_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(retry=RETRY)
        await shows(bench, lie())
        says_version(bench, monkeypatch, None, "1.0.40")

        await poll(bench, job_id)

        assert bench.job(job_id).state is JobState.RUNNING
        assert 3 < bench.next_poll(job_id) <= 5
        await poll(bench, job_id)
        assert bench.job(job_id).state is JobState.COMPLETED


async def test_a_server_that_never_says_its_version_is_believed_in_the_end(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted()
        await shows(bench, lie(ago=700))
        says_version(bench, monkeypatch, None)

        await poll(bench, job_id)

        job = bench.job(job_id)
        assert job.state is JobState.FAILED
        assert "Failed to send webhook" in (job.reason or "")


async def test_the_version_is_asked_for_once_and_only_where_it_matters(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        server = says_version(bench, monkeypatch, "1.0.40", "1.0.56")
        (genuine,) = await bench.submitted(url=INSTANT.replace("?", "?sim_end=failed&"))
        await poll(bench, genuine)
        assert (bench.job(genuine).state, server.asked) == (JobState.FAILED, 0)

        await shows(bench, lie())
        lies = await bench.submitted(5)
        await poll(bench, *lies)
        assert {bench.job(job_id).state for job_id in lies} == {JobState.COMPLETED}
        assert server.asked == 1

        # After a while it is asked again: the server may have been upgraded.
        monkeypatch.setattr(account_module, "VERSION_SECONDS", 0.0)
        (later,) = await bench.submitted(1)
        await poll(bench, later)
        assert (bench.job(later).state, server.asked) == (JobState.FAILED, 2)


@pytest.mark.parametrize("status", ["failed", "terminated", "timed_out"])
async def test_a_workflow_s_bad_end_is_recorded_once_it_can_be_no_finally_block_s_beginning(
    work: Work, status: str
) -> None:
    async with work() as bench:
        job_id = await workflow(bench, retry={**RETRY, "retry_on": [status]})
        run_id = bench.job(job_id).run_id or ""
        await shows(bench, run(status, run_id=run_id, ago=0), times=1)
        await shows(bench, {"run_id": run_id, "status": "running"}, times=1)
        await shows(bench, run(status, run_id=run_id, ago=6))

        await poll(bench, job_id)
        assert bench.job(job_id).state is JobState.RUNNING
        assert 3 < bench.next_poll(job_id) <= 5
        await poll(bench, job_id)
        assert bench.job(job_id).state is JobState.RUNNING, "its finally block runs"
        await poll(bench, job_id)
        assert bench.job(job_id).state is JobState.SCHEDULED
        assert await bench.submissions() == 1


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        ({"status": "completed"}, JobState.COMPLETED),
        ({"status": "canceled"}, JobState.CANCELED),
        ({"finished_at": None}, JobState.FAILED),
        ({"finished_at": "soon"}, JobState.FAILED),
        ({"ago": -3600}, JobState.FAILED),
    ],
    ids=str,
)
async def test_other_ends_are_recorded_at_once(
    work: Work, shown: dict[str, Any], state: JobState
) -> None:
    async with work() as bench:
        job_id = await workflow(bench)
        run_id = bench.job(job_id).run_id
        await shows(bench, run(**{"status": "failed", "run_id": run_id, "ago": 0, **shown}))

        await poll(bench, job_id)

        assert bench.job(job_id).state is state


@pytest.mark.parametrize(
    ("status", "state"), [("completed", JobState.COMPLETED), ("failed", JobState.FAILED)]
)
async def test_a_run_whose_answer_is_too_large_to_be_read_ends_as_it_ended_without_its_body(
    work: Work, status: str, state: JobState
) -> None:
    async with work(transport={"max_body_bytes": 10_000}) as bench:
        (job_id,) = await bench.submitted()
        await shows(bench, large(bench, job_id, status))

        await poll(bench, job_id)

        job = bench.job(job_id)
        assert (job.state, job.run_status, job.output) == (state, status, None)
        assert job.result is not None
        assert (job.result["result_omitted"], job.result["result_bytes"]) == (True, None)


async def test_a_bad_end_in_an_answer_too_large_to_be_read_starts_no_second_run(work: Work) -> None:
    async with work(transport={"max_body_bytes": 10_000}) as bench:
        (job_id,) = await bench.submitted(retry={"max_attempts": 3})
        await shows(bench, large(bench, job_id, "failed"))

        await poll(bench, job_id)

        assert bench.job(job_id).state is JobState.FAILED


async def workflow(bench: Bench, **options: Any) -> str:
    """Submit a workflow that never ends by itself; return its job."""
    request = WorkflowRunRequest(workflow_id="wpid_1", parameters={"url": ENDLESS})
    job_id = bench.queue.enqueue(request, **options).job_id
    await bench.one_pass("submit")
    return job_id
