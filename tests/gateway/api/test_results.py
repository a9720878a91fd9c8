"""The results of a batch: one job a line, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import aiohttp
import pytest
import redis

from gateway.http import results
from runqueue import Job, RunQueue
from runqueue.producer import async_results as reading
from runqueue.records.claim_items import Lost
from runqueue.records.job import COLUMNS
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.gateway.gating import Desk, Door, gating, told
from tests.gateway.uploads import lines, send


async def a_batch_that_ended(door: Door, desk: Desk, client: redis.Redis) -> str:
    """Five jobs: completed, failed, dead, unconfirmed, and one that runs on."""
    batch = str((await send(door, lines(5))).body["batch_id"])
    jobs = desk.claim()
    completed, failed, dead, unconfirmed, _ = jobs
    desk.accept(completed, failed, jobs[4])
    await door.webhook(completed, told(completed))
    await door.webhook(failed, told(failed, "terminated", failure_reason='It said "no",\ntwice'))
    run(client, worker_calls.mark_dead("default", [Lost(dead.job_id, dead.attempt, "refused")]))
    lost = Lost(unconfirmed.job_id, unconfirmed.attempt, "no answer")
    run(client, worker_calls.mark_unconfirmed("default", [lost]))
    return batch


def rows(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.splitlines()]


async def test_what_has_ended_has_a_line_and_what_did_not_go_well_a_list_of_its_own(
    desk: Desk, client: redis.Redis, queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        batch = await a_batch_that_ended(door, desk, client)
        answer = await door.ask("GET", f"/v1/batches/{batch}/results")
        errors = await door.ask("GET", f"/v1/batches/{batch}/errors")

    found = rows(answer.body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [row["state"] for row in found] == ["completed", "failed", "dead"]
    assert found == [queue.get(row["job_id"]).as_row() for row in found]
    assert [row["state"] for row in rows(errors.body)] == ["failed", "dead", "unconfirmed"]


async def test_an_answer_that_was_cut_is_gone_on_with_behind_its_last_line(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        path = f"/v1/batches/{await a_batch_that_ended(door, desk, client)}/results"
        whole = await door.ask("GET", path)
        ids = [row["job_id"] for row in rows(whole.body)]
        for place, job_id in enumerate(ids):
            answer = await door.ask("GET", f"{path}?after={job_id}")
            assert [row["job_id"] for row in rows(answer.body)] == ids[place + 1 :]
        refused = await door.ask("GET", f"{path}?after=nonsense")

    assert refused.status == 422
    assert refused.body["errors"][0]["field"] == "after"


async def test_results_come_as_a_table_too_and_as_nothing_else(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        batch = await a_batch_that_ended(door, desk, client)
        answer = await door.ask("GET", f"/v1/batches/{batch}/results?format=csv")
        other = await door.ask("GET", f"/v1/batches/{batch}/results?format=xml")

    assert (other.status, other.body["errors"][0]["field"]) == (422, "format")
    table = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row["custom_id"] for row in table] == ["row-0", "row-1", "row-2"]
    assert json.loads(table[0]["output"]) == {"price": "12.50", "note": "schön"}
    assert table[1]["failure_reason"] == 'It said "no",\ntwice'


def test_the_columns_are_those_of_a_results_file(queue: RunQueue) -> None:
    (job,) = queue.enqueue_many(lines(1))

    assert set(queue.get(job.job_id).as_row()) <= set(COLUMNS)


async def test_results_of_thousands_come_in_the_order_of_the_upload(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(2_500))).body["batch_id"]
        queue.cancel_batch(batch)
        answer = await door.ask("GET", f"/v1/batches/{batch}/results")

    assert [row["custom_id"] for row in rows(answer.body)] == [f"row-{n}" for n in range(2_500)]


async def test_an_empty_list_is_empty(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(3))).body["batch_id"]
        answers = [
            await door.ask("GET", f"/v1/batches/{batch}/{what}") for what in ("results", "errors")
        ]

    assert [(answer.status, answer.body) for answer in answers] == [(200, b""), (200, b"")]


async def test_large_results_are_read_a_few_at_a_time(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AIM", 20_000)
    sizes: list[int] = []

    async with gating(redis_url) as door:
        batch = (await send(door, lines(60))).body["batch_id"]
        jobs = desk.claim()
        desk.accept(*jobs)
        for job in jobs:
            await door.webhook(job, told(job, output="x" * 1_000))

        def noted(some: list[Job]) -> bytes:
            sizes.append(len(some))
            return b"".join(json.dumps(job.as_row()).encode() + b"\n" for job in some)

        monkeypatch.setattr(results, "_ndjson", noted)
        await door.ask("GET", f"/v1/batches/{batch}/results")

    assert (sizes[0], max(sizes), sum(sizes)) == (4, 8, 60)


async def test_an_answer_that_cannot_be_finished_is_cut(
    queue: RunQueue, client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(3_000))).body["batch_id"]
        queue.cancel_batch(batch)
        path = f"{door.url}/v1/batches/{batch}/results"
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - it is cut on the way
            async with door.session.get(path) as answer:
                await answer.content.readany()
                client.set(f"{Keys('default').prefix}batch_jobs:{batch}", "broken")
                await answer.read()
        assert (await door.ask("GET", "/healthz")).status == 200

    assert [event["event"] for event in logged].count("answer_cut") == 1


async def test_results_without_a_batch_go_on_behind_any_job(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await a_batch_that_ended(door, desk, client)
        whole = await door.ask("GET", "/v1/results?since=12h")
        found = rows(whole.body)
        assert [row["state"] for row in found] == ["dead", "failed", "completed"]
        ids = [row["job_id"] for row in found]
        for place, job_id in enumerate(ids):
            answer = await door.ask("GET", f"/v1/results?after={job_id}")
            assert [row["job_id"] for row in rows(answer.body)] == ids[place + 1 :]
        errors = await door.ask("GET", "/v1/results?errors=true&format=csv")
        table = list(csv.DictReader(io.StringIO(errors.body.decode(), newline="")))
        assert [row["state"] for row in table] == ["dead", "failed"]
