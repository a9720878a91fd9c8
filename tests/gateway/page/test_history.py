"""Charts, groups of errors, and the search: what they show of an archive, and what they refuse."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
import redis

from gateway.page import lists
from runqueue import JobState
from runqueue.ids import new_id
from runqueue.store.keys import ACCOUNTS
from tests.archive.filling import NOW, ended, fill, some_jobs
from tests.gateway.browsing import Shown, browsing
from tests.gateway.gating import Desk, token

OPS = "operate-secret"
HOSTILE = "<script>alert(1)</script>\"'><img src=x>\u202e" + "w" * 150


@pytest.fixture
def archive(client: redis.Redis, tmp_path: Path) -> str:
    """The URL of an archive of a day of 240 jobs, of which 24 failed in two ways."""
    url = f"sqlite:///{tmp_path}/archive.sqlite"
    fill(client, url, some_jobs())
    return url


def column(shown: Shown, title: str, n: int = 0) -> list[float | None]:
    """A column of a chart's table."""
    table = shown.text.partition(f'<caption class="unseen">{title}</caption>')[2]
    rows = re.findall(r"<tr data-at=.*?</tr>", table.partition("</table>")[0])
    cells = [re.findall(r'data-v="([^"]*)"', row)[n] for row in rows]
    return [float(cell) if cell else None for cell in cells]


async def test_charts_add_up_what_ended(redis_url: str, archive: str) -> None:
    settings = {"archive_url": archive, "price_per_credit": "0.5"}
    async with browsing(redis_url, OPS, **settings) as browser:
        shown = await browser.open("/charts?since=2d")
        of_one = await browser.open("/charts?since=2d&group=shop-1")
        weeks = await browser.open("/charts?since=300d&by=workflow")

    assert "Ended 240 Completed 216 Failed or dead 24 10.0 %" in shown.words
    assert "cost 1,080.00" in shown.words
    assert re.search(r"Waiting ≈ p50 \d+\.?\d* s ≈ p95 \d+\.?\d* s Running ≈ p50", shown.words)
    assert sum(column(shown, "Jobs that ended")) == 216  # type: ignore[arg-type]
    assert sum(column(shown, "Jobs that ended", 1)) == 24  # type: ignore[arg-type]
    assert len(column(shown, "Cost")) == len(column(shown, "Steps")) >= 48
    assert {None} < set(column(shown, "Failure share"))
    assert 8 < max(filter(None, column(shown, "Waiting time"))) < 16
    assert "by the hour of their ends" in shown.words
    assert "Group shop-1" in of_one.words
    assert "Ended 80" in of_one.words
    assert 'href="?since=2d&amp;group=shop-2"' in shown.text
    assert "by the week of their ends" in weeks.words
    assert "Most credits by group by workflow by batch" in weeks.words
    assert "All jobs 240 24 (10.0 %) 720 2,160" in shown.words
    assert "≈ p50 ≈ p95" in shown.words
    for one, which in ((shown, [-1]), (weeks, [0, -1])):
        table = one.text.partition('<caption class="unseen">Steps</caption>')[2]
        rows = re.findall(r"<tr data-at.*?</th>", table.partition("</table>")[0])
        assert all("data-partial" in rows[n] and "partial</th>" in rows[n] for n in which)
        assert "partial" not in "".join(rows[1:-1])


async def test_failures_are_grouped_with_their_figures_and_examples(
    redis_url: str, archive: str
) -> None:
    settings = {"archive_url": archive, "price_per_credit": "0.5"}
    async with browsing(redis_url, OPS, **settings) as browser:
        shown = await browser.open("/errors?since=2d")
        of_group = await browser.open("/errors?since=2d&group=shop-1")
        (example, *_) = re.findall(r'href="(/jobs/\w{24})"', shown.text)
        job = await browser.open(example)

    assert "24 failed or dead jobs, 216 credits, cost 108.00" in shown.words
    assert "groups are shown" not in shown.words
    assert "LLM_ERROR new No <b>seat</b> Jobs 12 50.0 % of failures" in shown.words
    assert "Timeout <n> ms exceeded at <url>" in shown.words
    assert shown.text.count("<polyline") == 2
    assert "8 failed or dead jobs" in of_group.words
    assert "LLM_ERROR" in job.words


async def test_a_group_of_errors_is_shown_counted_and_replayed(
    redis_url: str, archive: str, desk: Desk
) -> None:
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        shown = await browser.open("/errors?since=2d&group=shop-1")
        listed = await browser.open(link(shown, r"/jobs\?.*error="))
        counted = await browser.open(link(shown, r"/select\?.*error="))
        (form,) = counted.forms("/do/many")
        done = await browser.send("/do/many", form)

    assert listed.text.count('<span class="state failed">') == 4
    assert "Only of the group of errors" in listed.words
    assert "4 jobs group shop-1, since" in counted.words
    assert "failed or dead" in counted.words
    assert done.status == 200
    (entry,) = desk.queue.audit()
    assert entry.what == "replay"
    assert entry.detail.endswith(": 4 enqueued anew from the archive")
    assert desk.queue.stats()["default"].states[JobState.READY] == 4


async def test_a_batch_that_redis_has_no_more_is_found_and_shown(
    redis_url: str, client: redis.Redis, archive: str
) -> None:
    batch, other = new_id("default"), new_id("default")
    fill(client, archive, [ended(700 + n, NOW, "failed", batch=batch) for n in range(3)])
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        shown = await browser.open(f"/search?q={batch}")
        unknown = await browser.open(f"/search?q={other}")

    assert (shown.status, unknown.status) == (200, 404)
    assert "in the archive" in shown.words
    assert "3 of 3 ended" in shown.words
    assert shown.text.count('<span class="state failed">') >= 3
    assert "Retry" not in shown.words


