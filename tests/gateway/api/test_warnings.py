"""Webhook URLs of private addresses: accepted, and warned of in the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.api import submit
from runqueue.ids import new_id
from runqueue.request.private_targets import VARIABLE, allow_private_targets
from tests.gateway.gating import gating
from tests.gateway.uploads import send

JOBS, BULK = "/v1/jobs", "/v1/jobs:bulk"
WORDS = f"is a private address: runqueue itself sends nothing there unless {VARIABLE}=true"


@pytest.fixture(autouse=True)
def _refused() -> Iterator[None]:
    allow_private_targets(allowed=False)
    yield
    allow_private_targets(allowed=None)


def line(host: str | None = "10.0.0.5", **body: Any) -> dict[str, Any]:
    hook = {} if host is None else {"webhook_url": f"http://u:pass@{host}/hook?t=secret"}
    return {"kind": "task", "body": {"prompt": "Read it.", **hook, **body}}


def warning(jobs: int, words: str = f"10.0.0.5 {WORDS}") -> dict[str, Any]:
    return {"field": "body.webhook_url", "message": words, "jobs": jobs}


@pytest.mark.parametrize("size", [1, submit._LARGE], ids=["small", "large"])
async def test_one_job_with_a_private_webhook_url_is_accepted_with_a_warning(
    redis_url: str, size: int
) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", JOBS, line(prompt="x" * size))

    assert answer.status == 202
    assert answer.body["warnings"] == [warning(1)]


async def test_many_jobs_get_one_warning_that_counts_them(redis_url: str) -> None:
    jobs = [line() for _ in range(3)] + [line(None), line("shop.example")]

    async with gating(redis_url) as door:
        answer = await door.ask("POST", BULK, jobs)

    assert answer.status == 202
    assert answer.body["warnings"] == [warning(3)]


async def test_an_upload_gets_one_warning_that_counts_its_lines(redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await send(door, [line() for _ in range(2_500)])

    assert answer.status == 201
    assert answer.body["warnings"] == [warning(2_500)]


@pytest.mark.parametrize("where", ["query", "header"])
async def test_a_private_callback_url_of_an_upload_is_warned_of(redis_url: str, where: str) -> None:
    url = "http://127.0.0.1:9/hook?t=secret"
    query = f"?callback_url={url.replace('?', '%3F')}" if where == "query" else ""
    more = {"runqueue_callback_url": url} if where == "header" else {}
    async with gating(redis_url) as door:
        answer = await send(door, [line(None)], query, **more)

    words = f"127.0.0.1 {WORDS}"
    expected = {"field": "callback_url", "message": words, "jobs": None}
    assert answer.body["warnings"] == [expected]


async def test_a_private_callback_url_of_a_retry_is_warned_of_in_the_answer_alone(
    redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.request.private_targets._once.logged", set())
    async with gating(redis_url) as door:
        batch = (await send(door, [line(None)], "?callback_url=https://a.example/")).body[
            "batch_id"
        ]
        path = f"/v1/batches/{batch}/retry-callbacks"
        header = {"Runqueue-Callback-Url": "http://127.0.0.1:9/"}
        answers = [await door.ask("POST", path, None, more) for more in (header, {})]

    assert [one["field"] for one in answers[0].body["warnings"]] == ["callback_url"]
    assert "warnings" not in answers[1].body
    assert not [one for one in caplog.records if one.name == "runqueue"]


async def test_no_warning_is_given_where_none_is_private_or_private_targets_are_allowed(
    redis_url: str,
) -> None:
    jobs = line(None)
    async with gating(redis_url) as door:
        answers = [
            await door.ask("POST", JOBS, jobs),
            await door.ask("POST", BULK, [jobs]),
            await send(door, [jobs]),
        ]
        allow_private_targets(allowed=True)
        answers += [
            await door.ask("POST", JOBS, line()),
            await door.ask("POST", BULK, [line()]),
            await send(door, [line()], "?callback_url=http://127.0.0.1:9/"),
        ]

    assert ["warnings" in answer.body for answer in answers] == [False] * 6


async def test_a_warning_holds_no_secret_and_goes_into_no_log(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{new_id('default')}.localhost"
    async with gating(redis_url) as door:
        answers = [
            await door.ask("POST", JOBS, line(name)),
            await door.ask("POST", BULK, [line(name)]),
            await send(door, [line(name)], f"?callback_url=http://{name}/%3Ft%3Dsecret"),
        ]

    assert all(answer.body["warnings"] for answer in answers)
    assert "secret" not in str([answer.body for answer in answers])
    assert name not in caplog.text
