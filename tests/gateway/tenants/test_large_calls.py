"""Calls that keep Redis busy are short, or of one token one at a time: others come between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runqueue.store import async_sending
from runqueue.store.scripts import ScriptCall
from tests.gateway.gating import gating
from tests.gateway.uploads import KIND, lines, text

#: Arguments of an enqueue call beside its jobs, and of each of these.
_HEAD, _PER_JOB = 2, 4
_MEBIBYTE = 1024 * 1024


class Calls:
    """Watches the enqueue calls of a gateway that have more than one job.

    Args:
        jobs: how many each had.
        sizes: how many bytes of bodies.
        most: the most of them that were under way at a time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[int] = []
        self.sizes: list[int] = []
        self.most = self._under_way = 0
        self._run = async_sending.run_async
        monkeypatch.setattr("runqueue.producer.async_queue.run_async", self._watched)

    async def _watched(self, client: Any, call: ScriptCall[Any]) -> Any:
        jobs = (len(call.arguments) - _HEAD) // _PER_JOB
        if call.script.name != "enqueue" or jobs < 2:
            return await self._run(client, call)
        self.jobs.append(jobs)
        bodies = call.arguments[_HEAD + _PER_JOB - 1 :: _PER_JOB]
        self.sizes.append(sum(len(body) for body in bodies if isinstance(body, bytes)))
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._run(client, call)
        finally:
            self._under_way -= 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


async def test_an_upload_is_sent_in_short_calls(redis_url: str, calls: Calls) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/batches", text(lines(2_500)), KIND)

    assert answer.body["counts"]["new"] == 2_500
    assert max(calls.jobs) <= 100


async def test_a_call_of_an_upload_has_few_bytes_too(redis_url: str, calls: Calls) -> None:
    large = [
        {"kind": "task", "custom_id": f"large-{n}", "body": {"prompt": "x" * 600_000}}
        for n in range(4)
    ]

    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/batches", text(large), KIND)

    assert answer.body["counts"]["new"] == 4
    assert max(calls.sizes, default=0) <= _MEBIBYTE


async def test_an_array_of_many_groups_becomes_a_batch_and_is_sent_in_short_calls(
    redis_url: str, calls: Calls
) -> None:
    async with gating(redis_url) as door:
        many = [{**job, "group": f"g{n}"} for n, job in enumerate(lines(1_000))]
        answer = await door.ask("POST", "/v1/jobs:bulk", many)

    ids = [job["custom_id"] for job in answer.body["jobs"]]
    assert ids == [f"row-{n}" for n in range(1_000)]
    assert len({job["batch"] for job in answer.body["jobs"]}) == 1
    assert max(calls.jobs) <= 100


async def test_an_array_that_is_no_batch_is_one_call(redis_url: str, calls: Calls) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs:bulk", lines(300))

    assert {job["batch"] for job in answer.body["jobs"]} == {None}
    assert calls.jobs == [300]


async def test_one_array_of_a_token_is_with_redis_at_a_time(redis_url: str, calls: Calls) -> None:
    async with gating(redis_url) as door:
        sent = [door.ask("POST", "/v1/jobs:bulk", lines(200, f"b{n}")) for n in range(8)]
        answers = await asyncio.gather(*sent)

    assert {answer.status for answer in answers} == {202}
    assert calls.most == 1
    assert calls.jobs == [200] * 8
