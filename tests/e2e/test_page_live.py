"""The page in a real browser: it changes as the queue does, and stays usable while it changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from launcher import supervisor
from runqueue import RunQueue
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.e2e.looking import FAINT, Eyes
from tests.gateway.gating import Desk


def lines(n: int, **options: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "task", "body": {"prompt": f"Read {k}."}, "custom_id": f"row-{k}", **options}
        for k in range(n)
    ]


def shows(page: Page, name: str, value: str) -> None:
    """Wait until a figure says so."""
    box = page.locator(".figures > div").filter(has=page.locator("dt", has_text=name))
    expect(box.locator("dd").first).to_have_text(value)


def test_figures_change_as_the_queue_does(page: Page, queue: RunQueue, desk: Desk) -> None:
    expect(page.locator("#live")).to_contain_text("Live, ")
    shows(page, "Ready", "0")
    queue.enqueue_many(lines(120, group="shop-a"))
    shows(page, "Ready", "120")
    expect(page.locator("[data-part=lines]")).to_contain_text("shop-a")
    expect(page.locator("[data-part=health]")).to_contain_text("no worker process serves this")
    claimed = desk.claim()
    expect(page.locator("[data-part=workers]")).to_contain_text("test")
    shows(page, "In flight", "120")
    desk.accept(*claimed)
    expect(page.locator("[data-part=queue] tr", has_text="running")).to_contain_text("120")
    expect(page.locator("[data-part=health]")).to_contain_text("Nothing to submit")
    expect(page).to_have_title(re.compile("^Nothing to submit · default · runqueue$"))


def test_sparklines_are_drawn_as_time_goes_by(page: Page, queue: RunQueue) -> None:
    queue.enqueue_many(lines(10))

    line = page.locator(".figures svg polyline").first

    expect(line).to_have_attribute("points", re.compile(r"\d+(\.\d)?,\d+"))
    assert "Ready: from" in (page.locator(".figures svg").first.get_attribute("aria-label") or "")


def test_a_batch_s_bar_grows(page: Page, queue: RunQueue, desk: Desk) -> None:
    batch = queue.open_batch("nightly prices")
    queue.enqueue_many(lines(10), batch=batch)
    queue.seal_batch(batch)
    bar = page.locator("[data-part=batches] progress")
    expect(bar).to_have_attribute("value", "0")

    jobs = desk.claim()
    for job in jobs[:4]:
        queue.cancel(job.job_id)
    lost = [Lost(job.job_id, job.attempt, "No such engine") for job in jobs[4:8]]
    run(desk.client, worker_calls.mark_dead("default", lost))

    expect(bar).to_have_attribute("value", "4")
    expect(page.locator("[data-part=batches]")).to_contain_text("4 / 10")


def test_who_writes_into_the_page_is_not_disturbed(page: Page, queue: RunQueue) -> None:
    reason = page.get_by_label("Why it is paused")
    reason.press_sequentially("a deploy")
    limit = page.get_by_label("runs under way at once")
    limit.fill("17")

    queue.enqueue_many(lines(33))
    shows(page, "Ready", "33")
    queue.pause()
    expect(page.locator("[data-part=figures]")).to_contain_text("33")

    assert (reason.input_value(), limit.input_value()) == ("a deploy", "17")
    expect(limit).to_be_focused()


def test_a_page_that_is_not_fed_any_more_says_so_and_comes_back(
    chromium: Browser, serve: Callable[..., tuple[str, supervisor.Child]], queue: RunQueue
) -> None:
    url, child = serve(tokens=False)
    context = chromium.new_context()
    page = context.new_page()
    secret = (child.cwd / TOKEN_FILE).read_text().strip() if child.cwd else ""
    page.goto(f"{url}/login?token={secret}")
    assert page.url == f"{url}/"
    expect(page.locator("#live")).to_contain_text("Live, ")

    child.terminate()
    child.wait_for_end()

    expect(page.locator("#live")).to_contain_text("Not live, as of")
    assert "old" in (page.locator("body").get_attribute("class") or "")
    context.close()


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_is_wider_than_its_window(
    eyes: Eyes, page: Page, queue: RunQueue, desk: Desk, width: int
) -> None:
    job = desk.unconfirmed()
    queue.enqueue_many(lines(3, group="a-group-with-quite-a-long-name-0"))
    page.set_viewport_size({"width": width, "height": 800})
    paths = ("/", "/jobs", "/groups", "/audit", "/select?what=replay&count=1")
    for path in (*paths, f"/jobs/{job.job_id}"):
        eyes.go(path)

        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

        assert over <= 0, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(
    eyes: Eyes, page: Page, queue: RunQueue, desk: Desk, scheme: str
) -> None:
    desk.unconfirmed()
    queue.enqueue_many(lines(3))
    queue.pause()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    eyes.go("/")

    faint = page.evaluate(FAINT)

    assert faint == []


def test_on_a_phone_the_menu_leaves_the_room_to_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})

    header = page.locator("header.top").bounding_box()
    wide = page.evaluate("document.documentElement.scrollWidth")

    assert header is not None
    assert header["height"] < 100
    assert wide == 390
    expect(page.get_by_role("link", name="Audit")).to_be_attached()
