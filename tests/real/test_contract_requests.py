"""How the server shows a request: in the POST's answer, in GET, in its list, to its search.

A row a kind of request. What is not named in a row's `shown` is not looked at; "{t}" is a token of
the row. The table is of 1.0.56; where 1.0.40 shows something else a row says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from api_client import ListedRun
from lab.waiting import until
from runqueue.request.requests import Kind
from tests.real.request_kinds import HOST, PARAMETERS, filled
from tests.real.target import Target
from worker.runs.comparison import ShownRun, compare

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"
LOGIN, DOWNLOAD = f"{TASKS}/login", f"{TASKS}/download_files"
OLD = "1.0.40"
_ONEPASSWORD = {
    "credential_type": "1password",
    "onepassword_vault_id": "vault-{t}",
    "onepassword_item_id": "item-{t}",
}
#: A request that sets every field of a task which all engines take.
_FULL = {
    "prompt": "prompt-{t}",
    "url": f"{HOST}/url-{{t}}",
    "title": "title-{t}",
    "proxy_location": "RESIDENTIAL_ES",
    "data_extraction_schema": {"type": "object", "b": 1, "a": 2},
    "error_code_mapping": {"gone": "it is gone"},
    "max_steps": 3,
    "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.",
    "totp_identifier": "totp-{t}",
    "totp_url": f"{HOST}/codes-{{t}}",
    "include_action_history_in_verification": True,
    "extra_http_headers": {"x-header": "header-{t}"},
    "max_screenshot_scrolls": 2,
}
_KEPT = {
    name: _FULL[name]
    for name in (
        "prompt", "url", "proxy_location", "data_extraction_schema", "error_code_mapping",
        "webhook_url", "totp_identifier", "totp_url",
    )
}  # fmt: skip
_DROPPED = {
    "title": None,
    "extra_http_headers": None,
    "include_action_history_in_verification": False,
}
_GEO = {"country": "US", "subdivision": None, "city": None, "isISP": False}
_OLD_GEO = {"country": "US", "subdivision": None, "city": None}


@dataclass(frozen=True)
class Row:
    """One kind of request.

    Args:
        name: its name in the report.
        path: where it is submitted.
        body: what is sent; "{w}" is a workflow that declares `PARAMETERS`.
        run_type: what the answer calls it.
        shown: fields of GET's `run_request`.
        answered: fields of the POST's own `run_request`, where they differ from `shown`.
        title: the list item's.
        found, not_found: what a search finds the run by, and what not.
        old_shown, old_found: on 1.0.40, where that differs.
        old_refuses: the status by which 1.0.40 refuses it.
    """

    name: str
    path: str
    body: Mapping[str, Any]
    run_type: str = "task_v1"
    shown: Mapping[str, Any] = field(default_factory=dict)
    answered: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    found: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()
    old_shown: Mapping[str, Any] = field(default_factory=dict)
    old_found: tuple[str, ...] | None = None
    old_refuses: int | None = None


def _task(name: str, body: Mapping[str, Any], **expected: Any) -> Row:
    return Row(name, TASKS, {"prompt": "prompt-{t}", "url": f"{HOST}/page", **body}, **expected)


def _workflow(name: str, body: Mapping[str, Any], **expected: Any) -> Row:
    row = {"title": "declares", "run_type": "workflow_run", **expected}
    return Row(name, WORKFLOWS, {"workflow_id": "{w}", **body}, **row)


_V1 = {"engine": "skyvern-1.0"}
_V2 = {"engine": "skyvern-2.0"}
_AS_V2: dict[str, Any] = {"run_type": "task_v2", "title": "New Workflow"}

ROWS = (
    _task(
        "task_without_engine_is_1.0_and_keeps_its_title_for_the_list",
        _FULL,
        shown={**_KEPT, **_DROPPED, **_V1, "max_steps": 3, "max_screenshot_scrolls": 2},
        answered={"max_steps": None},
        title="title-{t}",
        found=("url-{t}", "title-{t}"),
        not_found=("prompt-{t}", "hook-{t}", "totp-{t}", "codes-{t}", "header-{t}"),
    ),
    _task(
        "task_2.0_loses_title_steps_scrolls_and_headers",
        {**_FULL, **_V2},
        shown={**_KEPT, **_DROPPED, **_V2, "max_steps": None, "max_screenshot_scrolls": None},
        answered={"max_steps": 3, "max_screenshot_scrolls": 2},
        found=("url-{t}",),
        not_found=("prompt-{t}", "title-{t}", "hook-{t}", "totp-{t}", "codes-{t}"),
        **_AS_V2,
    ),
    _task("default_max_steps_and_proxy_are_added", {},
          shown={"proxy_location": "RESIDENTIAL", "max_steps": 10, "publish_workflow": False},
          answered={"max_steps": None}),
    _task("task_2.0_adds_a_proxy_and_no_steps", _V2,
          shown={"proxy_location": "RESIDENTIAL", "max_steps": None}, **_AS_V2),
    _task("publish_workflow_reroutes_to_2.0_and_loses_the_title",
          {**_V1, "publish_workflow": True, "title": "title-{t}"},
          shown={**_V2, "publish_workflow": False, "title": None},
          answered={"publish_workflow": True}, not_found=("title-{t}",), **_AS_V2),
    _task("url_gets_its_path", {"url": HOST}, shown={"url": f"{HOST}/"}),
    _task("task_2.0_url_gets_its_path", {"url": HOST, **_V2}, shown={"url": f"{HOST}/"}, **_AS_V2),
    _task("url_is_lower_cased_encoded_and_loses_its_default_port",
          {"url": "HTTP://LOCALHOST:80/A b/%7E?x=ü#f"},
          shown={"url": "http://localhost/A%20b/%7E?x=%C3%BC#f"}),
    _task("task_2.0_url_is_normalised_too", {"url": "HTTP://LOCALHOST:80/A b/%7E?x=ü#f", **_V2},
          shown={"url": "http://localhost/A%20b/%7E?x=%C3%BC#f"}, **_AS_V2),
    _task("webhook_url_is_normalised", {"webhook_url": "HTTP://127.0.0.1:9?a=b c"},
          shown={"webhook_url": f"{HOST}/?a=b%20c"}),
    _task("totp_url_is_normalised", {"totp_url": "HTTP://127.0.0.1:9", **_V2},
          shown={"totp_url": f"{HOST}/"}, **_AS_V2),
    _task("geo_proxy_gets_nulls", {"proxy_location": {"country": "US"}},
          shown={"proxy_location": _GEO}, old_shown={"proxy_location": _OLD_GEO}),
    _task("task_2.0_geo_proxy_gets_nulls", {"proxy_location": {"country": "US"}, **_V2},
          shown={"proxy_location": _GEO}, old_shown={"proxy_location": _OLD_GEO}, **_AS_V2),
    _task("proxy_url_is_shown_as_sent", {"proxy_location": {"url": "http://u:p@proxy.test:1"}},
          shown={"proxy_location": {"url": "http://u:p@proxy.test:1"}}),
    _task("schema_list_is_shown_as_sent", {"data_extraction_schema": [{"a": 1}], **_V2},
          shown={"data_extraction_schema": [{"a": 1}]}, **_AS_V2),
    _task("schema_text_is_shown_as_sent", {"data_extraction_schema": "the price"},
          shown={"data_extraction_schema": "the price"}),
    _task("prompt_is_not_trimmed", {"prompt": "  prompt-{t}\n "},
          shown={"prompt": "  prompt-{t}\n "}),
    _task("empty_title_is_listed_as_empty", {"title": ""}, title="", shown={"title": None}),
    _task("openai_cua_keeps_its_title", {"engine": "openai-cua", "title": "title-{t}"},
          run_type="openai_cua", title="title-{t}", found=("title-{t}",),
          shown={"engine": "openai-cua"}),
    _task("anthropic_cua_keeps_its_title", {"engine": "anthropic-cua", "title": "title-{t}"},
          run_type="anthropic_cua", title="title-{t}", found=("title-{t}",)),
    _task("yutori_navigator_keeps_its_title", {"engine": "yutori-navigator", "title": "title-{t}"},
          run_type="yutori_navigator", title="title-{t}", found=("title-{t}",)),
    _task("task_3.0_keeps_its_title", {"engine": "skyvern-3.0", "title": "title-{t}"},
          run_type="task_v3", title="title-{t}", found=("title-{t}",), old_refuses=422),
    Row("task_2.0_without_url_shows_its_prompt_alone", TASKS, {"prompt": "prompt-{t}", **_V2},
        shown={"prompt": "prompt-{t}", "url": None}, not_found=("prompt-{t}",), **_AS_V2),
    _task("task_2.0_takes_metadata_and_shows_none", {**_V2, "run_metadata": {"rq": "meta-{t}"}},
          shown={"run_metadata": None}, not_found=("meta-{t}",), **_AS_V2),
    _workflow(
        "workflow_shows_defaults_and_casts_and_drops_undeclared_names",
        {
            "parameters": {"order": "order-{t}", "count": "7", "share": 2, "flag": "true",
                           "undeclared": "undeclared-{t}"},
            "title": "title-{t}", "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.",
            "proxy_location": "RESIDENTIAL_GB", "totp_identifier": "totp-{t}",
            "totp_url": f"{HOST}/codes-{{t}}", "run_metadata": {"rq": "meta-{t}"},
            "extra_http_headers": {"x-header": "header-{t}"}, "max_screenshot_scrolls": 2,
            "max_elapsed_time_minutes": 5, "ai_fallback": True, "run_with": "agent",
        },
        shown={
            "parameters": {"order": "order-{t}", "currency": "EUR", "count": 7, "share": 2.0,
                           "flag": True, "more": {"k": [1]}},
            "title": "declares", "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.",
            "proxy_location": "RESIDENTIAL_GB", "totp_identifier": "totp-{t}",
            "totp_url": f"{HOST}/codes-{{t}}", "run_metadata": None, "extra_http_headers": None,
            "max_screenshot_scrolls": 2, "max_elapsed_time_minutes": None, "ai_fallback": None,
            "run_with": None,
        },
        answered={
            "parameters": {"order": "order-{t}", "count": "7", "share": 2, "flag": "true",
                           "undeclared": "undeclared-{t}"},
            "run_metadata": {"rq": "meta-{t}"}, "extra_http_headers": {"x-header": "header-{t}"},
            "max_elapsed_time_minutes": 5, "ai_fallback": True, "run_with": "agent",
        },
        found=("order-{t}", "hook-{t}", "header-{t}"),
        not_found=("undeclared-{t}", "title-{t}", "totp-{t}", "meta-{t}"),
        old_found=(),
    ),
    Row("workflow_sent_by_agent_id_is_shown_by_workflow_id", WORKFLOWS,
        {"agent_id": "{w}", "parameters": {"order": "{t}"}},
        run_type="workflow_run", title="declares", shown={"workflow_id": "{w}"}),
    _workflow("workflow_geo_proxy_gets_nulls",
              {"parameters": {"order": "{t}"}, "proxy_location": {"country": "US"}},
              shown={"proxy_location": _GEO}, old_shown={"proxy_location": _OLD_GEO}),
    _workflow("workflow_model_is_ignored",
              {"parameters": {"order": "{t}"}, "model": {"model_name": "x"}},
              shown={"model": None}, answered={"model": None}),
    Row("login_shows_nothing_of_what_it_was_asked", LOGIN,
        {**_ONEPASSWORD, "url": f"{HOST}/url-{{t}}", "prompt": "prompt-{t}",
         "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.", "totp_identifier": "totp-{t}",
         "totp_url": f"{HOST}/codes-{{t}}", "proxy_location": "RESIDENTIAL_GB",
         "max_screenshot_scrolling_times": 2, "extra_http_headers": {"x": "header-{t}"},
         "run_metadata": {"rq": "meta-{t}"}, "title": "title-{t}"},
        run_type="workflow_run", title="Login",
        shown={"parameters": {}, "title": "Login", "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.",
               "totp_identifier": "totp-{t}", "totp_url": f"{HOST}/codes-{{t}}",
               "proxy_location": "RESIDENTIAL_GB", "max_screenshot_scrolls": 2,
               "run_metadata": None, "extra_http_headers": None},
        answered={"parameters": None},
        found=("hook-{t}", "header-{t}"),
        not_found=("url-{t}", "prompt-{t}", "vault-{t}", "item-{t}", "totp-{t}", "title-{t}",
                   "meta-{t}"),
        old_found=()),
    Row("login_needs_no_url", LOGIN, {**_ONEPASSWORD},
        run_type="workflow_run", title="Login",
        shown={"parameters": {}, "proxy_location": "RESIDENTIAL"},
        answered={"parameters": None, "proxy_location": None}),
    Row("download_files_shows_nothing_of_what_it_was_asked", DOWNLOAD,
        {"navigation_goal": "prompt-{t}", "url": f"{HOST}/url-{{t}}",
         "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.", "totp_identifier": "totp-{t}",
         "download_suffix": "suffix-{t}", "download_timeout": 9, "max_steps_per_run": 4,
         "extra_http_headers": {"x": "header-{t}"}},
        run_type="workflow_run", title="File Download",
        shown={"parameters": {}, "webhook_url": f"{HOST}/hook-{{t}}?rq_job=x.1.",
               "totp_identifier": "totp-{t}"}, answered={"parameters": None},
        found=("hook-{t}", "header-{t}"), not_found=("url-{t}", "prompt-{t}", "suffix-{t}"),
        old_found=()),
    Row("download_files_needs_no_url", DOWNLOAD, {"navigation_goal": "prompt-{t}"},
        run_type="workflow_run", title="File Download", shown={"parameters": {}},
        answered={"parameters": None}),
)  # fmt: skip


@pytest.fixture(scope="module")
def declares(target: Target) -> str:
    """A workflow that declares parameters."""
    return target.workflow("declares", PARAMETERS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_server_shows(target: Target, declares: str, row: Row) -> None:
    is_old = target.version == OLD
    token = f"r{ROWS.index(row)}y{len(target.listed(page_size=1))}x"

    def fill(template: Any) -> Any:
        return filled(template, token, declares)

    answer = target.post(row.path, fill(row.body))
    if is_old and row.old_refuses:
        assert answer.status_code == row.old_refuses
        return
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["run_type"] == row.run_type
    expected = fill({**row.shown, **(row.old_shown if is_old else {})})
    answered = {**expected, **fill(row.answered)}
    assert _part(made["run_request"], answered) == answered
    assert not _differences(row.path, fill(row.body), answer)

    def as_expected() -> bool:
        # Its steps are set a moment after the run is there.
        return bool(_part(target.run(made["run_id"])["run_request"], expected) == expected)

    try:
        until(as_expected, 10, "GET to show the request")
    except TimeoutError:
        assert _part(target.run(made["run_id"])["run_request"], expected) == expected
    items = [item for item in target.listed() if item["run_id"] == made["run_id"]]
    assert [(i["task_run_type"], i["title"]) for i in items] == [(row.run_type, fill(row.title))]
    found = row.old_found if is_old and row.old_found is not None else row.found
    not_found = {*row.not_found, *row.found} - set(found)
    assert {key: _finds(target, fill(key), made["run_id"]) for key in {*found, *not_found}} == {
        **dict.fromkeys(found, True),
        **dict.fromkeys(not_found, False),
    }


def _differences(path: str, body: Mapping[str, Any], answer: httpx.Response) -> tuple[str, ...]:
    """Return what would make the answer to a submission another request's, were it believed."""
    kinds: dict[str, Kind] = {
        TASKS: "task", WORKFLOWS: "workflow", LOGIN: "login", DOWNLOAD: "download_files",
    }  # fmt: skip
    made = answer.json()
    listed = ListedRun(made["run_id"], made["status"], made["run_type"], None, None)
    return compare(kinds[path], body, ShownRun(listed, made["run_request"])).deciding


