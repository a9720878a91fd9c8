"""Redis is away, hangs, is none to trust, or holds another format."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import server as serving
from gateway.http import bursts, problems
from gateway.http.bursts import Burst
from gateway.state import state
from gateway.webhooks import webhook_writer
from lab.valkeys import start_valkey
from runqueue import EvictingRedis, JobState, OtherFormat, RunQueue
from runqueue.store.keys import ACCOUNTS, FORMAT, FORMAT_KEY
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, gating, hanging, told
from tests.gateway.uploads import lines, send
from tests.simulator.simulating import eventually
from tests.worker.working import closed_port


class OwnServer:
    """A server of the test's own, to be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = closed_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: Any = None

    def start(self) -> None:
        self._server = start_valkey(self.folder, self.port, aof=True)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    own = OwnServer(tmp_path / "valkey")
    yield own
    own.stop()


async def test_while_redis_is_away_a_webhook_is_to_be_sent_again(server: OwnServer) -> None:
    server.start()
    with RunQueue(server.url) as queue, redis.Redis.from_url(server.url) as client:
        desk = Desk(queue, client)
        (job,) = desk.running()

        async with gating(server.url) as door:
            server.stop()
            answer = await door.webhook(job, told(job))
            assert answer.body["type"] == "urn:runqueue:problem:queue-unavailable"
            assert (await door.ask("GET", "/readyz")).status == 503
            assert (await door.ask("GET", "/healthz")).status == 200
            acknowledged = await door.ask("POST", f"/v1/jobs/{job.job_id}/webhook/ack")
            assert acknowledged.status == 503
            for answer in [
                await door.ask("POST", "/v1/jobs", {"kind": "task", "body": {"prompt": "x"}}),
                await send(door, lines(1)),
                await door.ask("GET", f"/v1/jobs/{job.job_id}?wait=1"),
                await door.ask("POST", "/v1/jobs:replay", {"job_ids": [job.job_id]}),
                await door.ask("GET", "/v1/stats"),
                await door.ask("GET", "/v1/events"),
            ]:
                assert (answer.status, answer.headers["retry-after"]) == (503, "5")
                assert server.url not in str(answer)
            figures = await door.ask("GET", "/metrics/queue")
            assert (figures.status, b"runqueue_up 0.0" in figures.body) == (200, True)

            server.start()
            assert (await door.webhook(job, told(job))).verdict == "ended"
            assert (await door.ask("GET", "/readyz")).status == 200

        assert desk.job(job).state is JobState.COMPLETED


async def test_while_redis_is_away_refused_requests_are_logged_now_and_then(
    server: OwnServer, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "_troubles", defaultdict(Burst))
    server.start()

    async with browsing(server.url) as browser:
        server.stop()
        for _ in range(20):
            assert (await browser.door.ask("GET", "/v1/stats")).status == 503
            assert (await browser.door.ask("GET", "/v1/jobs")).status == 503
            assert (await browser.open("/")).status == 503
        lines = [one for one in logged if one["event"].startswith("queue_")]
        monkeypatch.setattr(bursts, "LOG_SECONDS", 0)
        assert (await browser.door.ask("GET", "/v1/stats")).status == 503

    assert bursts.BURST <= len(lines) <= 2 * bursts.BURST
    assert {one["more"] for one in lines} == {0}
    last = [one for one in logged if one["event"].startswith("queue_")][len(lines) :]
    assert sum(one["more"] for one in last) >= 20


async def test_a_redis_that_hangs_is_not_waited_for_long(
    desk: Desk, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = desk.running(2)

    async with gating(f"{redis_url}?socket_timeout=60") as door:
        with monkeypatch.context() as waits, hanging(client):
            waits.setattr(webhook_writer, "RECORD_SECONDS", 0.2)
            waits.setattr(state, "PING_SECONDS", 0.2)
            async with asyncio.timeout(30):
                answers = await asyncio.gather(
                    door.webhook(first, told(first)),
                    door.webhook(second, told(second)),
                    door.ask("GET", "/readyz"),
                )
        assert [answer.status for answer in answers] == [503, 503, 503]

        assert (await door.webhook(first, told(first))).status == 200
        assert (await door.webhook(second, told(second))).status == 200

    assert desk.job(first).state is desk.job(second).state is JobState.COMPLETED


async def test_it_starts_without_redis_and_announces_its_accounts_once_that_is_there(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REDIS_SECONDS", 0.1)
    monkeypatch.setattr(state, "ANNOUNCE_EVERY", 0.05)

    async with gating(server.url) as door:
        assert (await door.ask("GET", "/healthz")).status == 200
        assert (await door.ask("GET", "/readyz")).status == 503

        server.start()
        with redis.Redis.from_url(server.url) as client:
            await eventually(lambda: client.smembers(ACCOUNTS) == {b"default"})
        assert (await door.ask("GET", "/readyz")).status == 200


async def test_a_redis_that_evicts_is_refused(client: redis.Redis, redis_url: str) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictingRedis):
            async with gating(redis_url):
                pass
    finally:
        client.config_set("maxmemory-policy", "noeviction")


async def test_a_redis_of_another_format_is_not_served(client: redis.Redis, redis_url: str) -> None:
    client.set(FORMAT_KEY, FORMAT + 1)

    with pytest.raises(OtherFormat, match=f"holds format {FORMAT + 1}"):
        async with gating(redis_url):
            pass

    assert client.keys() == [FORMAT_KEY.encode()]


async def test_where_redis_is_replaced_by_one_of_another_format_that_is_answered_and_shown(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.producer.async_queue.COMPARED_SECONDS", 0)
    async with browsing(redis_url) as browser:
        client.set(FORMAT_KEY, FORMAT + 1)

        answer = await browser.door.ask("GET", "/v1/stats")
        assert answer.status == 503
        assert f"holds format {FORMAT + 1}" in answer.body["detail"]
        page = await browser.open("/")
        assert page.status == 503
        assert f"holds format {FORMAT + 1}" in page.text


async def test_a_redis_that_comes_later_and_evicts_ends_it(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REDIS_SECONDS", 0.1)
    monkeypatch.setattr(state, "ANNOUNCE_EVERY", 1.0)

    with pytest.raises(EvictingRedis):  # noqa: PT012 - it is raised where the gateway ends
        async with gating(server.url) as door:
            server.start()
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory-policy", "allkeys-lru")

            async def is_gone() -> bool:
                try:
                    await door.ask("GET", "/healthz")
                except OSError:
                    return True
                return False

            await eventually(is_gone)


async def test_a_full_redis_still_takes_what_has_ended(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        client.config_set("maxmemory", 1)
        try:
            assert (await door.webhook(job, told(job))).verdict == "ended"
        finally:
            client.config_set("maxmemory", 0)

    assert desk.job(job).state is JobState.COMPLETED
