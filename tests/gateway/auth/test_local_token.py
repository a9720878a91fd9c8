"""Who may ask where no tokens are set up: who has the one that the gateway made."""

from __future__ import annotations

import asyncio
import shutil
import signal
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.auth.local_token import LOCAL_NAME
from runqueue.embedded.secret_files import TOKEN_FILE
from tests.docs.pages import examples
from tests.gateway.browsing import TOKENS, browsing
from tests.gateway.forwarding import plain_proxy, tunnel
from tests.gateway.gating import Desk, bearer, gating, told
from tests.gateway.test_process import process, url_of

Forwarder = Callable[[str], AbstractAsyncContextManager[str]]
forwarded = pytest.mark.parametrize("forwarder", [tunnel, plain_proxy], ids=["tunnel", "proxy"])
NOBODY = {"authorization": ""}


@forwarded
async def test_who_comes_through_a_forwarder_without_the_token_is_nobody(
    desk: Desk, redis_url: str, forwarder: Forwarder
) -> None:
    async with gating(redis_url) as door, forwarder(door.url) as url:
        outside = replace(door, url=url)
        answers = [
            await outside.ask("GET", "/v1/stats", headers=NOBODY),
            await outside.ask("GET", "/v1/audit", headers=NOBODY),
            await outside.ask("POST", "/v1/accounts/default/pause", {"reason": "x"}, NOBODY),
            await outside.ask("POST", "/v1/accounts/default/resume", headers=NOBODY),
            await outside.ask("GET", "/metrics/queue", headers=NOBODY),
            await outside.ask("GET", "/live", headers=NOBODY),
        ]
        page = await outside.ask("GET", "/", headers=NOBODY)

    assert [answer.status for answer in answers] == [401] * len(answers)
    assert b"Log in" in page.body
    assert not desk.queue.stats()["default"].paused
    assert desk.queue.audit() == []


@forwarded
async def test_who_has_the_token_may_come_through_a_forwarder(
    redis_url: str, forwarder: Forwarder
) -> None:
    async with gating(redis_url) as door, forwarder(door.url) as url:
        outside = replace(door, url=url)
        answer = await outside.ask("GET", "/v1/stats", headers=bearer(door.secret))

    assert answer.status == 200


async def test_who_asks_from_this_machine_needs_the_token(redis_url: str) -> None:
    async with gating(redis_url) as door:
        without = await door.ask("GET", "/v1/stats", headers=NOBODY)
        wrong = await door.ask("GET", "/v1/stats", headers=bearer("x" * 43))
        right = await door.ask("GET", "/v1/stats", headers=bearer(door.secret))

    assert (without.status, wrong.status, right.status) == (401, 401, 200)
    assert without.headers["www-authenticate"] == "Bearer"
    assert str(TOKEN_FILE) in without.body["detail"]


