"""Polling: what each answer means for the job."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runqueue import JobState
from runqueue.producer.listing import Filter
from runqueue.records.job import REASON_CHARS
from tests.simulator.simulating import FakeClock, eventually
from tests.worker.working import INSTANT, KEYS, Bench, Work


def due(bench: Bench, job_id: str) -> None:
    """Make a poll due by hand."""
    bench.client.zadd("runqueue:{default}:poll", {job_id: bench.now_us()})


async def test_a_run_that_ended_is_finished_with_its_answer_as_it_came(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=INSTANT)

        await bench.one_pass("poll")

        job = bench.job(job_id)
        assert (job.state, job.run_status, job.runs) == (JobState.COMPLETED, "completed", 1)
        assert job.output == {"answer": f"Simulated result of {job.run_id}"}
        answer = await bench.api.session.get(
            f"{bench.api.url}/v1/runs/{job.run_id}", headers={"x-api-key": "simulator-key"}
        )
        assert bench.client.get(f"runqueue:{{default}}:result:{job_id}") == await answer.read()
        assert (await bench.one_pass("poll")).consumer_left
        assert bench.stats().live == 0


@pytest.mark.parametrize(
    ("end", "state"), [("failed", "failed"), ("terminated", "failed"), ("timed_out", "failed")]
)
async def test_a_run_that_did_not_complete_fails_its_job_and_says_how(
    work: Work, end: str, state: str
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=f"{INSTANT}&sim_end={end}")

        await bench.one_pass("poll")

        job = bench.job(job_id)
        assert (job.state, job.run_status) == (state, end)
        assert "(simulated)" in (job.failure_reason or "")


async def test_of_a_long_reason_the_record_keeps_the_beginning_and_the_result_all_of_it(
    work: Work,
) -> None:
    words = "The page asked for a phone number. " * 40
    async with work() as bench:
        (job_id,) = await bench.submitted(url=f"{INSTANT}&sim_end=failed")
        answer = {"run_id": bench.job(job_id).run_id, "status": "failed", "failure_reason": words}
        await bench.api.fault({"status": 200, "body": answer}, match={"route": "get_run"}, times=1)

        await bench.one_pass("poll")

        (listed,) = bench.queue.list_jobs(Filter(state="failed")).jobs
        assert words.startswith(listed.failure_reason or "?")
        assert len(listed.failure_reason or "") == REASON_CHARS
        assert bench.job(job_id).failure_reason == words


async def test_a_failure_that_the_server_tries_again_is_no_end(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        (job_id,) = await bench.submitted(url="https://shop.test/?sim_end=flap&sim_seconds=100")
        seen = []
        for _ in range(3):
            clock.advance(45)
            due(bench, job_id)
            await bench.one_pass("poll")
            seen.append((bench.job(job_id).state.value, bench.job(job_id).run_status))

        assert seen == [("running", "failed"), ("running", "running"), ("completed", "completed")]


async def test_a_status_nobody_knows_goes_on_and_is_shown(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=INSTANT)
        body = {"run_id": bench.job(job_id).run_id, "status": "pondering"}
        await bench.api.fault({"status": 200, "body": body}, match={"route": "get_run"}, times=1)

        await bench.one_pass("poll")
        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.job(job_id).run_status == "pondering"

        due(bench, job_id)
        await bench.one_pass("poll")
        assert bench.job(job_id).state is JobState.COMPLETED


@pytest.mark.parametrize(
    "action",
    [
        {"status": 404, "body": {"detail": "Run not found"}},
        {"status": 404, "body": {"detail": "Not Found"}},
        {"status": 403, "body": {"detail": "Could not validate credentials"}},
        {"status": 429},
        {"status": 500, "body": {"error": "Unexpected"}},
        {"status": 503},
        {"reset": "after_body"},
        {"truncate": "json"},
        {"empty200": True},
        {"html200": True},
        {"status": 200, "body": []},
        {"status": 200, "body": {"status": None}},
        {"latency": 60},
    ],
    ids=str,
)
async def test_a_read_that_failed_ends_nothing_and_comes_again_a_second_later_at_the_soonest(
    work: Work, action: dict[str, Any], monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr("worker.runs.read_run.GET_SECONDS", 0.1)
    async with work() as bench:
        (job_id,) = await bench.submitted(url=INSTANT)
        await bench.api.fault(action, match={"route": "get_run"}, times=1)

        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.RUNNING
        assert 0 < bench.next_poll(job_id) <= 1
        assert "poll_failed" in [event["event"] for event in logged]
        answered = action.get("body") == {"detail": "Run not found"}
        assert (bench.account.reads.report().failing_us == -1) is answered
        due(bench, job_id)
        await bench.one_pass("poll")
        assert bench.job(job_id).state is JobState.COMPLETED
        assert bench.account.reads.report().failing_us == -1


async def test_a_server_that_asks_to_be_left_alone_is(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=INSTANT)
        action = {"status": 429, "headers": {"Retry-After": "9"}}
        await bench.api.fault(action, match={"route": "get_run"}, times=1)

        await bench.one_pass("poll")

        assert 5 < bench.next_poll(job_id) <= 9


async def begun_ago(bench: Bench, seconds: float, *, polls: int = 1) -> None:
    """Have the API show to the next polls that the run's current attempt began so long ago."""
    moment = datetime.fromtimestamp(time.time() - seconds, UTC).replace(tzinfo=None)
    shown = {"status": "running", "started_at": moment.isoformat()}
    action = {"status": 200, "body": shown}
    await bench.api.fault(action, match={"route": "get_run"}, times=polls)


