"""Levers in a real browser: each does what it says, asks where it should, and is noted."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Dialog, Page, expect

from runqueue import RunQueue
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.e2e.looking import Eyes
from tests.e2e.test_page_live import lines
from tests.gateway.gating import Desk

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def noted(page: Page, queue: RunQueue, what: str) -> None:
    """What was done is noted, and shown at the top of the page that it led to."""
    expect(page.locator("p.said")).to_contain_text("ops")
    note = queue.audit()[0]
    assert (note.who, note.what) == ("ops", what)


def says_yes(page: Page) -> list[str]:
    """Say yes to whatever the page asks, and remember it."""
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    page.on("dialog", answer)
    return asked


def test_an_account_is_paused_and_resumed(page: Page, queue: RunQueue) -> None:
    page.get_by_label("Why it is paused").fill("a deployment")
    page.get_by_role("button", name="Pause the account").click()
    expect(page.locator("[data-part=health]")).to_contain_text("Paused")
    expect(page.locator("[data-part=health]")).to_contain_text("ops: a deployment")
    noted(page, queue, "pause_account")
    assert queue.stats()["default"].paused

    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("[data-part=health]")).to_contain_text("Nothing to submit")
    noted(page, queue, "resume_account")
    assert not queue.stats()["default"].paused


def test_a_batch_is_canceled_once_that_is_confirmed(
    eyes: Eyes, page: Page, queue: RunQueue
) -> None:
    batch = queue.open_batch("prices")
    queue.enqueue_many(lines(3), batch=batch)
    queue.seal_batch(batch)
    eyes.go(f"/batches/{batch}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel the batch").click()
    assert queue.get_batch(batch).held is None

    says_yes(page)
    page.get_by_role("button", name="Cancel the batch").click()

    noted(page, queue, "cancel_batch")
    assert queue.get_batch(batch).held == "canceled"


def test_an_unconfirmed_job_is_found_and_settled(
    eyes: Eyes, page: Page, queue: RunQueue, desk: Desk
) -> None:
    job = desk.unconfirmed()
    expect(page.locator("[data-part=needing]")).to_contain_text("no answer")
    page.locator("[data-part=needing] tbody a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(job.job_id)
    attempt = page.get_by_role("list", name="Attempt 1")
    expect(attempt).to_contain_text("unconfirmed: the answer to its submission")
    page.get_by_label("Its run is").fill("tsk_77")
    page.get_by_role("button", name="Adopt the run").click()

    noted(page, queue, "adopt")
    expect(attempt).to_contain_text("running: its run was found")
    assert queue.get(job.job_id).run_id == "tsk_77"


def dead(desk: Desk, rows: list[dict[str, Any]], reason: str = "No such engine") -> list[str]:
    """Hand in jobs that the server refuses."""
    ids = [answer.job_id for answer in desk.queue.enqueue_many(rows)]
    lost = [Lost(job.job_id, job.attempt, reason) for job in desk.claim()]
    run(desk.client, worker_calls.mark_dead("default", lost))
    return ids


def test_hostile_texts_stay_texts(eyes: Eyes, page: Page, queue: RunQueue, desk: Desk) -> None:
    rows = [{"kind": "task", "custom_id": HOSTILE, "body": {"prompt": HOSTILE}}]
    (job_id,) = dead(desk, rows, reason=HOSTILE)
    batch = queue.open_batch(HOSTILE)
    queue.enqueue_many(lines(1), batch=batch)
    queue.seal_batch(batch)
    queue.pause(reason=HOSTILE)

    for path in (
        "/",
        "/jobs?state=dead",
        f"/jobs/{job_id}",
        f"/batches/{batch}",
        "/batches",
        "/audit",
    ):
        eyes.go(path)
        page.wait_for_load_state()
        assert "owned" not in page.title().replace(HOSTILE, "")
        assert page.locator("script:not([src])").count() == 0
        assert page.locator("img").count() == 0
    eyes.go(f"/jobs/{job_id}")
    expect(page.locator("dl.request pre").first).to_have_text(HOSTILE)
    eyes.go("/")
    expect(page.locator("#live")).to_contain_text("Live")
    expect(page.locator("[data-part=needing] .reason").first).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0


def test_the_page_is_operated_by_the_keyboard_alone(page: Page, queue: RunQueue) -> None:
    queue.enqueue_many(lines(2, group="shop-a"))
    expect(page.get_by_role("button", name="Pause group shop-a")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    reached: set[str] = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e !== document.body && (e.getAttribute('aria-label') ||"
            " e.labels?.[0]?.innerText || e.innerText || e.name))(document.activeElement)"
        )
        if name:
            reached.add(name)
        if name == "Pause group shop-a":
            break
    assert {"Overview", "Search", "Pause the account", "Set limits", "ready"} <= reached
    page.keyboard.press("Enter")

    noted(page, queue, "pause_group")


def test_everything_has_a_name_for_a_screen_reader(
    eyes: Eyes, page: Page, queue: RunQueue, desk: Desk
) -> None:
    job = desk.unconfirmed()
    queue.enqueue_many(lines(2))
    for path in ("/", f"/jobs/{job.job_id}", "/groups", "/select?what=cancel", "/jobs"):
        eyes.go(path)
        nameless = page.evaluate(
            "[...document.querySelectorAll("
            "'button, a, input:not([type=hidden]), select, progress, svg')].filter(e =>"
            " !(e.getAttribute('aria-label') || e.labels?.length || e.innerText?.trim()))"
            ".map(e => e.outerHTML.slice(0, 100))"
        )
        assert nameless == []
        assert page.locator("h1").count() == 1
        assert page.locator("th:not([scope])").count() == 0


def test_the_page_works_without_javascript(
    chromium: Browser, gateway: str, queue: RunQueue
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    eyes = Eyes(context.new_page(), gateway)
    eyes.log_in("operate-secret")
    eyes.page.get_by_role("button", name="Pause the account").click()

    expect(eyes.page.locator("[data-part=health]")).to_contain_text("Paused")
    assert queue.stats()["default"].paused
    context.close()


def test_who_logs_out_is_gone(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()

    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
