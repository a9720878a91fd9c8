"""Schedules over HTTP: applied, read and changed, within the accounts of a token."""

from __future__ import annotations

import json
from typing import Any

from runqueue.store.keys import ACCOUNTS
from tests.gateway.gating import Desk, bearer, gating, token

SECRET = "hunter2-in-a-template"
JOB = {"kind": "task", "body": {"prompt": f"Log in with {SECRET}."}}
PRICES: dict[str, Any] = {"schedules": {"prices": {"cron": "0 2 * * 1-5", "job": JOB}}}
LINES = {"content-type": "application/x-ndjson"}
ALL: tuple[Any, ...] = ("read", "operate")
TOKENS = (token("ops", "operate-secret", *ALL), token("lab", "lab-secret", *ALL, accounts=("lab",)))
OPS, LAB = bearer("operate-secret"), bearer("lab-secret")


async def test_schedules_are_applied_read_changed_and_removed(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url) as door:
        dry = await door.ask("PUT", "/v1/schedules?dry_run=true", PRICES)
        before = await door.ask("GET", "/v1/schedules")
        applied = await door.ask("PUT", "/v1/schedules", PRICES)
        unread = await door.ask("POST", "/v1/schedules/prices/pause", {"reason": "moved"})
        paused = await door.ask("POST", "/v1/schedules/prices/pause?reason=moved")
        resumed = await door.ask("POST", "/v1/schedules/prices/resume")
        fired = await door.ask("POST", "/v1/schedules/prices/fire")
        past = "since=2020-01-06&until=2020-01-13"
        filled = await door.ask("POST", f"/v1/schedules/prices/backfill?{past}")
        no_range = await door.ask("POST", "/v1/schedules/prices/backfill")
        others = [
            await door.ask("POST", f"/v1/schedules/prices/{what}")
            for what in ("fire?since=2020-01-06", "resume?reason=x", f"pause?reason=x&{past}")
        ]
        listed = await door.ask("GET", "/v1/schedules")
        gone = await door.ask("DELETE", "/v1/schedules/prices")
        missing = await door.ask("GET", "/v1/schedules/prices")

    assert dry.body["changes"][0]["change"] == applied.body["changes"][0]["change"] == "created"
    assert before.body == {"schedules": []}
    assert (unread.status, unread.body["errors"][0]["field"]) == (422, "body")
    assert (paused.body["paused"], resumed.body["paused"]) == ("moved", "")
    assert len(resumed.body["upcoming"]) == 5
    assert [one["kind"] for one in fired.body["firings"]] == ["now"]
    assert [one["kind"] for one in filled.body["firings"]] == ["now"] + ["backfill"] * 5
    assert (no_range.status, no_range.body["errors"][0]["field"]) == (422, "since")
    assert {answer.status for answer in others} == {422}
    named = [[one["field"] for one in answer.body["errors"]] for answer in others]
    assert named == [["since"], ["reason"], ["since", "until"]]
    (shown,) = listed.body["schedules"]
    assert (shown["cron"], len(shown["firings"])) == ("0 2 * * 1-5", 1)
    assert shown["job"] == {"kind": "task", "fields": ["body.prompt"]}
    assert (gone.status, missing.status) == (200, 404)
    assert missing.body["type"] == "urn:runqueue:problem:schedule-not-found"
    answers = (dry, applied, paused, fired, filled, listed, gone)
    assert not [one for one in answers if SECRET in str(one.body)]
    entries = [(one.what, one.target) for one in reversed(desk.queue.audit())]
    assert entries == [
        ("apply_schedules", ""),
        ("pause_schedule", "prices"),
        ("resume_schedule", "prices"),
        ("fire_schedule", "prices"),
        ("backfill_schedule", "prices"),
        ("remove_schedule", "prices"),
    ]


async def test_every_field_at_fault_is_named_and_nothing_changes(redis_url: str) -> None:
    wrong = {"good": PRICES["schedules"]["prices"], "bad": {"every": "1s", "lines": 7}, "B!": {}}
    async with gating(redis_url) as door:
        refused = await door.ask("PUT", "/v1/schedules", {"schedules": wrong})
        bodies: list[Any] = [{}, [], {"schedules": [1]}, {"schedules": {"a": 1}}, b"{"]
        shapes = [await door.ask("PUT", "/v1/schedules", body) for body in bodies]
        found = await door.ask("GET", "/v1/schedules")

    fields = {one["field"] for one in refused.body["errors"]}
    assert {"schedules.bad.every", "schedules.bad.lines", "schedules.B!.name"} <= fields
    assert [one.status for one in (refused, *shapes)] == [422] * 6
    assert found.body == {"schedules": []}


async def test_a_file_of_jobs_is_stored_and_named(redis_url: str) -> None:
    line = json.dumps(JOB).encode() + b"\n"
    async with gating(redis_url) as door:
        bad = await door.ask("POST", "/v1/schedules:lines", line + b"\n{}\n", LINES)
        other_kind = await door.ask("POST", "/v1/schedules:lines", line)
        stored = await door.ask("POST", "/v1/schedules:lines", line * 3, LINES)
        hourly = {"schedules": {"hourly": {"every": "1h", **stored.body}}}
        applied = await door.ask("PUT", "/v1/schedules", hourly)
        shown = await door.ask("GET", "/v1/schedules/hourly")

    assert (bad.status, bad.body["errors"][0]["field"]) == (422, "line 3: kind")
    assert (other_kind.status, stored.body["lines"].partition("-")[0]) == (415, "3")
    assert (applied.status, shown.body["lines"]) == (200, stored.body["lines"])
    assert SECRET not in str((bad.body, shown.body))


async def test_a_token_sees_the_schedules_of_its_accounts_alone(desk: Desk, redis_url: str) -> None:
    desk.client.sadd(ACCOUNTS, "lab")
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await door.ask("PUT", "/v1/schedules", PRICES, OPS)
        own = await door.ask("PUT", "/v1/schedules?remove_others=true", PRICES, LAB)
        listed = [await door.ask("GET", "/v1/schedules", None, one) for one in (OPS, LAB)]
        theirs = "?account=default"
        refused = [
            await door.ask("GET", f"/v1/schedules{theirs}", None, LAB),
            await door.ask("GET", f"/v1/schedules/prices{theirs}", None, LAB),
            await door.ask("PUT", f"/v1/schedules{theirs}", PRICES, LAB),
            await door.ask("POST", f"/v1/schedules/prices/fire{theirs}", None, LAB),
            await door.ask("DELETE", f"/v1/schedules/prices{theirs}", None, LAB),
            await door.ask("POST", f"/v1/schedules:lines{theirs}", b"{}", {**LAB, **LINES}),
        ]

    accounts = [one["account"] for answer in listed for one in answer.body["schedules"]]
    assert (own.status, accounts) == (200, ["default", "lab"])
    assert {answer.body["type"] for answer in refused} == {"urn:runqueue:problem:unknown-account"}
