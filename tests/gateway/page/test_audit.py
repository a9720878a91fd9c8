"""Whole accounts over HTTP, and the notes of what was done through the API."""

from __future__ import annotations

from typing import Any

from runqueue.store import audit
from tests.gateway.browsing import TOKENS
from tests.gateway.gating import Desk, gating


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


OPS = bearer("operate-secret")
LINE = {"kind": "task", "body": {"prompt": "x"}, "group": "shop-a"}


async def test_an_account_is_paused_and_resumed(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        paused = await door.ask("POST", "/v1/accounts/default/pause", {"reason": "why"}, OPS)
        stats = (await door.ask("GET", "/v1/stats", headers=OPS)).body["default"]
        resumed = await door.ask("POST", "/v1/accounts/default/resume", headers=OPS)
        again = await door.ask("POST", "/v1/accounts/default/resume", headers=OPS)

    assert paused.body == {"account": "default", "paused": True, "changed": True}
    assert (stats["paused"], stats["hold_reason"]) == (True, "paused: why")
    assert resumed.body == {"account": "default", "ended": "paused: why", "held": None}
    assert again.body["ended"] is None


async def test_limits_are_set_live_and_reset(desk: Desk, redis_url: str) -> None:
    path = "/v1/accounts/default/limits"

    async with gating(redis_url, api_tokens=TOKENS) as door:
        both = {"concurrent_runs": 20, "requests_per_second": 2.5}
        found = (await door.ask("PATCH", path, both, OPS)).body
        reset = (await door.ask("PATCH", path, {"concurrent_runs": None}, OPS)).body
        unchanged = (await door.ask("PATCH", path, {}, OPS)).body

    assert found["live"] == {"concurrent_runs": 20, "requests_per_second": 2.5}
    assert found["limits"]["concurrent_runs"] == 20
    assert reset["live"] == unchanged["live"] == {"requests_per_second": 2.5}


async def test_what_is_done_through_the_api_is_noted_with_the_token_s_name(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch("prices")
    (job,) = desk.queue.enqueue_many([LINE], batch=batch)
    desk.queue.seal_batch(batch)
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/v1/accounts/default/pause", {"reason": "why"}),
        ("POST", "/v1/accounts/default/resume", None),
        ("PATCH", "/v1/accounts/default/limits", {"burst_size": 7}),
        ("PUT", "/v1/groups/shop-a", {"paused": True}),
        ("POST", f"/v1/batches/{batch}/pause", None),
        ("POST", f"/v1/jobs/{job.job_id}/cancel", None),
        ("POST", "/v1/jobs:replay", {"job_ids": [job.job_id]}),
    ]

    async with gating(redis_url, api_tokens=TOKENS) as door:
        for call in calls:
            assert (await door.ask(*call, OPS)).status == 200, call
        notes = (await door.ask("GET", "/v1/audit", headers=OPS)).body["entries"]

    assert [(note["what"], note["target"], note["detail"]) for note in reversed(notes)] == [
        ("pause_account", "", "why"),
        ("resume_account", "", "it was held by: paused: why"),
        ("set_limits", "", "burst_size 7"),
        ("set_group", "shop-a", "paused"),
        ("pause_batch", batch, ""),
        ("cancel_job", job.job_id, ""),
        ("replay", job.job_id, "ready again"),
    ]
    assert {note["who"] for note in notes} == {"ops"}


async def test_what_was_refused_read_or_submitted_is_not_noted(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await door.ask("POST", "/v1/jobs", LINE, bearer("enqueue-secret"))
        await door.ask("GET", "/v1/jobs", headers=bearer("read-secret"))
        await door.ask("POST", "/v1/accounts/default/pause", {}, bearer("read-secret"))
        await door.ask("POST", f"/v1/jobs/{'a' * 24}/cancel", headers=OPS)

    assert desk.queue.audit() == []


async def test_without_tokens_notes_name_this_machine(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url) as door:
        await door.ask("POST", "/v1/accounts/default/pause", {})

    assert [note.who for note in desk.queue.audit()] == ["this machine"]


async def test_notes_are_read_page_by_page(desk: Desk, redis_url: str) -> None:
    for n in range(5):
        desk.queue.send(audit.add_entry("default", "ops", "pause_group", f"g{n}"))

    async with gating(redis_url, api_tokens=TOKENS) as door:
        first = (await door.ask("GET", "/v1/audit?limit=3", headers=OPS)).body
        path = f"/v1/audit?limit=3&before={first['before']}"
        rest = (await door.ask("GET", path, headers=OPS)).body
        for before in ("x", "0-0", "00-000", "1-", "\u0661-\u0661"):
            wrong = await door.ask("GET", f"/v1/audit?before={before}", headers=OPS)
            assert (wrong.status, wrong.body["errors"][0]["field"]) == (422, "before")

    assert [note["target"] for note in first["entries"] + rest["entries"]] == [
        *("g4", "g3", "g2", "g1", "g0")
    ]
    assert rest["before"] is None
