"""The simulator's answers, which are those of a real server, read by both clients."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_client import BadRequestError, FileInfo, RunEngine, RunListItem, RunStatus, TaskRunResponse
from tests.api_client.recording import WAYS, Way, account
from tests.simulator.simulating import FakeClock

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
