"""Who may ask: bearers of tokens with the right scope."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from config.gateway import ApiToken
from gateway.auth import refusals
from gateway.auth.tokens import find_bearer
from runqueue.connection.urls import is_loopback
from tests.gateway.gating import Desk, bearer, gating, token, told

TOKENS = (
    token("reader", "read-secret", "read"),
    token("shop", "enqueue-secret", "enqueue"),
    token("ops", "operate-secret", "operate", "read"),
)
JOB, BATCH = "/v1/jobs/aaaaaaaaaaaaaaaaaaaaaaaa", "/v1/batches/aaaaaaaaaaaaaaaaaaaaaaaa"
NOBODY = "/v1/accounts/nobody"
ACK = f"{JOB}/webhook/ack"


class Guarded(NamedTuple):
    """A call, the token that it needs, and the answer to who has that."""

    method: str
    path: str
    body: Any
    secret: str
    status: int


GUARDED = [
    Guarded("GET", "/metrics", None, "read-secret", 200),
    Guarded("GET", "/openapi.json", None, "read-secret", 200),
    Guarded("POST", ACK, None, "enqueue-secret", 404),
    Guarded("GET", "/metrics/queue", None, "read-secret", 200),
    Guarded("GET", "/v1/schedules", None, "read-secret", 200),
    Guarded("GET", "/v1/schedules/a", None, "read-secret", 404),
    Guarded("PUT", "/v1/schedules", {}, "operate-secret", 422),
    Guarded("POST", "/v1/schedules:lines", {}, "operate-secret", 415),
    Guarded("POST", "/v1/schedules/a/pause", None, "operate-secret", 404),
    Guarded("DELETE", "/v1/schedules/a", None, "operate-secret", 404),
    Guarded("POST", "/v1/jobs", {}, "enqueue-secret", 422),
    Guarded("POST", "/v1/jobs:bulk", {}, "enqueue-secret", 422),
    Guarded("POST", "/v1/batches", {}, "enqueue-secret", 415),
    Guarded("GET", JOB, None, "read-secret", 404),
    Guarded("GET", f"{JOB}/timeline", None, "read-secret", 404),
    Guarded("GET", BATCH, None, "read-secret", 404),
    Guarded("GET", f"{BATCH}/results", None, "read-secret", 404),
    Guarded("GET", f"{BATCH}/errors", None, "read-secret", 404),
    Guarded("GET", "/v1/events?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/results?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/count?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/errors?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/charts?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/stats", None, "read-secret", 200),
    Guarded("POST", f"{JOB}/cancel", None, "operate-secret", 404),
    Guarded("POST", "/v1/jobs:states", {"job_ids": ["a"]}, "read-secret", 200),
    Guarded("POST", "/v1/jobs:replay", {"job_ids": ["a"]}, "operate-secret", 200),
    Guarded("GET", "/v1/orphans", None, "read-secret", 200),
    Guarded("POST", "/v1/orphans:cancel", {"run_ids": ["tsk_1"]}, "operate-secret", 200),
    Guarded("GET", "/v1/inbox", None, "operate-secret", 200),
    Guarded("POST", "/v1/inbox:retry", {"line_ids": ["a"]}, "operate-secret", 200),
    Guarded("POST", "/v1/inbox:discard", {"line_ids": ["a"]}, "operate-secret", 200),
    Guarded("POST", "/v1/keys:repair", None, "operate-secret", 200),
    Guarded("GET", "/v1/workers", None, "read-secret", 200),
    Guarded("GET", "/v1/accounts/nobody/limits", None, "read-secret", 422),
    Guarded("POST", "/v1/batches:open", None, "enqueue-secret", 201),
    Guarded("POST", f"{BATCH}/seal", None, "enqueue-secret", 404),
    Guarded("POST", f"{BATCH}/cancel", None, "operate-secret", 404),
    Guarded("GET", "/v1/audit?account=nobody", None, "read-secret", 422),
    Guarded("PATCH", f"{NOBODY}/limits", {}, "operate-secret", 422),
    Guarded("POST", f"{NOBODY}/pause", {}, "operate-secret", 422),
    Guarded("POST", f"{NOBODY}/resume", None, "operate-secret", 422),
    Guarded("GET", "/v1/jobs?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/batches?account=nobody", None, "read-secret", 422),
    Guarded("POST", f"{BATCH}/pause", None, "operate-secret", 404),
    Guarded("POST", f"{BATCH}/resume", None, "operate-secret", 404),
    Guarded("POST", f"{BATCH}/retry-callbacks", None, "operate-secret", 404),
    Guarded("POST", f"{BATCH}/retry-failed", None, "operate-secret", 404),
    Guarded("GET", "/v1/groups?account=nobody", None, "read-secret", 422),
    Guarded("GET", "/v1/group_credits?account=nobody", None, "read-secret", 422),
    Guarded("PUT", "/v1/groups/a?account=nobody", {}, "operate-secret", 422),
    Guarded("GET", "/v1/keys?account=nobody", None, "read-secret", 422),
    Guarded("PUT", "/v1/keys/site:a?account=nobody", {}, "operate-secret", 422),
    Guarded("DELETE", "/v1/keys/site:a?account=nobody", None, "operate-secret", 422),
    Guarded("GET", "/v1/budgets?account=nobody", None, "read-secret", 422),
    Guarded("PUT", "/v1/budgets/account?account=nobody", {}, "operate-secret", 422),
    Guarded("DELETE", "/v1/budgets/account?account=nobody", None, "operate-secret", 422),
]
#: What names a token, and is none of ours.
NO_TOKENS: list[dict[str, str]] = [
    {},
    bearer(""),
    bearer("wrong"),
    bearer("é"),
    {"authorization": "Basic read-secret"},
    {"authorization": "read-secret"},
]


async def test_who_has_the_scope_may_and_who_has_another_may_not(redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for call in GUARDED:
            may = await door.ask(call.method, call.path, call.body, bearer(call.secret))
            assert may.status == call.status, call

            other = "enqueue-secret" if call.secret != "enqueue-secret" else "operate-secret"
            may_not = await door.ask(call.method, call.path, call.body, bearer(other))
            assert (may_not.status, "has not the scope" in may_not.body["detail"]) == (403, True)


async def test_who_has_no_token_is_asked_for_one(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "WAIT_SECONDS", 0)  # so many would wait
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for call in GUARDED:
            for headers in NO_TOKENS:
                answer = await door.ask(call.method, call.path, call.body, headers)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), call
                assert answer.headers["content-type"] == "application/problem+json"


async def test_every_route_but_probes_and_webhooks_is_guarded(redis_url: str) -> None:
    async with gating(redis_url) as door:
        described = (await door.ask("GET", "/openapi.json")).body["paths"]

    named = {"nobody": "{account}", "/keys/site:a": "/keys/{key}", "/groups/a": "/groups/{name}"}
    named["/schedules/a/pause"] = "/schedules/{name}/{action}"
    named["/schedules/a"] = "/schedules/{name}"
    named["/budgets/account"] = "/budgets/{scope}"
    guarded = set()
    for call in GUARDED:
        path = call.path.partition("?")[0]
        path = path.replace("a" * 24, "{batch_id}" if "batches" in path else "{job_id}")
        for text, name in named.items():
            path = path.replace(text, name)
        guarded.add(f"{call.method} {path}")
    guarded |= {"POST /v1/jobs:{decision}", "POST /v1/inbox:{decision}"}
    assert guarded >= {
        f"{method.upper()} {path}"
        for path, operations in described.items()
        for method in operations
        if path not in {"/healthz", "/readyz"} and "skyvern" not in path
    }


async def test_who_may_not_ask_changes_and_learns_nothing(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")
    line = {"kind": "task", "body": {"prompt": "x"}}

    async with gating(redis_url, api_tokens=TOKENS) as door:
        before = desk.everything()
        answers = [
            await door.ask("POST", "/v1/jobs", line, bearer("read-secret")),
            await door.ask("GET", f"/v1/jobs/{job.job_id}", headers=bearer("enqueue-secret")),
            await door.ask("POST", f"/v1/jobs/{job.job_id}/cancel", headers=bearer("read-secret")),
            await door.ask("GET", f"/v1/jobs/{job.job_id}", headers=bearer("wrong")),
        ]

        assert desk.everything() == before
    assert [answer.status for answer in answers] == [403, 403, 403, 401]
    assert "order-17" not in str(answers)


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer("enqueue-secret")])
async def test_who_may_not_ask_does_not_learn_whether_there_is_a_job(
    desk: Desk, redis_url: str, headers: dict[str, str]
) -> None:
    (job,) = desk.running()

    async with gating(redis_url, api_tokens=TOKENS) as door:
        found = await door.ask("GET", f"/v1/jobs/{job.job_id}", headers=headers)
        unknown = await door.ask("GET", JOB, headers=headers)

    assert found.status in {401, 403}
    assert (found.status, found.body) == (unknown.status, unknown.body)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_answered_to_anybody(redis_url: str, path: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        assert (await door.ask("GET", path)).status == 200


async def test_a_webhook_needs_no_token(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url, api_tokens=TOKENS) as door:
        assert (await door.webhook(job, told(job))).verdict == "ended"


def test_of_tokens_that_are_not_ascii_the_bytes_count() -> None:
    secret = "schlüssel"
    as_decoded = secret.encode().decode("latin-1")

    assert find_bearer(as_decoded, [token("one", secret, "read")]) is not None


def test_a_token_without_a_digest_like_it_is_nobody_s() -> None:
    known = [ApiToken("one", frozenset({"read"}), "0" * 64)]

    assert find_bearer("", known) is None
    assert find_bearer("\udcff💥", known) is None


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.evil.test", False),
        ("127.0.0.1.evil.test", False),
    ],
)
def test_what_is_this_machine(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours
