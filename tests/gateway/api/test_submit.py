"""Handing in one job: what is accepted, under which name, and what is refused in which words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from gateway.api import submit
from gateway.http import request_body
from runqueue import JobState, RunQueue
from runqueue.errors import InvalidJob
from runqueue.ids import job_id_for
from runqueue.request.job_spec import parse_line
from tests.gateway.gating import gating, speak, unended

LINE: dict[str, Any] = {"custom_id": "order-17", "kind": "task", "body": {"prompt": "Read it."}}
UNNAMED = {name: value for name, value in LINE.items() if name != "custom_id"}
JOB = job_id_for("default", "", "order-17")


async def test_a_line_becomes_a_job(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs", LINE)

    job = queue.get(JOB)
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/jobs/{JOB}"
    assert answer.body == {
        "job_id": JOB,
        "status": "new",
        "state": "ready",
        "custom_id": "order-17",
        "batch": None,
        "created_at": job.created_at.isoformat(),
    }
    assert job.state is JobState.READY


async def test_a_line_submitted_again_is_known(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        answers = [await door.ask("POST", "/v1/jobs", LINE) for _ in range(2)]

    assert [answer.body["status"] for answer in answers] == ["new", "known"]
    assert queue.stats()["default"].states[JobState.READY] == 1


async def test_a_line_without_a_key_is_a_new_job_each_time(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answers = [await door.ask("POST", "/v1/jobs", UNNAMED) for _ in range(2)]

    assert answers[0].body["job_id"] != answers[1].body["job_id"]


async def test_a_key_that_was_used_for_another_request_is_a_conflict(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await door.ask("POST", "/v1/jobs", LINE)
        answer = await door.ask("POST", "/v1/jobs", {**LINE, "body": {"prompt": "Another."}})

    assert (answer.status, answer.headers["content-type"]) == (409, "application/problem+json")
    assert JOB in answer.body["detail"]
    assert queue.stats()["default"].totals["enqueued"] == 1


async def test_wrong_fields_are_named_as_everywhere_else(redis_url: str) -> None:
    wrong: list[Any] = [
        {},
        [],
        "text",
        {**LINE, "body": {"prompt": "", "max_step": 3}},
        {**LINE, "priority": "soon", "delay": -1, "group": "A"},
        {**LINE, "body": {"prompt": "x", "data_extraction_schema": {"a": 2**70}}},
        {**LINE, "retry": {"max_attempts": 0}},
        {**LINE, "body": {"prompt": "x" * 1_100_000}},
    ]
    async with gating(redis_url) as door:
        for line in wrong:
            with pytest.raises(InvalidJob) as refused:
                parse_line(json.dumps(line).encode())
            answer = await door.ask("POST", "/v1/jobs", line)
            kind = answer.headers["content-type"]
            assert (answer.status, kind) == (422, "application/problem+json")
            assert answer.body["errors"] == [
                {"field": fault.field, "message": fault.message} for fault in refused.value.errors
            ]


async def test_what_is_no_line_is_refused_however_it_is_made(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for body in (
            b"{",
            b"\xff",
            b"[" * 100_000,
            b'{"kind":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
            b'{"body":' + b"[" * 900 + b"]" * 900 + b',"kind":"task","body":{"url":1e99}}',
            b'{"kind":"task","body":{"prompt":"\\ud800"}}',
            b'{"kind":"task","body":{"\\ud800":1}}',
            b'{"kind":"task","body":{"prompt":NaN}}',
            b"",
        ):
            answer = await door.ask("POST", "/v1/jobs", body)
            assert (answer.status, bool(answer.body["errors"])) == (422, True), body[:30]


async def test_a_secret_in_a_wrong_field_is_not_repeated(redis_url: str) -> None:
    body = {"prompt": "x", "totp_identifier": ["sesame"], "extra_http_headers": "sesame"}

    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs", {**LINE, "body": body})

    assert answer.status == 422
    assert "sesame" not in str(answer)


async def test_what_is_not_json_is_refused(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for headers in (
            {"content-type": "text/plain"},
            {"content-type": "application/x-www-form-urlencoded"},
            {"content-type": ""},
            {"content-encoding": "gzip"},
        ):
            assert (await door.ask("POST", "/v1/jobs", LINE, headers)).status == 415


async def test_a_body_beyond_8_mib_is_refused(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs", b" " * (submit.MAX_BODY + 1))

    assert answer.status == 413


async def test_a_body_that_does_not_say_its_length_is_cut_off_at_8_mib(redis_url: str) -> None:
    async with gating(redis_url) as door:
        head = f"content-type: application/json\r\nauthorization: Bearer {door.secret}\r\n"
        raw = unended("/v1/jobs", submit.MAX_BODY + 1, head)
        assert (await speak(door, raw)).startswith(b"HTTP/1.1 413 ")
        assert (await door.ask("POST", "/v1/jobs", LINE)).status == 202


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.1)

    async with gating(redis_url) as door:
        host, port = door.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {door.secret}\r\n"
        writer.write(f"{head}content-length: 10\r\n\r\n12345".encode())
        said = await reader.readuntil(b"}")
        writer.close()

    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_full_redis_says_when_to_try_again(client: redis.Redis, redis_url: str) -> None:
    async with gating(redis_url) as door:
        client.config_set("maxmemory", 1)
        try:
            answer = await door.ask("POST", "/v1/jobs", LINE)
        finally:
            client.config_set("maxmemory", 0)

    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert "out of memory" in answer.body["detail"]


async def test_no_page_of_another_origin_may_read_answers(redis_url: str) -> None:
    async with gating(redis_url) as door:
        asks = {"origin": "https://evil.test", "access-control-request-method": "POST"}
        preflight = await door.ask("OPTIONS", "/v1/jobs", headers=asks)
        answer = await door.ask("POST", "/v1/jobs", LINE)

    assert preflight.status == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


#: Large enough to be checked in a process of its own.
LARGE: dict[str, Any] = {"kind": "task", "body": {"prompt": "Read it. " * 20_000}}
NAMED = {**LARGE, "custom_id": "order-17"}


async def test_a_large_job_is_taken_like_a_small_one(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        answers = [await door.ask("POST", "/v1/jobs", NAMED) for _ in range(2)]

    assert [answer.body["status"] for answer in answers] == ["new", "known"]
    assert answers[0].headers["location"] == f"/v1/jobs/{JOB}"
    assert queue.get(JOB).custom_id == "order-17"


async def test_what_is_wrong_with_a_large_job_is_named_like_that_of_a_small_one(
    redis_url: str,
) -> None:
    bad = {**LARGE, "custom_id": "order-18", "body": {**LARGE["body"], "max_step": 3}}

    async with gating(redis_url) as door:
        field = await door.ask("POST", "/v1/jobs", bad)
        account = await door.ask("POST", "/v1/jobs", {**LARGE, "account": "acme"})
        text = await door.ask("POST", "/v1/jobs", b"x" * 100_000)

    found = [answer.body["errors"][0]["field"] for answer in (field, account, text)]
    assert [answer.status for answer in (field, account, text)] == [422] * 3
    assert found == ["body.max_step", "account", "line"]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (300_000, "f0: unknown field"),
        (400_000, "line: expected at most 700,000 values and names of fields"),
    ],
)
async def test_a_line_of_very_many_unknown_fields_is_refused(
    redis_url: str, count: int, words: str
) -> None:
    unknown = b",".join(b'"f%d":1' % number for number in range(count))

    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs", b'{"kind":"task",%s}' % unknown)

    assert (answer.status, answer.body["detail"].startswith(words)) == (422, True)
    assert len(answer.body["errors"]) <= 21
