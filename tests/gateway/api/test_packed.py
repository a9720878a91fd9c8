"""The HTTP API and the page show a packed job as they showed it before."""

from __future__ import annotations

import redis

from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, gating, told
from tests.gateway.uploads import lines, send
from tests.packed import is_packed, pack_all

OPS = "operate-secret"


async def test_answers_are_the_same(desk: Desk, client: redis.Redis, redis_url: str) -> None:
    async with gating(redis_url) as door:
        batch = str((await send(door, lines(2))).body["batch_id"])
        completed, failed = desk.claim()
        desk.accept(completed, failed)
        await door.webhook(completed, told(completed))
        await door.webhook(failed, told(failed, "terminated", failure_reason="It is gone"))
        paths = [
            f"/v1/batches/{batch}/results",
            f"/v1/batches/{batch}/results?format=csv",
            f"/v1/batches/{batch}/errors",
            f"/v1/jobs/{completed.job_id}",
            f"/v1/jobs/{completed.job_id}?wait=1",
            f"/v1/jobs/{failed.job_id}",
        ]
        before = [(await door.ask("GET", path)).body for path in paths]

        assert pack_all(client) == 2

        assert is_packed(client, completed.job_id)
        assert [(await door.ask("GET", path)).body for path in paths] == before
    assert before[3]["result"]["output"] == {"price": "12.50", "note": "schön"}


async def test_the_page_is_the_same(desk: Desk, client: redis.Redis, redis_url: str) -> None:
    (job,) = desk.running(body={"prompt": "Read the price of the lamp."})
    async with gating(redis_url) as door:
        await door.webhook(job, told(job))
    async with browsing(redis_url, OPS) as browser:
        before = (await browser.open(f"/jobs/{job.job_id}")).words
        assert pack_all(client) == 1

        after = (await browser.open(f"/jobs/{job.job_id}")).words

    assert "Read the price of the lamp." in before
    assert after == before
