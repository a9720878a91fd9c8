"""Schedules in a real browser: paused, run, made up for and removed; each view clean."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from runqueue import RunQueue
from runqueue.records.schedule import FiringKind
from tests.e2e.looking import Eyes
from tests.e2e.test_page_acts import HOSTILE, noted, says_yes

JOB = {"kind": "task", "body": {"prompt": "Read the price of {date}."}}
LONG = "w" * 32


@pytest.fixture(autouse=True)
def schedules(queue: RunQueue) -> None:
    """Have three, one with a long name, firings and a hostile reason for its pause."""
    nightly = {"cron": "0 2 * * 1-5", "timezone": "Europe/Berlin", "jitter": "20m", "job": JOB}
    queue.apply_schedules({"prices": nightly, "report": {"every": "6h", "job": JOB}, LONG: nightly})


@pytest.mark.parametrize("look", [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_each_view_of_schedules_is_clean(
    eyes: Eyes, page: Page, queue: RunQueue, axe: Any, look: tuple[int, Any]
) -> None:
    queue.fire_schedule(LONG)
    queue.pause_schedule(LONG, HOSTILE[:200])
    found = []
    page.set_viewport_size({"width": look[0], "height": 844})
    page.emulate_media(color_scheme=look[1])
    for path in ("/schedules", "/schedules/prices", f"/schedules/{LONG}"):
        eyes.go(path)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Schedule")
        found += eyes.flaws(axe, path)
        assert "owned" not in page.title()

    assert found == []


def test_a_schedule_is_paused_with_a_reason_and_resumed(
    eyes: Eyes, page: Page, queue: RunQueue
) -> None:
    eyes.go("/schedules")
    page.get_by_role("link", name="prices", exact=True).click()
    expect(page.locator("dt", has_text="Next")).to_be_visible()
    page.get_by_label("Why").fill("the shop moves")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("p.why")).to_have_text("the shop moves")
    noted(page, queue, "pause_schedule")

    page.get_by_role("button", name="Resume schedule prices").click()

    expect(page.locator("p.why")).to_have_count(0)
    noted(page, queue, "resume_schedule")
    assert queue.get_schedule("prices").paused == ""


def test_a_schedule_is_run_now_once_that_is_confirmed(
    eyes: Eyes, page: Page, queue: RunQueue
) -> None:
    eyes.go("/schedules")
    run = page.get_by_role("button", name="Run schedule report now")
    page.once("dialog", lambda dialog: dialog.dismiss())
    run.click()
    assert queue.get_schedule("report").firings == ()
    asked = says_yes(page)
    run.click()

    noted(page, queue, "fire_schedule")
    row = page.locator("tbody tr", has_text="report")
    expect(row).to_contain_text("waiting")
    assert asked == ["Enqueue its jobs now?"]


def test_past_times_are_made_up_for(eyes: Eyes, page: Page, queue: RunQueue) -> None:
    says_yes(page)
    eyes.go("/schedules/prices")
    page.get_by_label("Since").fill("2020-01-06")
    page.get_by_label("until").fill("2020-01-13")
    page.get_by_role("button", name="Backfill").click()

    expect(page.locator("tbody tr", has_text="backfill")).to_have_count(5)
    noted(page, queue, "backfill_schedule")
    assert {one.kind for one in queue.get_schedule("prices").firings} == {FiringKind.BACKFILL}


def test_a_schedule_is_removed_once_that_is_confirmed(
    eyes: Eyes, page: Page, queue: RunQueue
) -> None:
    asked = says_yes(page)
    eyes.go("/schedules/prices")
    page.get_by_role("button", name="Remove", exact=True).click()

    page.wait_for_url(re.compile("/schedules[?]account="))
    expect(page.get_by_role("link", name="prices", exact=True)).to_have_count(0)
    noted(page, queue, "remove_schedule")
    assert len(asked) == 1
