"""The examples for services: they do what they say."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client

from examples.django_service import the_queue
from examples.fastapi_service import app, lifespan
from runqueue import JobState, RunQueue, TaskRunRequest
from tests.gateway.gating import Desk, gating, told
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
        under_way = await client.get(f"/prices/{job_id}?wait=0")
        (job,) = desk.claim()
        desk.accept(job)
        waiting = asyncio.create_task(client.get(f"/prices/{job_id}?wait=30"))
        await door.webhook(job, told(job))
        done = await waiting
        wrong = await client.post("/prices", json={**wanted, "page": "ftp://x"})
        used = await client.post("/prices", json={**wanted, "page": "https://shop.example/18"})
        nowhere = await client.get("/prices/1")
        no_number = await client.get(f"/prices/{job_id}?wait=nan")

    assert [answer.status_code for answer in asked] == [202, 202]
    assert asked[1].json()["job"] == job_id == job.job_id
    assert (under_way.status_code, under_way.json()["state"]) == (202, "under way")
    assert (done.json()["state"], done.json()["price"]["price"]) == ("completed", "12.50")
    assert (wrong.status_code, nowhere.status_code, used.status_code) == (422, 404, 409)
    assert no_number.status_code == 422
    assert wrong.json()["detail"].startswith("body.url: expected an http:// or https:// URL")


async def test_a_django_service_hands_in_jobs_and_waits(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", redis_url)
    client = Client()
    wanted = {"order": "order-17", "page": "https://shop.example/17"}

    async def post(body: Any) -> Any:
        return await asyncio.to_thread(
            client.post, "/prices", body, content_type="application/json"
        )

    async def get(path: str) -> Any:
        return await asyncio.to_thread(client.get, path)

    async with gating(redis_url) as door:
        asked = [await post(wanted) for _ in range(2)]
        job_id = asked[0].json()["job"]
        under_way = await get(f"/prices/{job_id}?wait=0")
        (job,) = desk.claim()
        desk.accept(job)
        waiting = asyncio.create_task(get(f"/prices/{job_id}?wait=30"))
        await door.webhook(job, told(job))
        done = await waiting
        bad: list[Any] = [{**wanted, "page": "ftp://x"}, {}, [], "{"]
        wrong = [await post(body) for body in bad]
        used = await post({**wanted, "page": "https://shop.example/18"})
        nowhere = [await get(path) for path in ("/prices/1", f"/prices/{job_id}?wait=nan")]
    the_queue().close()
    the_queue.cache_clear()

    assert [answer.status_code for answer in asked] == [202, 202]
    assert asked[1].json()["job"] == job_id == job.job_id
    assert (under_way.status_code, under_way.json()["state"]) == (202, "under way")
    assert (done.json()["state"], done.json()["price"]["price"]) == ("completed", "12.50")
    assert [answer.status_code for answer in wrong] == [422] * 4
    assert wrong[0].json()["detail"].startswith("body.url: expected an http:// or https:// URL")
    assert used.status_code == 409
    assert [answer.status_code for answer in nowhere] == [404, 422]


async def test_a_plain_script_prints_each_job_as_it_ends(
    desk: Desk, queue: RunQueue, redis_url: str
) -> None:
    pages = [f"https://shop.example/{n}" for n in range(3)]
    queue.enqueue(TaskRunRequest(prompt="Read the name."), idempotency_key=pages[0])

    async with gating(redis_url) as door:
        script = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "examples/plain_script.py")),
            env={**os.environ, "RUNQUEUE_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert script.stdin is not None
        script.stdin.write("\n".join([*pages, ""]).encode())
        script.stdin.close()
        await eventually(lambda: queue.stats()["default"].states[JobState.READY] == 3)
        for job in reversed(desk.claim()):
            desk.accept(job)
            await door.webhook(job, told(job, output={"price": 1}))
        said, complained = (part.decode() for part in await script.communicate())

    assert sorted(said.splitlines()) == [f"{page} completed {{'price': 1}}" for page in pages[1:]]
    assert complained == f"{pages[0]}: was submitted before with another request\n"
