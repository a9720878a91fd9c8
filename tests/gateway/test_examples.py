"""The examples for services: they do what they say."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import httpx
import pytest

from examples.fastapi_service import app, lifespan
from runqueue import RunQueue
from tests.gateway.gating import Desk, gating, token, told
from tests.simulator.simulating import eventually

ROOT = Path(__file__).parents[2]


async def test_a_fastapi_service_hands_in_jobs_and_waits(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", redis_url)
    wanted = {"order": "order-17", "page": "https://shop.example/17"}

    async with (
        gating(redis_url) as door,
        lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        asked = [await client.post("/prices", json=wanted) for _ in range(2)]
        job_id = asked[0].json()["job"]
        under_way = await client.get(f"/prices/{job_id}?wait=0.1")
        (job,) = desk.claim()
        desk.accept(job)
        waiting = asyncio.create_task(client.get(f"/prices/{job_id}?wait=30"))
        await door.webhook(job, told(job))
        done = await waiting
        wrong = await client.post("/prices", json={**wanted, "page": "ftp://x"})
        nowhere = await client.get("/prices/1")

    assert [answer.status_code for answer in asked] == [202, 202]
    assert asked[1].json()["job"] == job_id == job.job_id
    assert (under_way.status_code, under_way.json()["state"]) == (202, "under way")
    assert (done.json()["state"], done.json()["price"]["price"]) == ("completed", "12.50")
    assert (wrong.status_code, nowhere.status_code) == (422, 404)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_a_node_script_needs_http_alone(desk: Desk, queue: RunQueue, redis_url: str) -> None:
    tokens = (token("shop", "sesame", "enqueue", "read"),)

    async with gating(redis_url, api_tokens=tokens) as door:
        script = await asyncio.create_subprocess_exec(
            "node",
            str(ROOT / "examples/node_client.mjs"),
            "order-17",
            env={**os.environ, "RUNQUEUE_URL": door.url, "RUNQUEUE_TOKEN": "sesame"},
            stdout=asyncio.subprocess.PIPE,
        )
        await eventually(lambda: "enqueued" in queue.stats()["default"].totals)
        (job,) = desk.claim()
        desk.accept(job)
        await door.webhook(job, told(job, output={"price": 1}))
        said = (await script.communicate())[0].decode().splitlines()

    (batch,) = desk.batches()
    assert said == [
        f"order-17 is new: {job.job_id}",
        'order-17 completed: {"price":1}',
        f"batch {batch}: 2000 new, 0 known",
    ]
    assert queue.get_batch(batch).sealed
