"""Submitting: where each outcome of a POST leads, and when nothing is sent at all."""

import asyncio
import json
import time
from typing import Any

import pytest
import redis

from api_client.elapsed import elapsed
from runqueue import JobState, TaskRunRequest, WorkflowRunRequest
from tests.simulator.simulating import KEY, eventually
from tests.worker.working import ENDLESS, KEYS, Bench, Work, start, wrap_send

#: A FastAPI server's words.
UNPROCESSABLE = {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Bad prompt"}]}
FILES_USED = "These file ids are not available to attach — file_1"


def answer(status: int, body: Any = None, **more: Any) -> dict[str, Any]:
    return {"status": status, **({} if body is None else {"body": body}), **more}


async def test_an_accepted_job_runs_as_the_run_that_carries_its_marker(work: Work) -> None:
    async with work() as bench:
        request = TaskRunRequest(
            prompt="Read it.",
            url=ENDLESS,
            title="Prices",
            webhook_url="https://app.test/hook?a=1#part",
            engine="skyvern-1.0",
        )
        job_id = bench.queue.enqueue(request).job_id

        await bench.one_pass("submit")

        job, (run,) = bench.job(job_id), await bench.runs()
        assert (job.state, job.run_id, job.attempts) == (JobState.RUNNING, run["run_id"], 1)
        assert run["title"] == f"Prices [rq:{job_id}.1]"
        assert run["webhook_url"] == f"https://app.test/hook?a=1&rq_job={job_id}.1.#part"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (answer(400, {"detail": "No such engine"}), "No such engine"),
        (answer(404, {"detail": "Workflow wpid_1 not found"}), "Workflow wpid_1 not found"),
        (answer(409, {"detail": "Session in use"}), "Session in use"),
        (answer(410, {"detail": "Session pbs_1 is closed."}), "Session pbs_1 is closed."),
        (answer(400, {"detail": "pbs_1 is occupied by wr_2"}), "pbs_1 is occupied by wr_2"),
        (answer(422, {"detail": FILES_USED}), FILES_USED),
        (answer(413), "HTTP 413"),
        (answer(422, UNPROCESSABLE), "body.prompt: Bad prompt"),
        (answer(403, {"detail": "Not your browser"}), "Not your browser"),
        (answer(401, {"detail": "Not your browser"}), "Not your browser"),
    ],
    ids=lambda value: str(value["status"]) if isinstance(value, dict) else "",
)
async def test_a_refused_job_is_dead_with_the_servers_words_and_the_account_goes_on(
    work: Work, action: dict[str, Any], words: str
) -> None:
    async with work() as bench:
        await bench.api.fault(action, match={"route": "run_task"}, times=1)
        refused, fine = bench.enqueue(2)

        await bench.one_pass("submit", want=1)
        await bench.one_pass("submit", want=1)

        job = bench.job(refused)
        assert (job.state, job.reason, job.run_id) == (JobState.DEAD, words, None)
        assert bench.job(fine).state is JobState.RUNNING
        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    ("action", "seconds", "words"),
    [
        ({"unavailable": "no_run"}, 5, "No run was created"),
        (answer(429, headers={"Retry-After": "7"}), 7, "HTTP 429"),
        (answer(402, {"detail": "Out of credits"}), 60, "Out of credits"),
        (answer(404, {"detail": "Not Found"}), 60, "Not Found"),
        (answer(404, "no page here"), 60, "no page here"),
        (answer(405, {"detail": "Method Not Allowed"}), 60, "Method Not Allowed"),
        (answer(302, headers={"Location": "https://elsewhere.test/"}), 60, "HTTP 302"),
    ],
    ids=["503 no run", "429 Retry-After", "402", "404 route", "404 page", "405", "302"],
)
async def test_a_submission_that_made_no_run_is_given_back_to_the_head_and_holds_the_account(
    work: Work, action: dict[str, Any], seconds: float, words: str
) -> None:
    async with work() as bench:
        await bench.api.fault(action, match={"route": "run_task"}, times=1)
        first, second = bench.enqueue(2)

        await bench.one_pass("submit", want=1)

        job, stats = bench.job(first), bench.stats()
        assert (job.state, job.runs, job.run_id) == (JobState.READY, 0, None)
        assert seconds - 1 < stats.hold_seconds <= seconds
        assert words in (stats.hold_reason or "")
        assert stats.live == 0
        assert not (await bench.one_pass("submit")).items  # held

        bench.client.hset(
            KEYS.meta, mapping=dict.fromkeys(("hold_until", "asked_until"), bench.now_us() - 1)
        )
        await bench.one_pass("submit", want=1)

        assert bench.job(first).state is JobState.RUNNING
        assert bench.job(second).state is JobState.READY
        assert bench.stats().hold_reason is None


