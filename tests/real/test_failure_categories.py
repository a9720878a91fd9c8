"""Why a run failed and what it cost: what webhooks and the list of workflow runs show of it.

`-rP` prints the table. Its values are those of 1.0.56, with the stand-in for the model.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from lab.valkeys import free_port
from lab.waiting import until
from tests.real.listener import Listener, listener
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TASKS, WORKFLOWS, LIST = "/v1/run/tasks", "/v1/run/workflows", "/v1/workflows/runs"
#: Nothing is in this place.
ABSENT = "absent"
BY_MODEL = ["WRONG_PAGE_STATE", "AUTH_FAILURE"]


class Kind(NamedTuple):
    """A way in which a run ends.

    Args:
        name: its name in the table; a task's begins with its engine.
        status: how it ends.
        webhook, item: the categories in its webhook and in the list, first to last.
        fields: of a task, or of the one block of a workflow; `PAGE` and `CLOSED` are put in.
        request: further fields of a workflow's request.
        browser: whether it needs a browser, or that there is none; None = neither.
    """

    name: str
    status: str
    webhook: list[str] | None
    item: list[str] | str | None
    fields: Mapping[str, Any]
    request: Mapping[str, Any] = {}
    browser: bool | None = True


def _task(name: str, status: str, webhook: list[str] | None, prompt: str, **fields: Any) -> Kind:
    browser = fields.pop("browser", True)
    item = fields.pop("item", webhook) if name.startswith("2.0") else ABSENT
    fields = {"url": "PAGE", **fields, "prompt": prompt, "engine": f"skyvern-{name[:3]}"}
    return Kind(name, status, webhook, item, fields, browser=browser)


def _block(name: str, status: str, category: list[str] | None, **fields: Any) -> Kind:
    request, browser = fields.pop("request", {}), fields.pop("browser", None)
    return Kind(name, status, category, category, {"label": "b", **fields}, request, browser)


def _browses(name: str, status: str, category: list[str] | None, goal: str, **fields: Any) -> Kind:
    fields = {"url": "PAGE", "browser": True, **fields, "navigation_goal": goal}
    return _block(f"navigation block, {name}", status, category, block_type="navigation", **fields)


_ASKS = {"block_type": "http_request", "method": "GET"}
_WAITS = {"block_type": "wait", "wait_sec": 300}
_UNKNOWN = ["UNKNOWN"]

KINDS = (
    _task("1.0 completed", "completed", None, "Read."),
    _task("1.0 closed port", "failed", ["NAVIGATION_FAILURE"], "Read.", url="CLOSED"),
    _task("1.0 model error", "failed", ["LLM_ERROR"], "stub:error"),
    _task("1.0 max steps", "failed", ["MAX_STEPS_EXCEEDED"], "stub:reload", max_steps=1),
    _task("1.0 max steps, model", "failed", BY_MODEL, "stub:reload stub:categories", max_steps=1),
    _task("1.0 terminated", "terminated", None, "stub:terminate stub:categories"),
    _task("1.0 canceled", "canceled", None, "stub:wait=30"),
    _task("1.0 no browser", "failed", _UNKNOWN, "Read.", browser=False),
    _task("2.0 completed", "completed", None, "Read."),
    _task("2.0 model error", "failed", None, "stub:error", item=_UNKNOWN),
    _task("2.0 max steps", "failed", ["MAX_STEPS_EXCEEDED"], "stub:never", max_steps=1),
    _task("2.0 terminated", "terminated", None, "stub:terminate"),
    _task("2.0 terminated, model", "terminated", BY_MODEL, "stub:terminate stub:categories"),
    _task("2.0 canceled", "canceled", None, "stub:wait=30"),
    _task("2.0 no browser", "failed", None, "Read.", item=_UNKNOWN, browser=False),
    _task("3.0 closed port", "failed", ["NAVIGATION_FAILURE"], "Read.", url="CLOSED"),
    _block("wait block, completed", "completed", None, block_type="wait", wait_sec=1),
    _block("wait block, canceled", "canceled", None, **_WAITS),
    _block("time limit", "timed_out", _UNKNOWN, **_WAITS, request={"max_elapsed_time_minutes": 1}),
    _block("http_request block, closed port", "failed", _UNKNOWN, **_ASKS, url="CLOSED"),
    _block("http_request block, no such value", "failed", _UNKNOWN, **_ASKS, url="{{ no.such }}"),
    _block("code block raises", "failed", _UNKNOWN, block_type="code", code="1 / 0", browser=True),
    _block(
        "code block, no browser", "failed", _UNKNOWN, block_type="code", code="1", browser=False
    ),
    _browses("closed port", "failed", ["NAVIGATION_FAILURE"], "Read.", url="CLOSED"),
    _browses("model error", "failed", ["LLM_ERROR"], "stub:error"),
    _browses("max steps", "failed", ["MAX_STEPS_EXCEEDED"], "stub:reload", max_steps_per_run=1),
    _browses("terminated", "terminated", None, "stub:terminate"),
    _browses("no browser", "failed", _UNKNOWN, "Read.", browser=False),
)


class Ended(NamedTuple):
    """What the server shows of a run that ended; no item = the list does not have it."""

    run: dict[str, Any]
    webhook: dict[str, Any]
    item: dict[str, Any] | None


def _fits(kind: Kind, target: Target) -> bool:
    return kind.browser in {None, target.has_browser}


def _start(target: Target, hooks: Listener, number: int, closed: str) -> str:
    kind = KINDS[number]
    places = {"PAGE": f"{hooks.url}/page", "CLOSED": closed}
    fields = {name: places.get(str(value), value) for name, value in kind.fields.items()}
    path, body = TASKS, fields
    if "engine" not in fields:
        path = WORKFLOWS
        body = {"workflow_id": target.workflow(kind.name, blocks=[fields]), **kind.request}
    answer = target.post(path, {**body, "webhook_url": f"{hooks.url}/{number}/hook"})
    run_id: str = answer.raise_for_status().json()["run_id"]
    if kind.status == "canceled":
        until(lambda: target.run(run_id)["status"] == "running", 300, f"{kind.name} to run")
        target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    return run_id


@pytest.fixture(scope="module")
def ends(target: Target) -> Iterator[dict[str, Ended]]:
    """One run of each kind, by the kind's name."""
    if target.version != "1.0.56":
        pytest.skip(f"the table is that of 1.0.56, this is {target.version}")
    with listener() as hooks:
        closed = f"http://127.0.0.1:{free_port()}/"
        numbers = [n for n, kind in enumerate(KINDS) if _fits(kind, target)]
        run_ids = {n: _start(target, hooks, n, closed) for n in numbers}
        runs = {n: target.wait_over(run_id, 600) for n, run_id in run_ids.items()}
        for n in numbers:
            until(lambda n=n: hooks.at(f"/{n}/hook"), 60, f"the webhook of {KINDS[n].name}")
        webhooks = {n: json.loads(hooks.at(f"/{n}/hook")[-1].body) for n in numbers}
        items = target.workflow_runs()
        yield {
            KINDS[n].name: Ended(runs[n], webhooks[n], items.get(webhooks[n]["workflow_run_id"]))
            for n in numbers
        }


