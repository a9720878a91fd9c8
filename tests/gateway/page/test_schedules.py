"""Schedules on the page: listed, shown, paused, resumed and run."""

from __future__ import annotations

from runqueue.records.schedule import FiringKind
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk

OPS, READER = "operate-secret", "read-secret"
SECRET = "hunter2-in-a-template"
JOB = {"kind": "task", "body": {"prompt": f"Log in with {SECRET}."}}


async def test_a_schedule_is_shown_and_changed(desk: Desk, redis_url: str) -> None:
    desk.queue.apply_schedules({"prices": {"cron": "0 2 * * 1-5", "job": JOB}})
    async with browsing(redis_url, OPS) as browser:
        listed = await browser.open("/schedules")
        paused = await browser.do("/schedules", "pause_schedule")
        await browser.do("/schedules/prices", "resume_schedule")
        why = await browser.do("/schedules/prices", "pause_schedule", reason="the shop moves")
        await browser.do("/schedules/prices", "resume_schedule")
        run = await browser.do("/schedules/prices", "fire_schedule")

    assert "0 2 * * 1-5" in listed.words
    assert "ops paused a schedule prices" in paused.words
    assert "ops had a schedule fire prices" in run.words
    assert "the shop moves" in why.words
    assert "body.prompt" in run.words
    assert SECRET not in listed.text + paused.text + run.text
    (firing,) = desk.queue.get_schedule("prices").firings
    assert firing.kind is FiringKind.NOW
    whats = [one.what for one in desk.queue.audit()]
    assert whats == ["fire_schedule", *["resume_schedule", "pause_schedule"] * 2]


async def test_past_times_are_made_up_for_and_a_schedule_is_removed(
    desk: Desk, redis_url: str
) -> None:
    desk.queue.apply_schedules({"prices": {"cron": "0 2 * * 1-5", "job": JOB}})
    shown = "/schedules/prices"
    async with browsing(redis_url, OPS) as browser:
        wrong = await browser.do(shown, "backfill_schedule", since="soon", until="2020-01-13")
        filled = await browser.do(
            shown, "backfill_schedule", since="2020-01-06", until="2020-01-13"
        )
        removed = await browser.do(shown, "remove_schedule")

    assert wrong.status == 422
    assert "since: expected a time with its zone" in wrong.words
    assert filled.words.count("backfill waiting") == 5
    assert "There are none." in removed.words
    assert desk.queue.list_schedules() == []


async def test_who_only_reads_changes_no_schedule(desk: Desk, redis_url: str) -> None:
    desk.queue.apply_schedules({"prices": {"every": "1h", "job": JOB}})
    async with browsing(redis_url, READER) as browser:
        shown = await browser.open("/schedules/prices")
        missing = await browser.open("/schedules/none")

    assert "every" in shown.words.lower()
    assert shown.forms("/do/fire_schedule") == []
    assert missing.status == 404
