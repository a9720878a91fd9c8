"""What is refused, how it is answered, and that nothing of it is stored or logged."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from runqueue.ids import title_marker, url_marker
from runqueue.problem_types import ProblemType
from tests.gateway.gating import KEY, Desk, address, gating, signed, told

NOT_FOUND = {
    "type": "urn:runqueue:problem:address-not-found",
    "title": "Nothing is at this address.",
    "status": 404,
    "detail": "there is nothing at this address",
}


#: Parts of an address (account, job, attempt, token) that no worker makes.
NO_PARTS = [
    (0, "nobody"),
    (0, "Default"),
    (0, "d%C3%A9fault"),
    (1, "aaaaaaaaaaaaaaaaaaaaaaaa"),
    (1, "short"),
    (1, "%F0%9F%92%A5"),
    (2, "0"),
    (2, "01"),
    (2, "+1"),
    (2, "1%20"),
    (2, "%D9%A1"),  # a one in Arabic digits
    (2, "2"),
    (2, "1000000000"),
    (3, "0" * 32),
    (3, "f" * 31),
    (3, "%C3%A9" * 32),
    (3, ""),
]


async def test_an_address_that_no_worker_made_is_not_found(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    good = address(job).partition("?")[0].split("/")[4:]

    async with gating(redis_url) as door:
        before = desk.everything()
        for part, value in (*NO_PARTS, (3, good[3].upper())):
            parts = [*good[:part], value, *good[part + 1 :]]
            path = "/v1/webhooks/skyvern/" + "/".join(parts)
            answer = await door.ask("POST", path, b"{}", signed(b"{}"))
            assert (answer.status, answer.body) == (404, NOT_FOUND), value
            assert answer.headers["content-type"] == "application/problem+json"
        assert desk.everything() == before


async def test_a_body_that_is_not_signed_with_the_account_s_key_is_refused(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()
    body = json.dumps(told(job)).encode()

    async with gating(redis_url) as door:
        before = desk.everything()
        for headers in (
            {},
            {"x-skyvern-signature": ""},
            {"x-skyvern-signature": "0" * 64},
            {"x-skyvern-signature": "é" * 64},
            {"x-skyvern-signature": "💥"},
            signed(b"something else"),
            signed(body, "another key"),
            signed(body, KEY[:-1]),
        ):
            answer = await door.ask("POST", address(job), body, headers)
            assert answer.body["type"] == ProblemType.WRONG_SIGNATURE.uri, headers
        assert desk.everything() == before


async def test_the_signature_is_of_the_body_as_it_came_not_of_what_it_means(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()
    raw = json.dumps(told(job), indent=1).encode()

    async with gating(redis_url) as door:
        respelled = await door.ask(
            "POST", address(job), json.dumps(told(job)).encode(), signed(raw)
        )
        as_it_was = await door.ask("POST", address(job), raw, signed(raw))

    assert (respelled.status, as_it_was.verdict) == (401, "ended")


#: Bodies that name no run, or do not say how it stands.
NO_RUNS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"completed"',
    b"{}",
    b"\xff\xfe",
    b'{"run_id": "tsk_1"}',
    b'{"status": "completed"}',
    b'{"run_id": "", "status": "completed"}',
    b'{"run_id": 7, "status": "completed"}',
    b'{"run_id": "tsk 1", "status": "completed"}',
    b'{"run_id": "tsk_\\u00e9", "status": "completed"}',
    b'{"run_id": "%s", "status": "completed"}' % (b"x" * 201),
    b'{"run_id": "tsk_1", "status": null}',
    b'{"run_id": "tsk_1", "status": ""}',
    b'{"run_id": "tsk_1", "status": "%s"}' % (b"x" * 101),
    b'{"run_id": NaN, "status": "completed"}',
    b'{"run_id": "tsk_\\ud800", "status": "completed"}',
    b'{"run_id": "tsk_1", "status": "completed", "output": ' + b"9" * 5_000 + b"NaN}",
    b"[" * 100_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
]


async def test_a_body_that_tells_of_no_run_is_refused(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        before = desk.everything()
        for body in NO_RUNS:
            answer = await door.webhook(job, body)
            assert (answer.status, answer.body["status"]) == (422, 422), body[:60]
        assert desk.everything() == before


async def test_whatever_is_signed_is_no_error_of_ours(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    chance = random.Random(7)
    good = json.dumps(told(job, "running")).encode()

    async with gating(redis_url) as door:
        for _ in range(200):
            raw = bytearray(good)
            for _ in range(chance.randint(1, 5)):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            answer = await door.webhook(job, bytes(raw[: chance.randint(0, len(raw))]))
            assert answer.status in {200, 409, 422}, bytes(raw)


@pytest.mark.parametrize("where", ["title", "webhook_url"])
async def test_a_run_that_was_submitted_for_another_attempt_is_a_conflict(
    desk: Desk, redis_url: str, where: str
) -> None:
    mine, other = desk.running(2)
    marker = title_marker if where == "title" else url_marker
    shown = {where: marker(other.job_id, other.attempt)}

    async with gating(redis_url) as door:
        before = desk.everything()
        answer = await door.webhook(mine, told(mine, run_request=shown))

        assert answer.body["type"] == ProblemType.RUN_MISMATCH.uri
        assert (
            answer.body["detail"] == "the run was submitted for another attempt than this address"
        )
        assert desk.everything() == before


async def test_a_run_that_shows_no_marker_is_its_address_s(desk: Desk, redis_url: str) -> None:
    other: list[dict[str, Any]] = [{"title": None, "webhook_url": 7}, {"title": "[rq:short.1]"}]
    shown = (None, "text", {}, *other)

    async with gating(redis_url) as door:
        for job, request in zip(desk.running(len(shown)), shown, strict=True):
            assert (await door.webhook(job, told(job, run_request=request))).verdict == "ended"


async def test_a_marker_of_another_beside_its_own_does_no_harm(desk: Desk, redis_url: str) -> None:
    mine, other = desk.running(2)
    title = f"Again {title_marker(other.job_id, 1)} {title_marker(mine.job_id, 1)}"

    async with gating(redis_url) as door:
        answer = await door.webhook(mine, told(mine, run_request={"title": title}))

    assert answer.verdict == "ended"


async def test_no_other_method_is_taken(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            async with door.session.request(method, door.url + address(job)) as answer:
                assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_nothing_secret_is_logged(
    desk: Desk, redis_url: str, logged: list[dict[str, Any]]
) -> None:
    (job,) = desk.running()
    other = "a-made-up-signature"
    secret = told(job, output="4111111111111111")

    async with gating(redis_url) as door:
        await door.webhook(job, secret, headers={"x-skyvern-signature": other})
        await door.webhook(job, b'{"run_id": "4111111111111111"')
        await door.webhook(job, secret | {"run_id": "tsk_4111111111111111"})
        await door.webhook(job, secret)

    verdicts = [event["verdict"] for event in logged if event["event"] == "webhook"]
    assert verdicts == ["bad_signature", "unreadable", "orphan"]
    token = address(job).partition("?")[0].rpartition("/")[2]
    for word in (KEY, token, other, "4111111111111111", signed(b"")["x-skyvern-signature"]):
        assert word not in str(logged)


async def test_a_made_up_address_is_logged_without_what_it_says(
    redis_url: str, logged: list[dict[str, Any]]
) -> None:
    async with gating(redis_url) as door:
        await door.ask("POST", "/v1/webhooks/skyvern/evil/%0Aevil/evil/evil", b"{}")

    (event,) = [event for event in logged if event["event"] == "webhook"]
    assert event == {
        "event": "webhook",
        "log_level": "warning",
        "verdict": "bad_address",
        "account": "",
        "address": "127.0.0.1",
        "more": 0,
    }
