"""`RunQueue` and `AsyncRunQueue` as a service uses them."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from lab.valkeys import start_valkey
from runqueue import (
    AsyncRunQueue,
    BatchNotFound,
    EnqueueStatus,
    EvictingRedis,
    IdempotencyConflict,
    InvalidJob,
    JobNotFound,
    JobState,
    OtherFormat,
    QueueFull,
    QueueUnavailable,
    RunQueue,
    TaskRunRequest,
    UnknownAccount,
    WorkflowRunRequest,
)
from runqueue.records import claim_items
from runqueue.store import worker_calls
from runqueue.store.job_calls import CHUNK_WORK
from runqueue.store.keys import ACCOUNTS, FORMAT, FORMAT_KEY, Keys
from runqueue.store.operator_calls import CancelCounts
from runqueue.store.sending import run
from tests.either import Ask, both

ASK = TaskRunRequest(prompt="Read the price.", url="https://shop.test/17")


def line(key: str | None = None, prompt: str = "Read it.", **options: Any) -> dict[str, Any]:
    named = {} if key is None else {"custom_id": key}
    return {**named, "kind": "task", "body": {"prompt": prompt}, **options}


def claimed(
    client: redis.Redis, claim: str = "a claim", account: str = "default"
) -> list[claim_items.Claimed]:
    """Claim every ready job of an account, as a worker would."""
    run(client, worker_calls.heartbeat(account, "test", 60_000_000, -1, 0, first=True))
    return list(run(client, worker_calls.claim(account, "test", claim, 500, 0)).items)


def finish_all(client: redis.Redis, account: str = "default") -> None:
    """Run every ready job of an account to its end, as a worker would."""
    taken = claimed(client, account=account)
    accepted = [
        claim_items.RunAccepted(j.job_id, j.attempt, f"run-{j.job_id}", "", 0) for j in taken
    ]
    run(client, worker_calls.mark_running(account, accepted))
    ends = [
        claim_items.Finished(
            j.job_id, j.attempt, f"run-{j.job_id}", "completed", "completed", "", b'{"output": 42}'
        )
        for j in taken
    ]
    run(client, worker_calls.finish(account, ends))


async def test_a_job_is_submitted_read_and_waited_for(ask: Ask, client: redis.Redis) -> None:
    answer = await ask("enqueue", ASK, priority="high", group="shop-a", idempotency_key="order-17")
    assert answer.status is EnqueueStatus.NEW

    job = await ask("get", answer.job_id)
    assert (job.state, job.custom_id, job.group) == (JobState.READY, "order-17", "shop-a")
    finish_all(client)

    done = await ask("wait", answer.job_id, timeout=5)
    assert (done.state, done.output, done.runs) == (JobState.COMPLETED, 42, 1)


async def test_the_same_key_is_the_same_job_and_another_body_is_refused(ask: Ask) -> None:
    first = await ask("enqueue", ASK, idempotency_key="k")
    again = await ask("enqueue", ASK, idempotency_key="k")
    assert (again.job_id, again.status) == (first.job_id, EnqueueStatus.KNOWN)
    assert again.created_at == first.created_at

    with pytest.raises(IdempotencyConflict) as refusal:
        await ask("enqueue", TaskRunRequest(prompt="Else"), idempotency_key="k")
    assert refusal.value.job_id == first.job_id
    assert (await ask("enqueue", WorkflowRunRequest(workflow_id="wpid_1"))).job_id != first.job_id


@pytest.mark.parametrize("ask", ["sync", "async"], indirect=True)
async def test_many_are_answered_in_their_order_whatever_their_account(
    ask: Ask, client: redis.Redis
) -> None:
    client.sadd("runqueue:{accounts}", "acme")
    lines = [line(f"k{i}", account="acme" if i % 3 else "default") for i in range(2_500)]

    answers = await ask("enqueue_many", iter(lines))

    assert [answer.custom_id for answer in answers] == [f"k{i}" for i in range(2_500)]
    jobs = await ask("get_many", [answer.job_id for answer in answers], result=False)
    assert [job.account for job in jobs[:3]] == ["default", "acme", "acme"]
    assert {job.custom_id for job in jobs} == {f"k{i}" for i in range(2_500)}


@pytest.mark.parametrize("good", [3, 2_500])
@pytest.mark.parametrize("ask", ["sync", "async"], indirect=True)
async def test_one_bad_job_among_many_is_named_and_none_is_accepted(
    ask: Ask, client: redis.Redis, good: int
) -> None:
    lines = [line(f"k{i}") for i in range(good)]

    with pytest.raises(InvalidJob, match=rf"\[{good}\]\.body\.prompt: ") as refusal:
        await ask("enqueue_many", [*lines, {"kind": "task", "body": {"prompt": 7}}])

    assert [fault.field for fault in refusal.value.errors] == [f"[{good}].body.prompt"]
    run(client, worker_calls.heartbeat("default", "test", 60_000_000, -1, 0, first=True))
    assert run(client, worker_calls.claim("default", "test", "a claim", 500, 0)).items == []
    answers = await ask("enqueue_many", lines)
    assert {answer.status for answer in answers} == {EnqueueStatus.NEW}


async def test_jobs_of_more_groups_than_one_call_takes_are_accepted_as_a_batch(
    ask: Ask, client: redis.Redis
) -> None:
    lines = [line(f"k{i}", group=f"g{i}") for i in range(CHUNK_WORK // 3)]

    answers = await ask("enqueue_many", lines)

    assert [answer.custom_id for answer in answers] == [f"k{i}" for i in range(len(lines))]
    (batch,) = {answer.batch for answer in answers}
    found = await ask("get_batch", batch)
    assert (found.sealed, found.total) == (True, len(lines))
    (other,) = {answer.batch for answer in await ask("enqueue_many", [line("z")] * 3)}
    assert other is None


async def test_a_batch_is_held_until_it_is_sealed_and_canceled_whole(
    ask: Ask, client: redis.Redis
) -> None:
    batch = await ask("open_batch", "a name")
    (answer,) = await ask("enqueue_many", [line()], batch=batch)
    run(client, worker_calls.heartbeat("default", "test", 60_000_000, -1, 0, first=True))
    assert run(client, worker_calls.claim("default", "test", "one", 500, 0)).items == []
    assert await ask("seal_batch", batch) == 1
    found = await ask("get_batch", batch)
    assert (found.name, found.sealed, found.total) == ("a name", True, 1)
    assert await ask("cancel_batch", batch) == CancelCounts(at_once=1)
    assert run(client, worker_calls.claim("default", "test", "two", 500, 0)).items == []
    assert (await ask("get", answer.job_id)).state is JobState.CANCELED

    with pytest.raises(BatchNotFound):
        await ask("enqueue_many", [line()], batch=batch)


async def test_what_is_not_on_record_is_said_by_its_own_error(ask: Ask) -> None:
    answer = await ask("enqueue", ASK)
    unknown = answer.job_id[:4] + "a" * 20
    for name, unknown_id in (("get", unknown), ("cancel", unknown), ("wait", "nonsense")):
        with pytest.raises(JobNotFound):
            await ask(name, unknown_id)
    for name in ("get_batch", "seal_batch", "cancel_batch"):
        with pytest.raises(BatchNotFound):
            await ask(name, unknown)
    with pytest.raises(BatchNotFound):
        await ask("enqueue_many", [line()], batch="two words")
    with pytest.raises(UnknownAccount):
        await ask("enqueue", ASK, account="nobody")
    assert await ask("get_many", [unknown, "nonsense", answer.job_id], result=False) == [
        None,
        None,
        await ask("get", answer.job_id),
    ]


async def test_waiting_ends_at_its_time_and_the_job_goes_on(ask: Ask) -> None:
    answer = await ask("enqueue", ASK)
    with pytest.raises(TimeoutError, match="still ready"):
        await ask("wait", answer.job_id, timeout=0.05)
    assert await ask("cancel", answer.job_id) is JobState.CANCELED
    assert (await ask("wait", answer.job_id)).reason == "canceled before it was submitted"


async def test_a_full_redis_takes_no_job_and_says_so(ask: Ask, client: redis.Redis) -> None:
    await ask("stats")
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueFull):
            await ask("enqueue", ASK)
    finally:
        client.config_set("maxmemory", "0")
    assert (await ask("stats"))["default"].totals == {}


async def test_an_account_whose_figures_cannot_be_read_says_so_and_hides_no_other(
    client: redis.Redis, ask: Ask
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(f"{Keys('shop').prefix}limits", "a typo")
    await ask("enqueue", ASK)

    found = await ask("stats")

    assert found["default"].damage is None
    assert sum(found["default"].states.values()) == 1
    assert "WRONGTYPE" in (found["shop"].damage or "")
    assert sum(found["shop"].states.values()) == found["shop"].processes == 0
    assert found["shop"].as_dict()["damage"] == found["shop"].damage


def test_a_server_s_own_trouble_is_no_account_s_damage() -> None:
    with pytest.raises(QueueUnavailable), RunQueue("redis://127.0.0.1:1/0") as nowhere:
        nowhere.stats()


async def test_more_callers_than_connections_wait_for_one(redis_url: str) -> None:
    async with AsyncRunQueue(redis_url) as queue:
        answers = await asyncio.gather(*(queue.enqueue(ASK) for _ in range(200)))
    assert len({answer.job_id for answer in answers}) == 200

    with RunQueue(redis_url) as plain, ThreadPoolExecutor(120) as threads:
        ids = list(threads.map(lambda _: plain.enqueue(ASK).job_id, range(200)))
    assert len(set(ids)) == 200


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"redis://:secret@127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.mark.timeout(30)
def test_a_server_that_never_answers_is_unavailable_and_its_password_not_shown(silent: str) -> None:
    with RunQueue(silent) as queue, pytest.raises(QueueUnavailable) as refusal:
        queue.enqueue(ASK)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_queue_says_what_becomes_of_what_skyvern_is_known_not_to_take(
    kind: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = line("a") | {"body": {"prompt": "Read it.", "new": 1}}
    late = WorkflowRunRequest(workflow_id="wpid_1", max_elapsed_time_minutes=481)

    async def asked(**options: Any) -> list[Any]:
        answers = []
        async with both(kind, redis_url, **options) as ask:
            for name, given in (("enqueue_many", [unknown]), ("enqueue", late)):
                try:
                    answers.append(await ask(name, given))
                except InvalidJob as error:
                    answers.append([one.field for one in error.errors])
        return answers

    faults = [["[0].body.new"], ["body.max_elapsed_time_minutes"]]
    assert await asked() == faults
    passed = await asked(request_checks="pass")
    assert passed[0][0].status is EnqueueStatus.NEW
    assert passed[1].status is EnqueueStatus.NEW
    monkeypatch.setenv("RUNQUEUE_REQUEST_CHECKS", "pass")
    assert await asked(request_checks="refuse") == faults
    assert (await asked())[0][0].status is EnqueueStatus.KNOWN
    monkeypatch.setenv("RUNQUEUE_REQUEST_CHECKS", "maybe")
    with pytest.raises(ValueError, match="RUNQUEUE_REQUEST_CHECKS: expected refuse"):
        await asked()


def test_a_line_of_a_file_is_not_taken_for_a_request(queue: RunQueue) -> None:
    with pytest.raises(TypeError, match="expected a run request, such as TaskRunRequest"):
        queue.enqueue(line())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_redis_that_drops_keys_is_refused_where_jobs_are_submitted_and_may_be_looked_at(
    kind: str, tmp_path: Path
) -> None:
    server = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    try:
        with redis.Redis.from_url(url) as plain:
            plain.config_set("maxmemory-policy", "allkeys-lru")
        async with both(kind, url) as ask:
            with pytest.raises(EvictingRedis, match="allkeys-lru"):
                await ask("enqueue", ASK)
            with pytest.raises(EvictingRedis, match="allkeys-lru"):
                await ask("open_batch")
            await ask("pause", reason="Redis drops keys")
            assert (await ask("stats"))["default"].paused
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_first_call_writes_the_format(
    kind: str, client: redis.Redis, redis_url: str
) -> None:
    async with both(kind, redis_url) as ask:
        await ask("enqueue", ASK)

    assert client.get(FORMAT_KEY) == b"%d" % FORMAT


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_redis_of_another_format_is_refused_with_both_numbers_and_stays_as_it_is(
    kind: str, client: redis.Redis, redis_url: str
) -> None:
    client.set(FORMAT_KEY, FORMAT + 1)
    words = f"holds format {FORMAT + 1}, and this version of runqueue has format {FORMAT}: "

    async with both(kind, redis_url) as ask:
        for name, *arguments in [("enqueue", ASK), ("pause",), ("pause", "acme"), ("stats",)]:
            with pytest.raises(OtherFormat, match=words):
                await ask(name, *arguments)

    assert client.keys() == [FORMAT_KEY.encode()]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_redis_that_was_emptied_or_replaced_is_compared_again(
    kind: str, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("queue", "async_queue"):
        monkeypatch.setattr(f"runqueue.producer.{module}.COMPARED_SECONDS", 0)
    async with both(kind, redis_url) as ask:
        await ask("enqueue", ASK)
        client.flushall()

        await ask("enqueue", ASK)
        assert client.get(FORMAT_KEY) == b"%d" % FORMAT

        client.set(FORMAT_KEY, FORMAT + 1)
        with pytest.raises(OtherFormat):
            await ask("enqueue", ASK)