async def test_the_token_is_for_every_scope_and_named_in_the_audit(
    desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        line = {"kind": "task", "body": {"prompt": "Read it."}}
        asked = [
            await door.ask("POST", "/v1/jobs", line),
            await door.ask("POST", "/v1/accounts/default/pause", {"reason": "x"}),
            await door.ask("GET", "/v1/audit"),
        ]

    assert [answer.status for answer in asked] == [202, 200, 200]
    assert [note.who for note in desk.queue.audit()] == [LOCAL_NAME]


async def test_the_token_is_in_a_file_for_its_owner_alone(redis_url: str) -> None:
    async with gating(redis_url):
        assert stat.S_IMODE(TOKEN_FILE.stat().st_mode) == 0o600
        assert stat.S_IMODE(TOKEN_FILE.parent.stat().st_mode) == 0o700


async def test_the_token_outlives_the_gateway_until_its_file_is_removed(redis_url: str) -> None:
    async with gating(redis_url) as door:
        first = door.secret
    async with gating(redis_url) as door:
        again = door.secret
    TOKEN_FILE.unlink()
    async with gating(redis_url) as door:
        fresh = door.secret
        assert (await door.ask("GET", "/v1/stats", headers=bearer(first))).status == 401

    assert (again == first, fresh == first) == (True, False)


async def test_where_tokens_are_set_up_none_is_made_and_one_that_is_there_counts_for_nothing(
    redis_url: str,
) -> None:
    async with gating(redis_url, api_tokens=TOKENS):
        assert not TOKEN_FILE.exists()
    async with gating(redis_url) as door:
        secret = door.secret
    async with gating(redis_url, api_tokens=TOKENS) as door:
        assert (await door.ask("GET", "/v1/stats", headers=bearer(secret))).status == 401


async def test_a_public_address_changes_nothing(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url, public_url="https://hooks.example.com") as door:
        assert (await door.ask("GET", "/v1/stats", headers=NOBODY)).status == 401
        assert (await door.ask("GET", "/v1/stats")).status == 200
        assert (await door.webhook(job, told(job), headers=None)).verdict == "ended"


async def test_a_gateway_that_can_make_no_token_serves_webhooks_and_probes_alone(
    desk: Desk, tmp_path: Path, redis_url: str
) -> None:
    (job,) = desk.running()
    TOKEN_FILE.parent.write_text("in the way")

    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as started:
        url = url_of(started)
        async with gating(redis_url, api_tokens=TOKENS) as other:
            door = replace(other, url=url)
            assert (await door.ask("GET", "/readyz")).status == 200
            assert (await door.webhook(job, told(job))).verdict == "ended"
            assert (await door.ask("GET", "/v1/stats")).status == 401
            assert (await door.ask("GET", "/v1/stats", headers=bearer(""))).status == 401
        started.send_signal(signal.SIGTERM)
        said = started.communicate(timeout=60)[1]

    assert "no_token" in said
    assert "set RUNQUEUE_API_TOKENS" in said


async def test_the_token_is_in_no_log_whatever_address_holds_it(
    tmp_path: Path, redis_url: str
) -> None:
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_LOG_LEVEL="DEBUG") as started:
        url = url_of(started)
        secret = (tmp_path / TOKEN_FILE).read_text().strip()
        async with gating(redis_url, api_tokens=TOKENS) as other:
            door = replace(other, url=url)
            assert (await door.ask("GET", "/v1/stats", headers=bearer(secret))).status == 200
            assert (await door.ask("GET", f"/login?token={secret}")).status == 200
            assert (await door.ask("GET", f"/nowhere?token={secret}")).status == 404
        started.send_signal(signal.SIGTERM)
        said = "".join(started.communicate(timeout=60))

    assert "local_token" in said
    assert secret not in said


async def test_a_link_with_the_token_logs_in_and_leaves_the_address(redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        await browser.send("/logout", {})
        assert (await browser.open("/")).url.path == "/login"

        shown = await browser.open(f"/login?token={browser.door.secret}")
        wanted = await browser.open(f"/login?token={browser.door.secret}&next=/jobs")
        elsewhere = await browser.open(f"/login?token={browser.door.secret}&next=//evil.test/")

    assert (shown.status, shown.url.path_qs) == (200, "/")
    assert LOCAL_NAME in shown.words
    assert (wanted.url.path_qs, elsewhere.url.path_qs) == ("/jobs", "/")


async def test_a_link_on_a_page_of_another_site_logs_nobody_in(redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        await browser.send("/logout", {})
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        shown = await browser.open(f"/login?token={browser.door.secret}", headers)

        assert (shown.status, "set-cookie" in shown.headers) == (403, False)
        assert "enter its address by hand" in shown.words
        assert (await browser.open("/")).url.path == "/login"


async def test_a_link_with_another_token_logs_nobody_in(redis_url: str) -> None:
    async with browsing(redis_url) as browser:
        await browser.send("/logout", {})
        for token in ("", "wrong", "%F0%9F%92%A5"):
            shown = await browser.open(f"/login?token={token}")
            assert (shown.status, "no token that is set up" in shown.words) == (401, True)
            assert (await browser.open("/")).url.path == "/login"


async def test_a_token_that_a_person_set_up_logs_in_by_the_form_alone(redis_url: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        shown = await browser.open("/login?token=operate-secret")

        assert "set-cookie" not in shown.headers
        assert (await browser.open("/")).url.path == "/login"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_sends_the_token_as_the_readme_says(redis_url: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    (example,) = [one for one in examples(text, "sh") if str(TOKEN_FILE) in one.code]

    async with gating(redis_url) as door:
        code = example.code.replace("localhost:8080", door.url)
        assert door.url in code
        command = ("sh", "-euc", code.replace("curl -s", "curl -s -w '%{http_code}'"))
        shell = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await shell.communicate()

    assert said.decode()[-3:] in {"202", "200"}, said