def link(shown: Shown, begins: str) -> str:
    """The first link of a page that begins so."""
    links = re.findall('href="([^"]*)"', shown.text)
    return next(unescape(one) for one in links if re.match(begins, one))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("text=zeppelin", 0),
        ("text=Timeout+exceed", 12),
        ("text=timeout&group=shop-1", 4),
        ("state=failed", 24),
        ("state=failed&since=3h", 3),
        ("metadata=order%3D17", 1),
        ("metadata=order%3D17&metadata=env%3Dprod", 1),
        ("metadata=order%3D17&metadata=env%3Dtest", 0),
        ("reason=seat&since=2d", 12),
    ],
)
async def test_jobs_are_found_in_the_archive(
    redis_url: str, archive: str, query: str, count: int
) -> None:
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        shown = await browser.open(f"/jobs?{query}")
        results = await browser.open(f"/jobs/results?{query}&format=jsonl")

    assert shown.text.count("<tr>") - bool(count) == count
    assert f" {count} job{'' if count == 1 else 's'}" in shown.words
    assert len(results.text.splitlines()) == count


async def test_a_list_says_how_many_jobs_there_are_and_keeps_its_filter(
    redis_url: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "ROWS", 5)
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        first = await browser.open("/jobs?state=completed&since=2d&metadata=env%3Dprod")
        second = await browser.open(link(first, r"/jobs\?.*cursor="))
        csv = await browser.open(link(first, "/jobs/results"))

    assert "216 jobs" in first.words
    assert 'name="metadata" value="env=prod"' in second.text
    assert csv.headers["content-type"].startswith("text/csv")
    assert "attachment" in csv.headers["content-disposition"]
    assert len(csv.text.splitlines()) == 217


async def test_open_jobs_are_one_click_away(redis_url: str, archive: str, desk: Desk) -> None:
    desk.running()
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        every = await browser.open("/jobs?group=default")
        found = await browser.open(link(every, r"/jobs\?.*is_open"))

    assert "Without a state, jobs have ended" in every.words
    assert '<span class="state running">' not in every.text
    assert found.text.count('<span class="state running">') == 1
    assert 'name="is_open" value="true" checked' in found.text


async def test_hostile_names_are_text(client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.sqlite"
    fields = {"group": HOSTILE[:32], "reason": HOSTILE, "category": HOSTILE[:80], "batch": HOSTILE}
    jobs = [ended(1, NOW - timedelta(minutes=1), "failed", **fields)]
    fill(client, url, jobs)
    async with browsing(redis_url, OPS, archive_url=url) as browser:
        for path in ("/charts", "/charts?by=batch", "/errors", f"/charts?group={HOSTILE}", "/jobs"):
            shown = await browser.open(path)

            assert shown.status == 200, path
            assert "&lt;script&gt;" in shown.text
            assert "<script>alert" not in shown.text
            assert "\u202e" not in shown.text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/charts?since=soon", "since: expected a time"),
        ("/charts?since=1h&until=2h", "until"),
        ("/charts?since=2100-01-01", "until"),
        ("/errors?since=2100-01-01", "until"),
        ("/charts?since=2000d", "since: expected a time within five years"),
        ("/charts?group=a&batch=b", "expected"),
        ("/charts?by=state", "by: expected one of group, workflow, batch"),
        ("/errors?until=x", "until: expected a time"),
        ("/jobs?metadata=order", "metadata: expected"),
        ("/jobs?error=x", "error"),
        ("/jobs?text=_", "text"),
    ],
)
async def test_what_is_wrong_is_named(redis_url: str, archive: str, path: str, said: str) -> None:
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        shown = await browser.open(path)

    assert shown.status == 422
    assert said in shown.words


async def test_without_an_archive_pages_say_what_they_need(desk: Desk, redis_url: str) -> None:
    desk.running()
    async with browsing(redis_url, OPS) as browser:
        pages = [await browser.open(path) for path in ("/charts", "/errors", "/jobs")]
        found = await browser.open("/jobs?text=x")

    assert all("RUNQUEUE_ARCHIVE_URL" in one.words for one in pages)
    assert not any('name="text"' in one.text for one in pages)
    assert found.status == 422
    assert "RUNQUEUE_ARCHIVE_URL" in found.words


async def test_an_archive_that_is_away_is_said_to_be(redis_url: str, archive: str) -> None:
    async with browsing(redis_url, OPS, archive_url=archive) as browser:
        with sqlite3.connect(archive.removeprefix("sqlite:///")) as file:
            file.executescript("ALTER TABLE jobs RENAME TO a; ALTER TABLE sums RENAME TO b")
        shown = [await browser.open(path) for path in ("/charts", "/errors", "/jobs?text=a")]
        of_redis = await browser.open("/jobs?state=failed")

    assert ([one.status for one in shown], of_redis.status) == ([503] * 3, 200)
    assert not any("sqlite" in one.words for one in shown)


async def test_another_account_s_archive_is_not_seen(
    redis_url: str, archive: str, client: redis.Redis
) -> None:
    client.sadd(ACCOUNTS, "other")
    tokens = (token("other", "other-secret", "read", accounts=("other",)),)
    async with browsing(redis_url, "other-secret", archive_url=archive, api_tokens=tokens) as one:
        shown = [await one.open(f"/{name}?account=default") for name in ("charts", "errors")]

    assert [page.status for page in shown] == [404, 404]
