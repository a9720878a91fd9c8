"""Why a run failed and what it cost: what webhooks and the list of workflow runs show of it.

`-rP` prints the table. Its values are those of 1.0.56, with the stand-in for the model.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from lab.waiting import until
from tests.real.listener import Listener, listener
from tests.real.request_kinds import HOST
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TASKS, WORKFLOWS, LIST = "/v1/run/tasks", "/v1/run/workflows", "/v1/workflows/runs"
CREDITS = ("credits_used", "cached_credits_used")

#: What is shown, first to last; `ABSENT`: the list does not have such runs.
ABSENT, UNKNOWN, LLM = "absent", ["UNKNOWN"], ["LLM_ERROR"]
GOTO, STEPS = ["NAVIGATION_FAILURE"], ["MAX_STEPS_EXCEEDED"]
#: The stand-in's own, which is less sure of the first.
MODEL = ["WRONG_PAGE_STATE", "AUTH_FAILURE"]


class Kind(NamedTuple):
    """A way in which a run ends.

    Args:
        name: its name; that of a task begins with its engine.
        status: how it ends.
        webhook, item: the categories in its webhook and in the list.
        fields: of a task, or of the one block of a workflow.
        browser: whether there must be a browser; None = it does not matter.
    """

    name: str
    status: str
    webhook: list[str] | None
    item: list[str] | str | None
    fields: Mapping[str, Any]
    browser: bool | None = True


def _task(prompt: str, url: str = "PAGE", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "url": url, **fields}


def _block(block_type: str, **fields: Any) -> dict[str, Any]:
    return {"block_type": block_type, "label": "b", **fields}


def _browse(goal: str, url: str = "PAGE", **fields: Any) -> dict[str, Any]:
    return _block("navigation", navigation_goal=goal, url=url, **fields)


_ASK = _block("http_request", method="GET", url=HOST)
_WAIT = _block("wait", wait_sec=300)
_BY_MODEL = "stub:reload stub:categories"

KINDS = (
    Kind("1.0 completed", "completed", None, ABSENT, _task("Read.")),
    Kind("1.0 closed port", "failed", GOTO, ABSENT, _task("Read.", HOST)),
    Kind("1.0 model error", "failed", LLM, ABSENT, _task("stub:error")),
    Kind("1.0 max steps", "failed", STEPS, ABSENT, _task("stub:reload", max_steps=1)),
    Kind("1.0 max steps, by model", "failed", MODEL, ABSENT, _task(_BY_MODEL, max_steps=1)),
    Kind("1.0 terminated", "terminated", None, ABSENT, _task("stub:terminate stub:categories")),
    Kind("1.0 canceled", "canceled", None, ABSENT, _task("stub:wait=30")),
    Kind("1.0 no browser", "failed", UNKNOWN, ABSENT, _task("Read."), False),
    Kind("2.0 completed", "completed", None, None, _task("Read.")),
    Kind("2.0 model error", "failed", None, UNKNOWN, _task("stub:error")),
    Kind("2.0 max steps", "failed", STEPS, STEPS, _task("stub:never", max_steps=1)),
    Kind("2.0 terminated", "terminated", None, None, _task("stub:terminate")),
    Kind("2.0 by model", "terminated", MODEL, MODEL, _task("stub:terminate stub:categories")),
    Kind("2.0 canceled", "canceled", None, None, _task("stub:wait=30")),
    Kind("2.0 no browser", "failed", None, UNKNOWN, _task("Read."), False),
    Kind("3.0 closed port", "failed", GOTO, ABSENT, _task("Read.", HOST)),
    Kind("workflow completed", "completed", None, None, _block("wait", wait_sec=1), None),
    Kind("workflow canceled", "canceled", None, None, _WAIT, None),
    Kind("workflow time limit", "timed_out", UNKNOWN, UNKNOWN, _WAIT, None),
    Kind("http_request closed port", "failed", UNKNOWN, UNKNOWN, _ASK, None),
    Kind("http_request no value", "failed", UNKNOWN, UNKNOWN, {**_ASK, "url": "{{ no.it }}"}, None),
    Kind("code raises", "failed", UNKNOWN, UNKNOWN, _block("code", code="1 / 0")),
    Kind("code no browser", "failed", UNKNOWN, UNKNOWN, _block("code", code="1"), False),
    Kind("navigation closed port", "failed", GOTO, GOTO, _browse("Read.", HOST)),
    Kind("navigation model error", "failed", LLM, LLM, _browse("stub:error")),
    Kind(
        "navigation max steps", "failed", STEPS, STEPS, _browse("stub:reload", max_steps_per_run=1)
    ),
    Kind("navigation terminated", "terminated", None, None, _browse("stub:terminate")),
    Kind("navigation no browser", "failed", UNKNOWN, UNKNOWN, _browse("Read."), False),
)


class Ended(NamedTuple):
    """What the server shows of a run that ended; no item = the list does not have it."""

    run: dict[str, Any]
    webhook: dict[str, Any]
    item: dict[str, Any] | None


def _start(target: Target, hooks: Listener, kind: Kind, hook: str) -> str:
    body = json.loads(json.dumps(kind.fields).replace("PAGE", f"{hooks.url}/page"))
    path = TASKS if "prompt" in body else WORKFLOWS
    if path == TASKS:
        body["engine"] = f"skyvern-{kind.name[:3]}"
    else:
        body = {"workflow_id": target.workflow(kind.name, blocks=[body])}
    if kind.status == "timed_out":
        body["max_elapsed_time_minutes"] = 1
    answer = target.post(path, {**body, "webhook_url": hooks.url + hook}).raise_for_status()
    run_id: str = answer.json()["run_id"]
    if kind.status == "canceled":
        until(lambda: target.run(run_id)["status"] == "running", 300, f"{kind.name} to run")
        target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    return run_id


@pytest.fixture(scope="module")
def ends(target: Target) -> dict[str, Ended]:
    """One run of each kind that this server can have, by the kind's name."""
    if target.version != "1.0.56":
        pytest.skip(f"the table is that of 1.0.56, this is {target.version}")
    kinds = [kind for kind in KINDS if kind.browser in {None, target.has_browser}]
    hook_of = {kind.name: f"/hook/{number}/" for number, kind in enumerate(kinds)}
    found = {}
    with listener() as hooks:
        run_ids = {k.name: _start(target, hooks, k, hook_of[k.name]) for k in kinds}
        runs = {name: target.wait_over(run_id, 600) for name, run_id in run_ids.items()}
        until(lambda: all(hooks.at(hook) for hook in hook_of.values()), 60, "all webhooks")
        items = target.workflow_runs()
        for name, run in runs.items():
            webhook = json.loads(hooks.at(hook_of[name])[-1].body)
            found[name] = Ended(run, webhook, items.get(webhook["workflow_run_id"]))
    return found


