"""The inbox's consumer: every line is one job, whatever happens in between."""

import asyncio
import json
from typing import Any

import pytest
import redis

from runqueue import Budget, JobState, parse_line
from runqueue.store.job_calls import job_id_of
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import eventually
from tests.worker.working import KEYS, Bench, Send, Work, wrap_send
from worker.stages import inbox as module

INBOX = f"{KEYS.prefix}inbox"


def line(key: str | None = None, **more: Any) -> str:
    named = {} if key is None else {"custom_id": key}
    return json.dumps({**named, "kind": "task", "body": {"prompt": "Read it."}, **more})


def left(bench: Bench) -> tuple[int, int, int]:
    """Lines that wait, are taken, were refused."""
    client: Any = bench.client
    waiting, taken = client.llen(INBOX), client.hlen(f"{INBOX}:taken")
    return waiting, taken, client.llen(f"{INBOX}:invalid")


def come_again(bench: Bench) -> None:
    """The leases of the lines that are taken are over."""
    taken: Any = bench.client.hkeys(f"{INBOX}:taken")
    bench.client.zadd(f"{INBOX}:leases", dict.fromkeys(taken, 1))


async def consumed(bench: Bench) -> None:
    """Run the consumer until there is nothing more to do."""
    run = asyncio.create_task(bench.account.consumers["inbox"].run(0))
    await eventually(lambda: left(bench)[:2] == (0, 0))
    await bench.account.consumers["inbox"].drain(5)
    await run


async def test_lines_become_jobs(work: Work) -> None:
    async with work() as bench:
        named = {"metadata": {"order": "7"}}
        lines = [line(f"order-{n}", **(named if n == 7 else {})) for n in range(450)]
        bench.client.rpush(INBOX, *lines)

        await consumed(bench)

        assert bench.stats().states[JobState.READY] == 450
        job = bench.job(job_id_of(parse_line(line("order-7"))))
        assert (job.custom_id, job.metadata) == ("order-7", {"order": "7"})


async def test_a_line_that_a_strict_budget_refuses_keeps_no_other_back(work: Work) -> None:
    async with work() as bench:
        bench.queue.set_budget("account", Budget(1_000, is_strict=True))
        body = {"prompt": "Read it.", "max_steps": 5}
        bench.client.rpush(INBOX, *[line(str(n), body=body) for n in range(3)], line("without"))

        await consumed(bench)

        assert bench.stats().states[JobState.READY] == 3
        assert left(bench) == (0, 0, 1)


async def test_a_crash_after_the_jobs_were_made_makes_none_twice(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        bench.client.rpush(INBOX, line(), line("order-1"))
        with monkeypatch.context() as patch:

            async def dies(send: Send, call: ScriptCall[Any]) -> Any:
                if call.script.name == "inbox_done":
                    raise redis.ConnectionError
                return await send(call)

            wrap_send(patch, bench.account, dies)
            patch.setattr(module, "PAUSE_SECONDS", 0)
            await bench.one_pass("inbox")
        assert left(bench) == (0, 2, 0)
        assert bench.stats().states[JobState.READY] == 2

        come_again(bench)
        await consumed(bench)

        assert bench.stats().states[JobState.READY] == 2
        assert bench.stats().totals["enqueued"] == 2


async def test_a_crash_before_the_jobs_were_made_loses_none(work: Work) -> None:
    async with work() as bench:
        bench.client.rpush(INBOX, line(), line("order-1"), "nonsense")
        await bench.account.consumers["inbox"].take(2, 0)  # and then it dies
        assert left(bench) == (0, 3, 0)

        come_again(bench)
        await consumed(bench)

        assert bench.stats().states[JobState.READY] == 2
        assert left(bench) == (0, 0, 1)


async def test_a_process_that_was_frozen_hands_in_nothing_that_may_be_somebody_else_s(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    async with work() as bench:
        bench.client.rpush(INBOX, line())
        monkeypatch.setattr(module, "USE_SECONDS", -1.0)

        await bench.one_pass("inbox")

        assert bench.stats().totals == {}
        assert left(bench) == (0, 1, 0)
        assert "lines_late" in [event["event"] for event in logged]


async def test_what_is_wrong_with_a_line_is_kept_with_it_and_counted(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        secret = '{"custom_id": "a", "kind": "task", "body": {"password": "hunter2"}}'
        bench.client.rpush(INBOX, "nonsense", secret, line("order-1"))

        await consumed(bench)

        kept = [json.loads(entry) for entry in bench.client.lrange(f"{INBOX}:invalid", 0, -1)]
        assert [entry["line"] for entry in kept] == ["nonsense", secret]
        assert {fault["field"] for fault in kept[1]["error"]} == {"body.password", "body.prompt"}
        assert bench.stats().totals == {"enqueued": 1, "invalid_lines": 2}
        assert "hunter2" not in str(logged)


async def test_a_line_of_another_account_is_refused(work: Work) -> None:
    async with work() as bench:
        bench.client.rpush(INBOX, line("a", account="acme"), line("b", account="default"))

        await consumed(bench)

        (kept,) = bench.client.lrange(f"{INBOX}:invalid", 0, -1)
        said = "this is the inbox of 'default', and not of 'acme'"
        assert json.loads(kept)["error"] == [{"field": "account", "message": said}]
        assert bench.stats().totals["enqueued"] == 1


async def test_lines_that_a_full_redis_does_not_take_stay_and_come_when_there_is_room(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    async with work() as bench:
        bench.client.rpush(INBOX, line())
        taken = await bench.account.consumers["inbox"].take(1, 0)
        bench.client.config_set("maxmemory", 1)
        bench.account.consumers["inbox"]._start(taken.items[0])
        await eventually(lambda: bench.account.consumers["inbox"].busy == 0)
        bench.client.config_set("maxmemory", 0)
        assert left(bench) == (0, 1, 0)
        assert "lines_left" in [event["event"] for event in logged]

        come_again(bench)
        await consumed(bench)

        assert bench.stats().states[JobState.READY] == 1
