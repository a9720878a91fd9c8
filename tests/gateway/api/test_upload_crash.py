"""Uploads and keys when something dies, is cut off, or comes by two ways at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import redis

from lab.proxy import Network
from runqueue import JobState, RunQueue
from runqueue.ids import job_id_for
from runqueue.producer import async_batch_upload
from runqueue.store.scripts import load
from runqueue.store.sending import load_library
from tests.gateway.gating import Desk, gating, own_bearer
from tests.gateway.test_process import process, url_of
from tests.gateway.uploads import KIND, PATH, accepted, begin, lines, pieces, send, text
from tests.simulator.simulating import eventually

COUNT = 3_500
WHOLE = text(lines(COUNT))
HALF = text(lines(COUNT)[:2_500])


def claimed(desk: Desk) -> Counter[str]:
    """How often each job is claimed, by its key, until there is none left."""
    found: Counter[str] = Counter()
    while jobs := desk.claim():
        found.update(job.job_id for job in jobs)
    return found


def each_once(count: int) -> Counter[str]:
    """Every line of an upload, claimed once."""
    return Counter(job_id_for("default", "", f"row-{n}") for n in range(count))


async def test_an_upload_to_a_gateway_that_is_killed_ends_whole_when_it_is_sent_again(
    queue: RunQueue, desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as first:
        writer = await begin(url_of(first), HALF)
        await eventually(lambda: desk.batches() and queue.get_batch(desk.batches()[0]).total)
        assert desk.claim() == []
        first.kill()
        first.wait()
        writer.close()

    (lost,) = desk.batches()
    assert not queue.get_batch(lost).sealed
    assert desk.claim() == []
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as second:
        url = url_of(second) + PATH
        async with (
            aiohttp.ClientSession(headers=own_bearer()) as session,
            session.post(url, data=pieces(WHOLE, 2**16), headers=KIND) as answer,
        ):
            told = await answer.json()

    assert (answer.status, told["counts"]["new"]) == (201, COUNT)
    assert accepted(queue, told["batch_id"]) == COUNT
    assert queue.stats()["default"].states[JobState.READY] == COUNT
    assert claimed(desk) == each_once(COUNT)


async def test_a_gateway_that_is_killed_once_the_upload_is_sealed_has_made_no_job_twice(
    queue: RunQueue, desk: Desk, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])

    load_library(client, "runqueue:{default}:meta")

    with Network() as network:
        proxy = network.proxy("127.0.0.1", port)
        # It is accepted, and whoever sent it never hears of that.
        trap = proxy.trap("up", load("seal_batch").function.encode(), reply=True)
        with process(tmp_path, RUNQUEUE_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") as first:
            writer = await begin(url_of(first), WHOLE)
            writer.write(b"0\r\n\r\n")
            await asyncio.to_thread(trap.wait, 20)
            first.kill()
            first.wait()
            writer.close()

    async with gating(redis_url) as door:
        answer = await send(door, WHOLE)

    assert (answer.status, answer.body["counts"]["known"]) == (200, COUNT)
    assert accepted(queue, answer.body["batch_id"]) == COUNT
    assert claimed(desk) == each_once(COUNT)


@pytest.mark.parametrize("how", ["requests are lost", "answers are lost"])
async def test_an_upload_outlasts_a_redis_that_is_cut_off_in_its_middle(
    queue: RunQueue, desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(async_batch_upload, "PAUSE", 0.05)
    port = int(redis_url.rpartition(":")[2].partition("/")[0])

    with Network() as network:
        proxy = network.proxy("127.0.0.1", port)
        async with gating(f"redis://127.0.0.1:{proxy.port}/0") as door:
            writer = await begin(door.url, HALF)
            await eventually(lambda: desk.batches() and queue.get_batch(desk.batches()[0]).total)
            trap = proxy.trap("up", b"FCALL", reply=how == "answers are lost")
            rest = WHOLE[len(HALF) :]
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))
            await asyncio.to_thread(trap.wait, 20)
            proxy.refuse()
            trap.drop()
            proxy.cut()
            assert desk.claim() == []
            proxy.heal()
            (batch,) = desk.batches()
            await eventually(lambda: queue.get_batch(batch).sealed)
            writer.close()

    assert accepted(queue, batch) == COUNT
    assert claimed(desk) == each_once(COUNT)


async def test_two_uploads_of_one_file_at_once_make_each_job_once(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as first, gating(redis_url) as second:
        both = await asyncio.gather(send(first, WHOLE), send(second, WHOLE))
        # Who was refused since the other has some of the jobs sends it again.
        answers = [one if one.status < 300 else await send(first, WHOLE) for one in both]

    assert {one.status for one in both} <= {200, 201, 409}
    for answer in answers:
        counts = answer.body["counts"]
        assert (answer.status < 300, counts["new"] + counts["known"]) == (True, COUNT)
    assert sum(answer.body["counts"]["new"] for answer in answers) == COUNT
    assert claimed(desk) == each_once(COUNT)
