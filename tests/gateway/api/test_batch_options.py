"""The rules of a batch, given with its upload; and batches in lists."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gateway.api.batch_options import Opening
from runqueue import RunQueue
from runqueue.errors import InvalidBatch
from runqueue.store.keys import Keys
from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import begin, lines, send, text
from tests.simulator.simulating import eventually

HOOK = "https://user.test/secret"


def stored(client: redis.Redis, batch: str) -> dict[str, str]:
    """The record of a batch."""
    record: Any = client.hgetall(f"{Keys('default').prefix}batch:{batch}")
    return {name.decode(): value.decode() for name, value in record.items()}


async def test_a_batch_has_the_rules_of_its_upload(client: redis.Redis, redis_url: str) -> None:
    query = "?abort_at_failure_ratio=0.2&abort_after=50&canary=2&canary_ratio=0.5"
    query += "&expires_after=1.5&callback_at=0.9&callback_at=0.5"

    async with gating(redis_url) as door:
        answer = await send(door, lines(3), query, runqueue_callback_url=HOOK)

    record = stored(client, answer.body["batch_id"])
    rules = {"abort": "0.2", "abort_after": "50", "canary": "2", "canary_ratio": "0.5"}
    more = {"expires_after": "1500000", "callback_url": HOOK, "callback_at": "0.5 0.9"}
    assert record == {**record, **rules, **more}


async def test_metadata_of_a_batch_is_given_by_pairs_and_shown_with_it(redis_url: str) -> None:
    query = "?metadata=order=17&metadata=customer=b%C3%BCro%20%26%20co"
    async with gating(redis_url) as door:
        answers = [
            await send(door, lines(1), query),
            await door.ask("POST", f"/v1/batches:open{query}"),
        ]
        for answer in answers:
            shown = await door.ask("GET", f"/v1/batches/{answer.body['batch_id']}")
            assert shown.body["metadata"] == {"order": "17", "customer": "büro & co"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("metadata=order", "expected name=value, got 'order'"),
        ("metadata=a%20b=1", "got the name 'a b'"),
        ("metadata=a=%E2%80%AE", "got control characters as a (U+202E)"),
        ("metadata=a=1&metadata=a=2", "got 'a' twice"),
        ("&".join(f"metadata=n{n}=1" for n in range(21)), "got 21 entries"),
    ],
)
async def test_wrong_metadata_of_a_batch_is_refused_with_its_field(
    redis_url: str, query: str, said: str
) -> None:
    async with gating(redis_url) as door:
        for answer in (
            await send(door, lines(1), f"?{query}"),
            await door.ask("POST", f"/v1/batches:open?{query}"),
        ):
            (error,) = answer.body["errors"]
            assert (answer.status, error["field"]) == (422, "metadata")
            assert error["message"].endswith(said)


async def test_a_callback_stands_in_a_header_which_no_log_shows(
    client: redis.Redis, redis_url: str
) -> None:
    url = "https://user.test/größe?token=secret"

    async with gating(redis_url) as door:
        answer = await send(door, lines(1), runqueue_callback_url=url)

    assert stored(client, answer.body["batch_id"])["callback_url"] == url


def test_a_callback_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidBatch, match="callback_url"):
        Opening().rules("https://user.test/größe")  # as its bytes in Latin-1 are decoded


async def test_a_wrong_callback_in_a_header_is_named_and_not_shown(
    desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        answer = await send(door, lines(1), runqueue_callback_url="ftp://user.test/secret")

    assert (answer.status, answer.body["errors"][0]["field"]) == (422, "callback_url")
    assert "secret" not in str(answer.body)
    assert desk.batches() == []


async def test_batches_are_listed_page_by_page_the_newest_first(redis_url: str) -> None:
    async with gating(redis_url) as door:
        made = [(await send(door, lines(1, f"f{n}"))).body["batch_id"] for n in range(5)]
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await door.ask("GET", f"/v1/batches?limit=2&cursor={cursor}")).body
            names += [batch["batch_id"] for batch in page["batches"]]
            cursor = page["cursor"]

    assert names == made[::-1]


async def test_batches_of_a_status_are_listed(queue: RunQueue, desk: Desk, redis_url: str) -> None:
    async with gating(redis_url) as door:
        first = (await send(door, lines(1, "a"))).body["batch_id"]
        second = (await send(door, lines(1, "b"))).body["batch_id"]
        writer = await begin(door.url, text(lines(2_500, "c")))
        await eventually(lambda: len(desk.batches()) == 3)
        queue.cancel_batch(first)
        found = {
            status: (await door.ask("GET", f"/v1/batches?status={status}")).body["batches"]
            for status in ("in_progress", "canceled", "validating", "completed")
        }
        whole = (await door.ask("GET", f"/v1/batches/{second}")).body
        writer.close()

    assert [len(batches) for batches in found.values()] == [1, 1, 1, 0]
    assert found["in_progress"] == [whole]
    assert found["canceled"][0]["batch_id"] == first
