"""Forms of pages that are old: what was seen is done, or nothing."""

from __future__ import annotations

import pytest

from runqueue.store.keys import Keys
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk

OPS = "operate-secret"
META = Keys("default").meta
_MINUTE, _YEARS = 60, 10 * 365 * 86_400


def held(desk: Desk, kind: str, reason: str, *, seconds: int = _MINUTE, **more: str) -> None:
    """Have the account held."""
    until = (int(desk.client.time()[0]) + seconds) * 1_000_000
    values = {"hold_until": str(until), "hold_kind": kind, "hold_reason": reason, **more}
    for name, value in values.items():
        desk.client.hset(META, name, value)


def reason(desk: Desk) -> str | None:
    return desk.queue.stats()["default"].hold_reason


async def resumed(desk: Desk, redis_url: str, kind: str, now: str, **more: str) -> int:
    """See a hold of the breaker's, have something else hold the account, and resume."""
    held(desk, "breaker", "10 in a row: HTTP 500")
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/resume_account")
        held(desk, kind, now, seconds=_MINUTE, **more)
        return (await browser.send("/do/resume_account", form)).status


@pytest.mark.parametrize("words", ["Redis was restarted", "10 in a row: HTTP 500"])
async def test_a_hold_that_asks_whether_redis_is_trusted_is_not_ended_from_the_page(
    desk: Desk, redis_url: str, words: str
) -> None:
    desk.client.hset(META, "run_id", "before")

    status = await resumed(desk, redis_url, "redis", words, moved="after")

    assert (status, reason(desk)) == (409, words)
    assert desk.client.hget(META, "run_id") == b"before"
    assert desk.queue.audit() == []


async def test_a_hold_for_another_reason_than_was_seen_stays(desk: Desk, redis_url: str) -> None:
    assert await resumed(desk, redis_url, "breaker", "10 in a row: HTTP 402") == 409
    assert reason(desk) == "10 in a row: HTTP 402"


async def test_a_pause_stays_where_a_hold_was_seen(desk: Desk, redis_url: str) -> None:
    held(desk, "breaker", "HTTP 500")

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/resume_account")
        desk.queue.pause(reason="an incident")
        shown = await browser.send("/do/resume_account", form)

    assert (shown.status, "by now: paused: an incident" in shown.words) == (409, True)
    assert desk.queue.stats()["default"].paused


async def test_a_hold_that_has_ended_by_itself_is_not_missed(desk: Desk, redis_url: str) -> None:
    held(desk, "server", "HTTP 503")

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/resume_account")
        held(desk, "server", "HTTP 503", seconds=-1)
        shown = await browser.send("/do/resume_account", form)

    assert (shown.status, desk.queue.audit()[0].detail) == (200, "nothing held it")


async def test_a_reason_of_several_lines_is_known_again(desk: Desk, redis_url: str) -> None:
    held(desk, "server", " HTTP 503:\r\n<html>\n“away”\n")

    async with browsing(redis_url, OPS) as browser:
        assert (await browser.do("/", "resume_account")).status == 200

    assert reason(desk) is None


@pytest.mark.parametrize(("kind", "person", "known"), [("breaker", "", 0), ("person", "1", 1)])
async def test_a_restarted_redis_is_trusted_by_who_was_asked_for_that_alone(
    desk: Desk, redis_url: str, kind: str, person: str, known: int
) -> None:
    desk.client.hset(META, "run_id", "before")
    more = {"hold_person": person} if person else {}
    held(desk, kind, "why", seconds=_YEARS, **more)

    async with browsing(redis_url, OPS) as browser:
        assert (await browser.do("/", "resume_account")).status == 200

    server = str(desk.queue.server_info()["run_id"])
    assert desk.client.hget(META, "run_id") == (server.encode() if known else b"before")
    assert reason(desk) is None


async def test_limits_that_were_not_changed_in_the_form_stay_as_others_set_them(
    desk: Desk, redis_url: str
) -> None:
    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/set_limits")
        desk.queue.set_limits({"concurrent_runs": 5})
        await browser.send("/do/set_limits", {**form, "submissions_per_second": "2"})

    assert desk.queue.set_limits({}).live == {"concurrent_runs": 5, "submissions_per_second": 2}
    assert desk.queue.audit()[0].detail == "submissions_per_second 2"


@pytest.mark.parametrize(
    ("before", "meanwhile", "said"),
    [(3, 5, "concurrent_runs 5 meanwhile"), (3, None, "concurrent_runs reset meanwhile")],
)
async def test_a_limit_that_somebody_has_set_meanwhile_is_not_set_over_it(
    desk: Desk, redis_url: str, before: float, meanwhile: float | None, said: str
) -> None:
    desk.queue.set_limits({"concurrent_runs": before})

    async with browsing(redis_url, OPS) as browser:
        (form,) = (await browser.open("/")).forms("/do/set_limits")
        live = desk.queue.set_limits({"concurrent_runs": meanwhile}).live
        changed = {**form, "concurrent_runs": "7", "burst_size": "9"}
        shown = await browser.send("/do/set_limits", changed)

    assert (shown.status, said in shown.words) == (409, True)
    assert desk.queue.set_limits({}).live == live
    assert desk.queue.audit() == []


async def test_a_limit_of_many_digits_is_not_taken_for_a_changed_one(
    desk: Desk, redis_url: str
) -> None:
    desk.queue.set_limits({"requests_per_second": 12_345.678_9})

    async with browsing(redis_url, OPS) as browser:
        await browser.do("/", "set_limits", burst_size="7")

    assert desk.queue.audit()[0].detail == "burst_size 7"
    assert desk.queue.set_limits({}).live["requests_per_second"] == 12_345.678_9
