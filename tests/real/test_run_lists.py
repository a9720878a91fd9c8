"""The two lists of runs: which runs each has, who started them, and how they are asked."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lab.waiting import until
from tests.real.listener import Listener
from tests.real.target import Target
from tests.real.test_run_ends import FAILS, waits

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS, LIST = "/v1/run/tasks", "/v1/run/workflows", "/v1/workflows/runs"
#: The header of a browser of a person, and of Skyvern's own MCP server.
BY_HAND, BY_MCP = {"x-user-agent": "skyvern-ui"}, {"x-user-agent": "skyvern-mcp"}


@pytest.fixture(scope="module", autouse=True)
def _only_as_seen(target: Target) -> None:
    if target.version != "1.0.56":
        pytest.skip(f"seen on 1.0.56, this is {target.version}")


@pytest.fixture(scope="module")
def quick(target: Target) -> str:
    """A workflow that has a run of status `canceled`, and others."""
    workflow = target.workflow("quick")
    runs = [_start(target, workflow) for _ in range(3)]
    target.post(f"/v1/runs/{runs[0]}/cancel").raise_for_status()
    return workflow


def _start(target: Target, workflow: str, by: dict[str, str] | None = None, **fields: Any) -> str:
    answer = target.post(WORKFLOWS, {"workflow_id": workflow, **fields}, by).raise_for_status()
    run_id: str = answer.json()["run_id"]
    return run_id


def _items(target: Target, path: str = LIST, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = target.get(path, **query).raise_for_status().json()
    return items


def _trigger(target: Target, run_id: str) -> tuple[str | None, str | None]:
    """Return who started a run by the list of workflow runs, and by that of all runs."""
    ours = {name: item["trigger_type"] for name, item in target.workflow_runs().items()}
    listed = {item["run_id"]: item["trigger_type"] or "null" for item in target.listed()}
    return ours.get(run_id), listed.get(run_id)


def test_the_list_of_workflow_runs_has_two_paths_is_newest_first_and_pages_of_any_size(
    target: Target, quick: str
) -> None:
    items = _items(target, page_size=5000)
    assert items == _items(target, "/v1/agents/runs", page_size=5000)
    begun = [item["created_at"] for item in items]
    assert begun == sorted(begun, reverse=True)
    assert _items(target, page=2, page_size=2) == items[2:4]
    assert _items(target, page=10**6) == []
    for name in ("page", "page_size"):
        assert target.get(LIST, **{name: 0}).status_code == 422
        assert target.get("/v1/runs", **{name: 101}).status_code == 422


def test_any_of_several_statuses_is_found_and_an_unknown_one_refused(
    target: Target, quick: str
) -> None:
    statuses = ["created", "queued", "running", "completed", "canceled"]
    assert len(_items(target, status=statuses, search_key=quick)) == 3
    for wrong in (["completed", "unheard"], "completed,canceled"):
        assert target.get(LIST, status=wrong).status_code == 422
        assert target.get("/v1/runs", status=wrong).status_code == 422
    # Short search keys are taken here, and unknown filters ignored.
    assert _items(target, search_key="wr", created_at_start="2999-01-01T00:00:00Z", tags="a:b")
    assert target.get("/v1/runs", search_key="wr").status_code == 422


def test_a_2_0_task_is_its_workflow_run_in_one_list_and_itself_in_the_other(
    target: Target, hooks: Listener
) -> None:
    body = {"prompt": "Read.", "url": f"{hooks.url}/page", "engine": "skyvern-2.0"}
    body["webhook_url"] = f"{hooks.url}/hook"
    task_id = target.post(TASKS, body).raise_for_status().json()["run_id"]
    below = target.wait_over(task_id, 200)["app_url"].rpartition("/")[2]
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    assert f'"workflow_run_id":"{below}"' in hooks.at("/hook")[0].body.decode().replace(" ", "")
    assert _trigger(target, task_id) == (None, "null")
    assert _trigger(target, below) == ("api", None)
    # A search shows the other one, too; and reading that answers with the task.
    assert [each["run_id"] for each in target.listed(search_key=below)] == [below]
    assert _items(target, search_key=task_id) == []
    assert target.run(below)["run_id"] == task_id


@pytest.mark.parametrize(("by", "shown"), [({}, "api"), (BY_HAND, "manual"), (BY_MCP, "mcp")])
def test_the_user_agent_tells_who_started_a_run(
    target: Target, quick: str, by: dict[str, str], shown: str
) -> None:
    assert _trigger(target, _start(target, quick, by)) == (shown, shown)


def test_a_schedule_s_run_says_so_and_has_an_id_of_another_form(target: Target) -> None:
    workflow = target.workflow("scheduled")
    when = (datetime.now(UTC) + timedelta(seconds=65)).isoformat()
    path = f"/v1/workflows/{workflow}/schedules"
    target.post(path, {"run_at": when, "timezone": "UTC"}).raise_for_status()
    (item,) = until(lambda: _items(target, search_key=workflow), 200, "the run", 1.0)
    assert item["workflow_run_id"].startswith("wr_sched_")
    assert item["workflow_schedule_id"]
    assert _trigger(target, item["workflow_run_id"]) == ("scheduled", "scheduled")


@pytest.mark.parametrize("waits_for_it", [True, False])
def test_children_are_in_neither_list(target: Target, waits_for_it: bool) -> None:
    child = target.workflow("child")
    block = {"block_type": "workflow_trigger", "label": "starts", "workflow_permanent_id": child}
    parent = target.workflow("parent", blocks=[{**block, "wait_for_completion": waits_for_it}])
    run_id = _start(target, parent)
    target.wait_over(run_id)
    (item,) = _items(target, f"/v1/workflows/{child}/runs", include_child_runs=True)
    assert (item["parent_workflow_run_id"], item["trigger_type"]) == (run_id, "api")
    assert _trigger(target, item["workflow_run_id"]) == (None, None)


def test_debug_runs_are_in_the_list_of_workflow_runs_alone(target: Target, quick: str) -> None:
    body = {"workflow_id": quick, "block_labels": ["wait"], "debug_session_id": "ds_of_a_test"}
    run_id = target.post(f"{WORKFLOWS}/blocks", body, BY_HAND).raise_for_status().json()["run_id"]
    assert _trigger(target, run_id) == ("manual", None)
    assert _items(target, search_key=run_id)[0]["debug_session_id"] == "ds_of_a_test"


def test_only_further_attempts_of_a_sequential_workflow_wait_queued(target: Target) -> None:
    policy = {"max_retries": 1, "delay_seconds": 1, "retry_on": [{"status": "failed"}]}
    loop = {"block_type": "for_loop", "label": "loop", "loop_over_parameter_key": "seconds"}
    seconds = {"parameter_type": "workflow", "key": "seconds", "workflow_parameter_type": "json"}
    blocks = [{**loop, "loop_blocks": [waits("second", 1)]}, FAILS]
    definition = {"parameters": [seconds], "blocks": blocks, "retry_policy": policy}
    body = {"title": "lane", "run_sequentially": True, "workflow_definition": definition}
    made = target.post("/v1/workflows", {"json_definition": body}).raise_for_status().json()
    workflow = made["workflow_permanent_id"]
    first = _start(target, workflow, parameters={"seconds": [1] * 20})
    second = _start(target, workflow, parameters={"seconds": [1]})
    until(lambda: target.run(second)["status"] == "running", 20, "both to run at once")
    assert target.run(first)["status"] == "running"
    until(lambda: target.run(second)["status"] == "queued", 40, "its second attempt to wait")
    seen = 0
    while target.run(first)["status"] == "running":
        queued = _items(target, status="queued", search_key=workflow)
        seen += [(each["workflow_run_id"], each["attempt"]) for each in queued] == [(second, 2)]
        time.sleep(1)
    assert seen > 5