async def end_it(bench: Bench) -> None:
    """Look, cancel, and look again."""
    await bench.one_pass("poll")
    await bench.one_pass("cancel")
    await bench.one_pass("poll")


async def test_a_job_whose_deadline_passes_while_it_runs_is_canceled_and_fails(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(deadline=timedelta(hours=1))
        bench.set(job_id, "deadline", bench.now_us() - 1)

        await end_it(bench)

        job, (run,) = bench.job(job_id), await bench.runs()
        assert (job.state, job.reason, job.run_status) == (JobState.FAILED, "deadline", "canceled")
        assert run["status"] == "canceled"
        assert bench.stats().live == 0


async def test_a_run_that_takes_longer_than_it_may_is_canceled_and_fails(work: Work) -> None:
    async with work(max_run_seconds=60) as bench:
        young, hung = await bench.submitted(2)
        bench.set(hung, "started", bench.now_us() - 61_000_000)
        await begun_ago(bench, 65, polls=2)

        await end_it(bench)

        job = bench.job(hung)
        assert job.state is JobState.FAILED
        assert job.reason == "time limit: the run took longer than 60 s"
        assert bench.job(young).state is JobState.RUNNING
        assert [run["status"] for run in await bench.runs()].count("canceled") == 1


async def test_the_clock_starts_again_with_an_attempt_of_skyvern_s_own(work: Work) -> None:
    async with work(max_run_seconds=60) as bench:
        (job_id,) = await bench.submitted()
        bench.set(job_id, "started", bench.now_us() - 100_000_000)
        await begun_ago(bench, 20)

        await bench.one_pass("poll")

        assert not bench.job(job_id).cancel_requested
        begun = int(bench.client.hget(f"{KEYS.prefix}job:{job_id}", "begun") or 0)
        assert bench.now_us() - begun > 18_000_000  # a Date has whole seconds
        # It counts from there until a GET tells of yet another attempt.
        bench.set(job_id, "begun", bench.now_us() - 61_000_000)
        await begun_ago(bench, 65)
        due(bench, job_id)
        await end_it(bench)
        assert bench.job(job_id).reason == "time limit: the run took longer than 60 s"


async def test_the_age_of_an_attempt_is_told_by_the_clock_that_dates_the_runs(work: Work) -> None:
    async with work(max_run_seconds=60) as bench:
        (job_id,) = await bench.submitted()
        bench.set(job_id, "started", bench.now_us() - 100_000_000)
        bench.account.date_ahead = 3600.0
        await begun_ago(bench, 3620)

        await bench.one_pass("poll")

        assert not bench.job(job_id).cancel_requested


async def test_a_run_that_has_not_started_counts_from_its_acceptance(work: Work) -> None:
    async with work(max_run_seconds=60) as bench:
        (job_id,) = await bench.submitted()
        bench.set(job_id, "started", bench.now_us() - 61_000_000)
        shown = {"run_id": bench.job(job_id).run_id, "status": "queued", "started_at": None}
        await bench.api.fault({"status": 200, "body": shown}, match={"route": "get_run"}, times=1)

        await end_it(bench)

        assert bench.job(job_id).state is JobState.FAILED


async def test_a_poll_cut_off_by_a_stop_loses_nothing(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=INSTANT)
        await bench.api.fault({"latency": 60}, match={"route": "get_run"}, times=1)
        consumer = bench.account.consumers["poll"]
        consumer._start((await consumer.take(1, 0)).items[0])
        assert consumer.busy == 1

        await consumer.drain(0)
        await eventually(lambda: consumer.busy == 0)

        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.next_poll(job_id) <= 1
