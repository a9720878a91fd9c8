"""An answer that is about another request is nobody's: its run is looked for instead."""

from typing import Any

import pytest

from runqueue import JobState, KeyLimit
from runqueue.request.job_spec import JobSpec
from runqueue.request.request_checks import RequestChecks
from runqueue.request.requests import MODELS
from tests.real.request_kinds import ALL, PARAMETERS, filled
from tests.worker.searching import (
    MADE,
    SOON,
    SUBMISSION,
    control,
    flow,
    look,
    record,
    settled,
    task,
    task_v2,
)
from tests.worker.working import KEYS, Bench, Work
from worker.runs.search import SearchMessage

pytestmark = pytest.mark.usefixtures("no_waiting")

#: Of each kind of request: one, another, and how their echo carries no marker of ours.
PAIRS = {
    "a task's prompt": (task(prompt="one"), task(prompt="other")),
    "a task's url": (task(), task(url="https://elsewhere.test/?sim_end=never")),
    "a task's engine": (task(), task_v2(prompt="other")),
    "a workflow's parameters": (
        flow(parameters={"sim_end": "never", "order": "1"}),
        flow(parameters={"sim_end": "never", "order": "2"}),
    ),
    "a workflow": (flow(), flow(workflow_id="wpid_2")),
    "a task in a workflow's place": (flow(), task()),
}
PATHS = {"task": "/v1/run/tasks", "workflow": "/v1/run/workflows"}


async def answer_with(bench: Bench, answer: Any) -> None:
    """Have the next submission make its run, and answer it with something else."""
    action = {"status": 200, "body": answer, "committed": True}
    await bench.api.fault(action, match=SUBMISSION, times=1)


async def stranger(bench: Bench, request: Any) -> Any:
    """Make a run beside the queue; return the answer to its submission."""
    fields = request.model_dump(exclude_unset=True, mode="json")
    return await bench.api.post(PATHS[request.kind], fields)


async def submit(bench: Bench, *requests: Any) -> list[str]:
    """Submit jobs, one after the other; return their ids."""
    job_ids = []
    for request in requests:
        job_ids.append(bench.queue.enqueue(request).job_id)
        await bench.one_pass("submit")
    return job_ids


@pytest.mark.parametrize(("own", "other"), PAIRS.values(), ids=PAIRS)
async def test_a_job_that_is_given_another_request_s_answer_finds_its_own_run(
    work: Work, own: Any, other: Any
) -> None:
    async with work() as bench:
        # What this server shows unchanged is known by these.
        before = await submit(bench, own, other)
        wrong = await stranger(bench, other)
        await answer_with(bench, wrong)

        [job_id] = await submit(bench, own)

        job = bench.job(job_id)
        assert (job.state, job.run_id, job.attempts) == (JobState.UNCONFIRMED, None, 1)
        assert (job.reason or "").startswith(
            f"the answer was another request's: run {wrong['run_id']} ("
        )
        await look(bench)
        known = {bench.job(one).run_id for one in before}
        [made] = {run["run_id"] for run in await bench.runs()} - known - {wrong["run_id"]}
        assert (bench.job(job_id).state, bench.job(job_id).run_id) == (JobState.RUNNING, made)
        assert await bench.submissions() == 4


async def test_an_answer_that_differs_in_all_that_tells_requests_apart_is_another_s_at_once(
    work: Work,
) -> None:
    async with work() as bench:
        await answer_with(bench, await stranger(bench, task(prompt="b", url="https://b.test/")))

        [job_id] = await submit(bench, task(prompt="a", url="https://a.test/"))

        assert bench.job(job_id).state is JobState.UNCONFIRMED


async def test_another_job_s_marker_in_an_answer_makes_it_another_s(work: Work) -> None:
    request = flow(webhook_url="https://app.test/hook")
    async with work() as bench:
        echo = {"workflow_id": "wpid_1", "parameters": {"sim_end": "never"}}
        hook = "https://app.test/hook?rq_job=" + "a" * 24 + ".1."
        wrong = {"run_id": "wr_1", "status": "queued", "run_type": "workflow_run"}
        await answer_with(bench, wrong | {"run_request": echo | {"webhook_url": hook}})

        [job_id] = await submit(bench, request)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        await look(bench)
        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.job(job_id).run_id != "wr_1"


@pytest.mark.parametrize(
    "own",
    [
        flow(title="[rq:" + "a" * 24 + ".1]"),
        flow(run_metadata={"rq_job": "mine"}),
        flow(run_metadata={"rq_job": "mine"}, webhook_url="https://app.test/?rq_job=mine"),
    ],
    ids=["title", "tag", "tag and webhook"],
)
async def test_what_looks_like_a_marker_in_a_user_s_own_request_makes_it_nobody_else_s(
    work: Work, own: Any
) -> None:
    async with work() as bench:
        run = await stranger(bench, own)
        await answer_with(bench, run)

        [job_id] = await submit(bench, own)

        assert bench.job(job_id).run_id == run["run_id"]


async def test_equal_jobs_whose_answers_were_exchanged_have_a_run_each(work: Work) -> None:
    async with work() as bench:
        first = await stranger(bench, task())
        await answer_with(bench, first)
        [a] = await submit(bench, task())
        assert bench.job(a).run_id == first["run_id"]
        [made] = {run["run_id"] for run in await bench.runs()} - {first["run_id"]}
        await answer_with(bench, first | {"run_id": made})

        [b] = await submit(bench, task())

        assert settled(bench, a, b) == [JobState.RUNNING, JobState.RUNNING]
        assert {bench.job(a).run_id, bench.job(b).run_id} == {first["run_id"], made}


