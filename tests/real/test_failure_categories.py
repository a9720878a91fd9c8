"""Why a run failed and what it cost: what webhooks and the list of workflow runs show of it.

What is expected is docs/results/failure_categories.csv: as 1.0.56 shows it, with the stand-in for
the model. Runs of engine 1.0 and 3.0 are `absent` from that list.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import until
from tests.real.listener import Listener, listener
from tests.real.request_kinds import HOST
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TASKS, WORKFLOWS, LIST = "/v1/run/tasks", "/v1/run/workflows", "/v1/workflows/runs"
CREDITS = ("credits_used", "cached_credits_used")
with Path("docs/results/failure_categories.csv").open() as _file:
    TABLE = {row["run"]: row for row in csv.DictReader(_file)}


def _task(prompt: str, url: str = "PAGE", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "url": url, **fields}


def _block(block_type: str, **fields: Any) -> dict[str, Any]:
    return {"block_type": block_type, "label": "b", **fields}


def _browse(goal: str, url: str = "PAGE", **fields: Any) -> dict[str, Any]:
    return _block("navigation", navigation_goal=goal, url=url, **fields)


_NAMED, _ENDS_NAMED = "stub:reload stub:categories", "stub:terminate stub:categories"
_ASK = _block("http_request", method="GET", url=HOST)
_UNKNOWN = {**_ASK, "url": "{{ not.declared }}"}

#: A task, or the one block of a workflow, by its name in the table.
KINDS: dict[str, dict[str, Any]] = {
    "task 1.0: completed": _task("Read."),
    "task 1.0: closed port": _task("Read.", HOST),
    "task 1.0: model error": _task("stub:error"),
    "task 1.0: max steps": _task("stub:reload", max_steps=1),
    "task 1.0: max steps; the model names categories": _task(_NAMED, max_steps=1),
    "task 1.0: terminated": _task(_ENDS_NAMED),
    "task 1.0: canceled": _task("stub:wait=30"),
    "task 1.0: no browser": _task("Read."),
    "task 2.0: completed": _task("Read."),
    "task 2.0: model error": _task("stub:error"),
    "task 2.0: max steps": _task("stub:never", max_steps=1),
    "task 2.0: terminated": _task("stub:terminate"),
    "task 2.0: terminated; the model names categories": _task(_ENDS_NAMED),
    "task 2.0: canceled": _task("stub:wait=30"),
    "task 2.0: no browser": _task("Read."),
    "task 3.0: closed port": _task("Read.", HOST),
    "wait block: completed": _block("wait", wait_sec=1),
    "wait block: canceled": _block("wait", wait_sec=300),
    "wait block: time limit": _block("wait", wait_sec=300),
    "http_request block: closed port": _ASK,
    "http_request block: URL of an unknown parameter": _UNKNOWN,
    "code block: raises": _block("code", code="1 / 0"),
    "code block: no browser": _block("code", code="1"),
    "navigation block: closed port": _browse("Read.", HOST),
    "navigation block: model error": _browse("stub:error"),
    "navigation block: max steps": _browse("stub:reload", max_steps_per_run=1),
    "navigation block: terminated": _browse("stub:terminate"),
    "navigation block: no browser": _browse("Read."),
}


#: A run that ended, its webhook, and its item in the list of workflow runs.
Shown = tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]


def _start(target: Target, hooks: Listener, name: str) -> str:
    body = json.loads(json.dumps(KINDS[name]).replace("PAGE", f"{hooks.url}/page"))
    path, status = TASKS, TABLE[name]["status"]
    if name.startswith("task"):
        body["engine"] = f"skyvern-{name[5:8]}"
    else:
        path, body = WORKFLOWS, {"workflow_id": target.workflow(name, blocks=[body])}
    if status == "timed_out":
        body["max_elapsed_time_minutes"] = 1
    body["webhook_url"] = f"{hooks.url}/hook"
    run_id: str = target.post(path, body).raise_for_status().json()["run_id"]
    if status == "canceled":
        until(lambda: target.run(run_id)["status"] == "running", 300, f"{name} to run")
        target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    return run_id


@pytest.fixture(scope="module")
def ends(target: Target) -> dict[str, Shown]:
    """One run of each kind that this server, with or without a browser, can have."""
    if target.version != "1.0.56":
        pytest.skip(f"the table is that of 1.0.56, this is {target.version}")
    with listener() as hooks:
        fits = {n for n in KINDS if n.endswith("no browser") != target.has_browser}
        fits |= {n for n in KINDS if n.startswith(("wait", "http"))}
        run_ids = {name: _start(target, hooks, name) for name in KINDS if name in fits}
        runs = {name: target.wait_over(run_id, 600) for name, run_id in run_ids.items()}
        until(lambda: _webhooks(hooks).keys() == {*run_ids.values()}, 60, "all webhooks", 1.0)
    webhooks, items = _webhooks(hooks), target.workflow_runs()
    found = {name: (run, webhooks[run["run_id"]]) for name, run in runs.items()}
    return {name: (*two, items.get(two[1]["workflow_run_id"])) for name, two in found.items()}


def _webhooks(hooks: Listener) -> dict[str, dict[str, Any]]:
    bodies = [json.loads(each.body) for each in hooks.at("/hook")]
    return {body["run_id"]: body for body in bodies}


def _named(shown: Mapping[str, Any] | None) -> str:
    """Return the categories that are shown, as the table has them."""
    if shown is None:
        return "absent"
    categories = shown["failure_category"]
    return "null" if categories is None else " > ".join(each["category"] for each in categories)


@pytest.mark.parametrize("name", KINDS)
def test_categories_of_an_end(target: Target, ends: dict[str, Shown], name: str) -> None:
    if name not in ends:
        pytest.skip(f"has a browser: {target.has_browser}")
    run, webhook, item = ends[name]
    found = {"run": name, "status": run["status"], "webhook": _named(webhook), "list": _named(item)}
    assert found == TABLE[name]
    if item is not None:
        assert target.get(LIST, search_key=item["workflow_run_id"]).json() == [item]


def test_credits_are_zero_in_webhooks_of_workflows_and_in_the_list_and_nowhere_else(
    ends: dict[str, Shown],
) -> None:
    for name, (run, webhook, item) in ends.items():
        shown = [0, 0] if run["run_id"].startswith("wr_") else [None, None]
        assert [webhook.get(n) for n in CREDITS] == shown, name
        assert item is None or [item[n] for n in CREDITS] == [0, 0], name
        assert not {*CREDITS, "failure_category", "total_cost", "trigger_type"} & {*run}, name
        assert webhook.get("total_cost") is None, name
        # Steps are in webhooks and in the run, not in the list.
        assert webhook["step_count"] == run["step_count"], name
        assert not {"step_count", "total_cost"} & {*(item or {})}, name


def test_a_webhook_says_agent_of_a_run_by_code_and_the_list_says_code(
    target: Target, hooks: Listener
) -> None:
    body = {"workflow_id": target.workflow("by code"), "run_with": "code"}
    target.post(WORKFLOWS, {**body, "webhook_url": f"{hooks.url}/hook"}).raise_for_status()
    ((run_id, webhook),) = until(lambda: _webhooks(hooks), 60, "its webhook").items()
    assert (webhook["run_with"], target.workflow_runs()[run_id]["run_with"]) == ("agent", "code")


def test_a_wrong_value_a_missing_one_and_an_unknown_host_make_no_run(target: Target) -> None:
    workflow = target.workflow("numbers", [{"key": "n", "workflow_parameter_type": "integer"}])
    for parameters in ({"n": "many"}, {}):
        body = {"workflow_id": workflow, "parameters": parameters}
        assert target.post(WORKFLOWS, body).status_code == 400
    assert target.post(TASKS, _task("Read.", "http://nowhere.invalid/")).status_code == 400
    assert target.get(LIST, search_key=workflow).json() == []