def _part(shown: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: shown.get(name) for name in names}


def _finds(target: Target, key: str, run_id: str) -> bool:
    return run_id in {item["run_id"] for item in target.listed(search_key=key)}


def test_a_task_without_url_shows_what_the_model_chose(target: Target) -> None:
    """Neither the URL nor the goal is the request's: they deny nothing."""
    body = {"prompt": "no url here", "title": "titled-no-url"}
    answer = target.post(TASKS, body)
    assert not _differences(TASKS, body, answer)
    made = answer.json()
    shown = target.run(made["run_id"])["run_request"]
    assert shown["url"]
    assert _finds(target, "titled-no-url", made["run_id"])


def test_a_task_2_0_is_found_by_a_header_as_another_run(target: Target) -> None:
    """A search for a header names the workflow run below a 2.0 task, which its list does not."""
    body = {"prompt": "p", "url": HOST, **_V2, "extra_http_headers": {"x": "header-of-a-2.0"}}
    made = target.post(TASKS, body).json()
    found = {item["run_id"] for item in target.listed(search_key="header-of-a-2.0")}
    assert made["run_id"] not in found
    if target.version != OLD:
        assert [run_id[:3] for run_id in found] == ["wr_"]
        assert not found & {item["run_id"] for item in target.listed()}


