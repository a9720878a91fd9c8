"""Which waiting jobs may own runs without a marker, and what looking for them costs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from api_client import ListedRun
from runqueue import (
    Budget,
    DownloadFilesRunRequest,
    JobState,
    KeyLimit,
    LoginRunRequest,
    TaskRunRequest,
)
from runqueue.records.claim_items import RunAgain
from runqueue.store import worker_calls
from runqueue.store.scripts import ScriptCall
from tests.worker.searching import flow, task, task_v2
from tests.worker.working import ENDLESS, KEYS, Bench, Send, Work, wrap_send
from worker.runs import maybe_claimed as suspecting
from worker.runs import search
from worker.runs.comparison import WORKFLOW_RUN, ShownRun, compare
from worker.runs.maybe_claimed import TooManyError, maybe_claimed, most_lost, unlisted

RUNS = 500
SECOND = 1_000_000


def shown(number: int, run_type: str = "task_v1", **request: Any) -> ShownRun:
    listed = ListedRun(f"r{number}", "running", run_type, None, None)
    return ShownRun(listed, request)


def anything() -> ShownRun:
    """A run that any task without a URL may have made."""
    return shown(0, url="https://other.test/", prompt="other")


def enqueue_jobs(bench: Bench, n: int, goal: str = "p", **options: Any) -> list[str]:
    """Enqueue tasks without a URL, each another one, all at once; return their ids."""
    lines = [
        {"kind": "task", "body": {"prompt": f"{goal}{i}", "engine": "skyvern-1.0"}, **options}
        for i in range(n)
    ]
    return [one.job_id for one in bench.queue.enqueue_many(lines)]


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were compared with."""
    made: list[str] = []

    def counted(kind: Any, sent: Any, run: ShownRun) -> Any:
        made.append(run.listed.run_id)
        return compare(kind, sent, run)

    monkeypatch.setattr(suspecting, "compare", counted)
    return made


async def test_of_a_lane_its_first_jobs_alone_come_into_question(work: Work) -> None:
    async with work() as bench:
        job_ids = enqueue_jobs(bench, 12)
        for job_id in job_ids[:3]:
            bench.queue.cancel(job_id)

        found = await maybe_claimed(bench.account, [anything()], 5)

        assert found == job_ids[3:8]


@pytest.mark.parametrize("key", ["session:pbs_1", "profile:bp_1", "totp:1", "login:a"])
async def test_jobs_with_keys_hide_none_behind_them_whatever_limits_this_copy_knows(
    work: Work, key: str
) -> None:
    """Sessions are one at a time by default, and a limit may have been set after the copy."""
    async with work() as bench:
        passed = enqueue_jobs(bench, 250, keys=[key])
        others = enqueue_jobs(bench, 20, "q")

        assert await maybe_claimed(bench.account, [anything()], 5) == [*passed, *others[:5]]
        assert await unlisted(bench.account, 5) == [*passed, *others[:5]]


async def test_jobs_that_may_not_have_fitted_a_budget_hide_none_behind_them(work: Work) -> None:
    async with work() as bench:
        job_ids = enqueue_jobs(bench, 20)
        bench.queue.set_budget("group:default", Budget(100))

        assert await unlisted(bench.account, 5) == job_ids


def cancel_in_recovery(bench: Bench, job_id: str) -> None:
    lose_from_now(bench, 0)
    bench.queue.cancel(job_id)


@pytest.mark.parametrize(
    "pass_by",
    [
        cancel_in_recovery,
        lambda bench, job_id: bench.set(job_id, "deadline", bench.now_us()),
        lambda bench, job_id: bench.set(job_id, "maybe_claimed_at", "1 1 "),
        lambda bench, job_id: bench.set(job_id, "deaths", 2),
        lambda bench, job_id: bench.set(job_id, "group", "another"),
        lambda bench, job_id: bench.client.hset(f"{KEYS.prefix}orphan_jobs", job_id, "tsk_1"),
    ],
    ids=["canceled", "late", "searched", "suspect", "elsewhere", "has an orphan run"],
)
async def test_a_job_that_a_claim_skips_hides_none_behind_it(
    work: Work, pass_by: Callable[[Bench, str], object]
) -> None:
    async with work() as bench:
        job_ids = enqueue_jobs(bench, 4)
        pass_by(bench, job_ids[0])

        assert await unlisted(bench.account, 2) == job_ids[:3]


