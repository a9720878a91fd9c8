"""The simulator's answers, which are those of a real server, read by both clients."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_client import (
    ApiError,
    BadRequestError,
    FileInfo,
    ForbiddenError,
    NotFoundError,
    NotSupported,
    RunEngine,
    RunListItem,
    RunStatus,
    ServerError,
    TaskRunResponse,
    UnprocessableEntityError,
    WaitTimeoutError,
    WorkflowRunResponse,
)
from tests.api_client.recording import WAYS, Way, account, calling
from tests.simulator.simulating import FakeClock, simulating

#: Seconds until a run is over, and how often it is looked at.
SHORT = 0.05
LOOKS: dict[str, Any] = {"min_interval": 0.01, "timeout": 20.0}

both = pytest.mark.parametrize("way", WAYS)


@both
async def test_a_task_is_followed_to_its_end_and_its_result_is_read(way: Way) -> None:
    async with account(way, duration=SHORT) as (call, _):
        begun = datetime.now(UTC)
        run = await call(
            "run_task",
            prompt="p",
            url="a.test",
            title=None,
            engine=RunEngine.SKYVERN_V1,
            user_agent="ua",
        )
        assert isinstance(run, TaskRunResponse)
        assert not run.is_over
        run = await call("wait_for_run", run.run_id, **LOOKS)
    assert isinstance(run, TaskRunResponse)
    assert run.is_over
    assert run.status is RunStatus.COMPLETED
    assert run.output == {"answer": f"Simulated result of {run.run_id}"}
    assert run.downloaded_files is not None
    [file] = run.downloaded_files
    assert isinstance(file, FileInfo)
    assert file.filename == "result.csv"
    assert (run.run_type, run.attempt, run.retry_pending) == ("task_v1", None, None)
    assert run.run_request is not None
    assert (run.run_request["url"], run.run_request["title"]) == ("https://a.test/", None)
    assert run.queued_at is None
    times = [run.created_at, run.started_at, run.finished_at]
    for time in times:
        assert time is not None
        assert time.utcoffset() == timedelta(0)
        assert abs(time - begun) < timedelta(minutes=1)


@both
async def test_a_workflow_run_is_one_from_its_submission_to_its_end(way: Way) -> None:
    async with account(way, duration=SHORT) as (call, _):
        for name in ("workflow_id", "agent_id"):
            run = await call(
                "run_workflow", **{name: "wpid_1"}, parameters={"a": None}, max_steps_override=5
            )
            assert isinstance(run, WorkflowRunResponse)
            run = await call("wait_for_run", run.run_id, **LOOKS)
            assert isinstance(run, WorkflowRunResponse)
            assert run.status is RunStatus.COMPLETED


@both
async def test_a_run_is_read_as_the_kind_its_type_says(way: Way) -> None:
    async with account(way) as (call, _):
        for engine in {*RunEngine} - {RunEngine.UI_TARS}:
            submitted = await call("run_task", prompt="p", engine=engine)
            assert isinstance(await call("get_run", submitted.run_id), TaskRunResponse)
        submitted = await call("run_workflow", workflow_id="wpid_1")
        assert isinstance(await call("get_run", submitted.run_id), WorkflowRunResponse)


@both
@pytest.mark.parametrize("status", ["failed", "terminated", "timed_out"])
async def test_a_run_that_did_not_succeed_says_why(status: str, way: Way) -> None:
    async with account(way, duration=SHORT, **{status: 1.0}) as (call, _):
        submitted = await call("run_task", prompt="p")
        run = await call("wait_for_run", submitted.run_id, **LOOKS)
    assert run.status is RunStatus(status)
    assert run.failure_reason
    assert run.errors


@both
async def test_a_wait_that_is_too_short_says_how_far_the_run_is(way: Way) -> None:
    async with account(way, duration=60.0) as (call, _):
        submitted = await call("run_task", prompt="p")
        with pytest.raises(WaitTimeoutError, match=submitted.run_id) as caught:
            await call("wait_for_run", submitted.run_id, timeout=0)
    assert caught.value.run is not None
    assert caught.value.run.run_id == submitted.run_id
    assert not caught.value.run.is_over


@both
async def test_runs_are_listed_newest_first_over_all_pages(way: Way) -> None:
    async with account(way, clock=FakeClock()) as (call, simulator):
        made = [await simulator.run_task(title=f"batch {n}") for n in range(203)]
        other = await simulator.run_workflow()
        page = await call("list_runs", page=2, page_size=3)
        everything = await call("iter_runs")
        batch = await call("iter_runs", search_key="BATCH", status=["created", "running"])
        none = await call("list_runs", status="canceled")
    newest_first = [*reversed(made)]
    assert all(isinstance(item, RunListItem) for item in everything)
    assert [item.run_id for item in everything] == [other, *newest_first]
    assert [item.run_id for item in batch] == newest_first
    assert [item.run_id for item in page] == newest_first[2:5]
    assert none == []
    assert (page[0].title, page[0].task_run_type) == ("batch 200", "task_v1")
    assert everything[0].workflow_permanent_id == "wpid_1"
    assert page[0].created_at is not None
    assert page[0].created_at.utcoffset() == timedelta(0)


@both
async def test_many_runs_are_canceled_a_hundred_to_a_request(way: Way) -> None:
    async with account(way) as (call, simulator):
        runs = [await simulator.run_task() for _ in range(101)]
        answer = await call("cancel_runs", [*runs, runs[0], "tsk_unknown"])
        left = await call("list_runs", status=["created", "queued", "running"])
        requests = (await simulator.get("/_ledger/summary"))["requests_by_route"]
    assert answer.cancelled == runs
    assert answer.failed == ["tsk_unknown"]
    assert left == []
    assert requests["cancel_runs"] == 2


@both
async def test_a_live_run_is_canceled_and_nothing_is_returned(way: Way) -> None:
    async with account(way) as (call, _):
        submitted = await call("run_task", prompt="p")
        assert await call("cancel_run", submitted.run_id) is None
        run = await call("wait_for_run", submitted.run_id, **LOOKS)
    assert run.status is RunStatus.CANCELED


@both
async def test_a_cancel_of_what_is_over_is_refused_for_a_task_and_not_for_a_workflow(
    way: Way,
) -> None:
    async with account(way, duration=0.0) as (call, _):
        task = await call("run_task", prompt="p")
        workflow = await call("run_workflow", workflow_id="wpid_1")
        with pytest.raises(BadRequestError, match="from completed to canceled"):
            await call("cancel_run", task.run_id)
        assert await call("cancel_run", workflow.run_id) is None


@both
async def test_a_server_without_a_list_is_asked_for_it_once(way: Way) -> None:
    async with account(way, list_supported=False) as (call, simulator):
        for name in ("list_runs", "list_runs", "iter_runs"):
            with pytest.raises(NotSupported):
                await call(name)
        submitted = await call("run_task", prompt="p")
        assert (await call("get_run", submitted.run_id)).run_id == submitted.run_id
        requests = (await simulator.get("/_ledger/summary"))["requests_by_route"]
    assert requests["list_runs"] == 1


@both
async def test_a_wrong_key_is_forbidden_and_not_shown(way: Way) -> None:
    key = "a-wrong-key"
    async with simulating() as simulator, calling(way, simulator.url, api_key=key) as call:
        for name, given in (
            ("run_task", {"prompt": "p"}),
            ("get_run", {"run_id": "tsk_1"}),
            ("list_runs", {}),
            ("cancel_runs", {"run_ids": ["tsk_1"]}),
        ):
            with pytest.raises(ForbiddenError, match="Could not validate") as caught:
                await call(name, **given)
            assert caught.value.status_code == 403
            assert caught.value.body == {"detail": "Could not validate credentials"}
            assert key not in repr(caught.value)


@both
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_run", "Task run not found tsk_unknown"),
        ("cancel_run", "Run not found tsk_unknown"),
        ("retry_run_webhook", "Run tsk_unknown not found"),
    ],
)
async def test_an_unknown_run_is_not_found(name: str, words: str, way: Way) -> None:
    async with account(way) as (call, _):
        with pytest.raises(NotFoundError, match=f"404 {words}"):
            await call(name, "tsk_unknown")


@both
async def test_a_field_of_the_wrong_type_is_named(way: Way) -> None:
    async with account(way) as (call, _):
        with pytest.raises(UnprocessableEntityError, match=r"body\.max_steps: Input should be"):
            await call("run_task", prompt="p", max_steps="many")


@both
@pytest.mark.parametrize("status", [500, 502])
async def test_a_submission_that_fails_is_a_server_error_made_once(status: int, way: Way) -> None:
    async with account(way) as (call, simulator):
        await simulator.fault({"status": status}, match={"route": "run_task"})
        with pytest.raises(ServerError) as caught:
            await call("run_task", prompt="p")
        assert isinstance(caught.value, ApiError)
        requests = (await simulator.get("/_ledger/summary"))["requests_by_route"]
    assert requests["run_task"] == 1