def test_a_login_and_a_download_are_known_by_their_own_workflow(target: Target) -> None:
    for path, body, block in (
        (LOGIN, {"credential_type": "1password", "onepassword_vault_id": "vault-seen",
                 "onepassword_item_id": "i", "url": f"{HOST}/seen", "prompt": "goal-seen"},
         {"url": f"{HOST}/seen", "navigation_goal": "goal-seen"}),
        (DOWNLOAD, {"navigation_goal": "goal-seen", "url": f"{HOST}/seen", "download_suffix": "s"},
         {"url": f"{HOST}/seen", "navigation_goal": "goal-seen", "download_suffix": "s"}),
    ):  # fmt: skip
        made = target.post(path, body).json()
        item = next(i for i in target.listed() if i["run_id"] == made["run_id"])
        workflow = (
            item.get("workflow_permanent_id")
            or target.run(made["run_id"])["run_request"]["workflow_id"]
        )
        definition = target.get(f"/v1/workflows/{workflow}").json()["workflow_definition"]
        assert _part(definition["blocks"][0], block) == block
        if path == LOGIN:
            assert "vault-seen" in str(definition["parameters"])


def test_a_run_that_was_made_may_be_unreadable_for_ever(target: Target, declares: str) -> None:
    """A whole number sent as 7.0 is accepted, and fails each GET: 400 says not that it is gone."""
    body = {"workflow_id": declares, "parameters": {"order": "o", "count": 7.0}}
    made = target.post(WORKFLOWS, body)
    assert made.status_code == 200
    run_id = made.json()["run_id"]
    assert target.get(f"/v1/runs/{run_id}").status_code == 400
    assert run_id in {item["run_id"] for item in target.listed()}
