"""Claims that Redis may have lost: runs are adopted, and the account goes on by itself."""

import asyncio
import time
from typing import Any, cast

import pytest

from api_client import ListClass, ReadClass, RunPage, RunReading
from api_client.answers.outcomes import RunTags
from runqueue import JobState, ids
from runqueue.records.claim_items import Taken
from runqueue.store import worker_calls
from tests.simulator.simulating import eventually
from tests.worker.searching import (
    LOST,
    MADE,
    control,
    flow,
    look,
    lose,
    record,
    show_requests,
    task,
    task_v2,
)
from tests.worker.working import ENDLESS, KEYS, Bench, Work, closed_port, start
from worker.runs.recovery import Recovery
from worker.stages.reconcile import ReconcileConsumer

MINUTE = 60_000_000
HOOK = "https://hook.test/"

pytestmark = pytest.mark.usefixtures("no_waiting")


async def lost_claims(bench: Bench, *, noticed: int = 100, ago: int = 5, remembered: bool) -> None:
    """Have another Redis server answer.

    Args:
        bench: the account.
        noticed: how many seconds ago that was noticed.
        ago: how many minutes before that its last tick was.
        remembered: a process remembers claims that it does not know.
    """
    await bench.one_pass("submit")  # it knows this server
    now = bench.now_us() - noticed * 1_000_000
    fields: dict[str, Any] = {
        "recover_from": now - ago * MINUTE,
        "recover_since": now,
        "hold_person": 1,
        "hold_kind": "redis",
        "hold_until": now + 10**14,
        "hold_reason": "Redis lost claims",
    }
    if remembered:
        fields["remembered"] = 10
    for name, value in fields.items():
        bench.client.hset(KEYS.meta, name, value)


def is_held(bench: Bench) -> bool:
    return bench.stats().hold_reason is not None


def recovery_of(bench: Bench) -> Recovery:
    return cast("ReconcileConsumer", bench.account.consumers["reconcile"])._recovery


@pytest.mark.parametrize("noticed", [0, 76])
async def test_lost_claims_are_recovered_once_nothing_from_before_is_on_the_wire(
    work: Work, noticed: int
) -> None:
    async with work() as bench:
        await lost_claims(bench, noticed=noticed, remembered=True)
        (job_id,) = bench.enqueue(1)
        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(job_id, 1))

        await bench.one_pass("reconcile")

        assert (bench.job(job_id).state, bench.job(job_id).run_id) == (JobState.RUNNING, run_id)
        assert is_held(bench) == (noticed < 75)


async def test_lost_claims_are_recovered_as_far_back_as_the_server_s_own_date_of_the_last_tick(
    work: Work,
) -> None:
    ago = [-1_800.0]
    async with work(clock=lambda: time.time() + ago[0]) as bench:
        await lost_claims(bench, remembered=False)
        bench.client.hset(KEYS.meta, "recover_date", bench.now_us() - 40 * MINUTE)
        lost, suspected = bench.enqueue(2)
        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(lost, 1))
        await bench.api.run_workflow(workflow_id="wpid_1")
        flow_id = bench.queue.enqueue(flow(parameters=None)).job_id
        ago[0] = 0.0

        await bench.one_pass("reconcile")

        assert bench.job(lost).run_id == run_id
        assert bench.job(suspected).state is JobState.READY
        assert (bench.job(flow_id).state, is_held(bench)) == (JobState.READY, True), (
            "what is behind by so long waits for a person"
        )


async def test_a_job_that_may_have_lost_its_claim_is_looked_for_back_to_the_server_s_own_date(
    work: Work,
) -> None:
    ago = [-500.0]
    async with work(clock=lambda: time.time() + ago[0]) as bench:
        await lost_claims(bench, ago=1, remembered=False)
        bench.client.hset(KEYS.meta, "recover_date", bench.now_us() - 10 * MINUTE)
        job_id = bench.queue.enqueue(task_v2()).job_id
        run_id = await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        ago[0] = 0.0

        await bench.one_pass("reconcile")
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        await look(bench)

        assert bench.job(job_id).run_id == run_id


