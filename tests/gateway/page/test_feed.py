"""What the page is fed: what has changed, read once for all, and the truth when that stops."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.page import overview
from gateway.page.formatting import ago, per_minute, span, spark
from gateway.page.rates import Rates, rates
from gateway.page.render import render
from gateway.state.sampler import Feed, History, Sample, Snapshot, sample_of
from gateway.tenants import in_flight
from lab.valkeys import start_valkey
from runqueue import AsyncRunQueue, JobState
from runqueue.records.health import AccountHealth, health_of
from runqueue.store.keys import ACCOUNTS, Keys
from tests.gateway.browsing import Browser, browsing
from tests.gateway.gating import Desk
from tests.simulator.simulating import eventually


class Stream:
    """A page's stream of events."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def event(self) -> tuple[str, dict[str, str]]:
        """The next event, and what it says."""
        while True:
            async with asyncio.timeout(20):
                block = (await self._content.readuntil(b"\n\n")).decode()
            if not block:
                raise EOFError
            fields = dict(line.partition(": ")[::2] for line in block.strip().splitlines())
            if "event" in fields:
                return fields["event"], json.loads(fields["data"])

    async def part(self, name: str, holding: str) -> str:
        """Wait for a part of the page that holds a text."""
        while True:
            kind, said = await self.event()
            if kind == "part" and said["name"] == name and holding in said["html"]:
                return said["html"]

    async def until(self, kind: str) -> dict[str, str]:
        """Wait for an event."""
        while True:
            found, said = await self.event()
            if found == kind:
                return said


@asynccontextmanager
async def listening(browser: Browser, query: str = "") -> AsyncIterator[Stream]:
    async with browser.session.get(f"{browser.door.url}/live{query}") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer.content)


async def test_every_part_comes_first_and_then_what_changed(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url) as browser, listening(browser) as stream:
        first = {(await stream.event())[1]["name"] for _ in overview.REGIONS}
        assert first == set(overview.REGIONS)
        await stream.until("fresh")
        desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}, "group": "shop-a"}])

        assert "shop-a" in await stream.part("lines", "shop-a")
        kind, said = await stream.event()
        while kind == "part":
            assert said["name"] != "limits", "which did not change"
            kind, said = await stream.event()


async def test_what_is_fed_is_escaped(desk: Desk, redis_url: str) -> None:
    desk.queue.pause(reason="<script>alert(1)</script>")

    async with browsing(redis_url) as browser, listening(browser) as stream:
        html = await stream.part("health", "alert(1)")

    assert "<script>" not in html


async def test_who_only_reads_is_fed_no_actions(desk: Desk, redis_url: str) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])

    async with browsing(redis_url, "read-secret") as browser, listening(browser) as stream:
        for _ in overview.REGIONS:
            _, said = await stream.event()
            assert "/do/" not in said["html"]


