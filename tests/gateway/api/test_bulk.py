"""Handing in up to 1,000 jobs: all of them, or none."""

from __future__ import annotations

from typing import Any

from gateway.checks import jobs as checks
from runqueue import JobState, RunQueue
from tests.gateway.gating import gating

PATH = "/v1/jobs:bulk"


def lines(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"row-{n}", "kind": "task", "body": {"prompt": "Read it."}, **more}
        for n in range(count)
    ]


async def test_jobs_are_answered_in_their_order(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, lines(3))

    assert answer.status == 202
    assert answer.body["counts"] == {"new": 3, "known": 0, "conflict": 0, "refused": 0}
    assert [job["custom_id"] for job in answer.body["jobs"]] == ["row-0", "row-1", "row-2"]


async def test_one_more_is_too_many_and_the_answer_says_where_more_go(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, lines(1_001))

    assert answer.status == 413
    words = "expected at most 1,000 jobs; POST /v1/batches takes any number of jobs"
    assert answer.body["detail"] == words
    assert queue.stats()["default"].totals == {}


async def test_one_wrong_field_refuses_them_all(queue: RunQueue, redis_url: str) -> None:
    jobs = lines(1_000)
    jobs[900]["body"] = {"prompt": "x", "max_step": 3}

    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, jobs)

    assert (answer.status, answer.body["errors"][0]["field"]) == (422, "[900].body.max_step")
    assert queue.stats()["default"].totals == {}


async def test_no_more_than_a_hundred_faults_are_told(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, [{}] * 1_000)

    assert (answer.status, len(answer.body["errors"])) == (422, 100)
    assert answer.body["detail"].endswith("and 95 more")


async def test_a_key_with_another_request_is_reported_among_the_others(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await door.ask("POST", PATH, lines(1))
        changed = lines(2)
        changed[0]["body"] = {"prompt": "Another."}
        answer = await door.ask("POST", PATH, changed)

    assert (answer.status, answer.body["counts"]) == (
        202,
        {"new": 1, "known": 0, "conflict": 1, "refused": 0},
    )
    assert [job["status"] for job in answer.body["jobs"]] == ["conflict", "new"]
    assert queue.stats()["default"].states[JobState.READY] == 2


async def test_what_holds_no_jobs_is_refused(redis_url: str) -> None:
    empty: list[Any] = [b"", b"{", [], {}, {"jobs": lines(1)}]
    none: list[Any] = [3, [3], [[]], [None], b"[" * 200_000]
    deep = b"[" * 900 + b"12345678901234567890" + b"]" * 900

    async with gating(redis_url) as door:
        for body in (*empty, *none, deep):
            answer = await door.ask("POST", PATH, body)
            assert (answer.status, bool(answer.body["errors"])) == (422, True), body


async def test_what_is_nested_too_deep_is_refused(redis_url: str) -> None:
    deep = b"[" * 900 + b"12345678901234567890" + b"]" * 900

    async with gating(redis_url) as door:
        assert (await door.ask("POST", PATH, deep)).status == 422
        assert (await door.ask("POST", PATH, b"[" * 200_000)).status == 422


async def test_too_many_bytes_are_refused_and_the_answer_says_where_more_go(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, b" " * (checks.MAX_BYTES + 1))

    words = "expected a body of 4 MiB at most; POST /v1/batches takes any number of jobs"
    assert (answer.status, answer.body["detail"]) == (413, words)


async def test_jobs_as_large_as_a_body_may_be_are_accepted(queue: RunQueue, redis_url: str) -> None:
    jobs = [
        {"custom_id": f"row-{n}", "kind": "task", "body": {"prompt": "[e,{" * 200_000}}
        for n in range(5)
    ]

    async with gating(redis_url) as door:
        answer = await door.ask("POST", PATH, jobs)

    assert (answer.status, answer.body["counts"]["new"]) == (202, 5)
    assert [job["custom_id"] for job in answer.body["jobs"]] == [f"row-{n}" for n in range(5)]
