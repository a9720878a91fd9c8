"""The audit log: each entry as a line, and with it what is noted in no list."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from redis.exceptions import RedisError

from gateway.http import bursts
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.scripts import ScriptCall
from tests.gateway.browsing import browsing
from tests.gateway.gating import bearer, gating, token

pytestmark = pytest.mark.usefixtures("desk")

TOKENS = (
    token("ops", "operate-secret", "operate", "read"),
    token("shop", "enqueue-secret", "enqueue"),
    token("hand", "hand-secret", "operate"),
)


class Log:
    """The lines of the audit log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self, *names: str) -> list[tuple[Any, ...]]:
        """Some fields of each line."""
        records = [one for one in self._caplog.records if one.name == "runqueue.audit"]
        return [tuple(getattr(one, name, None) for name in names) for one in records]

    def __str__(self) -> str:
        return str([vars(one) for one in self._caplog.records])


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.INFO, "runqueue.audit")
    return Log(caplog)


async def test_what_is_done_through_the_api_is_logged_as_it_is_noted(
    redis_url: str, log: Log
) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        body = {"reason": "a deployment"}
        headers = bearer("operate-secret")
        await door.ask("POST", "/v1/accounts/default/pause", body, headers)
        (note,) = (await door.ask("GET", "/v1/audit", headers=headers)).body["entries"]

    names = ("id", "account", "who", "what", "target", "detail")
    assert log.lines(*names) == [tuple(note[name] for name in names)]
    assert note["detail"] == "a deployment"


async def test_what_is_done_on_the_page_is_logged(redis_url: str, log: Log) -> None:
    async with browsing(redis_url) as browser:
        await browser.do("/", "pause_account", reason="a deployment")

    assert ("pause_account", "this machine", "a deployment") in log.lines("what", "who", "detail")


async def test_what_redis_does_not_take_is_logged_all_the_same(
    redis_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AsyncRunQueue.send

    async def send(queue: AsyncRunQueue, call: ScriptCall[Any]) -> Any:
        if call.script.name != "audit":
            return await real(queue, call)
        raise RedisError("cut")

    monkeypatch.setattr(AsyncRunQueue, "send", send)
    with structlog.testing.capture_logs():
        async with gating(redis_url, api_tokens=TOKENS) as door:
            path = "/v1/accounts/default/pause"
            await door.ask("POST", path, {}, bearer("operate-secret"))

    assert log.lines("what", "who", "id") == [("pause_account", "ops", "")]


async def test_logins_and_logouts_are_logged_with_who_and_from_where(
    redis_url: str, log: Log
) -> None:
    async with browsing(redis_url, "operate-secret", api_tokens=TOKENS) as browser:
        await browser.send("/logout", {})

    assert log.lines("what", "who", "address") == [
        ("login", "ops", "127.0.0.1"),
        ("logout", "ops", "127.0.0.1"),
    ]


@pytest.mark.parametrize(
    ("secret", "status", "who", "why"),
    [
        ("enqueue-secret", 403, "shop", "not_allowed"),
        ("guessed-secret", 401, "", "wrong_token"),
        ("", 401, "", "no_token"),
    ],
)
async def test_a_refused_call_is_logged_without_its_token(
    redis_url: str, log: Log, *, secret: str, status: int, who: str, why: str
) -> None:
    headers = bearer(secret) if secret else {}
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await door.ask("POST", f"/v1/jobs/{'a' * 24}/cancel", headers=headers)

    fields = ("what", "who", "address", "why", "status", "method", "path", "more")
    path = "/v1/jobs/{job_id}/cancel"
    assert log.lines(*fields) == [("refused", who, "127.0.0.1", why, status, "POST", path, 0)]
    assert "secret" not in str(log)


async def test_refused_calls_are_counted_by_why(redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for headers in ({}, bearer("guess"), bearer("guess"), bearer("enqueue-secret")):
            await door.ask("GET", "/v1/stats", headers=headers)
        figures = (await door.ask("GET", "/metrics", headers=bearer("operate-secret"))).body

    counted = [line for line in figures.decode().splitlines() if "gateway_refused_total{" in line]
    assert [line.partition("{")[2] for line in counted] == [
        'reason="no_token"} 1.0',
        'reason="wrong_token"} 2.0',
        'reason="not_allowed"} 1.0',
    ]


@pytest.mark.parametrize(
    ("secret", "who", "why"),
    [("guessed-secret", "", "wrong_token"), ("hand-secret", "hand", "not_allowed")],
)
async def test_a_refused_login_is_logged(
    redis_url: str, log: Log, secret: str, who: str, why: str
) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        await browser.log_in(secret)

    assert log.lines("what", "who", "why", "path") == [("refused", who, why, "/login")]
    assert "secret" not in str(log)


async def test_an_act_that_a_session_may_not_do_is_logged_with_whose_it_is(
    redis_url: str, log: Log
) -> None:
    tokens = (token("eyes", "eyes-secret", "read"),)
    async with browsing(redis_url, "eyes-secret", api_tokens=tokens) as browser:
        await browser.open("/select")

    assert log.lines("what", "who", "why")[1:] == [("refused", "eyes", "not_allowed")]


async def test_many_refusals_are_logged_with_how_many_more_there_were(
    redis_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for _ in range(bursts.BURST + 7):
            await door.ask("GET", "/v1/stats", headers=bearer("enqueue-secret"))
        monkeypatch.setattr(bursts, "LOG_SECONDS", 0)
        await door.ask("GET", "/v1/stats", headers=bearer("enqueue-secret"))

    assert log.lines("more") == [(0,)] * bursts.BURST + [(7,)]
