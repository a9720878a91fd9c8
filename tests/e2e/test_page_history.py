"""The history in a real browser: charts of the tables behind them, and each view clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, expect

from launcher import supervisor
from runqueue import ids
from runqueue.store.keys import Keys
from tests.archive.filling import NOW, ended, fill, some_jobs
from tests.e2e.looking import Eyes
from tests.e2e.test_page_lists import NAMES, TURNED

BATCH = ids.job_id_for("default", "", "a batch")
VIEWS = (
    "/charts",
    "/charts?since=7d&group=shop-1",
    "/charts?since=90d&by=batch",
    "/charts?since=300d&by=workflow",
    "/errors?since=7d",
    "/jobs?text=timeout&metadata=env%3Dprod&since=2d",
    "/jobs?error=1",
    "/select?what=replay&error=1&since=2d&count=1",
    "/select?what=replay&group=shop-0&state=failed&except=order-0+x&count=1",
    f"/batches/{BATCH}",
    "/",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an archive."""
    return f"sqlite:///{tmp_path_factory.mktemp('archive')}/archive.sqlite"


@pytest.fixture(scope="module")
def archived(serve: Callable[..., tuple[str, supervisor.Child]], archive: str) -> str:
    """The URL of a gateway that reads it."""
    return serve(archive=archive)[0]


@pytest.fixture
def filled(client: redis.Redis, archive: str) -> None:
    """Have a day of jobs in the archive, some with hostile names."""
    hostile = [
        ended(
            1000 + n,
            NOW - timedelta(minutes=20 * n),
            "failed",
            group=name[:32],
            batch=name,
            reason=f"{name} {TURNED}",
            category=name[:80],
        )
        for n, name in enumerate(NAMES)
    ]
    of_batch = [ended(2000 + n, NOW, batch=BATCH) for n in range(3)]
    fill(client, archive, [*some_jobs(), *hostile, *of_batch])
    later = int((NOW + timedelta(days=1)).timestamp() * 1e6)
    amiss: dict[Any, Any] = {"trouble": f"{later} p {'w' * 90} is away"}
    amiss["new_errors"] = "7:12 8:10"
    client.hset(f"{Keys('default').prefix}archive", mapping=amiss)


@pytest.fixture
def seen(chromium: Browser, archived: str, filled: None) -> Iterator[Eyes]:
    """A window at the gateway; whatever it complains of, or loads from elsewhere, fails."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    found = Eyes(context.new_page(), archived)
    found.watch()
    found.log_in("operate-secret")
    yield found
    context.close()
    assert found.complaints == []


@pytest.mark.parametrize("look", [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_each_view_of_the_history_is_clean(seen: Eyes, axe: Any, look: tuple[int, Any]) -> None:
    found, page = [], seen.page
    page.set_viewport_size({"width": look[0], "height": 844})
    page.emulate_media(color_scheme=look[1])
    for path in VIEWS:
        seen.go(path)
        if path.startswith("/charts"):
            expect(page.locator(".plot canvas")).to_have_count(6)
        if path == "/":
            expect(page.locator(".notice")).to_have_count(2)
        found += seen.flaws(axe, path)
        assert "owned" not in page.title()
        assert not {"\u202e", "\u2066"} & set(page.content())

    assert found == []


def test_a_chart_shows_at_the_cursor_what_its_table_says(seen: Eyes) -> None:
    page = seen.page
    seen.go("/charts")
    chart = page.locator(".chart", has=page.get_by_role("heading", name="Jobs that ended"))
    over = chart.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] / 2, "y": 40})

    values = chart.locator(".u-legend .u-value")
    expect(values.nth(1)).to_have_text("9")
    at, *figures = values.all_inner_texts()
    other = page.locator(".chart", has=page.get_by_role("heading", name="Credits"))
    expect(other.locator(".u-value").first).to_have_text(at)
    chart.get_by_text("The figures as a table").click()
    row = chart.locator("tbody tr", has_text=at)
    expect(row.locator("td")).to_have_text(figures)


def test_charts_are_drawn_again_in_the_colours_of_another_scheme(seen: Eyes) -> None:
    page = seen.page
    page.emulate_media(color_scheme="light")
    seen.go("/charts")
    marker = page.locator(".u-marker").nth(1)
    colour = "rgb(31, 95, 168)"
    expect(marker).to_have_css("border-top-color", colour)

    page.emulate_media(color_scheme="dark")

    expect(page.locator(".u-marker").nth(1)).to_have_css("border-top-color", "rgb(125, 180, 240)")
    expect(page.locator(".uplot")).to_have_count(6)


def test_without_javascript_the_tables_have_the_figures(
    chromium: Browser, archived: str, filled: None
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    eyes = Eyes(context.new_page(), archived)
    eyes.log_in("operate-secret", "/charts")
    chart = eyes.page.locator(".chart").first
    chart.get_by_text("The figures as a table").click()

    expect(chart.locator("tbody tr").nth(5).locator("td").first).to_be_visible()
    context.close()


def test_a_group_of_errors_leads_to_its_jobs_and_to_their_replay(seen: Eyes) -> None:
    page = seen.page
    seen.go("/errors?since=2d&group=shop-1")
    group = page.locator("article", has_text="Timeout <n> ms exceeded")
    group.get_by_role("link", name="Show all 4 jobs").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.go_back()
    group.get_by_role("link", name="Replay all 4 jobs").click()

    expect(page.get_by_role("status")).to_contain_text("4 jobs")
    expect(page.get_by_role("button", name="Replay: these 4")).to_be_visible()


def test_checked_jobs_are_left_out_of_a_replay_once_they_are_counted(seen: Eyes) -> None:
    page = seen.page
    seen.go("/select?what=replay&group=shop-1&state=failed&since=2d&count=1")
    again = page.get_by_role("button", name="Leave out the checked ones: count again")
    expect(page.get_by_role("status")).to_contain_text("8 jobs")
    expect(again).to_be_hidden()
    page.get_by_label("Leave out order-10", exact=True).check()
    expect(page.get_by_role("button", name="Replay: these 8")).to_be_hidden()
    again.click()

    expect(page.get_by_role("status")).to_contain_text("7 jobs")
    expect(page.get_by_label("Leave out order-10", exact=True)).to_have_count(0)
    page.get_by_label("Leave out order-40", exact=True).check()
    again.click()
    expect(page.get_by_role("button", name="Replay: these 6")).to_be_visible()