async def test_a_promoted_server_holds_the_account_until_the_lost_claims_runs_are_adopted(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        (known,) = await bench.submitted()
        lost, waiting = bench.enqueue(2)
        bench.client.replicaof("127.0.0.1", str(closed_port()))
        bench.client.replicaof("NO", "ONE")
        await bench.one_pass("submit")
        assert is_held(bench)
        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(lost, 1))

        await bench.one_pass("reconcile")
        assert is_held(bench)
        assert bench.job(lost).run_id == run_id
        monkeypatch.setattr("worker.runs.recovery.GRACE", 0.0)
        monkeypatch.setattr("worker.runs.recovery.Recovery.is_due", lambda _: True)
        await bench.one_pass("reconcile")

        assert not is_held(bench)
        await bench.one_pass("submit")
        assert {bench.job(job_id).state for job_id in (known, lost, waiting)} == {"running"}
        assert len(await bench.runs()) == 3


@pytest.mark.parametrize("ago", [5, 60])
async def test_somebody_else_s_run_keeps_no_account_held(work: Work, ago: int) -> None:
    async with work() as bench:
        await bench.api.run_task(url=ENDLESS, prompt="theirs")
        await lost_claims(bench, ago=ago, remembered=False)
        (job_id,) = bench.enqueue(1)

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        assert bench.job(job_id).state is JobState.READY


async def test_a_waiting_job_that_a_run_without_a_marker_may_be_of_is_looked_for_and_gets_it(
    work: Work,
) -> None:
    async with work() as bench:
        await lost_claims(bench, remembered=True)
        equal = [bench.queue.enqueue(task_v2()).job_id for _ in range(3)]
        later = bench.queue.enqueue(task_v2(), delay=60).job_id
        other = bench.queue.enqueue(task_v2(prompt="another")).job_id
        run_id = await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        states = [bench.job(job_id).state for job_id in (*equal, later)]
        assert sorted(states) == ["ready", "ready", "scheduled", "unconfirmed"], "one for one run"
        assert bench.job(other).state is JobState.READY
        unconfirmed = equal[states.index(JobState.UNCONFIRMED)]
        await look(bench, 1, only=[unconfirmed])
        assert (bench.job(unconfirmed).state, bench.job(unconfirmed).run_id) == ("running", run_id)
        await bench.one_pass("submit")
        assert {bench.job(job_id).state for job_id in (*equal, other)} == {JobState.RUNNING}
        assert len(await bench.runs()) == 4


@pytest.mark.parametrize("ahead", [{"keys": ["session:pbs_1"]}, {}], ids=["a session", "others"])
async def test_a_job_gets_the_run_without_a_marker_of_its_lost_claim_behind_any_number_of_jobs(
    work: Work, ahead: dict[str, Any]
) -> None:
    """The others did not fit a budget that was set after the copy was made, say."""
    async with work(max_concurrent_runs=10) as bench:
        await lost_claims(bench, remembered=True)
        lines = [
            {"kind": "task", "body": {"prompt": f"p{n}", "url": ENDLESS}, **ahead}
            for n in range(200)
        ]
        waiting = [one.job_id for one in bench.queue.enqueue_many(lines)]
        own = bench.queue.enqueue(task_v2(prompt="own")).job_id
        was_enqueued_before(bench, *waiting, own)
        run_id = await bench.api.run_task(prompt="own", url=ENDLESS, engine="skyvern-2.0")

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        assert bench.stats().states[JobState.UNCONFIRMED] == 1
        await look(bench, 1, only=[own])
        assert (bench.job(own).state, bench.job(own).run_id) == ("running", run_id)


