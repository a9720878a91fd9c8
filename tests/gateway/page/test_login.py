"""Who sees the page: bearers of a token with `read`; and whose forms count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
import redis.asyncio

from config.gateway import ApiToken
from gateway.state.sessions import HOLDS, Sessions
from runqueue import JobState
from runqueue.connection.client import async_client
from runqueue.store.keys import ACCOUNTS, SESSIONS
from tests.gateway.browsing import TOKENS, browsing
from tests.gateway.gating import Desk, gating, run_of, token

READER, OPS, _ = TOKENS


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[Callable[[], redis.asyncio.Redis]]:
    """Makes clients as gateways have them."""
    made: list[redis.asyncio.Redis] = []

    def make() -> redis.asyncio.Redis:
        made.append(async_client(redis_url))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


Clients = Callable[[], redis.asyncio.Redis]


async def test_a_session_is_its_token_s_until_it_ends(clients: Clients) -> None:
    sessions = Sessions(TOKENS, clients())
    _, cookie = await sessions.begin(OPS, now=1_000)

    found = await sessions.read([cookie], now=1_000 + HOLDS - 1)

    assert found is not None
    assert found.token == OPS
    assert await sessions.read([cookie], now=1_000 + HOLDS) is None


async def test_every_gateway_of_the_queue_reads_a_session_and_ends_it(clients: Clients) -> None:
    first, second = Sessions(TOKENS, clients()), Sessions(TOKENS, clients())
    session, cookie = await first.begin(OPS)

    assert await second.read([cookie]) == session
    await second.end_of([cookie])
    assert await first.read([cookie]) is None
    assert not await first.holds(session)


async def test_a_token_that_is_taken_out_of_the_settings_ends_its_sessions(
    clients: Clients,
) -> None:
    session, cookie = await Sessions(TOKENS, clients()).begin(OPS)
    changed = token("ops", "another-secret", "read", "operate")

    for tokens in ((READER,), (READER, changed), ()):
        after = Sessions(tokens, clients())
        assert await after.read([cookie]) is None
        assert not await after.holds(session)


async def test_of_what_redis_holds_no_cookie_can_be_made(
    clients: Clients, client: redis.Redis
) -> None:
    sessions = Sessions(TOKENS, clients())
    session, cookie = await sessions.begin(OPS)
    held: Any = client.hgetall(SESSIONS)
    everything = b" ".join([*held, *held.values()]).decode()

    digest = hashlib.sha256(b"operate-secret").hexdigest()
    for secret in (cookie, session.form_token, "operate-secret", digest):
        assert secret not in everything
        assert secret not in repr(session)
    for guess in (*(one.decode() for one in held), session.id, session.form_token, ""):
        assert await sessions.read([guess]) is None
    assert digest not in cookie


async def test_sessions_that_are_over_are_forgotten_and_so_is_the_oldest_of_very_many(
    clients: Clients, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.state.sessions.MOST", 3)
    sessions = Sessions(TOKENS, clients())
    _, other = await sessions.begin(READER, now=0)
    client.hset(SESSIONS, "nonsense", "[1,")
    cookies = [(await sessions.begin(OPS, now=HOLDS + n))[1] for n in range(5)]

    held = [await sessions.read([one], now=HOLDS + 5) is not None for one in cookies]
    assert held == [False, False, True, True, True]
    assert await sessions.read([other], now=1) is None
    assert client.hlen(SESSIONS) == 3
    assert 0 < int(str(client.ttl(SESSIONS))) <= HOLDS


@pytest.mark.parametrize(
    "record",
    [
        *("", "1", "[]", '["x"]', "[1,2,3]", '{"token": 1}', '["a","b","c"]', "\xff"),
        *('["%s",0,"inf"]', '["%s",0,1e300]', '["%s",1e10,9e9]'),
    ],
)
async def test_what_is_no_record_is_no_session(
    clients: Clients, client: redis.Redis, record: str
) -> None:
    sessions = Sessions(TOKENS, clients())
    session, cookie = await sessions.begin(OPS)
    written: Any = client.hget(SESSIONS, session.id)
    record = record.replace("%s", json.loads(written)[0])
    client.hset(SESSIONS, session.id, record.encode("latin-1"))

    assert await sessions.read([cookie]) is None


async def test_who_is_not_logged_in_is_asked_to_and_comes_to_the_page_that_he_wanted(
    redis_url: str,
) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        asked = await browser.open("/jobs?state=dead")
        assert asked.url.path == "/login"

        (form,) = asked.forms("/login")
        shown = await browser.send("/login", {**form, "token": "read-secret"})

    assert (shown.status, shown.url.path_qs) == (200, "/jobs?state=dead")


async def test_the_cookie_is_for_this_site_and_port_and_no_script(redis_url: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        plain = await browser.send("/login", {"token": "read-secret"}, follow=False)
        said = plain.headers["set-cookie"]

        port = browser.door.url.rpartition(":")[2]
        assert said.startswith(f"runqueue_session_{port}=")
        for word in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert word in said
        assert "Secure" not in said
        assert "Domain" not in said


@pytest.mark.parametrize("how", ["origin", "proxy", "public"])
async def test_over_tls_the_cookie_is_one_that_nobody_else_can_set(
    redis_url: str, how: str
) -> None:
    settings = {
        "origin": {},
        "proxy": {"gateway_proxies": "127.0.0.1"},
        "public": {"public_url": "https://queue.test"},
    }[how]
    async with browsing(redis_url, api_tokens=TOKENS, **settings) as browser:
        headers = {
            "origin": {"host": "queue.test", "origin": "https://queue.test"},
            "proxy": {
                "host": "queue.test",
                "origin": "http://queue.test",
                "x-forwarded-proto": "https",
            },
            "public": {"host": "queue.test", "sec-fetch-site": "same-origin"},
        }[how]
        sent = await browser.send("/login", {"token": "read-secret"}, headers, follow=False)
        said = sent.headers["set-cookie"]
        assert said.startswith("__Host-runqueue_session=")
        for word in ("HttpOnly", "SameSite=strict", "Path=/", "Secure"):
            assert word in said
        assert "Domain" not in said

        value = said.partition("=")[2].partition(";")[0]
        asked = {"host": "queue.test", "cookie": f"__Host-runqueue_session={value}"}
        assert (await browser.open("/jobs", asked)).url.path == "/jobs"
        # One that another page of the host, or who stands between, has set there.
        planted = {**headers, "cookie": f"runqueue_session={value}"}
        seen = await browser.session.get(
            browser.door.url + "/jobs", headers=planted, allow_redirects=False
        )
        assert (seen.status, seen.headers["location"]) == (303, "/login?next=%2Fjobs")


async def test_gateways_of_one_host_do_not_end_each_other_s_sessions(redis_url: str) -> None:
    async with (
        browsing(redis_url, "read-secret") as browser,
        gating(redis_url, api_tokens=TOKENS) as door,
    ):
        beside = replace(browser, door=door)
        assert (await beside.open("/jobs")).url.path == "/login"
        await beside.log_in("operate-secret")

        assert "reader" in (await browser.open("/")).words
        assert "ops" in (await beside.open("/")).words


async def test_who_logs_in_again_leaves_no_session_behind(
    redis_url: str, client: redis.Redis
) -> None:
    async with browsing(redis_url, "read-secret") as browser:
        await browser.log_in("operate-secret")

        assert "ops" in (await browser.open("/")).words
        assert client.hlen(SESSIONS) == 1


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


async def test_who_logs_out_is_asked_again(redis_url: str) -> None:
    async with browsing(redis_url, "read-secret") as browser:
        await browser.send("/logout", {})

        assert (await browser.open("/")).url.path == "/login"


async def test_a_copy_of_the_cookie_is_worth_nothing_after_the_logout(redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as browser, browser.elsewhere() as thief:
        assert (await thief.open("/")).url.path == "/"
        await browser.send("/logout", {})

        assert (await thief.open("/")).url.path == "/login"


async def test_a_login_leads_nowhere_else(redis_url: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        for wanted in (
            "https://evil.test/",
            "//evil.test/",
            "/\\evil.test",
            "evil",
            "/\t/evil.test",
        ):
            fields = {"token": "read-secret", "next": wanted}
            sent = await browser.send("/login", fields, follow=False)
            assert sent.headers["location"] == "/", wanted


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


@pytest.mark.parametrize("secret", ["operate-secret", ""], ids=["tokens", "no tokens"])
async def test_a_form_of_another_page_does_nothing(redis_url: str, secret: str) -> None:
    async with browsing(redis_url, secret) as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        for headers in FORGED:
            shown = await browser.send("/do/pause_account", form, headers)
            assert shown.status in {401, 403}, headers

        assert not (await browser.door.server._gate.tenant_scopes.whole.stats())["default"].paused


async def test_a_form_without_its_session_s_token_does_nothing(redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        for given in (None, "", "0" * 64, "é"):
            fields: dict[str, Any] = {} if given is None else {"form_token": given}
            shown = await browser.send("/do/pause_account", fields)
            assert (shown.status, "another session" in shown.text) == (403, True)

        assert not (await browser.door.server._gate.tenant_scopes.whole.stats())["default"].paused


async def test_a_form_that_says_that_it_is_of_this_page_by_fetch_metadata_counts(
    redis_url: str,
) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        (form,) = (await browser.open("/")).forms("/do/pause_account")
        await browser.send("/do/pause_account", form, {"sec-fetch-site": "same-origin"})

        assert (await browser.door.server._gate.tenant_scopes.whole.stats())["default"].paused


async def test_a_form_is_read_within_its_limits(redis_url: str) -> None:
    async with browsing(redis_url, "operate-secret") as browser:
        large = await browser.send("/do/pause_account", {"reason": "x" * 70_000})
        many = await browser.send("/do/pause_account", {f"f{n}": "" for n in range(60)})

    assert (large.status, many.status) == (413, 400)


async def test_who_only_reads_sees_no_actions_and_is_refused(desk: Desk, redis_url: str) -> None:
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