async def test_a_run_may_be_of_an_equal_request_wherever_its_job_stands(work: Work) -> None:
    """What was canceled, or did not fit a budget, after the copy was made hides it otherwise."""
    async with work() as bench:
        first = enqueue_jobs(bench, 12)
        equal = [bench.queue.enqueue(task_v2(prompt="own")).job_id for _ in range(3)]
        enqueue_jobs(bench, 12)
        runs = [shown(n, "task_v2", url=ENDLESS, prompt="own") for n in range(2)]
        unlike = shown(9, "task_v2", url=ENDLESS, prompt="another")

        assert await maybe_claimed(bench.account, [*runs, unlike], 5) == equal[:2]
        assert await maybe_claimed(bench.account, [anything(), runs[0]], 5) == [
            *first[:5],
            equal[0],
        ]


async def test_of_jobs_that_wait_for_a_key_the_first_alone_come_into_question(work: Work) -> None:
    async with work() as bench:
        bench.queue.set_key_limit("login:a", KeyLimit(1))
        job_ids = enqueue_jobs(bench, 40, keys=["login:a"])
        claim = worker_calls.claim("default", bench.account.lease.name, "c1", 10, 0)
        assert len((await bench.account.send(claim)).items) == 1

        found = await maybe_claimed(bench.account, [anything()], 5)

        assert found == job_ids[1:6]


async def test_each_group_and_priority_has_a_lane_of_its_own(work: Work) -> None:
    async with work() as bench:
        lanes = [
            enqueue_jobs(bench, 4, group + priority, group=group, priority=priority)
            for group in ("a", "b")
            for priority in ("urgent", "low")
        ]

        found = await maybe_claimed(bench.account, [anything()], 2)

        assert sorted(found) == sorted(job_id for lane in lanes for job_id in lane[:2])


def lose_from_now(bench: Bench, noticed: float) -> None:
    """Have Redis be one that lost what comes from now on, as was noticed so many seconds later."""
    now = bench.now_us()
    bench.client.hset(KEYS.meta, "recover_from", now)
    bench.client.hset(KEYS.meta, "recover_since", now + int(noticed * SECOND))


async def test_jobs_whose_time_had_come_when_claims_were_lost_come_into_question(
    work: Work,
) -> None:
    async with work() as bench:
        job_ids = enqueue_jobs(bench, 3, run_at=60)
        enqueue_jobs(bench, 2, "much later", run_at=86_400)
        lose_from_now(bench, 30)

        assert sorted(await maybe_claimed(bench.account, [anything()], 2)) == sorted(job_ids)


@pytest.mark.parametrize("how", ["submitted", "its time came"])
async def test_what_came_to_its_lane_since_comes_into_question_wherever_it_stands(
    work: Work, how: str
) -> None:
    """On the lost server it may have come first, and others behind it."""
    async with work() as bench:
        first = enqueue_jobs(bench, 12)
        delay = {} if how == "submitted" else {"delay": 60}
        due = enqueue_jobs(bench, 12, "due", **delay) if delay else []
        lose_from_now(bench, 30)
        for job_id in due:
            bench.client.zadd(f"{KEYS.prefix}due", {job_id: bench.now_us()})
        await bench.account.send(worker_calls.sweep("default", "promote_due", 100))
        came = due or enqueue_jobs(bench, 12, "new")

        found = await maybe_claimed(bench.account, [anything()], 3)

        assert found[:3] == first[:3]
        assert sorted(found[3:]) == sorted(came)


