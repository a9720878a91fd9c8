"""What the page shows: figures, a job's life, lists and what a search finds; all of it as text."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from gateway.page.render import HEADERS
from lab.valkeys import start_valkey
from runqueue.producer.inbox import InboxLine, check_lines
from runqueue.records.claim_items import Finished, Lost
from runqueue.store import audit, worker_calls
from runqueue.store.inbox_calls import inbox_done
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, run_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x>"
OPS = "operate-secret"


def line(n: int = 0, **options: Any) -> dict[str, Any]:
    body = {"prompt": f"Read {n}.", **options.pop("body", {})}
    return {"kind": "task", "body": body, "custom_id": f"row-{n}", **options}


def dead(desk: Desk, reason: str, **options: Any) -> str:
    """Hand in a job that the server refuses."""
    (answer,) = desk.queue.enqueue_many([line(**options)])
    (job,) = desk.claim()
    run(desk.client, worker_calls.mark_dead("default", [Lost(job.job_id, job.attempt, reason)]))
    return answer.job_id


async def test_figures_are_shown_by_state_and_priority(desk: Desk, redis_url: str) -> None:
    desk.running(2, priority="high")
    desk.queue.enqueue_many([line(n, group="shop-a") for n in range(1_234)])

    async with browsing(redis_url, OPS) as browser:
        words = (await browser.open("/")).words

    assert "Ready 1,234" in words
    assert "running 0 2 0 0 2" in words
    assert "shop-a 1,234 0 \u2013" in words


async def test_an_archive_that_is_behind_and_new_errors_are_on_the_overview(
    desk: Desk, redis_url: str
) -> None:
    key = f"{Keys('default').prefix}archive"
    at = 4 * 10**17  # of some time ahead: it is believed
    fields: dict[Any, Any] = {"trouble": f"{at} p the database is away", "new_errors": "7:12"}
    desk.client.hset(key, mapping={"id": "a"})

    async with browsing(redis_url, OPS) as browser:
        well = await browser.open("/")
        desk.client.hset(key, mapping=fields)
        shown = await browser.open("/?done=1-1")

    assert 'class="notice"' not in well.text
    assert "Archive: 0 jobs wait for the archive; the database is away What it has" in shown.words
    assert "1 new group of errors grows: 12 jobs in the last hour Groups of errors" in shown.words
    assert 'href="/errors?account=default&amp;since=24h"' in shown.text


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"hold_until": "+60", "hold_reason": "HTTP 402"}, "Held until"),
        ({"hold_until": "+99999999999", "hold_reason": "lost"}, "Held until you resume it lost"),
        ({"paused": "ops: why"}, "Paused ops: why"),
        ({"pace_top": "4", "pace_at": "+0", "pace_cut": "0.5"}, "Submitting slowly the server"),
        ({}, "Submitting without a limit"),
    ],
)
async def test_the_health_line_says_what_holds_the_account(
    desk: Desk, redis_url: str, meta: dict[str, str], said: str
) -> None:
    desk.claim()  # a process that lives
    desk.queue.enqueue_many([line(n) for n in range(3)])
    now = desk.client.time()[0]
    for name, value in meta.items():
        stored = (now + int(value)) * 1_000_000 if value.startswith("+") else value
        desk.client.hset(Keys("default").meta, name, stored)

    async with browsing(redis_url, OPS) as browser:
        words = (await browser.open("/")).words

    assert said in words


async def test_hostile_text_is_text_everywhere(desk: Desk, redis_url: str) -> None:
    job_id = dead(desk, HOSTILE, body={"prompt": HOSTILE, "title": HOSTILE})
    batch = desk.queue.open_batch(HOSTILE)
    desk.queue.enqueue_many([{**line(7), "custom_id": HOSTILE}], batch=batch)
    desk.queue.seal_batch(batch)
    desk.queue.pause(reason=HOSTILE)
    desk.queue.send(audit.add_entry("default", HOSTILE, HOSTILE, HOSTILE, HOSTILE))

    async with browsing(redis_url, OPS) as browser:
        for path in (
            *("/", "/jobs?state=dead", "/jobs", "/batches", f"/batches/{batch}", "/audit"),
            *(f"/jobs/{job_id}", "/select?what=replay&count=1", "/search?q=%3Cscript%3E"),
        ):
            shown = await browser.open(path)
            assert shown.status in {200, 404}, path
            assert "<script>" not in shown.text, path
            assert "<img" not in shown.text, path


async def test_signs_that_turn_the_direction_of_text_are_shown_as_what_they_are(
    desk: Desk, redis_url: str
) -> None:
    turned = "\u202egnp.exe\u2066"
    desk.queue.pause(reason=turned)
    desk.queue.send(audit.add_entry("default", "ops", "pause_account", "", turned))

    async with browsing(redis_url, OPS) as browser:
        shown = [await browser.open(path) for path in ("/", "/audit")]

    for one in shown:
        assert "\\u202egnp.exe\\u2066" in one.words
        assert not {"\u202e", "\u2066"} & set(one.text)


async def test_a_link_of_a_run_leads_to_the_web_alone(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(hook=None)
    body = b'{"output": {"a": "<b>"}, "app_url": "javascript:alert(1)", "recording_url": "https://f.test/r"}'
    end = Finished(job.job_id, 1, run_of(job), "completed", "completed", "", body)
    run(desk.client, worker_calls.finish("default", [end]))

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/jobs/{job.job_id}")

    assert "javascript:" not in shown.text
    assert 'href="https://f.test/r"' in shown.text
    assert "&lt;b&gt;" in shown.text


async def test_of_a_request_only_what_holds_no_secrets_is_shown(desk: Desk, redis_url: str) -> None:
    secret = {"totp_identifier": "totp-secret", "extra_http_headers": {"x": "header-secret"}}
    (answer,) = desk.queue.enqueue_many([line(body={"url": "https://shop.test/", **secret})])

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/jobs/{answer.job_id}")

    assert "Read 0." in shown.words
    assert "-secret" not in shown.text
    assert "extra_http_headers, totp_identifier" in shown.words


async def test_of_the_urls_of_a_request_only_where_they_lead_is_shown(
    desk: Desk, redis_url: str
) -> None:
    body = {
        "url": "https://ann:login-secret@shop.test/p?session=query-secret",
        "webhook_url": "https://hook.test/in?token=hook-secret",
    }
    (answer,) = desk.queue.enqueue_many([line(body=body)])

    async with browsing(redis_url, "read-secret") as browser:
        shown = await browser.open(f"/jobs/{answer.job_id}")

    assert "https://shop.test/p" in shown.words
    assert "https://hook.test/in" in shown.words
    assert "-secret" not in shown.text


async def test_every_answer_forbids_what_is_not_its_own(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        for path in ("/", "/jobs", "/search?q=x", "/jobs/none", "/static/page.css"):
            shown = await browser.open(path)
            for name in HEADERS.keys() - {"Cache-Control"}:
                assert shown.headers[name.lower()] == HEADERS[name], path
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_files_of_the_page_are_kept_by_browsers_under_their_version(redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        page = await browser.open("/")
        (path,) = {part for part in page.text.split('"') if part.startswith("/static/page.js")}
        named = await browser.open(path)
        bare = await browser.open("/static/page.js")
        missing = await browser.open("/static/..%2fpage.py")

    assert "immutable" in named.headers["cache-control"]
    assert bare.headers["cache-control"] == "no-cache"
    assert missing.status == 404


async def test_a_job_is_shown_with_its_life(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")

    async with browsing(redis_url, OPS) as browser:
        words = (await browser.open(f"/jobs/{job.job_id}")).words

    for step in ("created: accepted", "submitting: claimed", "running: its run is known"):
        assert step in words
    assert "order-17 Kind task" in words
    assert run_of(job) in words


async def test_metadata_is_shown_as_text_with_its_job_and_its_batch(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch(metadata={"customer": HOSTILE})
    (job,) = desk.queue.enqueue_many([line(metadata={"order": HOSTILE})], batch=batch)

    async with browsing(redis_url, OPS) as browser:
        for path, name in (f"/jobs/{job.job_id}", "order"), (f"/batches/{batch}", "customer"):
            shown = await browser.open(path)
            assert f"Metadata {name} {HOSTILE}" in shown.words
            assert "<script>alert" not in shown.text


async def test_a_search_finds_what_is_called_that(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")
    batch = desk.queue.open_batch("prices")
    (other,) = desk.queue.enqueue_many([{**line(), "namespace": "shop"}], batch=batch)

    async with browsing(redis_url, OPS) as browser:
        for query, path in (
            (job.job_id, f"/jobs/{job.job_id}"),
            (run_of(job), f"/jobs/{job.job_id}"),
            ("order-17", f"/jobs/{job.job_id}"),
            ("row-0&namespace=shop", f"/jobs/{other.job_id}"),
            (batch, f"/batches/{batch}"),
        ):
            shown = await browser.open(f"/search?q={query}")
            assert (shown.status, shown.url.path) == (200, path)


async def test_a_search_that_finds_nothing_says_so(desk: Desk, redis_url: str) -> None:
    batch = desk.queue.open_batch("x")
    other = batch[:-1] + ("a" if batch[-1] != "a" else "b")
    async with browsing(redis_url, OPS) as browser:
        for text in ("nothing", "a" * 24, other, "%00", "%FF"):
            shown = await browser.open(f"/search?q={text}")
            assert (shown.status, "Nothing is called" in shown.words) == (404, True)
        assert (await browser.open("/search")).status == 200


def refuse(desk: Desk, *lines: str, way: str = "inbox") -> None:
    """Have lines refused, as a worker does."""
    checked = check_lines([InboxLine(line, f"k-{n}") for n, line in enumerate(lines)], way, [])
    kept = [("", checked.kept(n, 1_800_000_000_000_000)) for n in sorted(checked.refused)]
    desk.queue.send(inbox_done("default", kept))


async def test_refused_lines_of_inbox_and_celery_are_counted_and_listed_with_what_is_wrong(
    desk: Desk, redis_url: str
) -> None:
    refuse(desk, '{"custom_id": "order-1", "kind": "nil", "body": {"prompt": "hunter2"}}')
    refuse(desk, '{"custom_id": "<b>order-2", "kind": "task", "body": {}}', way="celery")

    async with browsing(redis_url, OPS) as browser:
        overview = await browser.open("/")
        listed = await browser.open("/refused?account=default")

    assert "Refused lines 2 of the inbox and of Celery messages" in overview.words
    assert 'href="/refused?account=default"' in overview.text
    assert listed.words.index("<b>order-2") < listed.words.index("order-1")
    assert "kind: expected" in listed.words
    assert "<b>order" not in listed.text
    assert "hunter2" not in listed.text


async def test_the_list_of_refused_lines_reads_no_more_than_a_bounded_number_of_bytes(
    desk: Desk, redis_url: str
) -> None:
    long = '{"kind": "nil", "custom_id": "row-%d", "body": {"prompt": "' + "x" * 700_000 + '"}}'
    refuse(desk, *(long % n for n in range(4)))

    async with browsing(redis_url, OPS) as browser:
        words = (await browser.open("/refused")).words

    assert "4 lines of the inbox" in words
    assert "The newest 2." in words
    assert "row-3" in words
    assert "row-1" not in words


async def test_lists_go_on_page_by_page(desk: Desk, redis_url: str) -> None:
    batch = desk.queue.open_batch("prices")
    desk.queue.enqueue_many([line(n) for n in range(130)], batch=batch)
    desk.queue.seal_batch(batch)
    for n in range(110):
        desk.queue.send(audit.add_entry("default", "ops", "x", f"target-{n}"))

    async with browsing(redis_url, OPS) as browser:
        for path, first, last in (
            (f"/batches/{batch}", "row-0", "row-129"),
            ("/audit", "target-109", "target-0"),
        ):
            shown = await browser.open(path)
            assert first in shown.words
            assert last not in shown.words.split()
            more = [p for p in shown.text.split('"') if "cursor=" in p or "before=" in p]
            shown = await browser.open(more[0].replace("&amp;", "&"))
            assert last in shown.words.split()


def damage(desk: Desk, key: str) -> None:
    """Have something else written in the place of a record."""
    desk.client.delete(f"{Keys('default').prefix}{key}")
    desk.client.set(f"{Keys('default').prefix}{key}", "a typo")


@pytest.mark.parametrize(
    ("state", "how"), [("", "number"), ("dead", "type"), ("ready", "type"), ("completed", "number")]
)
async def test_a_list_of_jobs_shows_all_but_the_one_that_cannot_be_read(
    desk: Desk, redis_url: str, state: str, how: str
) -> None:
    if state == "dead":
        bad, good = dead(desk, "no", custom_id="bad-1"), dead(desk, "no", custom_id="good-1")
    elif state == "completed":
        jobs = desk.running(2)
        ends = [
            Finished(job.job_id, job.attempt, run_of(job), "completed", "completed", "", b"{}")
            for job in jobs
        ]
        assert run(desk.client, worker_calls.finish("default", ends)) == [1, 1]
        bad, good = (job.job_id for job in jobs)
    else:
        answers = desk.queue.enqueue_many([line(custom_id="bad-1"), line(custom_id="good-1")])
        bad, good = (answer.job_id for answer in answers)
    if how == "type":
        damage(desk, f"job:{bad}")
    else:
        desk.client.hset(f"{Keys('default').prefix}job:{bad}", "created", "yesterday")

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/jobs?state={state}")

    assert shown.status == 200
    assert good in shown.text
    # By its time or its state a job is not found whose record is none.
    is_named = how == "number" or state == "dead"
    assert (f"1 job cannot be read: {bad}" in shown.words) == is_named


async def test_a_batch_shows_its_jobs_but_the_one_that_cannot_be_read(
    desk: Desk, redis_url: str
) -> None:
    batch = desk.queue.open_batch()
    answers = desk.queue.enqueue_many([line(1), line(2)], batch=batch)
    desk.queue.seal_batch(batch)
    bad, good = (answer.job_id for answer in answers)
    damage(desk, f"job:{bad}")

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(f"/batches/{batch}")

    assert good in shown.text
    assert f"1 job cannot be read: {bad}" in shown.words


@pytest.mark.parametrize(("path", "how"), [("/batches", "type"), ("/", "number")])
async def test_a_batch_that_cannot_be_read_hides_no_other(
    desk: Desk, redis_url: str, path: str, how: str
) -> None:
    bad, good = (desk.queue.open_batch(name) for name in ("bad-batch", "good-batch"))
    if how == "type":
        damage(desk, f"batch:{bad}")
    else:
        desk.client.hset(f"{Keys('default').prefix}batch:{bad}", "created", "yesterday")

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(path)

    assert shown.status == 200
    assert "good-batch" in shown.words
    assert good != bad
    assert bad in shown.words
    assert "cannot be read" in shown.words


async def test_unconfirmed_jobs_are_shown_although_they_gave_their_slots_back(
    desk: Desk, redis_url: str
) -> None:
    job = desk.unconfirmed()
    prefix = Keys("default").prefix
    desk.client.zrem(f"{prefix}unconfirmed", job.job_id)
    desk.client.zadd(f"{prefix}unconfirmed_no_slot", {job.job_id: 1})

    async with browsing(redis_url, OPS) as browser:
        for path in ("/", "/jobs?state=unconfirmed"):
            assert job.job_id in (await browser.open(path)).text


async def test_what_is_not_there_is_told_on_a_page(redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        for path, status in (
            ("/jobs/none", 404),
            (f"/jobs/{'a' * 24}", 404),
            (f"/batches/{'a' * 24}", 404),
            ("/?account=nobody", 404),
            ("/jobs?state=lost", 422),
            ("/jobs?cursor=x", 422),
            ("/audit?before=x", 422),
            ("/audit?before=0-0", 422),
            ("/batches?cursor=x", 422),
        ):
            shown = await browser.open(path)
            assert (shown.status, "To the overview" in shown.words) == (status, True), path
            assert shown.headers["content-type"].startswith("text/html")


async def test_a_queue_that_is_away_is_told_on_a_page(tmp_path: Any) -> None:
    server = start_valkey(tmp_path)
    port = server.port
    async with browsing(f"redis://127.0.0.1:{port}/0") as browser:
        server.stop()
        shown = await browser.open("/jobs")

    assert (shown.status, "The queue cannot be reached" in shown.words) == (503, True)
    # Where Redis is, is not for everybody who may look.
    assert str(port) not in shown.words


async def test_actions_by_filter_keep_the_filter_of_the_list(desk: Desk, redis_url: str) -> None:
    dead(desk, "it could not log in", group="shop-a")

    async with browsing(redis_url, OPS) as browser:
        listed = await browser.open("/jobs?state=dead&group=shop-a&reason=log")
        (href,) = re.findall(r'href="(/select[?]what=replay[^"]*)"', listed.text)
        shown = await browser.open(f"{unescape(href)}&count=1")

    assert "1 job" in shown.words
    for value in ('value="dead" selected', 'value="shop-a"', 'value="log"'):
        assert value in shown.text