async def test_a_sample_is_rendered_once_for_all_viewers_who_may_do_the_same(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[tuple[str, bool, Snapshot]] = []

    def rendering(name: str, values: Any) -> str:
        rendered.append((name, values["viewer"].operates, values["found"]))
        return render(name, values)

    monkeypatch.setattr(overview, "render", rendering)
    async with browsing(redis_url, "read-secret") as one, one.elsewhere() as other:
        other.session.cookie_jar.clear()
        await other.log_in("read-secret")
        async with listening(one) as first, listening(one) as second, listening(other) as third:
            for _ in range(3):
                for stream in (first, second, third):
                    await stream.until("fresh")

    assert max(Counter((name, may, id(found)) for name, may, found in rendered).values()) == 1


async def test_who_operates_is_fed_forms_of_his_own_session(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as one, one.elsewhere() as other:
        other.session.cookie_jar.clear()
        await other.log_in("operate-secret")
        async with listening(one) as first, listening(other) as second:
            for browser, stream in ((one, first), (other, second)):
                (form, *_) = (await browser.open("/")).forms("/do/set_limits")
                html = await stream.part("limits", "form_token")
                assert set(re.findall('name="form_token" value="([^"]*)"', html)) == {
                    form["form_token"]
                }


async def test_others_have_their_turn_between_two_listeners(desk: Desk, redis_url: str) -> None:
    turns, woken = 0, []

    async def hear(read: asyncio.Event) -> None:
        await read.wait()
        woken.append(turns)

    async with browsing(redis_url) as browser:
        feed = browser.door.server._gate.feed
        with ExitStack() as stack:
            reads = [stack.enter_context(feed.listen("default")) for _ in range(5)]
            hearing = asyncio.gather(*map(hear, reads))
            while not hearing.done():
                turns += 1
                await asyncio.sleep(0)
            await hearing

    assert len(set(woken)) == 5


async def test_who_is_not_logged_in_is_fed_nothing(redis_url: str) -> None:
    async with browsing(redis_url, "read-secret") as browser:
        await browser.send("/logout", {})
        assert (await browser.open("/live")).status == 401


async def test_a_stream_ends_with_its_session(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.state.sessions.HOLDS", 3)

    async with browsing(redis_url, "read-secret") as browser, listening(browser) as stream:
        with pytest.raises(EOFError):
            await stream.until("the end")


async def test_a_stream_ends_when_its_session_is_ended_elsewhere(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "SESSION_CHECK_SECONDS", 0)

    async with browsing(redis_url, "read-secret") as browser, listening(browser) as stream:
        await stream.until("fresh")
        async with browser.elsewhere() as other:
            await other.send("/logout", {})
        with pytest.raises(EOFError):
            await stream.until("the end")


async def test_a_stream_ends_when_the_gateway_does(redis_url: str) -> None:
    async with browsing(redis_url) as browser, listening(browser) as stream:
        await stream.until("fresh")
        browser.door.server.should_exit = True
        with pytest.raises(EOFError):
            await stream.until("the end")


async def test_a_page_that_is_kept_up_to_date_counts_as_a_request_of_its_viewer(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browsing(redis_url) as browser:
        async with listening(browser) as stream:
            await stream.until("fresh")
            monkeypatch.setattr(in_flight, "REQUESTS", 1)
            refused = await browser.open("/live")
        await eventually(lambda: browser.door.in_flight("reader").requests == 0)
        monkeypatch.setattr(in_flight, "REQUESTS", 2)  # the redirect may not be counted out yet
        again = await browser.open("/")

    assert (refused.status, "expected at most 1 requests" in refused.words) == (429, True)
    assert again.status == 200


async def test_a_broken_account_takes_nothing_from_those_after_it(
    desk: Desk, redis_url: str
) -> None:
    desk.client.sadd(ACCOUNTS, "aaa", "zzz")
    desk.client.set(Keys("aaa").meta, "no hash")
    queue = AsyncRunQueue(redis_url)
    feed = Feed(queue)
    feed.start()

    with feed.listen("zzz") as read:
        async with asyncio.timeout(20):
            await read.wait()

    assert len(feed.history("default")) == len(feed.history("zzz")) == 1
    assert feed.history("aaa") == []
    await feed.close()
    await queue.close()


async def test_a_quarantined_job_is_on_the_page_of_an_account_that_goes_on(
    desk: Desk, redis_url: str
) -> None:
    desk.client.zadd(f"{Keys('default').prefix}quarantined", {"nma3": 1})

    async with browsing(redis_url) as browser, listening(browser) as stream:
        html = await stream.part("health", "1 job is quarantined")

    assert "Standing still" not in html


async def test_a_queue_that_is_away_is_told_and_so_is_its_return(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    port = server.port
    url = f"redis://127.0.0.1:{port}/0"
    async with browsing(url) as browser, listening(browser) as stream:
        await stream.until("fresh")
        server.stop()
        await stream.until("stale")
        again = start_valkey(tmp_path, port=port)
        await stream.until("fresh")
    again.stop()


async def test_many_who_look_cost_one_reading(desk: Desk, redis_url: str) -> None:
    queue = AsyncRunQueue(redis_url)
    feed = Feed(queue)
    sent = 0
    send = queue.send

    async def count(call: Any) -> Any:
        nonlocal sent
        sent += call.script.name == "stats"
        return await send(call)

    queue.send = count  # type: ignore[method-assign]
    found = await asyncio.gather(*(feed.snapshot("default") for _ in range(50)))
    assert sent == 1
    assert len({id(one) for one in found}) == 1
    await feed.snapshot("default", fresh=True)
    assert sent == 2
    await queue.close()


def point(at: float, accepted: int, ended: int) -> Sample:
    return Sample(at, 0, 0, 0, 0, accepted, ended, 0)


def test_rates_are_told_by_the_last_two_minutes(desk: Desk) -> None:
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}} for _ in range(300)])
    stats = desk.queue.stats()["default"]
    history = [point(0, 0, 0), point(300, 1_000, 900), point(360, 1_120, 960)]

    found = rates(stats, history)

    assert (found.submitted, found.ended, found.over) == (120, 60, 60)
    assert found.seconds_left == 300
    assert rates(replace(stats, waited_for=1), history).seconds_left is None
    silent = [point(0, 0, 0), point(300, 1_000, 900), point(360, 1_000, 960)]
    assert rates(stats, silent).seconds_left is None


async def test_an_account_that_nothing_holds_and_that_is_silent_is_not_called_well(
    desk: Desk, redis_url: str
) -> None:
    desk.claim()  # a process that lives
    desk.queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])
    queue = AsyncRunQueue(redis_url)
    found = await Feed(queue).snapshot("default")
    await queue.close()

    def told(seen: Rates) -> AccountHealth:
        return health_of(found.stats, seen.silent_seconds)

    assert told(Rates()).level == "good"
    assert told(Rates(submitted=3.0, ended=0.0, over=60)).level == "good"
    silent = told(Rates(submitted=0.0, ended=0.0, over=60))
    assert (silent.level, "nothing was accepted in 60 s" in silent.reason) == ("stopped", True)


def test_the_history_keeps_a_point_in_five_seconds(desk: Desk) -> None:
    stats = desk.queue.stats()["default"]
    history = History()

    history.add(stats)
    history.add(stats)

    assert len(history.points) == 1
    assert sample_of(stats, 7.0).ready == stats.states[JobState.READY]


def test_rates_are_not_told_before_they_are_known(desk: Desk) -> None:
    stats = desk.queue.stats()["default"]

    assert rates(stats, []) == rates(stats, [point(0, 5, 5)]) == Rates()
    assert rates(stats, [point(0, 5, 5), point(60, 0, 0)]) == Rates(), "another Redis answers"


def test_spans_rates_and_lines_are_told_as_far_as_they_are_known() -> None:
    spans = ["\u2013", "0 s", "1 min 15 s", "1 h 1 min", "1 d 1 h"]
    assert [span(seconds) for seconds in (None, 0.4, 75, 3_700, 90_000)] == spans
    assert [per_minute(v) for v in (None, 0, 0.25, 1234.4)] == ["\u2013", "0", "0.2", "1,234"]
    assert [spark(values) for values in ([1], [0, 2])] == ["", "0.0,23.0 120.0,1.0"]
    assert ago(None) == "\u2013"
    hour = timedelta(hours=1, seconds=0.5)
    assert [ago(datetime.now(UTC) + one) for one in (-hour, hour)] == [
        "1 h 0 min ago",
        "in 1 h 0 min",
    ]