def _named(shown: Mapping[str, Any] | None) -> list[str] | str | None:
    if shown is None:
        return ABSENT
    categories = shown["failure_category"]
    return categories and [each["category"] for each in categories]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_categories_of_a_run_that_ended(
    target: Target, ends: dict[str, Ended], kind: Kind
) -> None:
    if kind.name not in ends:
        pytest.skip(f"has a browser: {target.has_browser}")
    run, webhook, item = ends[kind.name]
    print(f"{kind.name};{run['status']};{_named(webhook)};{_named(item)}")
    assert (run["status"], _named(webhook), _named(item)) == kind[1:4]
    if item is not None:
        assert target.get(LIST, search_key=item["workflow_run_id"]).json() == [item]


def test_credits_are_zero_in_webhooks_of_workflows_and_in_the_list_and_nowhere_else(
    ends: dict[str, Ended],
) -> None:
    for name, (run, webhook, item) in ends.items():
        of_workflow = run["run_id"].startswith("wr_")
        assert [webhook.get(n) for n in CREDITS] == [0 if of_workflow else None] * 2, name
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
    answer = target.post(WORKFLOWS, {**body, "webhook_url": f"{hooks.url}/hook"})
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    assert json.loads(hooks.at("/hook")[0].body)["run_with"] == "agent"
    assert target.workflow_runs()[answer.json()["run_id"]]["run_with"] == "code"


def test_a_wrong_value_a_missing_one_and_an_unknown_host_make_no_run(target: Target) -> None:
    declared = {"key": "n", "workflow_parameter_type": "integer"}
    workflow = target.workflow("numbers", [declared])
    for path, body in (
        (WORKFLOWS, {"workflow_id": workflow, "parameters": {"n": "many"}}),
        (WORKFLOWS, {"workflow_id": workflow}),
        (TASKS, _task("Read.", "http://nowhere.invalid/")),
    ):
        assert target.post(path, body).status_code == 400
    assert target.workflow_runs(search_key=workflow) == {}