async def test_a_task_that_no_model_was_there_for_waits_apart_and_holds_nobody(work: Work) -> None:
    async with work() as bench:
        words = "Failed to generate task. Please try again later."
        action = answer(400, {"detail": words})
        await bench.api.fault(action, match={"route": "run_task"}, times=1)
        first = bench.queue.enqueue(TaskRunRequest(prompt="Find it.")).job_id

        await bench.one_pass("submit")

        job = bench.job(first)
        assert (job.state, job.reason) == (JobState.SCHEDULED, f"HTTP 400: {words}")
        assert await bench.runs() == []
        second = bench.queue.enqueue(TaskRunRequest(prompt="Read it.", url=ENDLESS)).job_id
        await bench.one_pass("submit")
        assert bench.job(second).state is JobState.RUNNING


async def test_a_wrong_key_holds_the_account_and_one_job_probes_it(work: Work) -> None:
    async with work(key="wrong-key") as bench:
        job_ids = bench.enqueue(3)

        await bench.one_pass("submit")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}
        assert bench.stats().hold_reason == (
            "HTTP 403 (check SKYVERN_API_KEY): Could not validate credentials"
        )
        assert 59 < bench.stats().hold_seconds <= 60

        bench.client.hset(
            KEYS.meta, mapping=dict.fromkeys(("hold_until", "asked_until"), bench.now_us() - 1)
        )
        assert len((await bench.one_pass("submit")).items) == 1
        assert not (await bench.one_pass("submit")).items
        assert await bench.submissions() == 4
        assert await bench.runs() == []


async def test_many_refusals_at_once_read_the_list_with_the_key_once(work: Work) -> None:
    async with work() as bench:
        await bench.api.fault(answer(403, {"detail": "No"}), match={"route": "run_task"})
        job_ids = bench.enqueue(20)

        await bench.one_pass("submit")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.DEAD}
        async with bench.api.session.get(f"{bench.api.url}/_ledger/summary") as summary:
            assert (await summary.json())["requests_by_route"]["list_runs"] == 1


async def test_a_403_is_the_accounts_while_no_list_says_otherwise(work: Work) -> None:
    async with work(simulator={"list_supported": False}) as bench:
        await bench.api.fault(answer(403, {"detail": "No"}), match={"route": "run_task"})
        (job_id,) = bench.enqueue()

        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.READY
        assert bench.stats().hold_reason == "HTTP 403 (check SKYVERN_API_KEY): No"


@pytest.mark.parametrize(
    ("action", "runs"),
    [
        (answer(500, {"error": "Unexpected"}), 0),
        (answer(500, {"error": "Unexpected"}, committed=True), 1),
        (answer(502), 0),
        (answer(408), 0),
        (answer(418), 0),
        ({"unavailable": "database"}, 0),
        ({"unavailable": "plain"}, 0),
        ({"reset": "after_body"}, 0),
        ({"reset": "after_body", "committed": True}, 1),
        ({"reset": "mid_answer"}, 1),
        ({"close": True}, 0),
        ({"close": True, "committed": True}, 1),
        ({"truncate": "length"}, 1),
        ({"truncate": "json"}, 1),
        ({"empty200": True}, 0),
        ({"empty200": True, "committed": True}, 1),
        ({"html200": True}, 0),
        ({"garbage": True, "committed": True}, 1),
        (answer(200, {"status": "created"}), 0),
    ],
    ids=json.dumps,
)
async def test_a_submission_nobody_knows_the_outcome_of_is_unconfirmed_and_never_sent_again(
    work: Work, action: dict[str, Any], runs: int
) -> None:
    async with work() as bench:
        await bench.api.fault(action, match={"route": "run_task"})
        (job_id,) = bench.enqueue()

        await bench.one_pass("submit")
        await bench.one_pass("submit")

        job = bench.job(job_id)
        assert (job.state, job.attempts, job.run_id) == (JobState.UNCONFIRMED, 1, None)
        assert job.reason
        assert bench.stats().live == 1  # it keeps its slot
        assert bench.stats().hold_reason is None
        assert await bench.submissions() == 1
        found = await bench.runs()
        assert [run["title"] for run in found] == [f"[rq:{job_id}.1]"] * runs


async def test_each_attempt_is_sent_once_and_has_a_marker_of_its_own(work: Work) -> None:
    async with work() as bench:
        await bench.api.fault({"unavailable": "no_run"}, match={"route": "run_task"}, times=2)
        (job_id,) = bench.enqueue()

        for _ in range(3):
            await bench.one_pass("submit")
            bench.client.hset(
                KEYS.meta, mapping=dict.fromkeys(("hold_until", "asked_until"), bench.now_us() - 1)
            )

        assert [run["title"] for run in await bench.runs()] == [f"[rq:{job_id}.3]"]
        assert await bench.submissions() == 3
        assert (bench.job(job_id).attempts, bench.job(job_id).runs) == (3, 0)


async def test_nothing_is_sent_once_the_leases_time_to_send_is_over(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        monkeypatch.setattr(bench.account.lease, "_clock", lambda: elapsed() + 14)

        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0
        assert bench.stats().totals["given_back:void"] == 1
        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    "limit", [{"max_submissions_per_second": 100}, {"max_requests_per_second": 100}], ids=str
)
async def test_nothing_is_sent_by_a_permit_older_than_200_ms(
    work: Work, limit: dict[str, Any]
) -> None:
    async with work(**limit) as bench:
        old, new = bench.enqueue(2)
        consumer = bench.account.consumers["submit"]
        taken = await consumer.take(2, 0)
        (first, process, _), (second, *_) = taken.items
        now = elapsed()

        start(consumer, (first, process, now - 0.2), (second, process, now))
        await eventually(lambda: consumer.busy == 0)

        assert (bench.job(old).state, bench.job(new).state) == (JobState.READY, JobState.RUNNING)
        assert await bench.submissions() == 1