@pytest.mark.parametrize("change", ["prompt", "url"])
async def test_a_field_that_a_server_rewrites_costs_no_job_its_run(work: Work, change: str) -> None:
    async with work() as bench:
        for number in range(3):
            run = await stranger(bench, task(prompt=f"{number}"))
            run["run_request"][change] = f"https://rewritten.test/{number}"
            await answer_with(bench, run)

            [job_id] = await submit(bench, task(prompt=f"{number}"))

            assert bench.job(job_id).run_id == run["run_id"]


@pytest.mark.parametrize("echo", [None, "none", {}, [], {"prompt": None, "url": 7}])
async def test_an_answer_that_shows_no_request_is_the_job_s_own(work: Work, echo: Any) -> None:
    async with work() as bench:
        await submit(bench, task())
        run = await stranger(bench, task())
        await answer_with(bench, run | {"run_request": echo})

        [job_id] = await submit(bench, task())

        assert bench.job(job_id).run_id == run["run_id"]


async def test_no_connection_is_used_again_after_another_request_s_answer(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(transport={"idle_limit": 600}) as bench:
        await submit(bench, task(prompt="one"))
        await answer_with(bench, await stranger(bench, task(prompt="other")))
        opened: list[str] = []
        sender: Any = bench.account.client._sender
        pool = sender._opened.pool
        dial = pool._dialer.dial

        async def noted(origin: str) -> Any:
            opened.append(origin)
            return await dial(origin)

        monkeypatch.setattr(pool._dialer, "dial", noted)

        await submit(bench, task(prompt="one"))
        assert not opened
        await submit(bench, task(prompt="one"))
        assert len(opened) == 1


@pytest.mark.parametrize("version", ["1.0.56", "1.0.40"])
@pytest.mark.parametrize("correlation", [True, False])
async def test_every_kind_of_request_is_recognised_in_its_own_answer(
    work: Work, version: str, correlation: bool
) -> None:
    async with work(simulator={"version": version}, settings={"correlation": correlation}) as bench:
        workflows = {declares: await workflow_of(bench, declares) for declares in (False, True)}
        models: Any = MODELS
        jobs = [
            JobSpec.of(
                models[kind.kind].model_validate(
                    filled(kind.body, f"token{number}", workflows[kind.declares])
                ),
                checks=RequestChecks.PASS,
            )
            for number in range(2)  # the first of a kind is taken whatever it shows
            for kind in ALL
        ]
        bench.queue.set_key_limit("totp:*", KeyLimit())  # those with codes share an identifier
        job_ids = [job.job_id for job in bench.queue.enqueue_many(jobs)]
        # A worker that had no time may give jobs back, which were not sent.
        while JobState.READY in {bench.job(job_id).state for job_id in job_ids}:
            await bench.one_pass("submit", want=len(job_ids))

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.RUNNING}


async def workflow_of(bench: Bench, declares: bool) -> str:
    """Make a workflow, which declares `PARAMETERS` or nothing."""
    parameters = [{"parameter_type": "workflow", **one} for one in PARAMETERS]
    definition = {
        "parameters": parameters if declares else [],
        "blocks": [{"block_type": "wait", "label": "wait", "wait_sec": 1}],
    }
    body = {"json_definition": {"title": "waits", "workflow_definition": definition}}
    made = await bench.api.post("/v1/workflows", body)
    return str(made["workflow_permanent_id"])


async def exchanged(bench: Bench, request: Any) -> tuple[str, str, str, str]:
    """Give one job the answer of another, equal one, whose own is lost, and that has no other.

    Returns:
        The job that has the other's run, the other, the run that has no owner, and that run.
    """
    await bench.api.fault(MADE, match=SUBMISSION, times=1)
    [other] = await submit(bench, request)
    [taken] = [run["run_id"] for run in await bench.runs()]
    answer = await bench.api.get(f"/v1/runs/{taken}")
    answer["run_request"] |= {"title": None, "run_metadata": None}
    await answer_with(bench, answer)
    [job_id] = await submit(bench, request)
    assert (bench.job(job_id).run_id, bench.job(other).state) == (taken, JobState.UNCONFIRMED)
    [free] = {run["run_id"] for run in await bench.runs()} - {taken}
    return job_id, other, free, taken


@pytest.mark.parametrize("request_of", [task(), flow()], ids=["title", "tag"])
async def test_equal_jobs_of_which_one_was_given_the_other_s_answer_are_not_submitted_again(
    work: Work, request_of: Any
) -> None:
    async with work(**SOON) as bench:
        job_id, other, free, taken = await exchanged(bench, request_of)
        await control(bench, request_of)

        await look(bench, 3)
        await bench.one_pass("submit")

        assert (bench.job(job_id).run_id, bench.job(other).run_id) == (free, taken)
        assert settled(bench, job_id, other) == [JobState.RUNNING, JobState.RUNNING]
        assert await bench.submissions() == 3


async def test_a_job_whose_run_ended_as_an_equal_one_s_stays_unconfirmed_and_is_not_made_again(
    work: Work,
) -> None:
    async with work(**SOON) as bench:
        job_id, other, _, taken = await exchanged(bench, task())
        await bench.api.post(f"/v1/runs/{taken}/cancel")
        bench.client.zadd(f"{KEYS.prefix}poll", {job_id: 0})
        await bench.one_pass("poll")
        assert bench.job(job_id).state is JobState.CANCELED
        await control(bench, task())

        await look(bench, 3)

        assert bench.job(other).state is JobState.UNCONFIRMED
        assert record(bench, other, "search_message") == SearchMessage.TAKEN