async def test_no_job_is_passed_over_when_others_leave_while_they_are_read(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work() as bench:
        job_ids = enqueue_jobs(bench, 600, run_at=60)
        lose_from_now(bench, 30)
        due: Any = bench.client.zrange(f"{KEYS.prefix}due", 0, 99)

        async def around(send: Send, call: ScriptCall[Any]) -> Any:
            answer = await send(call)
            if "due" in call.arguments and due:
                bench.client.zadd(f"{KEYS.prefix}due", dict.fromkeys(due, 0))
                await send(worker_calls.sweep("default", "promote_due", 1_000))
                due.clear()
            return answer

        wrap_send(monkeypatch, bench.account, around)

        found = await maybe_claimed(bench.account, [anything()], 5)

        assert due == []
        assert sorted(found) == sorted(job_ids)


@pytest.mark.parametrize("after", ["poll", "due"])
async def test_a_job_whose_run_fails_while_jobs_are_read_is_not_missed(
    work: Work, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    async with work() as bench:
        (job_id,) = enqueue_jobs(bench, 1, retry={"max_attempts": 2})
        await bench.one_pass("submit")
        lose_from_now(bench, 30)
        run_id = bench.job(job_id).run_id or ""
        again = RunAgain(job_id, 1, run_id, "failed", "no luck", 3_600 * SECOND, b"{}")

        async def around(send: Send, call: ScriptCall[Any]) -> Any:
            answer = await send(call)
            if after in call.arguments:
                await send(worker_calls.retry_run("default", [again]))
            return answer

        wrap_send(monkeypatch, bench.account, around)

        assert await maybe_claimed(bench.account, [anything()], 5) == [job_id]
        assert bench.job(job_id).state is JobState.SCHEDULED


async def test_of_jobs_that_run_those_that_may_run_again_come_into_question(work: Work) -> None:
    async with work() as bench:
        again = enqueue_jobs(bench, 3, "again", retry={"max_attempts": 2})
        enqueue_jobs(bench, 3, "once")
        await bench.one_pass("submit")

        assert sorted(await maybe_claimed(bench.account, [anything()], 1)) == sorted(again)


async def test_jobs_that_are_looked_for_later_take_no_run_from_equal_jobs(work: Work) -> None:
    async with work() as bench:
        running = bench.queue.enqueue(task(), retry={"max_attempts": 2}).job_id
        await bench.one_pass("submit")
        batch = bench.queue.open_batch()
        uploaded = bench.queue.enqueue_many([task()] * 3, batch=batch)
        waiting, other = (bench.queue.enqueue(task()).job_id for _ in range(2))
        runs = [shown(0, url=ENDLESS, prompt="p")]

        found = await maybe_claimed(bench.account, runs, 10)

        later = {running, *(job.job_id for job in uploaded)}
        assert {*found} in ({*later, waiting}, {*later, other})


@pytest.mark.parametrize(("live", "most"), [(None, 84), (100, 264), (0, 1064), (5, 84)])
async def test_no_more_claims_can_be_lost_than_the_plan_the_runs_and_the_processes_say(
    work: Work, live: int | None, most: int
) -> None:
    async with work(max_concurrent_runs=10) as bench:
        bench.queue.set_limits({"concurrent_runs": live})

        assert await most_lost(bench.account, 1, 6) == most


async def test_more_jobs_than_can_be_looked_for_are_an_error(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspecting, "MOST_MAYBE_CLAIMED", 3)
    async with work() as bench:
        enqueue_jobs(bench, 4)

        with pytest.raises(TooManyError):
            await maybe_claimed(bench.account, [anything()], 10)


LOGIN = LoginRunRequest(credential_type="skyvern", credential_id="c", url="https://0.test/")


@pytest.mark.parametrize(
    ("request_", "most"),
    [
        (task(), 100),
        (flow(), 100),
        (flow(template=True), 0),
        (LOGIN, 0),
        (DownloadFilesRunRequest(url="https://0.test/", navigation_goal="p"), 0),
    ],
    ids=["task", "workflow", "template", "login", "download"],
)
async def test_runs_of_other_addresses_and_workflows_are_not_even_compared_with(
    work: Work, comparisons: list[str], request_: Any, most: int
) -> None:
    runs = [shown(n, url=f"https://{n}.test/", prompt="p") for n in range(RUNS)]
    runs += [shown(RUNS + n, WORKFLOW_RUN, workflow_id=f"wpid_x{n}") for n in range(RUNS)]
    for block_type in ("login", "file_download"):
        block = {"block_type": block_type, "url": "https://0.test/"}
        parts = {"parameters": [{"credential_id": "d"}], "blocks": [block]}
        workflow = {"workflow_definition": parts}
        runs += [replace(run, workflow=workflow) for run in runs[RUNS : 2 * RUNS]]
    async with work() as bench:
        for _ in range(20):
            bench.queue.enqueue(request_)

        assert await maybe_claimed(bench.account, runs, most) == []
        assert comparisons == []


async def test_a_job_that_any_run_may_be_of_is_compared_with_one_and_equal_jobs_with_one_each(
    work: Work, comparisons: list[str]
) -> None:
    runs = [shown(n, url="https://other.test/", prompt="other") for n in range(3)]
    async with work() as bench:
        equal = TaskRunRequest(prompt="p", engine="skyvern-1.0")
        job_ids = [bench.queue.enqueue(equal).job_id for _ in range(5)]

        assert await maybe_claimed(bench.account, runs, 100) == job_ids[:3]
        assert comparisons == ["r0", "r1", "r2"]


@pytest.mark.parametrize(("seconds", "ran"), [(-1.0, ["other"]), (inf, [])])
async def test_others_run_once_work_has_had_its_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ran: list[str]
) -> None:
    monkeypatch.setattr(search, "TURN_SECONDS", seconds)
    found: list[str] = []

    async def other() -> None:
        found.append("other")

    task = asyncio.create_task(other())
    await search.LoopTurns().take()

    assert found == ran
    await task