async def test_a_scheduled_job_that_may_have_its_run_is_not_submitted_when_it_is_due(
    work: Work,
) -> None:
    async with work() as bench:
        await lost_claims(bench, remembered=True)
        job_id = bench.queue.enqueue(task_v2(), delay=60).job_id
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")

        await bench.one_pass("reconcile")

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert bench.score("due", job_id) is None
        assert record(bench, job_id, "attempt") == "1"


async def test_of_equal_jobs_one_whose_time_is_still_to_come_hides_none_that_may_own_the_run(
    work: Work,
) -> None:
    async with work() as bench:
        bench.queue.enqueue(task_v2(), delay=86_400)
        running = bench.queue.enqueue(task_v2(), retry={"max_attempts": 2}).job_id
        await bench.one_pass("submit")
        await lost_claims(bench, remembered=True)
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")

        await bench.one_pass("reconcile")

        assert record(bench, running, "maybe_claimed_at")


@pytest.mark.parametrize("when", ["before", "in between", "after"])
async def test_a_job_whose_first_run_fails_around_the_recovery_gets_the_extra_run_that_was_made(
    work: Work, when: str
) -> None:
    url = "https://shop.test/?sim_end=failed&sim_seconds=0"
    async with work(max_concurrent_runs=1) as bench:
        policy = {"max_attempts": 2, "min_backoff": 5}
        job_id = bench.queue.enqueue(task_v2(url=url), retry=policy).job_id
        await bench.one_pass("submit")
        bench.enqueue(100)  # a line, longer than claims can be lost
        further = await bench.api.run_task(prompt="p", url=url, engine="skyvern-2.0")
        await lost_claims(bench, remembered=False, ago=1)

        async def fail() -> None:
            bench.client.zadd(f"{KEYS.prefix}poll", {job_id: 0}, xx=True)
            await bench.one_pass("poll")

        if when != "after":
            await fail()
        if when == "in between":
            bench.client.zadd(f"{KEYS.prefix}due", {job_id: 1})
            await bench.account.send(worker_calls.sweep("default", "promote_due", 100))
            assert bench.job(job_id).state is JobState.READY
        await bench.one_pass("reconcile")
        if when == "after":
            await fail()
        await look(bench, only=[job_id])

        assert not is_held(bench)
        assert (bench.job(job_id).run_id, bench.job(job_id).attempts) == (further, 2)
        assert len(await bench.runs()) == 2


async def test_a_run_without_the_title_that_runs_of_its_type_show_is_nobody_s_of_ours(
    work: Work,
) -> None:
    async with work() as bench:
        await control(bench, task())
        await bench.api.run_task(prompt="p", url=ENDLESS)
        await lost_claims(bench, ago=60, remembered=True)
        job_id = bench.queue.enqueue(task()).job_id

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        assert bench.job(job_id).state is JobState.READY


@pytest.mark.parametrize(("remembered", "found"), [(True, False), (False, True)])
async def test_a_server_that_lost_more_than_minutes_waits_for_a_person_where_runs_show_no_marker(
    work: Work, remembered: bool, found: bool
) -> None:
    async with work() as bench:
        if found:
            title = ids.title_marker(ids.new_id("default"), 1)
            await bench.api.run_task(url=ENDLESS, title=title)
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await lost_claims(bench, ago=60, remembered=remembered)

        await bench.one_pass("reconcile")

        assert bench.stats().waits_for_a_person
        assert "1 runs without a marker" in str(bench.stats().hold_reason)


def refuse_to_show(monkeypatch: pytest.MonkeyPatch, bench: Bench, refused: str) -> None:
    """Have the server answer each read of a run with a 400."""
    read = bench.account.client.get_run

    async def get_run(run_id: str, seconds: float) -> RunReading:
        if run_id == refused:
            return RunReading(ReadClass.TROUBLE, detail="400", status_code=400)
        return await read(run_id, seconds)

    monkeypatch.setattr(bench.account.client, "get_run", get_run)


