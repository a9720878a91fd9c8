"""Uploading batches: whole or not at all, however they are sent."""

from __future__ import annotations

import gzip

import pytest

from runqueue import JobState, RunQueue
from runqueue.ids import job_id_for, new_id
from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import KIND, PATH, accepted, lines, pieces, send, text


def nothing_was_accepted(queue: RunQueue, desk: Desk) -> bool:
    return not desk.claim() and not any(queue.get_batch(batch).sealed for batch in desk.batches())


async def test_an_upload_becomes_a_batch(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await send(door, lines(2_500), "?name=prices")

    batch = answer.body["batch_id"]
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/batches/{batch}"
    assert answer.body["counts"] == {"new": 2_500, "known": 0, "invalid": 0, "conflicts": 0}
    assert accepted(queue, batch) == 2_500
    assert queue.get_batch(batch).name == "prices"


async def test_lines_have_several_names_and_other_kinds_of_bodies_are_refused(
    redis_url: str,
) -> None:
    async with gating(redis_url) as door:
        for kind in ("application/jsonl", "application/x-ndjson; charset=utf-8"):
            assert (await send(door, lines(1), content_type=kind)).status in {200, 201}
        assert (await send(door, lines(1), content_type="application/json")).status == 415
        assert (await send(door, lines(1), content_encoding="br")).status == 415


@pytest.mark.parametrize("size", [7, 64 * 1024], ids=["tiny", "large"])
async def test_lines_may_come_in_any_pieces(queue: RunQueue, redis_url: str, size: int) -> None:
    raw = text(lines(200))

    async with (
        gating(redis_url) as door,
        door.session.post(door.url + PATH, data=pieces(raw, size), headers=KIND) as answer,
    ):
        told = await answer.json()

    assert accepted(queue, told["batch_id"]) == 200


async def test_a_compressed_upload_is_decompressed(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        raw = text(lines(3_000))
        compressed = gzip.compress(raw[:50_000]) + gzip.compress(raw[50_000:])
        answer = await send(door, compressed, content_encoding="gzip")

    assert accepted(queue, answer.body["batch_id"]) == 3_000


async def test_blank_lines_a_mark_of_the_encoding_and_no_last_break_do_no_harm(
    queue: RunQueue, redis_url: str
) -> None:
    raw = b"\xef\xbb\xbf" + text(lines(3)).replace(b"\n", b"\r\n\r\n  \n").rstrip()

    async with gating(redis_url) as door:
        answer = await send(door, raw)

    assert accepted(queue, answer.body["batch_id"]) == 3


async def test_the_namespace_is_that_of_lines_that_name_none(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await send(door, [*lines(1), *lines(1, namespace="own")], "?namespace=shop")

    for namespace in ("shop", "own"):
        assert queue.get(job_id_for("default", namespace, "row-0")).namespace == namespace


async def test_the_account_is_that_of_lines_that_name_none(queue: RunQueue, redis_url: str) -> None:
    accounts = {"acme": {"api_key": "acme-key"}}

    async with gating(redis_url, accounts=accounts) as door:
        answer = await send(door, [*lines(1), *lines(1, "own", account="acme")], "?account=acme")
        other = await send(door, lines(1, account="default"), "?account=acme")

    assert queue.get_batch(answer.body["batch_id"]).account == "acme"
    assert queue.stats()["acme"].states[JobState.READY] == 2
    assert (other.status, other.body["errors"][0]["field"]) == (422, "line 1: account")


async def test_a_bad_line_is_named_and_nothing_is_accepted(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    jobs = lines(3_000)
    jobs[2_100]["body"] = {"prompt": "x", "max_step": 3}
    jobs[2_900] = {}

    async with gating(redis_url) as door:
        answer = await send(door, jobs)

    assert answer.status == 422
    assert [fault["field"] for fault in answer.body["errors"]] == [
        "line 2101: body.max_step",
        "line 2901: kind",
        "line 2901: body",
    ]
    assert nothing_was_accepted(queue, desk)


async def test_the_first_hundred_faults_are_told(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        answer = await send(door, [{}] * 5_000)

    assert (answer.status, len(answer.body["errors"])) == (422, 100)
    assert nothing_was_accepted(queue, desk)


async def test_bad_lines_are_skipped_where_that_is_asked_for(
    queue: RunQueue, redis_url: str
) -> None:
    jobs = [*lines(1_500), {}, *lines(2, "more")]

    async with gating(redis_url) as door:
        answer = await send(door, jobs, "?skip_invalid=true")

    assert answer.status == 201
    assert answer.body["counts"] == {"new": 1_502, "known": 0, "invalid": 1, "conflicts": 0}
    assert answer.body["errors"][0]["field"] == "line 1501: kind"
    assert accepted(queue, answer.body["batch_id"]) == 1_502


async def test_the_same_upload_again_names_the_batch_that_has_it(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        first = await send(door, lines(1_200))
        before = desk.batches()
        again = await send(door, lines(1_200))

    assert (again.status, again.body["batch_id"]) == (200, first.body["batch_id"])
    assert again.headers["location"] == first.headers["location"]
    assert again.body["counts"]["known"] == 1_200
    assert (desk.batches(), desk.unsealed()) == (before, {})
    assert queue.stats()["default"].states[JobState.READY] == 1_200


async def test_jobs_known_from_several_places_are_in_no_single_batch(redis_url: str) -> None:
    async with gating(redis_url) as door:
        await send(door, lines(1))
        await send(door, lines(1, "more"))
        answer = await send(door, [*lines(1), *lines(1, "more")])

    assert (answer.status, answer.body["batch_id"]) == (200, None)
    assert "location" not in answer.headers


async def test_a_line_that_comes_twice_is_one_job(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        answer = await send(door, lines(1_100) + lines(1_100))

    assert answer.body["counts"]["new"] == answer.body["counts"]["known"] == 1_100
    assert accepted(queue, answer.body["batch_id"]) == 1_100


async def test_keys_that_were_used_for_another_request_are_told(
    queue: RunQueue, redis_url: str
) -> None:
    changed = lines(3)
    changed[1]["body"] = {"prompt": "Another."}

    async with gating(redis_url) as door:
        await send(door, lines(2))
        answer = await send(door, changed)

    assert answer.body["counts"] == {"new": 1, "known": 1, "invalid": 0, "conflicts": 1}
    job_id = job_id_for("default", "", "row-1")
    assert answer.body["conflicts"] == [{"line": 2, "custom_id": "row-1", "job_id": job_id}]


@pytest.mark.parametrize("between", [0, 2_500], ids=["near", "far"])
async def test_a_key_that_names_two_jobs_of_one_upload_is_a_bad_line(
    queue: RunQueue, desk: Desk, redis_url: str, between: int
) -> None:
    jobs = [*lines(1), *lines(between, "more"), {**lines(1)[0], "body": {"prompt": "Another."}}]

    async with gating(redis_url) as door:
        refused = await send(door, jobs)
        assert nothing_was_accepted(queue, desk)
        skipped = await send(door, jobs, "?skip_invalid=true")

    (fault,) = refused.body["errors"]
    assert (refused.status, fault["field"]) == (422, f"line {between + 2}: custom_id")
    assert fault["message"] == "'row-0' names another job at line 1, with another body"
    assert skipped.body["errors"] == [fault]
    assert skipped.body["counts"] == {"new": between + 1, "known": 0, "invalid": 1, "conflicts": 0}


async def test_an_upload_without_a_job_is_refused(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        for body in (b"", b"\n \n\r\n"):
            answer = await send(door, body)
            assert (answer.status, answer.body["errors"][0]["field"]) == (422, "body")

    assert nothing_was_accepted(queue, desk)


async def test_a_batch_is_shown(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        uploaded = (await send(door, lines(3), "?name=prices")).body
        shown = (await door.ask("GET", f"/v1/batches/{uploaded['batch_id']}")).body

    batch = queue.get_batch(uploaded["batch_id"])
    assert shown == {
        **shown,
        "batch_id": batch.id,
        "account": "default",
        "name": "prices",
        "sealed": True,
        "held": None,
        "total": 3,
        "states": {"ready": 3},
        "is_over": False,
        "created_at": batch.created_at.isoformat(),
    }


async def test_a_batch_is_canceled_whole(queue: RunQueue, desk: Desk, redis_url: str) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(1_500))).body["batch_id"]
        answer = await door.ask("POST", f"/v1/batches/{batch}/cancel")

    counts = {"jobs": 1_500, "canceled": 1_500, "will_be_canceled": 0, "over": 0}
    assert (answer.status, answer.body) == (200, {"batch_id": batch, **counts})
    assert desk.claim() == []


async def test_a_batch_that_is_not_known_is_not_found(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for batch in (new_id("default"), new_id("another"), "1", "%C3%A9"):
            for method, path in (
                ("GET", ""),
                ("GET", "/results"),
                ("GET", "/errors"),
                ("POST", "/cancel"),
            ):
                answer = await door.ask(method, f"/v1/batches/{batch}{path}")
                assert (answer.status, answer.body["detail"]) == (404, "no such batch is on record")
