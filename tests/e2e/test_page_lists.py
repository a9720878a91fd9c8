"""Lists in a real browser: checks, refreshes, zones; each view clean at every width and scheme."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from runqueue import RunQueue
from tests.e2e.looking import Eyes
from tests.e2e.test_page_live import lines
from tests.gateway.gating import Desk

#: What would turn the text behind it, in a prompt and in a server's reason.
TURNED = "\u202egnp.exe\u2066"
#: Names that try to be markup, that are read from the right, and that are wider than a phone.
NAMES = (
    '<b>"\'&amp;</b><script>document.title="owned"</script>',
    "\u05d0\u05d1\u05d2 (1) \u0627\u0628",
    "W" * 256,
)


def named(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"kind": "task", "custom_id": one, "body": {"prompt": TURNED}} for one in names]


def views(desk: Desk) -> list[str]:
    """The address of each view, of a queue with hostile names in each state."""
    queue = desk.queue
    batches = [queue.open_batch(name[:128]) for name in NAMES]
    ids = desk.ended("failed", named(NAMES), batches[0], TURNED)
    queue.replay(ids[:1])
    desk.ended("dead", named(tuple(f"d{name}"[:256] for name in NAMES)))
    desk.ended("completed", named(tuple(f"c{name}"[:256] for name in NAMES)))
    desk.unconfirmed()
    queue.enqueue_many(lines(3, group="a-group-with-quite-a-long-name-0"))
    queue.set_group("shop-a", max_concurrent=3)
    listed = ("", "jobs", "batches", "groups", "keys", "budgets", "webhooks", "audit", "search")
    return [
        *(f"/{name}" for name in listed),
        "/jobs?state=failed",
        "/select?what=replay&count=1",
        f"/select?what=replay&count=1&checked=1&id={ids[0]}&id={ids[1]}",
        *(f"/jobs/{job_id}" for job_id in ids),
        f"/batches/{batches[0]}",
    ]


@pytest.mark.parametrize("look", [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_each_view_is_clean(
    eyes: Eyes, page: Page, desk: Desk, axe: Any, look: tuple[int, Any]
) -> None:
    found = []
    page.set_viewport_size({"width": look[0], "height": 844})
    page.emulate_media(color_scheme=look[1])
    for path in views(desk):
        eyes.go(path)
        if path == "/":
            expect(page.locator("#live")).to_contain_text("Live, ")
        found += eyes.flaws(axe, path)
        assert "owned" not in page.title().replace(NAMES[0], "")
        assert not {"\u202e", "\u2066"} & set(page.content())

    assert found == []


def test_checked_rows_are_replayed_and_the_filter_stays(
    eyes: Eyes, page: Page, queue: RunQueue, desk: Desk
) -> None:
    desk.ended("failed", lines(3, group="shop-a"))
    eyes.go("/jobs?group=shop-a")
    bar = page.locator("#checked")
    expect(bar.get_by_role("button")).to_have_count(0)
    page.get_by_label("Check row-0").check()
    page.get_by_label("Check row-2").check()
    expect(bar).to_contain_text("2 checked")
    bar.get_by_role("button", name="Replay 2…").click()

    expect(page.get_by_role("status")).to_contain_text("2 jobs of 2 checked")
    page.get_by_role("button", name="Replay: these 2").click()

    expect(page.locator("p.said")).to_contain_text("ops replayed jobs: checked jobs")
    expect(page.get_by_label("Group", exact=True)).to_have_value("shop-a")
    assert "done=" not in page.url
    assert sorted(job.state.value for job in queue.list_jobs().jobs) == ["failed", "ready", "ready"]


def test_the_bar_checks_all_and_offers_what_states_allow(
    eyes: Eyes, page: Page, desk: Desk
) -> None:
    desk.ended("dead", lines(2))
    desk.ended("completed", named(("done",)))
    eyes.go("/jobs")
    expect(page.locator("input[form=checked]")).to_have_count(
        2
    )  # nothing is done to one that completed

    page.get_by_label("All shown").check()
    bar = page.locator("#checked").get_by_role("button")

    assert bar.all_inner_texts() == ["Replay 2…", "Discard 2…"]
    page.get_by_label("All shown").uncheck()
    expect(bar).to_have_count(0)


def test_a_list_refreshes_and_keeps_focus_and_scroll(
    eyes: Eyes, page: Page, desk: Desk, queue: RunQueue
) -> None:
    desk.ended("failed", lines(40))
    page.set_viewport_size({"width": 390, "height": 600})
    eyes.go("/jobs?state=failed")
    page.get_by_label("Check row-20", exact=True).focus()
    page.evaluate("document.querySelector('.wide').scrollLeft = 60")
    scrolled = page.evaluate("window.scrollY")

    desk.ended("failed", named(("newest",)))

    expect(page.locator("[data-list]")).to_contain_text("newest")
    expect(page.get_by_label("Check row-20", exact=True)).to_be_focused()
    assert page.evaluate("document.querySelector('.wide').scrollLeft") == 60
    assert page.evaluate("window.scrollY") == scrolled


def test_a_list_stands_still_while_rows_are_checked_or_it_is_switched_off(
    eyes: Eyes, page: Page, desk: Desk
) -> None:
    desk.ended("failed", lines(2))
    eyes.go("/jobs?state=failed")
    reads: list[str] = []
    page.on("request", lambda one: reads.append(one.url) if "/jobs" in one.url else None)
    page.get_by_label("Check row-1").check()
    expect(page.get_by_text("waits while rows are checked")).to_be_visible()
    page.wait_for_timeout(6_000)
    expect(page.get_by_label("Check row-1")).to_be_checked()
    assert reads == []

    page.get_by_label("Refresh", exact=True).uncheck()
    page.get_by_label("Check row-1").uncheck()
    page.wait_for_timeout(6_000)
    assert reads == []
    page.get_by_label("Refresh", exact=True).check()
    expect(page.get_by_text("as of 2")).to_be_visible()


def test_a_list_says_that_its_reader_has_to_log_in_again(
    eyes: Eyes, page: Page, desk: Desk
) -> None:
    desk.ended("failed", lines(1))
    eyes.go("/jobs")
    page.context.clear_cookies()

    expect(page.get_by_text("failed: log in again")).to_be_visible()
    expect(page.locator("[data-list]")).to_contain_text("row-0")


@pytest.fixture
def abroad(chromium: Browser, gateway: str, desk: Desk) -> Iterator[Eyes]:
    """A browser in Tokyo."""
    context = chromium.new_context(timezone_id="Asia/Tokyo")
    found = Eyes(context.new_page(), gateway)
    found.watch()
    found.log_in("operate-secret")
    yield found
    context.close()
    assert found.complaints == []


def test_times_are_shown_in_the_zone_of_the_browser(abroad: Eyes, desk: Desk) -> None:
    (job_id,) = desk.ended("failed", lines(1))
    at = desk.queue.get(job_id).created_at

    abroad.go("/")
    expect(abroad.page.locator("#live")).to_contain_text("GMT+9")
    for path in ("/jobs", f"/jobs/{job_id}"):
        abroad.go(path)
        time = abroad.page.locator("time").first
        expect(time).to_contain_text("GMT+9")
        assert "UTC" in (time.get_attribute("title") or "")
    expect(abroad.page.locator(".life time").first).to_have_attribute(
        "title", f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
    )


def test_without_javascript_times_are_utc_and_rows_are_checked(
    chromium: Browser, gateway: str, desk: Desk
) -> None:
    desk.ended("failed", lines(2))
    context = chromium.new_context(java_script_enabled=False, timezone_id="Asia/Tokyo")
    eyes = Eyes(context.new_page(), gateway)
    eyes.log_in("operate-secret", "/jobs")
    expect(eyes.page.locator("tbody time").first).to_contain_text("UTC")
    eyes.page.get_by_label("Check row-1").check()
    eyes.page.get_by_role("button", name="Replay…").click()
    eyes.page.get_by_role("button", name="Replay: these 1").click()

    expect(eyes.page.locator("p.said")).to_contain_text(": 1 done")
    context.close()


@pytest.mark.parametrize("where", ["/batches", "/batches/{}"])
def test_results_of_a_batch_come_by_one_click(
    eyes: Eyes, page: Page, desk: Desk, where: str
) -> None:
    batch = desk.queue.open_batch("nightly prices")
    desk.ended("completed", lines(3), batch)
    eyes.go(where.format(batch))

    for kind, first in (("CSV", "custom_id,"), ("JSONL", '{"')):
        with page.expect_download() as begun:
            page.get_by_role("link", name=f"Results of nightly prices as {kind}").click()
        assert begun.value.suggested_filename == f"results-{batch}.{kind.lower()}"
        text = begun.value.path().read_text()
        assert text.startswith(first)
        assert "row-2" in text


def test_a_job_s_attempts_are_told_apart(eyes: Eyes, page: Page, desk: Desk) -> None:
    (job_id,) = desk.ended("failed", lines(1))
    desk.queue.replay([job_id])
    desk.accept(*desk.claim())
    eyes.go("/jobs")
    page.get_by_role("link", name="row-0").click()

    attempts = page.locator("section", has=page.locator("#life-title"))
    expect(attempts.get_by_role("heading", level=3)).to_contain_text(
        ["Before its first attempt", "Attempt 1", "Attempt 2", "Still to come"]
    )
    expect(attempts).to_contain_text(f"Run tsk_{job_id}_1 failed")
    page.get_by_role("link", name="Back to the list").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Jobs")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failed_has_a_colour_of_its_own(eyes: Eyes, page: Page, desk: Desk, scheme: str) -> None:
    desk.ended("failed", lines(1))
    desk.ended("dead", named(("dead",)))
    desk.ended("completed", named(("done",)))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    eyes.go("/jobs")

    colours = page.locator(".state").evaluate_all("all => all.map(e => getComputedStyle(e).color)")
    assert len(set(colours)) == 3
