"""A bad end asks the job's `retry`, as polling does."""

from __future__ import annotations

from typing import Any

import redis

from runqueue import JobState
from runqueue.store.keys import Keys
from tests.gateway.gating import Desk, gating, run_of, signed, told

TWICE = {"max_attempts": 2, "min_backoff": 60}


async def test_a_bad_end_has_the_job_run_again(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(retry=TWICE)

    async with gating(redis_url) as door:
        answer = await door.webhook(job, told(job, "failed", failure_reason="It crashed."))

    assert answer.verdict == "retried"
    found = desk.job(job)
    assert (found.state, found.runs, found.reason) == (JobState.SCHEDULED, 1, "It crashed.")
    assert found.run_at is not None
    assert 25 < (found.run_at - found.created_at).total_seconds() < 90


async def test_an_error_code_that_the_policy_names_has_it_run_again(
    desk: Desk, redis_url: str
) -> None:
    codes = {"error_code_mapping": {"SOLD_OUT": "It is sold out."}}
    (job,) = desk.running(retry={"max_attempts": 2, "retry_on": ["SOLD_OUT"]}, body=codes)
    errors = [{"error_code": "SOLD_OUT"}]

    async with gating(redis_url) as door:
        answer = await door.webhook(job, told(job, "terminated", errors=errors))

    assert answer.verdict == "retried"


async def test_a_run_that_its_job_has_under_another_attempt_s_number_is_left_to_polling(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    (job,) = desk.running(retry=TWICE)
    client.hset(f"{Keys('default').prefix}job:{job.job_id}", "attempt", 2)

    async with gating(redis_url) as door:
        assert (await door.webhook(job, told(job, "failed"))).verdict == "noted"
        assert desk.job(job).state is JobState.RUNNING

        assert (await door.webhook(job, told(job))).verdict == "ended"


OCCUPIED: dict[str, Any] = {
    "browser_session_id": "pbs_1",
    "failure_reason": "Browser session pbs_1 is already occupied by tsk_2.",
    "step_count": 1,
}


async def test_a_run_that_found_its_session_occupied_runs_again_without_a_policy(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        answer = await door.webhook(job, told(job, "failed", **OCCUPIED))

    found = desk.job(job)
    assert (answer.verdict, found.state, found.runs) == ("retried", JobState.SCHEDULED, 0)


async def test_a_task_that_is_shown_without_its_session_found_that_of_its_job_occupied(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running(body={"browser_session_id": "pbs_1"})

    async with gating(redis_url) as door:
        shown = {**OCCUPIED, "browser_session_id": None}
        answer = await door.webhook(job, told(job, "failed", **shown))

    assert (answer.verdict, desk.job(job).state) == ("retried", JobState.SCHEDULED)


async def test_where_no_time_is_left_it_ends_and_the_signed_body_waits_to_be_relayed(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    (job,) = desk.running(retry=TWICE, deadline=30)
    raw = b'{"run_id": "%s", "status": "failed"}' % run_of(job).encode()

    async with gating(redis_url) as door:
        assert (await door.webhook(job, raw)).verdict == "ended"

    assert desk.job(job).state is JobState.FAILED
    assert "no time is left" in str(desk.job(job).reason)
    assert desk.field(job, "signed").startswith(signed(raw)["x-skyvern-signature"])
    assert client.get(f"{Keys('default').prefix}webhook:{job.job_id}") == raw
