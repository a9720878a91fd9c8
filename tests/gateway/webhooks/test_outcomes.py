"""What becomes of a webhook whose signature is good, by how its job stands."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from runqueue import JobState, RunQueue, TaskRunRequest
from runqueue.ids import new_id
from runqueue.producer.listing import Filter
from runqueue.records.claim_items import Claimed
from runqueue.store.keys import ACCOUNTS, Keys
from tests.gateway.gating import KEY, Desk, gating, run_of, signed, told


async def test_the_end_of_a_run_ends_its_job_with_the_body_as_its_result(
    desk: Desk, redis_url: str
) -> None:
    ends = {
        "completed": JobState.COMPLETED,
        "failed": JobState.FAILED,
        "terminated": JobState.FAILED,
        "timed_out": JobState.FAILED,
        "canceled": JobState.CANCELED,
    }
    async with gating(redis_url) as door:
        for job, (status, state) in zip(desk.running(len(ends)), ends.items(), strict=True):
            assert (await door.webhook(job, told(job, status))).verdict == "ended"
            found = desk.job(job)
            assert (found.state, found.run_status, found.run_id) == (state, status, run_of(job))
            assert found.result == told(job, status)


@pytest.mark.parametrize("retry", [None, {"max_attempts": 2, "retry_on": ["timed_out"]}])
async def test_a_list_says_why_a_run_failed_whose_end_a_webhook_reported(
    desk: Desk, redis_url: str, retry: Any
) -> None:
    (job,) = desk.running(retry=retry)
    words = "No such product \ud83d."

    async with gating(redis_url) as door:
        body = json.dumps(told(job, "failed", failure_reason=words)).encode()
        assert (await door.webhook(job, body)).verdict == "ended"

    (listed,) = desk.queue.list_jobs(Filter(state="failed")).jobs
    assert listed.failure_reason == "No such product ?."


async def test_why_a_run_failed_is_not_said_of_one_that_completed(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        await door.webhook(job, told(job, failure_reason="No such product."))

    assert desk.field(job, "reason") == ""


async def test_the_signature_is_kept_as_it_came_for_whoever_waits_for_the_webhook(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()
    raw = b'{"run_id": "%s", "status" : "completed"}' % run_of(job).encode()

    async with gating(redis_url) as door:
        await door.webhook(job, raw)

    headers = signed(raw)
    assert desk.field(job, "signed") == f"{headers['x-skyvern-signature']} 1764080000"
    assert desk.field(job, "delivery") == "pending"


@pytest.mark.parametrize("value", ["\ud83d", float("nan"), float("inf")])
async def test_what_python_writes_and_others_do_not_read_ends_its_job_all_the_same(
    desk: Desk, redis_url: str, value: Any
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        assert (await door.webhook(job, told(job, output={"text": value}))).verdict == "ended"

    assert desk.job(job).state is JobState.COMPLETED


async def test_a_timestamp_that_is_none_is_not_kept(desk: Desk, redis_url: str) -> None:
    timestamps = (None, "", "1 2", "é", "x" * 65)

    async with gating(redis_url) as door:
        for job, timestamp in zip(desk.running(len(timestamps)), timestamps, strict=True):
            raw = b'{"run_id": "%s", "status": "completed"}' % run_of(job).encode()
            headers = signed(raw, timestamp=timestamp or "")
            if timestamp is None:
                del headers["x-skyvern-timestamp"]
            assert (await door.webhook(job, raw, headers=headers)).verdict == "ended"
            assert desk.field(job, "signed") == f"{headers['x-skyvern-signature']} "


@pytest.mark.parametrize(
    "fields",
    [{"status": "running"}, {"status": "failed", "retry_pending": True}, {"status": "exploded"}],
    ids=["it goes on", "a retry is pending", "a status that nobody knows"],
)
async def test_a_run_that_goes_on_is_noted(
    desk: Desk, redis_url: str, fields: dict[str, Any]
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        assert (await door.webhook(job, told(job, **fields))).verdict == "noted"

    assert desk.job(job).state is JobState.RUNNING
    assert desk.job(job).run_status == fields["status"]


async def test_a_hundred_at_once_record_one_end(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        answers = await asyncio.gather(*(door.webhook(job, told(job)) for _ in range(100)))

    verdicts = sorted(answer.verdict for answer in answers)
    assert verdicts == ["duplicate"] * 99 + ["ended"]
    stats = desk.queue.stats()["default"]
    assert stats.totals["ended:completed"] == 1
    assert stats.live == 0


async def test_many_jobs_at_once_each_get_their_own_end_in_few_calls(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    jobs = desk.running(60)
    states = ["completed", "failed", "canceled"]
    client.config_resetstat()

    async with gating(redis_url) as door:
        answers = await asyncio.gather(
            *(door.webhook(job, told(job, states[n % 3])) for n, job in enumerate(jobs))
        )

    assert {answer.verdict for answer in answers} == {"ended"}
    calls: Any = client.info("commandstats")
    assert calls["cmdstat_fcall"]["calls"] < 30
    found = desk.queue.get_many([job.job_id for job in jobs])
    assert [one.state.value for one in found if one] == states * 20
    assert [one.run_id for one in found if one] == [run_of(job) for job in jobs]


@pytest.mark.parametrize("attempt", [1, 999_999_999])
async def test_a_job_that_was_never_submitted_is_not_completed_by_a_signed_webhook(
    desk: Desk, queue: RunQueue, redis_url: str, logged: list[dict[str, object]], attempt: int
) -> None:
    job_id = queue.enqueue(TaskRunRequest(prompt="Read it.")).job_id
    job = Claimed(job_id, attempt, b"")

    async with gating(redis_url) as door:
        assert (await door.webhook(job, told(job))).verdict == "orphan"

    assert (desk.job(job).state, desk.job(job).run_id) == (JobState.READY, None)
    assert [one.run_id for one in queue.orphans()] == [run_of(job)]
    (line,) = (one for one in logged if one["event"] == "webhook")
    assert (line["verdict"], line["job_id"]) == ("orphan", job_id)


async def test_a_run_that_is_another_job_s_is_a_conflict(desk: Desk, redis_url: str) -> None:
    mine, other = desk.claimed(2)
    assert desk.accept(other) == [1]
    assert desk.accept(mine) == [1]

    async with gating(redis_url) as door:
        before = desk.everything()
        answer = await door.webhook(mine, told(mine) | {"run_id": run_of(other)})

        assert (answer.status, answer.body["detail"]) == (409, "the run is another job's")
        assert desk.everything() == before


async def test_a_job_that_is_not_on_record_is_not_found(desk: Desk, redis_url: str) -> None:
    gone = Claimed(new_id("default"), 1, b"")

    async with gating(redis_url) as door:
        before = desk.everything()
        answer = await door.webhook(gone, told(gone))

        assert answer.status == 404
        assert answer.body["detail"] == "there is nothing at this address"
        assert desk.everything() == before


async def test_an_account_of_its_own_is_told_of_its_own_jobs(desk: Desk, redis_url: str) -> None:
    key = "another-key"
    desk.client.sadd(ACCOUNTS, "acme")
    task = {"kind": "task", "account": "acme", "body": {"prompt": "x"}}
    desk.queue.enqueue_many([task])
    (job,) = desk.claim("acme")

    async with gating(redis_url, accounts={"acme": {"api_key": key}}) as door:
        refused = await door.webhook(job, told(job), account="acme", key=KEY)
        taken = await door.webhook(job, told(job), account="acme", key=key)

    assert (refused.status, taken.verdict) == (404, "ended")


async def test_keys_that_the_account_had_before_are_taken(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url, key="new", previous_api_keys="older,old") as door:
        assert (await door.webhook(job, told(job), key="old")).verdict == "ended"
        assert (await door.webhook(job, told(job), key="never")).status == 404


async def test_an_account_is_announced_at_the_start(client: redis.Redis, redis_url: str) -> None:
    async with gating(redis_url, accounts={"acme": {"api_key": "x"}}):
        assert client.smembers(ACCOUNTS) == {b"default", b"acme"}


REASON = "Failed to run task 2.0: Failed to send webhook.    task_v2_id=tsk_v2_1"


async def test_a_failure_that_may_be_none_is_left_to_a_poll_which_is_due_now(
    desk: Desk, redis_url: str
) -> None:
    unconfirmed, genuine = desk.running(2)
    lie = told(unconfirmed, "failed", failure_reason=REASON, run_type="task_v2")

    async with gating(redis_url) as door:
        assert (await door.webhook(unconfirmed, lie)).verdict == "noted"
        assert (await door.webhook(genuine, {**lie, **told(genuine, "failed")})).verdict == "ended"

    assert (desk.job(unconfirmed).state, desk.job(unconfirmed).run_status) == (
        JobState.RUNNING,
        "failed",
    )
    assert is_polled_now(desk, unconfirmed)
    assert desk.job(genuine).state is JobState.FAILED


@pytest.mark.parametrize(
    "output", ["x" * (8 * 1024 * 1024), [[]] * 250_000], ids=["too long", "too many values"]
)
async def test_a_run_whose_webhook_is_too_large_is_polled_now(
    desk: Desk, redis_url: str, output: Any
) -> None:
    large, other = desk.running(2)
    assert not is_polled_now(desk, large)

    async with gating(redis_url) as door:
        body = told(large, output=output)
        assert (await door.webhook(large, body)).status == 413

    assert desk.job(large).state is JobState.RUNNING
    assert is_polled_now(desk, large)
    assert not is_polled_now(desk, other)


def is_polled_now(desk: Desk, job: Claimed) -> bool:
    """Whether the poll of a job's run is due."""
    seconds, rest = desk.client.time()
    score = desk.client.zscore(f"{Keys('default').prefix}poll", job.job_id)
    assert score is not None
    return score <= seconds * 1_000_000 + rest