@pytest.mark.parametrize("limit", [{}, {"max_submissions_per_second": 100}], ids=str)
async def test_a_machine_that_was_suspended_sends_nothing_of_before_on_waking(
    work: Work, monkeypatch: pytest.MonkeyPatch, limit: dict[str, Any]
) -> None:
    async with work(**limit) as bench:
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        taken = await consumer.take(1, 0)
        real = time.clock_gettime

        def suspended(clock: int) -> float:
            # What `time.monotonic` reads stands still meanwhile.
            return real(clock) + (0.0 if clock == time.CLOCK_MONOTONIC else 20.0)

        monkeypatch.setattr(time, "clock_gettime", suspended)
        start(consumer, *taken.items)
        await eventually(lambda: consumer.busy == 0)

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0


async def test_what_every_claim_takes_on_the_way_makes_no_permit_old(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(max_submissions_per_second=100) as bench:
        (job_id,) = bench.enqueue()

        async def far_away(real: Any, call: Any) -> Any:
            await asyncio.sleep(0.25)
            return await real(call)

        wrap_send(monkeypatch, bench.account, far_away)
        await bench.one_pass("submit")
        assert bench.job(job_id).state is JobState.READY, "nothing is known of the way yet"
        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.RUNNING


async def test_nothing_is_sent_while_draining(work: Work) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        bench.account.consumers["submit"].draining = True

        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0


async def test_a_permit_is_as_old_as_the_first_of_the_calls_for_its_claim(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[float] = [0.0]
    lost: list[Any] = []

    async def lose_the_first(send: Any, call: Any) -> Any:
        reply = await send(call)
        if call.script.name == "claim" and not lost:
            lost.append(call)
            raise redis.exceptions.ConnectionError("cut off")
        return reply

    monkeypatch.setattr("worker.stages.submit.elapsed", lambda: elapsed() + ahead[0])
    async with work(max_submissions_per_second=100) as bench:
        (job_id,) = bench.enqueue()
        wrap_send(monkeypatch, bench.account, lose_the_first)
        with pytest.raises(redis.exceptions.ConnectionError):
            await bench.one_pass("submit")
        ahead[0] = 0.3
        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0


async def test_a_redis_that_lost_claims_holds_the_account_and_sends_nothing(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        bench.account.lease.sequence = 10

        await bench.account.lease.beat()
        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0
        assert "Redis lost claims (0 of 10 known)" in (bench.stats().hold_reason or "")
        assert "redis_lost_claims" in [event["event"] for event in logged]


async def tags_of(bench: Bench, job_id: str) -> dict[str, str]:
    """The tags that a submission gave a job's run."""
    url = f"{bench.api.url}/v1/runs/{bench.job(job_id).run_id}/tags"
    answer = await bench.api.session.get(url, headers=KEY)
    tags = (await answer.json())["tags"]
    return {one["key"]: one["value"] for one in tags if one["source"] == "manual"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "Workflow tagging is not enabled for this organization."),
        (400, "run_metadata: not available on this plan"),
    ],
)
async def test_a_server_that_refuses_our_tag_gets_the_job_again_without_one(
    work: Work, status: int, words: str
) -> None:
    async with work() as bench:
        await bench.api.fault(answer(status, {"detail": words}), match={"method": "POST"}, times=1)
        request = WorkflowRunRequest(workflow_id="wpid_1", parameters={"sim_end": "never"})
        job_id = bench.queue.enqueue(request, metadata={"order": "17"}).job_id

        await bench.one_pass("submit")
        assert bench.job(job_id).state is JobState.READY
        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.RUNNING
        assert not bench.account.tags_runs
        assert await tags_of(bench, job_id) == {}


async def test_a_workflow_s_run_has_the_job_s_metadata_as_tags_beside_the_marker(
    work: Work,
) -> None:
    async with work() as bench:
        request = WorkflowRunRequest(
            workflow_id="wpid_1", parameters={"sim_end": "never"}, run_metadata={"a": "b"}
        )
        job_id = bench.queue.enqueue(request, metadata={"order": "17"}).job_id

        await bench.one_pass("submit")

        assert await tags_of(bench, job_id) == {"a": "b", "order": "17", "rq_job": f"{job_id}.1"}


async def test_a_refusal_that_is_not_about_tags_is_the_requests_own(work: Work) -> None:
    async with work() as bench:
        fault = answer(400, {"detail": "Missing value for parameter stage"})
        await bench.api.fault(fault, match={"method": "POST"}, times=1)
        job_id = bench.queue.enqueue(WorkflowRunRequest(workflow_id="wpid_1")).job_id

        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.DEAD
        assert bench.account.tags_runs
