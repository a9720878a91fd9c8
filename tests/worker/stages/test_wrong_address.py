"""A base URL that leads to no Skyvern: nothing is sent there, and nobody is needed once it does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from runqueue import JobState
from tests.simulator.simulating import eventually
from tests.worker.working import KEYS, Bench, Work, working
from worker.process import account
from worker.stages import submit

ELSEWHERE = {"location": "https://login.example/?next=secret"}


@asynccontextmanager
async def astray(
    client: redis.Redis, redis_url: str, action: dict[str, Any]
) -> AsyncIterator[Bench]:
    """Start a worker whose base URL answers everything like that."""
    async with working(client, redis_url, gave_json=False) as bench:
        await bench.api.fault(action)
        yield bench


async def mend(bench: Bench) -> None:
    """Have the base URL lead to Skyvern, and the hold end now."""
    async with bench.api.session.delete(f"{bench.api.url}/_faults") as answer:
        assert answer.ok
    client, now = bench.client, bench.now_us()
    client.hset(KEYS.meta, mapping=dict.fromkeys(("hold_until", "asked_until"), now - 1))


async def test_a_server_that_does_not_tell_whether_it_is_an_api_keeps_no_job_from_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        bench.enqueue(1)
        clock = iter([0.0, 10.0] + [10.0] * 9)  # before and after the check
        monkeypatch.setattr(submit, "elapsed", lambda: next(clock))
        consumer = submit.SubmitConsumer(bench.account, 1)
        assert (await consumer.take(1, bench.now_us() - 10_000_000)).items


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"html200": True}, "200 with HTML"),
        ({"empty200": True}, "200 with an empty body"),
        ({"status": 200, "body": "OK"}, "200 with what is no JSON"),
        ({"status": 200, "body": "42"}, "200 with what is no JSON"),
        (
            {"status": 302, "headers": ELSEWHERE},
            "302 (a redirect to https://login.example, not followed)",
        ),
    ],
    ids=json.dumps,
)
async def test_an_address_that_is_no_api_holds_the_account_and_gets_no_submission(
    client: redis.Redis, redis_url: str, action: dict[str, Any], words: str
) -> None:
    async with astray(client, redis_url, action) as bench:
        job_ids = bench.enqueue(10)

        await bench.one_pass("submit")

        stats = bench.stats()
        assert await bench.submissions() == 0
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}
        assert stats.hold_kind == "account"
        expected = f"{bench.api.url} answered {words}, not with JSON: is SKYVERN_BASE_URL right?"
        assert stats.hold_reason == expected


async def test_an_account_goes_on_by_itself_once_its_address_is_right(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "ADDRESS_SECONDS", 0.0)
    async with astray(client, redis_url, {"html200": True}) as bench:
        job_ids = bench.enqueue(3)
        await bench.one_pass("submit")

        await mend(bench)

        async def all_run() -> bool:
            await bench.one_pass("submit")
            return {bench.job(job_id).state for job_id in job_ids} == {"running"}

        await eventually(all_run)
        assert bench.stats().hold_reason is None
        assert await bench.submissions() == 3
        assert await bench.calls("get_run") == 2


async def test_an_address_that_gave_json_once_leaves_a_job_without_an_answer_unconfirmed(
    work: Work,
) -> None:
    async with work(gave_json=False) as bench:
        await bench.submitted()
        await bench.api.fault({"html200": True})
        (job_id,) = bench.enqueue()

        await bench.one_pass("submit")

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    "action", [{"status": 502, "body": "<html>"}, {"reset": "before"}], ids=json.dumps
)
async def test_a_read_that_shows_nothing_of_the_address_stops_no_submission(
    work: Work, action: dict[str, Any]
) -> None:
    async with work(gave_json=False) as bench:
        await bench.api.fault(action, match={"route": "get_run"})

        await bench.submitted()

        assert await bench.calls("get_run") == 1
