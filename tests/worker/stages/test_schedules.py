"""The schedules' consumer: each line of a firing is one job, whatever happens in between."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
import redis

from runqueue import Budget, Job, JobState
from runqueue.records.batch import BatchStatus
from runqueue.records.schedule import Firing, FiringKind, FiringState, Overlap, Schedule
from runqueue.records.schedule import ScheduleSpec as Spec
from runqueue.schedules import calls
from runqueue.schedules.plan import batch_id
from runqueue.schedules.template import utc_form
from runqueue.store import job_calls
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import eventually
from tests.worker.working import INSTANT, KEYS, Bench, Send, Work, start, wrap_send
from worker.stages import schedules as module
from worker.stages.sweep import sweep

#: 2030-01-31, noon UTC.
AT_US = 1_896_091_200_000_000
BODY = {"prompt": "Read it on {date}.", "url": INSTANT, "engine": "skyvern-1.0"}
SPEC = Spec("nightly", cron="0 2 * * *", job={"kind": "task", "body": BODY})


def put(bench: Bench, spec: Spec = SPEC, *firings: Firing, **more: Any) -> None:
    """Store a schedule; by default one firing of it waits."""
    waiting = firings or (Firing(AT_US, FiringKind.NOW),)
    schedule = Schedule(spec, "default", bench.now_us(), "", 0, waiting)
    assert bench.queue.send(calls.write_schedule(None, replace(schedule, **more))) > 0


def put_file(bench: Bench, n: int, *, bad: int = 0) -> Spec:
    """Store a file of lines, of which one may be bad, and return a schedule of it."""
    lines = [
        json.dumps({"kind": "task", "body": {**BODY, "prompt": "" if one == bad else f"{one}"}})
        for one in range(1, n + 1)
    ]
    packed = calls.pack_lines([line.encode() for line in lines])
    place = 0
    while place < len(packed.chunks):
        place = bench.queue.send(calls.put_lines("default", packed, place))
    return replace(SPEC, job=None, lines=packed.name)


def read(bench: Bench, name: str = "nightly") -> Schedule:
    found = bench.queue.send(calls.read_schedule("default", name))
    assert found is not None
    return found.schedule


def states(bench: Bench) -> list[str]:
    """The states of the firings, the newest first."""
    return [one.state.value for one in read(bench).firings]


async def look(bench: Bench) -> None:
    """Let whoever has the schedules have died, and look at all of them."""
    names: Any = bench.client.zrange(f"{KEYS.prefix}schedules", 0, -1)
    bench.client.zadd(f"{KEYS.prefix}schedules", dict.fromkeys(names, 0))
    await bench.one_pass("schedules")


def jobs_of(bench: Bench, batch: str) -> list[Job]:
    """The first thousand jobs of a batch."""
    ids = bench.queue.send(job_calls.list_batch("default", batch, 0, 1_000))
    return [bench.queue.get(one) for one in ids]


async def test_a_firing_becomes_a_sealed_batch_with_the_time_filled_in(work: Work) -> None:
    async with work() as bench:
        put(bench)

        await look(bench)

        (firing,) = read(bench).firings
        assert (firing.state, firing.jobs) == (FiringState.RUNNING, 1)
        batch = bench.queue.get_batch(firing.batch)
        assert (batch.name, batch.sealed, batch.total) == ("nightly/20300131T120000Z", True, 1)
        (job,) = jobs_of(bench, firing.batch)
        assert job.custom_id == "nightly/20300131T120000Z/1"
        stored = bench.client.get(f"{KEYS.prefix}body:{job.id}")
        assert b"Read it on 2030-01-31." in stored  # type: ignore[operator]


async def test_a_firing_whose_jobs_have_ended_is_over_with_their_figures(work: Work) -> None:
    async with work(simulator={"credits_per_step": 5}) as bench:
        put(bench)
        await look(bench)
        await bench.one_pass("submit")
        await bench.one_pass("poll")

        await look(bench)

        (firing,) = read(bench).firings
        assert (firing.state, firing.completed, firing.failed) == (FiringState.OVER, 1, 0)
        assert firing.ended_us >= firing.begun_us > 0
        assert bench.stats().totals["firings:over"] == 1


async def test_the_lines_of_a_file_are_one_job_each_with_the_lines_number(work: Work) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 2_300))

        await look(bench)

        (firing,) = read(bench).firings
        assert bench.queue.get_batch(firing.batch).total == firing.jobs == 2_300
        assert bench.stats().totals["enqueued"] == 2_300
        named = [job.custom_id for job in jobs_of(bench, firing.batch)]
        assert named == [f"nightly/20300131T120000Z/{n}" for n in range(1, 1_001)]


async def test_a_time_that_fired_before_its_schedule_was_removed_says_so_and_runs_no_line_again(
    work: Work,
) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 2))
        await look(bench)
        first = read(bench)
        assert bench.queue.send(calls.remove_schedule(first))
        put(bench, put_file(bench, 3), Firing(AT_US, FiringKind.BACKFILL, jobs=3))

        await look(bench)

        (firing,) = read(bench).firings
        assert (firing.state, firing.jobs) == (FiringState.RUNNING, 2)
        assert firing.batch == first.firings[0].batch
        assert firing.message == "the jobs of this time were enqueued before, and are not again"
        assert bench.stats().totals["enqueued"] == 2


class Dies(Exception):  # noqa: N818 - it is no error of the code
    """What stands for the end of a worker."""


def dying(monkeypatch: pytest.MonkeyPatch, bench: Bench, nth: int, *, is_sent: bool) -> None:
    """Have the worker die at its nth call, before or after Redis has done it."""
    made = 0

    async def dies(send: Send, call: ScriptCall[Any]) -> Any:
        nonlocal made
        made += 1
        if made < nth:
            return await send(call)
        if made == nth and is_sent:
            await send(call)
        raise Dies

    wrap_send(monkeypatch, bench.account, dies)


@pytest.mark.parametrize("is_sent", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 12))
async def test_a_worker_that_dies_at_any_call_costs_no_line_and_makes_none_twice(
    work: Work, monkeypatch: pytest.MonkeyPatch, nth: int, *, is_sent: bool
) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 150))
        taken = await bench.account.consumers["schedules"].take(10, 0)
        with monkeypatch.context() as patch:
            dying(patch, bench, nth, is_sent=is_sent)
            start(bench.account.consumers["schedules"], *taken.items)
            await eventually(lambda: bench.account.consumers["schedules"].busy == 0)

        await look(bench)

        (firing,) = read(bench).firings
        assert firing.state is FiringState.RUNNING
        ids = [job.custom_id for job in jobs_of(bench, firing.batch)]
        at = utc_form(AT_US)
        assert Counter(ids) == Counter(f"nightly/{at}/{n}" for n in range(1, 151))
        assert bench.stats().totals["enqueued"] == 150
        assert bench.stats().totals["batches:opened"] == 1


async def test_an_upload_that_is_cut_off_goes_on_where_another_worker_claims_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 250))
        consumer, sent = bench.account.consumers["schedules"], asyncio.Event()

        async def stands_still(send: Send, call: ScriptCall[Any]) -> Any:
            answer = await send(call)
            if call.script.name == "enqueue":
                sent.set()
                await asyncio.Event().wait()
            return answer

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, stands_still)
            start(consumer, *(await consumer.take(10, 0)).items)
            await sent.wait()
            await consumer.drain(0)
        consumer.draining = False
        assert (states(bench), bench.stats().totals["enqueued"]) == (["uploading"], 100)

        await look(bench)

        assert (states(bench), bench.stats().totals["enqueued"]) == (["running"], 250)


async def test_a_worker_that_died_after_its_jobs_were_over_and_forgotten_makes_none_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench)
        with monkeypatch.context() as patch:

            async def dies(send: Send, call: ScriptCall[Any]) -> Any:
                answer = await send(call)
                if call.script.name == "seal_batch":
                    raise Dies
                return answer

            wrap_send(patch, bench.account, dies)
            await look(bench)
        assert states(bench) == ["uploading"]
        (job,) = bench.queue.list_jobs().jobs
        bench.client.delete(f"{KEYS.prefix}job:{job.id}", f"{KEYS.prefix}body:{job.id}")

        await look(bench)

        assert states(bench) == ["running"]
        assert bench.stats().totals["enqueued"] == 1


async def test_an_upload_goes_on_with_the_spec_that_it_began_with(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 150))
        with monkeypatch.context() as patch:
            dying(patch, bench, 7, is_sent=True)
            await look(bench)
        before = read(bench)
        changed = replace(before, spec=SPEC)
        assert bench.queue.send(calls.write_schedule(before, changed)) > 0

        await look(bench)

        assert states(bench) == ["running"]
        assert bench.queue.get_batch(read(bench).firings[0].batch).total == 150


async def test_an_upload_that_is_stopped_is_another_workers_at_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 150))

        async def drains(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "enqueue":
                bench.account.consumers["schedules"].draining = True
            return await send(call)

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, drains)
            await look(bench)
        assert states(bench) == ["uploading"]
        bench.account.consumers["schedules"].draining = False

        await bench.one_pass("schedules")

        assert states(bench) == ["running"]
        assert bench.stats().totals["enqueued"] == 150


async def test_an_upload_under_way_renews_its_claim_and_ends_once_another_has_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", -1.0)
    async with work() as bench:
        put(bench, put_file(bench, 250))
        made: list[str] = []

        async def takes_over(send: Send, call: ScriptCall[Any]) -> Any:
            made.append(call.script.name)
            if made.count("keep_schedule") == 1:
                bench.client.hset(f"{KEYS.prefix}schedule:nightly", "claimed", "other 1")
            return await send(call)

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, takes_over)
            await look(bench)

        assert made[-1] == "keep_schedule"
        assert states(bench) == ["uploading"]
        await look(bench)
        assert states(bench) == ["running"]


async def test_a_change_of_the_schedule_during_an_upload_is_not_lost(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench)

        async def pauses(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "enqueue":
                before = read(bench)
                bench.queue.send(calls.write_schedule(before, replace(before, paused="by Ann")))
            return await send(call)

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, pauses)
            await look(bench)

        assert (states(bench), read(bench).paused) == (["running"], "by Ann")


async def test_a_refused_line_fails_its_firing_and_none_of_its_jobs_is_left(work: Work) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 250, bad=230))

        await look(bench)

        (firing,) = read(bench).firings
        assert firing.state is FiringState.FAILED
        assert firing.message.startswith("line 230: body.prompt: ")
        assert firing.ended_us > 0
        assert bench.queue.list_jobs().jobs == []
        assert bench.stats().totals["firings:failed"] == 1


async def test_a_firing_whose_batch_is_canceled_as_it_is_filled_fails(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench)

        async def cancels(send: Send, call: ScriptCall[Any]) -> Any:
            answer = await send(call)
            if call.script.name == "open_batch":
                bench.queue.cancel_batch(str(call.arguments[0]))
            return answer

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, cancels)
            await look(bench)

        (firing,) = read(bench).firings
        said = "its batch was canceled, or has expired"
        assert (firing.state, firing.message) == (FiringState.FAILED, said)
        # Asked for again, it has a batch of the same id, which nobody canceled.
        found = read(bench)
        again = replace(found, firings=(Firing(AT_US, FiringKind.BACKFILL, jobs=1),))
        assert bench.queue.send(calls.write_schedule(found, again)) > 0
        await look(bench)
        await sweep(bench.account)
        (job,) = jobs_of(bench, firing.batch)
        assert job.state is JobState.READY


async def test_an_upload_that_another_worker_has_finished_meanwhile_is_no_failure(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        put(bench)

        async def is_late(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "enqueue":
                await send(call)
                bench.queue.seal_batch(read(bench).firings[0].batch)
            return await send(call)

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, is_late)
            await look(bench)

        assert states(bench) == ["running"]
        assert bench.stats().totals["enqueued"] == 1


async def test_a_file_that_is_gone_fails_the_firing(work: Work) -> None:
    async with work() as bench:
        spec = put_file(bench, 3)
        put(bench, spec)
        bench.client.delete(f"{KEYS.prefix}schedule_lines:{spec.lines}")

        await look(bench)

        (firing,) = read(bench).firings
        assert (firing.state, "is gone" in firing.message) == (FiringState.FAILED, True)


async def test_a_firing_that_overlaps_cancels_the_one_before_and_begins_once_it_is_over(
    work: Work,
) -> None:
    async with work() as bench:
        put(bench, replace(SPEC, overlap=Overlap.CANCEL))
        await look(bench)
        before = read(bench)
        later = Firing(AT_US + 60_000_000, FiringKind.NOW)
        bench.queue.send(
            calls.write_schedule(before, replace(before, firings=(later, *before.firings)))
        )

        await look(bench)
        assert states(bench) == ["waiting", "running"]
        first = read(bench).firings[1].batch
        assert bench.queue.get_batch(first).status is BatchStatus.CANCELED
        for _ in range(3):
            await sweep(bench.account)
        await look(bench)

        assert states(bench) == ["running", "over"]


async def test_a_redis_that_takes_nothing_costs_no_line(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    async with work() as bench:
        put(bench, put_file(bench, 250))
        sent = 0

        async def cut(send: Send, call: ScriptCall[Any]) -> Any:
            nonlocal sent
            sent += call.script.name == "enqueue"
            if sent == 2:
                await send(call)
                raise redis.ConnectionError
            return await send(call)

        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, cut)
            await look(bench)
        assert states(bench) == ["uploading"]
        assert "schedule_left" in [event["event"] for event in logged]

        await look(bench)

        assert states(bench) == ["running"]
        assert bench.stats().totals["enqueued"] == 250


async def test_a_budget_without_room_is_said_before_the_firing_begins(work: Work) -> None:
    async with work() as bench:
        bench.queue.set_budget("group:shop", Budget(1_000))
        bench.queue.set_budget("account", Budget(50))
        put(bench, put_file(bench, 6))

        await look(bench)

        (firing,) = read(bench).firings
        said = "the budget of account has no room: 50 steps are left, 60 expected"
        assert (firing.state, firing.message) == (FiringState.RUNNING, said)


async def test_a_budget_without_room_is_said_of_a_timed_firing(work: Work) -> None:
    async with work() as bench:
        bench.queue.set_budget("account", Budget(50))
        spec = replace(put_file(bench, 6), cron="", every_seconds=60)
        before = Firing(AT_US, FiringKind.NOW, FiringState.OVER)
        put(bench, spec, before, mark_us=bench.now_us() - 60_000_000)

        await look(bench)

        (firing,) = (one for one in read(bench).firings if one.at_us != AT_US)
        assert (firing.kind, firing.state) == (FiringKind.TIMED, FiringState.RUNNING)
        assert "the budget of account has no room" in firing.message


@pytest.mark.parametrize(("is_sealed", "state"), [(True, "running"), (False, "failed")])
async def test_an_upload_of_long_ago_is_not_repeated_but_may_have_been_accepted(
    work: Work, is_sealed: bool, state: str
) -> None:
    async with work() as bench:
        put(bench)
        if is_sealed:
            await look(bench)
        before = read(bench)
        begun = Firing(
            *(AT_US, FiringKind.NOW, FiringState.UPLOADING),
            batch=batch_id("default", "nightly", AT_US),
            begun_us=bench.now_us() - 2 * 86_400_000_000,
            jobs=1,
        )
        after = replace(before, firings=(begun,))
        assert bench.queue.send(calls.write_schedule(before, after)) > 0

        await look(bench)

        assert states(bench) == [state]
        assert bench.stats().totals.get("enqueued", 0) == int(is_sealed)


async def test_a_budget_with_room_says_nothing(work: Work) -> None:
    async with work() as bench:
        bench.queue.set_budget("account", Budget(60))
        put(bench, put_file(bench, 6))

        await look(bench)

        assert read(bench).firings[0].message == ""


async def test_missed_and_failed_firings_and_a_pause_are_kept_for_notifications(work: Work) -> None:
    async with work() as bench:
        bench.client.hset(f"{KEYS.prefix}notices", "lease", "1 p")
        put(bench, replace(put_file(bench, 3, bad=1), pause_after=1))
        await look(bench)
        await look(bench)

        kept: Any = bench.client.zrange(f"{KEYS.prefix}batch_ends", 0, -1)
        events = [one.decode() for one in kept]
        assert [one.partition(":")[0] for one in events] == ["schedule_failed", "schedule_paused"]
        assert read(bench).paused == "its last 1 firings completed no job"
        assert bench.stats().totals["schedules:paused"] == 1


async def test_of_many_missed_firings_one_notification_is_kept(work: Work) -> None:
    async with work() as bench:
        bench.client.hset(f"{KEYS.prefix}notices", "lease", "1 p")
        spec = replace(SPEC, cron="", every_seconds=60)
        put(bench, spec, Firing(1, state=FiringState.OVER), mark_us=bench.now_us() - 600_000_000)
        await look(bench)

        (kept,) = cast(Any, bench.client.zrange(f"{KEYS.prefix}batch_ends", 0, -1))
        assert kept.startswith(b"schedule_missed:nightly ")
        assert kept.endswith(b"in all)")


async def test_the_consumer_runs_what_is_due_and_ends(work: Work) -> None:
    async with work() as bench:
        for name in ("a", "b", "c"):
            put(bench, replace(SPEC, name=name))

        await bench.account.consumers["schedules"].run(0)

        assert bench.stats().states[JobState.READY] == 3
        assert bench.active_consumers("schedules") == 0


async def test_a_file_of_20000_lines_is_uploaded_to_its_last_line(work: Work) -> None:
    async with work() as bench:
        put(bench, put_file(bench, 20_000))

        await look(bench)

        (firing,) = read(bench).firings
        assert bench.queue.get_batch(firing.batch).total == 20_000
        assert bench.stats().totals["enqueued"] == 20_000
