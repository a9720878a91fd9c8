"""The loop of a worker process: how it begins, what it refuses, and that it ends."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
import structlog
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from config.settings import Settings
from lab.valkeys import start_valkey
from lab.waiting import until
from runqueue import EvictingRedis, JobState, OtherFormat, RunQueue
from runqueue.records.account import AccountStats
from runqueue.store import keys
from runqueue.store.keys import FORMAT, FORMAT_KEY, Keys
from tests.simulator.simulating import eventually, simulating
from tests.worker.working import ENDLESS, closed_port
from worker import runtime as module
from worker.runtime import Runtime, ServedAccounts
from worker.stages.consumer import ConsumerEnd


def settings(base_url: str = "http://127.0.0.1:9", **more: Any) -> Settings:
    given = {
        "SKYVERN_API_KEY": SecretStr("simulator-key"),
        "SKYVERN_BASE_URL": base_url,
        "max_submissions_per_second": 0,
        "max_requests_per_second": 0,
        "drain_seconds": 10,
    }
    return Settings(**{**given, **more})


@contextmanager
def running(url: str, chosen: Settings) -> Iterator[Runtime]:
    runtime = Runtime(chosen, url)
    try:
        runtime.start()
        yield runtime
    finally:
        if not runtime.stopping.is_set():
            runtime.stop()


def stats(url: str) -> AccountStats:
    with RunQueue(url) as queue:
        return queue.stats()["default"]


def test_it_starts_before_redis_does_and_goes_on_when_it_comes(
    tmp_path: Path, logged: list[Any]
) -> None:
    port = closed_port()
    url = f"redis://127.0.0.1:{port}/0"
    runtime = Runtime(settings(), url)
    starting = threading.Thread(target=runtime.start)
    starting.start()
    until(lambda: "redis_unreachable" in [event["event"] for event in logged])
    assert starting.is_alive()

    server = start_valkey(tmp_path, port)
    try:
        starting.join(20)
        assert not starting.is_alive()
        assert stats(url).processes == 1
        runtime.stop()
        assert stats(url).processes == 0
    finally:
        server.stop()


def test_a_redis_that_takes_no_writes_is_waited_for(tmp_path: Path, logged: list[Any]) -> None:
    server = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    runtime = Runtime(settings(), url)
    starting = threading.Thread(target=runtime.start)
    try:
        with redis.Redis.from_url(url) as client:
            client.config_set("min-replicas-to-write", 1)
            starting.start()
            until(lambda: "NOREPLICAS" in " ".join(event.get("error", "") for event in logged))
            assert starting.is_alive()

            client.config_set("min-replicas-to-write", 0)
            starting.join(20)
            assert not starting.is_alive()
            assert stats(url).processes == 1
            runtime.stop()
    finally:
        server.stop()


def test_a_redis_that_evicts_is_refused_by_the_name_of_its_policy(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    with redis.Redis.from_url(url) as plain:
        plain.config_set("maxmemory-policy", "allkeys-lru")
    runtime = Runtime(settings(), url)
    try:
        with pytest.raises(EvictingRedis, match="allkeys-lru"):
            runtime.start()
    finally:
        runtime.stop()
        server.stop()


def test_a_redis_of_another_format_is_not_served(client: redis.Redis, redis_url: str) -> None:
    client.set(FORMAT_KEY, FORMAT + 1)
    runtime = Runtime(settings(), redis_url)
    try:
        with pytest.raises(OtherFormat, match=f"holds format {FORMAT + 1}"):
            runtime.start()
    finally:
        runtime.stop()

    assert client.keys() == [FORMAT_KEY.encode()]


def test_a_redis_that_came_back_empty_gets_the_format_again(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.lease.BEAT_SECONDS", 0.05)
    with running(redis_url, settings()):
        assert client.get(FORMAT_KEY) == b"%d" % FORMAT

        client.flushall()

        until(lambda: client.get(FORMAT_KEY) == b"%d" % FORMAT)


def test_a_worker_whose_redis_was_replaced_by_one_of_another_format_submits_no_more(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr("worker.process.lease.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("worker.process.lease.SEND_SECONDS", 0.5)
    with running(redis_url, settings()) as runtime:
        with client.pipeline() as replaced:
            replaced.flushall()
            replaced.set(FORMAT_KEY, FORMAT + 1)
            replaced.execute()

        until(lambda: runtime.why_not_ready() == "no lease in default")
        assert runtime.consume("submit", "default", 0)[0] is ConsumerEnd.REFUSED

    assert f"holds format {FORMAT + 1}" in " ".join(event.get("error", "") for event in logged)


def test_every_account_begins_with_its_own_limits(redis_url: str) -> None:
    acme = {"api_key": "other-key", "max_concurrent_runs": 3}
    with running(redis_url, settings(accounts={"acme": acme})), RunQueue(redis_url) as queue:
        figures = queue.stats()

    assert set(figures) == {"default", "acme"}
    assert figures["acme"].limits["concurrent_runs"] == 3
    assert figures["default"].limits["concurrent_runs"] == 10


def test_a_message_for_an_account_that_nobody_serves_is_refused(redis_url: str) -> None:
    with running(redis_url, settings()) as runtime:
        assert runtime.consume("submit", "acme", 0)[0] is ConsumerEnd.REFUSED
        assert runtime.sweep("acme") == {}


def test_sweeping_and_consuming_from_another_thread_work(redis_url: str) -> None:
    with running(redis_url, settings()) as runtime:
        ended, server_us = runtime.consume("poll", "default", 0)
        assert ended is ConsumerEnd.IDLE
        assert server_us > 0
        assert runtime.sweep("default")["expire_leases"] == 0


async def test_a_stop_drains_what_is_on_the_wire(queue: RunQueue, redis_url: str) -> None:
    async with simulating() as api:
        await api.fault({"latency": 0.3}, match={"route": "run_task"})
        runtime = Runtime(settings(api.url, max_concurrent_runs=0), redis_url)
        await asyncio.to_thread(runtime.start)
        line = {"kind": "task", "body": {"prompt": "x", "url": ENDLESS}}
        job_ids = [answer.job_id for answer in queue.enqueue_many([line] * 5)]
        consumer = asyncio.create_task(asyncio.to_thread(runtime.consume, "submit", "default", 0))

        async def arrived() -> bool:
            async with api.session.get(f"{api.url}/_ledger/summary") as answer:
                return bool((await answer.json())["submissions"] == 5)

        await eventually(arrived)
        await asyncio.to_thread(runtime.stop)

        async with asyncio.timeout(5):
            await consumer
        assert {queue.get(job_id).state for job_id in job_ids} == {JobState.RUNNING}
        assert queue.stats()["default"].processes == 0
        assert runtime.consume("submit", "default", 0)[0] is ConsumerEnd.REFUSED
        assert not runtime._thread.is_alive()


def test_a_stop_while_redis_is_away_leaves_no_thread_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "GOODBYE_SECONDS", 0.5)
    server = start_valkey(tmp_path)
    runtime = Runtime(settings(drain_seconds=0), f"redis://127.0.0.1:{server.port}/0")
    runtime.start()
    # A slot that never gets free keeps the consumer.
    with redis.Redis(port=server.port) as plain:
        plain.hset("runqueue:{default}:limits", "live:concurrent_runs", 1)
        plain.hset("runqueue:{default}:counters", "live", 1)
    with RunQueue(runtime.url) as queue:
        queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])
    results: list[ConsumerEnd] = []
    waiting = threading.Thread(
        target=lambda: results.append(runtime.consume("submit", "default", 0)[0])
    )
    waiting.start()
    until(lambda: runtime.accounts["default"].consumers["submit"].server_us)
    server.stop()
    until(lambda: "claim_unanswered" in [event["event"] for event in logged])

    runtime.stop()

    waiting.join(5)
    assert not waiting.is_alive()
    assert not runtime._thread.is_alive()
    assert results == [ConsumerEnd.DRAINING]


async def test_a_stop_while_redis_takes_no_writes_ends_and_says_which_run_ids_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "GOODBYE_SECONDS", 0.5)
    server = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    try:
        async with simulating() as api:
            await api.fault({"answer_latency": 1}, match={"route": "run_task"})
            runtime = Runtime(settings(api.url, drain_seconds=5), url)
            await asyncio.to_thread(runtime.start)
            with RunQueue(url) as queue, redis.Redis.from_url(url) as client:
                (job,) = queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])
                working = asyncio.create_task(
                    asyncio.to_thread(runtime.consume, "submit", "default", 0)
                )
                await eventually(lambda: queue.get(job.job_id).state == "submitting")
                client.config_set("min-replicas-to-write", 1)
                await eventually(lambda: "record_delayed" in [event["event"] for event in logged])

                await asyncio.to_thread(runtime.stop)

                await working
                assert not runtime._thread.is_alive()
                (run,) = await api.ledger()
                left = [event for event in logged if event["event"] == "record_lost"]
                assert [(event["job_id"], event["run_id"]) for event in left] == [
                    (job.job_id, run["run_id"])
                ]
    finally:
        server.stop()


def whole_keys() -> list[str]:
    """The keys that an account has one of, but for strings."""
    return [
        name for name, kind in keys.rows() if "<" not in name and kind not in {"channel", "string"}
    ]


async def test_a_key_of_a_wrong_type_stops_its_own_account_alone(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    broken = {f"shop-{number}": name for number, name in enumerate(whole_keys())}
    assert {"meta", "processes", "wake:webhooks", "inbox:taken"} <= set(broken.values())
    for account, name in broken.items():
        key = f"{Keys(account).prefix}{name}"
        if name == "meta":
            client.rpush(key, "a typo")
        else:
            client.set(key, "a typo")
    async with simulating() as api:
        theirs = {
            "api_key": "simulator-key",
            "base_url": api.url,
            "max_submissions_per_second": 0,
            "max_requests_per_second": 0,
        }
        chosen = settings(api.url, accounts=dict.fromkeys(broken, theirs))
        with running(redis_url, chosen) as runtime, RunQueue(redis_url) as queue:
            assert not runtime.why_not_ready()
            (job,) = queue.enqueue_many([{"kind": "task", "body": {"prompt": "x", "url": ENDLESS}}])

            async def is_running() -> bool:
                await asyncio.to_thread(runtime.consume, "submit", "default", 0)
                return queue.get(job.job_id).state is JobState.RUNNING

            await eventually(is_running)
            await asyncio.gather(
                *(
                    asyncio.to_thread(runtime.consume, stage, account, 0)
                    for account in broken
                    for stage in runtime.accounts[account].consumers
                ),
                *(asyncio.to_thread(runtime.sweep, account) for account in broken),
            )

            told = {name for name, found in queue.stats().items() if found.damage}
        assert stats(redis_url).processes == 0, "it said goodbye"
        assert "drain_incomplete" not in [event["event"] for event in logged]
    # The others' keys are none that statistics need.
    assert {broken[name] for name in told} >= {"meta", "processes", "limits"}


def test_an_account_whose_keys_are_mended_is_served_without_a_restart(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.lease.BEAT_SECONDS", 0.05)
    key = f"{Keys('shop').prefix}processes"
    client.set(key, "a typo")
    with (
        running(redis_url, settings(accounts={"shop": {"api_key": "other"}})),
        RunQueue(redis_url) as queue,
    ):
        assert queue.stats()["shop"].processes == 0

        client.delete(key)

        until(lambda: queue.stats()["shop"].processes == 1)


def test_a_stage_that_is_begun_while_redis_is_away_is_logged_and_raises_nowhere() -> None:
    async def fail(tick_us: int) -> None:
        raise RedisConnectionError("gone")

    async def begin() -> list[Any]:
        unhandled: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: unhandled.append(about))
        served = ServedAccounts(settings(), cast(Any, None))
        consumer = SimpleNamespace(run=fail)
        served.accounts["shop"] = cast(Any, SimpleNamespace(consumers={"poll": consumer}))
        served.begin("poll", "shop", 0)
        while served._tasks:
            await asyncio.wait(served._tasks)
            await asyncio.sleep(0)
        return unhandled

    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(begin()) == []
    assert lines == [
        {
            "event": "stage_failed",
            "account": "shop",
            "stage": "poll",
            "error": "gone",
            "log_level": "warning",
        }
    ]