@pytest.mark.parametrize(("times", "held"), [(1, False), (None, True)])
async def test_the_account_stays_held_only_while_no_read_at_all_is_answered(
    work: Work, times: int | None, held: bool
) -> None:
    async with work() as bench:
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await lost_claims(bench, remembered=True)
        await bench.api.fault({"status": 500}, match={"route": "get_run"}, times=times)

        await bench.one_pass("reconcile")

        assert is_held(bench) == held


@pytest.mark.parametrize("unreadable", ["a status", "no request"])
async def test_a_run_that_alone_can_never_be_read_holds_no_account_and_may_be_any_of_its_kind(
    work: Work, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    async with work() as bench:
        theirs = await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await lost_claims(bench, remembered=True)
        job_id = bench.queue.enqueue(task_v2(prompt="another")).job_id
        other = bench.queue.enqueue(flow()).job_id
        if unreadable == "a status":
            refuse_to_show(monkeypatch, bench, theirs)
        else:
            show_requests(monkeypatch, bench, lambda _: None)

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert bench.job(other).state is JobState.READY


@pytest.mark.parametrize("died", [True, False])
async def test_where_a_process_died_a_task_without_a_url_is_looked_for_whatever_is_listed(
    work: Work, *, died: bool
) -> None:
    async with work() as bench:
        await lost_claims(bench, remembered=False)
        if died:
            bench.client.zadd(f"{KEYS.prefix}processes", {"dead": bench.now_us() - 1})
        late = bench.queue.enqueue(task(url=None)).job_id
        other = bench.queue.enqueue(task()).job_id
        was_enqueued_before(bench, late, other)
        new = bench.queue.enqueue(task(url=None, prompt="new")).job_id
        await bench.api.run_workflow(workflow_id="wpid_theirs")

        await bench.one_pass("reconcile")

        assert not is_held(bench)
        assert bench.job(late).state is (JobState.UNCONFIRMED if died else JobState.READY)
        assert bench.job(other).state is JobState.READY
        assert bench.job(new).state is JobState.READY, "it cannot have been claimed before"


@pytest.mark.parametrize("noticed", [100, 1_000])
async def test_more_tasks_without_a_url_than_can_be_looked_for_wait_until_their_runs_are_listed(
    work: Work, monkeypatch: pytest.MonkeyPatch, noticed: int
) -> None:
    monkeypatch.setattr("worker.runs.maybe_claimed.MOST_MAYBE_CLAIMED", 1)
    async with work() as bench:
        await lost_claims(bench, noticed=noticed, remembered=False)
        bench.client.zadd(f"{KEYS.prefix}processes", {"dead": bench.now_us() - 1})
        for n in range(2):
            job_id = bench.queue.enqueue(task(url=None, prompt=f"p{n}")).job_id
            was_enqueued_before(bench, job_id)
        await bench.api.run_workflow(workflow_id="wpid_theirs")

        await bench.one_pass("reconcile")

        assert bench.client.hget(KEYS.meta, "hold_kind") != b"person"
        assert is_held(bench) == (noticed < 900)
        assert bench.job(job_id).state is JobState.READY


@pytest.mark.parametrize(("noticed", "held"), [(100, True), (241, False)])
async def test_while_runs_go_on_something_newer_than_the_loss_is_waited_for_but_not_for_ever(
    work: Work, monkeypatch: pytest.MonkeyPatch, noticed: int, held: bool
) -> None:
    monkeypatch.setattr("worker.runs.recovery.NEWER", 1e9)
    async with work() as bench:
        await bench.submitted()
        await lost_claims(bench, noticed=noticed, remembered=False)
        job_id = bench.queue.enqueue(task()).job_id
        was_enqueued_before(bench, job_id)

        await bench.one_pass("reconcile")

        assert is_held(bench) == held
        assert bench.job(job_id).state is JobState.READY


async def test_an_idle_account_does_not_wait_for_anything_newer_in_the_list(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.recovery.NEWER", 1e9)
    async with work() as bench:
        await lost_claims(bench, remembered=False)

        await bench.one_pass("reconcile")

        assert not is_held(bench)


def was_enqueued_before(bench: Bench, *job_ids: str) -> None:
    """Have jobs been there before another server answered."""
    for job_id in job_ids:
        before = bench.now_us() - 1_000 * 1_000_000
        bench.client.hset(f"{KEYS.prefix}job:{job_id}", "created", before)


async def test_while_runs_are_read_unconfirmed_jobs_are_looked_for(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        job_id = await lose(bench, task(), MADE)
        bench.client.zadd(f"{KEYS.prefix}reconcile", {job_id: 0})
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await lost_claims(bench, remembered=True)
        recovery, may_go_on = recovery_of(bench), asyncio.Event()
        attempt = recovery.attempt

        async def waiting(loss: Taken[Any], since: float) -> None:
            await may_go_on.wait()
            await attempt(loss, since)

        monkeypatch.setattr(recovery, "attempt", waiting)
        consumer = bench.account.consumers["reconcile"]
        start(consumer, *(await consumer.take(2, 0)).items)
        await eventually(lambda: bench.job(job_id).state is JobState.RUNNING)

        assert is_held(bench)
        assert not (await consumer.take(1, 0)).items, "neither is done twice at once"
        may_go_on.set()
        await eventually(lambda: not is_held(bench))


async def test_while_a_person_is_awaited_attempts_become_rare(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    async with work() as bench:
        recovery = recovery_of(bench)
        monkeypatch.setattr(recovery, "_clock", lambda: now)
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        await lost_claims(bench, ago=60, remembered=True)
        waits = []
        for _ in range(8):
            lists = await bench.calls("list_runs")
            await bench.one_pass("reconcile")
            assert await bench.calls("list_runs") > lists
            began = now
            while not recovery.is_due():
                now += 1.0
            waits.append(now - began)

    assert waits == [15, 30, 60, 120, 240, 480, 600, 600]


@pytest.mark.parametrize(
    ("listed", "kind"), [(ListClass.TROUBLE, "redis"), (ListClass.NOT_SUPPORTED, "person")]
)
async def test_without_a_list_the_account_stays_held_and_one_that_will_not_come_calls_a_person(
    work: Work, monkeypatch: pytest.MonkeyPatch, listed: ListClass, kind: str
) -> None:
    async with work() as bench:
        await lost_claims(bench, remembered=True)

        async def failing(**_: Any) -> RunPage:
            return RunPage(listed)

        monkeypatch.setattr(bench.account.client, "list_runs", failing)
        monkeypatch.setattr("worker.runs.recovery.EVERY", 0.0)

        for _ in range(2):
            await bench.one_pass("reconcile")

        assert bench.stats().hold_kind == kind


@pytest.mark.parametrize(
    ("queues", "is_ours"),
    [(("a", "b"), False), (("", "b"), False), (("a", "a"), True), (("a", ""), True)],
)
@pytest.mark.parametrize("carrier", ["title", "webhook_url"])
async def test_a_run_whose_marker_names_another_queue_is_nobody_s_orphan_here(
    work: Work, queues: tuple[str, str], is_ours: bool, carrier: str
) -> None:
    ours, theirs = queues
    async with work(settings={"queue_name": ours}) as bench:
        await lost_claims(bench, ago=60, remembered=True)
        job_id = ids.new_id("default")
        url = f"{HOOK}?{ids.url_marker(job_id, 1, theirs)}"
        title = ids.title_marker(job_id, 1, theirs)
        shown = {"title": title} if carrier == "title" else {"webhook_url": url}
        run_id = await bench.api.run_task(url=ENDLESS, **shown)

        await bench.one_pass("reconcile")

        orphans = [orphan.run_id for orphan in bench.queue.orphans()]
        assert orphans == ([run_id] if is_ours else [])
        assert not is_held(bench)


async def tagged_run(bench: Bench, tag: str) -> str:
    """Make a workflow run with a tag that the server shows nowhere but in its tags."""
    await bench.api.run_workflow(
        workflow_id="wpid_1", parameters={"sim_end": "never"}, run_metadata={ids.TAG_KEY: tag}
    )
    return str((await bench.runs())[-1]["run_id"])


@pytest.mark.parametrize(
    ("ours", "theirs", "is_ours"),
    [("a", "b", False), ("", "b", False), ("a", "a", True), ("a", "", True), ("", "", True)],
)
async def test_a_lost_job_s_workflow_run_is_shown_as_an_orphan_by_its_tag_alone(
    work: Work, ours: str, theirs: str, is_ours: bool
) -> None:
    async with work(settings={"queue_name": ours}) as bench:
        await lost_claims(bench, remembered=True)
        run_id = await tagged_run(bench, ids.tag_value(ids.new_id("default"), 1, theirs))

        await bench.one_pass("reconcile")

        orphans = [orphan.run_id for orphan in bench.queue.orphans()]
        assert orphans == ([run_id] if is_ours else [])
        assert not is_held(bench)


async def test_a_waiting_job_is_given_the_workflow_run_that_its_tag_names(work: Work) -> None:
    async with work() as bench:
        await lost_claims(bench, remembered=True)
        first, second = (bench.queue.enqueue(flow()).job_id for _ in range(2))
        run_id = await tagged_run(bench, ids.tag_value(second, 1))

        await bench.one_pass("reconcile")

        assert bench.job(second).run_id == run_id
        assert (bench.job(first).state, is_held(bench)) == (JobState.READY, False)


@pytest.mark.parametrize("noticed", [100, 300])
async def test_tags_that_cannot_be_read_hold_the_account_for_a_while_alone(
    work: Work, monkeypatch: pytest.MonkeyPatch, noticed: int
) -> None:
    async with work() as bench:
        await lost_claims(bench, noticed=noticed, remembered=True)
        await bench.api.run_workflow(workflow_id="wpid_1", parameters={"sim_end": "never"})

        async def get_run_tags(run_id: str, seconds: float) -> RunTags:
            return RunTags(None, 500)

        monkeypatch.setattr(bench.account.client, "get_run_tags", get_run_tags)
        await bench.one_pass("reconcile")

        assert is_held(bench) == (noticed < 240)


async def test_another_queue_s_run_is_not_adopted_by_the_job_that_has_the_same_id(
    work: Work,
) -> None:
    named: dict[str, Any] = {"settings": {"queue_name": "a"}}
    async with work(**named) as bench:
        job_id = await lose(bench, task(), LOST)
        await bench.api.run_task(url=ENDLESS, title=ids.title_marker(job_id, 1, "b"))

        await look(bench)
        assert bench.job(job_id).state is JobState.UNCONFIRMED

        run_id = await bench.api.run_task(url=ENDLESS, title=ids.title_marker(job_id, 1, "a"))
        await look(bench)
        assert bench.job(job_id).run_id == run_id


async def test_submissions_carry_the_name_of_the_queue_and_are_found_by_it(work: Work) -> None:
    async with work(settings={"queue_name": "a"}) as bench:
        job_id = await lose(bench, task(webhook_url=f"{HOOK}?x=1"), MADE)
        [run] = await bench.runs()
        assert run["title"] == f"[rq:{job_id}.1.a]"

        await look(bench)

        assert bench.job(job_id).run_id == run["run_id"]


@pytest.mark.parametrize("tagged_as", ["a", ""])
async def test_a_workflow_s_run_is_found_by_its_tag_with_and_without_the_name_of_the_queue(
    work: Work, tagged_as: str
) -> None:
    async with work(settings={"queue_name": tagged_as}) as bench:
        job_id = await lose(bench, flow(), MADE)
        [run] = await bench.runs()
        bench.account.worker_settings.queue_name = "a"

        await look(bench)

        assert bench.job(job_id).run_id == run["run_id"]
