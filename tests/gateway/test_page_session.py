"""Who sees the page: bearers of a token with `read`; and whose forms count."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from config.gateway import ApiToken
from gateway.session import HOLDS, Sessions
from runqueue import JobState
from runqueue.keys import ACCOUNTS
from tests.gateway.browsing import TOKENS, browsing
from tests.gateway.gating import Desk, gating, run_of, token

KEYS = ("sk-live-1",)
READER, OPS, _ = TOKENS


def test_a_session_is_its_token_s_until_it_ends() -> None:
    sessions = Sessions(TOKENS, KEYS)
    cookie = sessions.begin(OPS, now=1_000).cookie

    found = sessions.read(cookie, now=1_000 + HOLDS - 1)

    assert found is not None
    assert found.token == OPS
    assert sessions.read(cookie, now=1_000 + HOLDS) is None


def test_every_gateway_with_the_same_settings_reads_a_session() -> None:
    cookie = Sessions(TOKENS, KEYS).begin(OPS).cookie

    assert Sessions(TOKENS, KEYS).read(cookie) is not None
    assert Sessions(TOKENS, ("another key",)).read(cookie) is None


def test_a_token_that_is_taken_out_of_the_settings_ends_its_sessions() -> None:
    cookie = Sessions(TOKENS, KEYS).begin(OPS).cookie

    assert Sessions((READER,), KEYS).read(cookie) is None
    changed = token("ops", "another-secret", "read", "operate")
    assert Sessions((READER, changed), KEYS).read(cookie) is None


def test_a_cookie_holds_neither_the_token_nor_its_digest() -> None:
    cookie = Sessions(TOKENS, KEYS).begin(OPS).cookie

    assert "operate-secret" not in cookie
    assert hashlib.sha256(b"operate-secret").hexdigest() not in cookie
    assert "operate-secret" not in repr(Sessions(TOKENS, KEYS).begin(OPS))


@pytest.mark.parametrize("part", range(4))
def test_a_cookie_that_was_changed_is_none(part: int) -> None:
    sessions = Sessions(TOKENS, KEYS)
    parts = sessions.begin(READER).cookie.split(".")
    others = sessions.begin(OPS, now=9e9).cookie.split(".")

    parts[part] = others[part]

    assert sessions.read(".".join(parts)) is None


@pytest.mark.parametrize("cookie", ["", "a", "a.b.c.d", "local.99999999999.aa.bb", "é.1.2.é"])
def test_what_is_no_cookie_is_none(cookie: str) -> None:
    assert Sessions(TOKENS, KEYS).read(cookie) is None
    assert Sessions((), KEYS).read(cookie) is None


async def test_who_is_not_logged_in_is_asked_to_and_comes_to_the_page_that_he_wanted(
    redis_url: str,
) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        asked = await browser.open("/jobs?state=dead")
        assert asked.url.path == "/login"

        (form,) = asked.forms("/login")
        shown = await browser.send("/login", {**form, "token": "read-secret"})

    assert (shown.status, shown.url.path_qs) == (200, "/jobs?state=dead")


async def test_the_cookie_is_for_this_site_and_no_script(redis_url: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        plain = await browser.send("/login", {"token": "read-secret"}, follow=False)
        https = {"origin": browser.door.url.replace("http:", "https:")}
        secure = await browser.send("/login", {"token": "read-secret"}, https, follow=False)

    for word in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert word in plain.headers["set-cookie"]
    assert "Secure" not in plain.headers["set-cookie"]
    assert "Secure" in secure.headers["set-cookie"]


@pytest.mark.parametrize(
    ("secret", "status", "said"),
    [
        ("wrong", 401, "no token that is set up here"),
        ("", 401, "no token that is set up here"),
        ("enqueue-secret", 403, "shop has not the scope read"),
    ],
)
async def test_who_may_not_read_is_not_let_in(
    redis_url: str, secret: str, status: int, said: str
) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        shown = await browser.log_in(secret)

        assert (shown.status, said in shown.text) == (status, True)
        assert "set-cookie" not in shown.headers
        assert (await browser.open("/")).url.path == "/login"


async def test_a_token_that_is_not_ascii_will_do(redis_url: str) -> None:
    tokens = (token("one", "schlüssel", "read"),)

    async with browsing(redis_url, api_tokens=tokens) as browser:
        assert (await browser.log_in("schlüssel")).url.path == "/"


async def test_who_logs_out_is_asked_again(redis_url: str) -> None:
    async with browsing(redis_url, "read-secret") as browser:
        await browser.send("/logout", {})

        assert (await browser.open("/")).url.path == "/login"


@pytest.mark.parametrize(
    "wanted", ["https://evil.test/", "//evil.test/", "/\\evil.test", "evil", "/\t/evil.test"]
)
async def test_a_login_leads_nowhere_else(redis_url: str, wanted: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        fields = {"token": "read-secret", "next": wanted}
        sent = await browser.send("/login", fields, follow=False)

    assert sent.headers["location"] == "/"


async def test_a_session_opens_the_page_and_not_the_api(redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        assert (await browser.open("/v1/stats")).status == 401


FORGED: list[dict[str, str]] = [
    {},
    {"origin": "https://evil.test"},
    {"origin": "null"},
    {"origin": "http://[::1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FORGED, ids=str)
@pytest.mark.parametrize("secret", ["operate-secret", ""], ids=["tokens", "no tokens"])
async def test_a_form_of_another_page_does_nothing(
    redis_url: str, secret: str, headers: dict[str, str]
) -> None:
    async with browsing(redis_url, secret) as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        shown = await browser.send("/do/pause_account", form, headers)

        assert shown.status in {401, 403}
        assert not (await browser.door.server._gate.sights.whole.stats())["default"].paused


@pytest.mark.parametrize("given", [None, "", "0" * 64, "é"])
async def test_a_form_without_its_session_s_token_does_nothing(
    redis_url: str, given: str | None
) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        fields: dict[str, Any] = {} if given is None else {"form_token": given}
        shown = await browser.send("/do/pause_account", fields)

        assert (shown.status, "another session" in shown.text) == (403, True)
        assert not (await browser.door.server._gate.sights.whole.stats())["default"].paused


async def test_a_form_that_says_that_it_is_of_this_page_by_fetch_metadata_counts(
    redis_url: str,
) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        await browser.send("/do/pause_account", form, {"sec-fetch-site": "same-origin"})

        assert (await browser.door.server._gate.sights.whole.stats())["default"].paused


async def test_a_form_is_read_within_its_limits(redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        large = await browser.send("/do/pause_account", {"reason": "x" * 70_000})
        many = await browser.send("/do/pause_account", {f"f{n}": "" for n in range(60)})

    assert (large.status, many.status) == (413, 400)


async def test_who_only_reads_sees_no_levers_and_is_refused(desk: Desk, redis_url: str) -> None:
    lost = desk.unconfirmed()
    (running,) = desk.running()

    async with browsing(redis_url, "operate-secret") as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
    async with browsing(redis_url, "read-secret") as browser:
        pages = ["/", "/jobs", "/groups", "/batches", "/webhooks", "/audit"]
        pages += [f"/jobs/{lost.job_id}", f"/jobs/{running.job_id}"]
        for path in pages:
            shown = await browser.open(path)
            assert shown.status == 200, path
            assert "/do/" not in shown.text, path
            assert "/select?" not in shown.text, path
        for path in ("/do/pause_account", "/do/cancel_job", "/do/many"):
            refused = await browser.send(path, {**form, "job": running.job_id})
            assert refused.status == 403
        assert (await browser.open("/select?what=cancel")).status == 403

    assert desk.job(running).state is JobState.RUNNING
    assert not desk.job(running).cancel_requested
    assert desk.queue.audit() == []


async def test_the_page_has_no_place_in_the_description_of_the_api(redis_url: str) -> None:
    async with gating(redis_url) as door:
        paths = (await door.ask("GET", "/openapi.json")).body["paths"]

    assert all(path.startswith("/v1/") or path.count("/") < 3 for path in paths)
    assert not {"/", "/jobs", "/login", "/live"} & paths.keys()


async def test_who_is_for_some_accounts_sees_and_does_nothing_of_others(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running(custom_id="order-17")
    batch = desk.queue.open_batch("prices")
    desk.client.sadd(ACCOUNTS, "acme")
    digest = hashlib.sha256(b"acme-secret").hexdigest()
    tokens = (*TOKENS, ApiToken("acme", frozenset({"read", "operate"}), digest, ("acme",)))

    async with browsing(redis_url, "acme-secret", api_tokens=tokens) as browser:
        shown = await browser.open("/")
        assert "Account acme" in shown.words
        assert "default" not in shown.text
        (form,) = shown.forms("/do/pause_account")
        for path in (
            *("/?account=default", "/jobs?account=default", "/live?account=default"),
            *("/audit?account=default", "/select?account=default&count=1"),
            *(f"/jobs/{job.job_id}", f"/batches/{batch}", f"/search?q={job.job_id}"),
            *("/search?q=order-17", f"/search?q={run_of(job)}"),
        ):
            assert (await browser.open(path)).status == 404, path
        for what, fields in (
            ("pause_account", {"account": "default"}),
            ("cancel_job", {"job": job.job_id}),
            ("cancel_batch", {"batch": batch}),
            ("many", {"account": "default", "what": "cancel"}),
        ):
            refused = await browser.send(f"/do/{what}", {**form, **fields})
            assert refused.status == 404, what

    assert not desk.job(job).cancel_requested
    assert desk.queue.audit() == []