def _named(shown: Mapping[str, Any] | None) -> list[str] | str | None:
    if shown is None:
        return ABSENT
    categories = shown["failure_category"]
    return categories and [each["category"] for each in categories]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_categories_of_a_run_that_ended(
    target: Target, ends: dict[str, Ended], kind: Kind
) -> None:
    if not _fits(kind, target):
        pytest.skip(f"a browser: {kind.browser}")
    ended = ends[kind.name]
    print(f"{kind.name},{ended.run['status']},{_named(ended.webhook)},{_named(ended.item)}")
    assert ended.run["status"] == kind.status
    assert (_named(ended.webhook), _named(ended.item)) == (kind.webhook, kind.item)
    if ended.item is not None:
        found = target.get(LIST, search_key=ended.item["workflow_run_id"]).json()
        assert found == [ended.item]


def test_the_server_does_not_sort_the_categories_that_the_model_names(
    target: Target, ends: dict[str, Ended], with_a_browser: None
) -> None:
    shown = ends["1.0 max steps, model"].webhook["failure_category"]
    assert [each["confidence_float"] for each in shown] == [0.3, 0.9]


def test_credits_are_zero_in_webhooks_of_workflows_and_in_the_list_and_nowhere_else(
    ends: dict[str, Ended],
) -> None:
    names = ("credits_used", "cached_credits_used")
    for name, (run, webhook, item) in ends.items():
        of_workflow = run["run_id"].startswith("wr_")
        assert [webhook.get(n) for n in names] == ([0, 0] if of_workflow else [None, None]), name
        assert item is None or [item[n] for n in names] == [0, 0], name
        assert not {*names, "failure_category", "trigger_type"} & run.keys(), name


def test_only_webhooks_of_workflows_name_a_cost_and_it_is_null(ends: dict[str, Ended]) -> None:
    for name, (run, webhook, item) in ends.items():
        assert ("total_cost" in webhook) == run["run_id"].startswith("wr_"), name
        assert webhook.get("total_cost") is None, name
        assert "total_cost" not in {**run, **(item or {})}, name
        # Steps are in webhooks and in the run, not in the list.
        assert webhook["step_count"] == run["step_count"], name
        assert "step_count" not in (item or {}), name


def test_a_webhook_says_agent_of_a_run_by_code_and_the_list_says_code(
    target: Target, hooks: Listener
) -> None:
    body = {"workflow_id": target.workflow("by code"), "run_with": "code"}
    body["webhook_url"] = f"{hooks.url}/hook"
    run_id = target.post(WORKFLOWS, body).raise_for_status().json()["run_id"]
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    assert json.loads(hooks.at("/hook")[0].body)["run_with"] == "agent"
    (item,) = target.get(LIST, search_key=run_id).json()
    assert item["run_with"] == "code"


def test_a_wrong_value_a_missing_one_and_an_unknown_host_make_no_run(target: Target) -> None:
    declared = {"key": "n", "workflow_parameter_type": "integer"}
    workflow = target.workflow("numbers", [declared])
    for parameters in ({"n": "many"}, {}):
        body = {"workflow_id": workflow, "parameters": parameters}
        assert target.post(WORKFLOWS, body).status_code == 400
    body = {"prompt": "Read.", "url": "http://nowhere.invalid/"}
    assert target.post(TASKS, body).status_code == 400
    assert target.get(LIST, search_key=workflow).json() == []
