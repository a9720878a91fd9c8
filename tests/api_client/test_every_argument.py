"""Every argument of every call, blocking and awaited: what goes over the wire for it.

The expected requests are written out; nothing here asks the package what it would send.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import pytest

from api_client import OMIT, AgentClient, CredentialType, RunEngine
from tests.api_client.recording import KEY, WAYS, Recording, Way, called

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"
LOGIN, DOWNLOAD = "/v1/run/tasks/login", "/v1/run/tasks/download_files"

TEXT = ('ä "x"\n\u2028/', '"ä \\"x\\"\\n\u2028/"')
FLAGS = [(True, "true"), (False, "false"), (None, "null")]
NUMBERS = [(7, "7"), (0, "0"), (None, "null")]
TEXTS = [TEXT, ("", '""'), (None, "null")]
OBJECTS: list[tuple[Any, str]] = [
    ({"a": [1, None, 2.50, {}]}, '{"a":[1,null,2.5,{}]}'),
    ({}, "{}"),
    (None, "null"),
]
HEADERS = [({"x-a": "b", "x-c": None}, '{"x-a":"b","x-c":null}'), (None, "null")]
PROXIES = [("US-CA", '"US-CA"'), ({"country": "FR"}, '{"country":"FR"}'), (None, "null")]

#: What every submission takes in its JSON: each value, and how it is written.
COMMON: dict[str, list[tuple[Any, str]]] = {
    **dict.fromkeys(["webhook_url", "totp_identifier", "totp_url"], TEXTS),
    **dict.fromkeys(["browser_session_id", "browser_profile_id", "browser_address"], TEXTS),
    **dict.fromkeys(["extra_http_headers", "cdp_connect_headers"], HEADERS),
    "proxy_location": PROXIES,
    "start_fresh_browser": FLAGS,
}
SHARED = COMMON | {
    "title": TEXTS,
    "max_screenshot_scrolls": NUMBERS,
    "model": OBJECTS,
    "run_with": TEXTS,
    "file_ids": [(["f"], '["f"]'), (("f", "g"), '["f","g"]'), ([], "[]"), (None, "null")],
}
TASK_FIELDS = SHARED | {
    "url": TEXTS,
    "engine": [(RunEngine.SKYVERN_V2, '"skyvern-2.0"'), ("new", '"new"'), (None, "null")],
    "data_extraction_schema": [*OBJECTS, (["a", 1], '["a",1]'), TEXT],
    "error_code_mapping": HEADERS,
    "max_steps": NUMBERS,
    "publish_workflow": FLAGS,
    "include_action_history_in_verification": FLAGS,
}
WORKFLOW_FIELDS = SHARED | {
    "parameters": OBJECTS,
    "reuse_browser_session": FLAGS,
    "max_elapsed_time_minutes": NUMBERS,
    "ai_fallback": FLAGS,
    "run_metadata": OBJECTS,
    "browser_type": TEXTS,
}
BLOCK_FIELDS = COMMON | {"url": TEXTS, "max_screenshot_scrolling_times": NUMBERS}
LOGIN_FIELDS = BLOCK_FIELDS | {
    **dict.fromkeys(["prompt", "credential_id", "bitwarden_collection_id"], TEXTS),
    **dict.fromkeys(["bitwarden_item_id", "onepassword_vault_id", "onepassword_item_id"], TEXTS),
    **dict.fromkeys(["onepassword_totp_field_name", "azure_vault_name"], TEXTS),
    **dict.fromkeys(["azure_vault_username_key", "azure_vault_password_key"], TEXTS),
    "azure_vault_totp_secret_key": TEXTS,
}
DOWNLOAD_FIELDS = BLOCK_FIELDS | {
    "download_suffix": TEXTS,
    "download_timeout": [*NUMBERS, (2.5, "2.5")],
    "max_steps_per_run": NUMBERS,
}


@dataclass(frozen=True)
class Row:
    """A call, and the request it makes; `argument` is what the row is about."""

    call: str
    argument: str
    given: dict[str, Any]
    target: str
    content: str = ""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def task(argument: str, given: dict[str, Any], more: str = "", **headers: str) -> Row:
    content = f'{{"prompt":"p"{more}}}'
    return Row("run_task", argument, {"prompt": "p"} | given, TASKS, content, headers=headers)


def workflow(argument: str, given: dict[str, Any], more: str = "", query: str = "") -> Row:
    given = {"workflow_id": "w"} | given
    return Row("run_workflow", argument, given, WORKFLOWS + query, f'{{"workflow_id":"w"{more}}}')


def login(argument: str, given: dict[str, Any], more: str = "", **headers: str) -> Row:
    given = {"credential_type": CredentialType.ONEPASSWORD} | given
    content = f'{{"credential_type":"1password"{more}}}'
    return Row("login", argument, given, LOGIN, content, headers=headers)


def download(argument: str, given: dict[str, Any], more: str = "", **headers: str) -> Row:
    given = {"navigation_goal": "g"} | given
    content = f'{{"navigation_goal":"g"{more}}}'
    return Row("download_files", argument, given, DOWNLOAD, content, headers=headers)


def read(call: str, argument: str, given: dict[str, Any], target: str) -> Row:
    return Row(call, argument, given, target, method="GET")


def header(call: str, argument: str, value: Any, name: str, text: str) -> Row:
    row = (task if call == "run_task" else workflow)(argument, {argument: value})
    return Row(call, argument, row.given, row.target, row.content, headers={name: text})


LISTED: list[tuple[str, Any, str]] = [
    ("search_key", None, ""),
    ("search_key", "[rq:ä b]", "search_key=%5Brq%3A%C3%A4+b%5D&"),
    ("status", None, ""),
    ("status", "running", "status=running&"),
    ("status", ("created", "queued"), "status=created&status=queued&"),
    ("status", [], ""),
    ("tags", None, ""),
    ("tags", "rq_job:a.1", "tags=rq_job%3Aa.1&"),
    ("tags", ("a:*", "b"), "tags=a%3A%2A&tags=b&"),
]
SESSIONS = "/v1/browser_sessions"
SESSION_FIELDS: dict[str, list[tuple[Any, str]]] = {
    **dict.fromkeys(["url", "proxy_session_id", "browser_type", "browser_profile_id"], TEXTS),
    "timeout": NUMBERS,
    "proxy_location": PROXIES,
    "extensions": [(["a"], '["a"]'), ([], "[]"), (None, "null")],
    "generate_browser_profile": FLAGS,
    "browser_settings": OBJECTS,
    "needs_live_view": FLAGS,
}
TAGS = [([{"key": "a", "value": "b"}], '[{"key":"a","value":"b"}]'), ([], "[]")]
TAG_FIELDS: dict[str, list[tuple[Any, str]]] = {
    "tags": TAGS,
    "tags_to_delete": [([{"key": "a"}], '[{"key":"a"}]'), ([], "[]")],
    "colors": [({"a": "red"}, '{"a":"red"}'), (None, "null")],
}
RERUN = "/v1/workflows/runs/wr_1/retry"
RERUN_HEADERS: list[tuple[str, Any, dict[str, str]]] = [
    ("max_steps_override", None, {}),
    ("max_steps_override", 25, {"x-max-steps-override": "25"}),
    ("user_agent", "ua", {"x-user-agent": "ua"}),
]
ARTIFACT_TYPES: list[tuple[Any, str]] = [
    (None, ""),
    ([], ""),
    ("har", "?artifact_type=har"),
    (("har", "a b"), "?artifact_type=har&artifact_type=a+b"),
]
LIST = "/v1/runs?page=1&page_size=100"
CANCEL = ("/v1/runs/cancel", '{"run_ids":["a","b"]}')
RETRY = "/v1/runs/tsk_1/retry_webhook"
AWKWARD_ID = {"run_id": "a/b?c#d e%"}
AWKWARD = "/v1/runs/a%2Fb%3Fc%23d%20e%25"

ROWS = [
    task("prompt", {}),
    Row("run_task", "prompt", {"prompt": TEXT[0]}, TASKS, f'{{"prompt":{TEXT[1]}}}'),
    *(
        task(name, {name: value}, f',"{name}":{text}')
        for name, values in TASK_FIELDS.items()
        for value, text in values
    ),
    *(task(name, {name: OMIT}) for name in TASK_FIELDS),
    task("user_agent", {"user_agent": None}),
    header("run_task", "user_agent", "ua/1 (x)", "x-user-agent", "ua/1 (x)"),
    workflow("workflow_id", {}),
    Row("run_workflow", "agent_id", {"agent_id": "w"}, WORKFLOWS, '{"agent_id":"w"}'),
    *(
        workflow(name, {name: value}, f',"{name}":{text}')
        for name, values in WORKFLOW_FIELDS.items()
        for value, text in values
    ),
    *(workflow(name, {name: OMIT}) for name in [*WORKFLOW_FIELDS, "agent_id"]),
    workflow("template", {"template": None}),
    workflow("template", {"template": True}, query="?template=true"),
    workflow("template", {"template": False}, query="?template=false"),
    workflow("user_agent", {"user_agent": None}),
    header("run_workflow", "user_agent", "ua", "x-user-agent", "ua"),
    workflow("max_steps_override", {"max_steps_override": None}),
    header("run_workflow", "max_steps_override", 0, "x-max-steps-override", "0"),
    header("run_workflow", "max_steps_override", 25, "x-max-steps-override", "25"),
    login("credential_type", {}),
    download("navigation_goal", {}),
    *(
        make(name, {name: value}, f',"{name}":{text}')
        for make, fields in ((login, LOGIN_FIELDS), (download, DOWNLOAD_FIELDS))
        for name, values in fields.items()
        for value, text in values
    ),
    *(login(name, {name: OMIT}) for name in LOGIN_FIELDS),
    *(download(name, {name: OMIT}) for name in DOWNLOAD_FIELDS),
    login("user_agent", {"user_agent": "ua"}, **{"x-user-agent": "ua"}),
    download("user_agent", {"user_agent": "ua"}, **{"x-user-agent": "ua"}),
    read("get_run", "run_id", {"run_id": "tsk_v2_1"}, "/v1/runs/tsk_v2_1"),
    read("get_run", "run_id", AWKWARD_ID, AWKWARD),
    read("wait_for_run", "run_id", AWKWARD_ID, AWKWARD),
    Row("cancel_run", "run_id", {"run_id": "wr_1"}, "/v1/runs/wr_1/cancel"),
    Row("cancel_run", "run_id", AWKWARD_ID, f"{AWKWARD}/cancel"),
    Row("retry_run_webhook", "run_id", {"run_id": "tsk_1"}, RETRY),
    Row("retry_run_webhook", "run_id", AWKWARD_ID, f"{AWKWARD}/retry_webhook"),
    *(
        Row("retry_run_webhook", "webhook_url", {"run_id": "tsk_1", "webhook_url": url}, RETRY, c)
        for url, c in [(OMIT, ""), (None, '{"webhook_url":null}'), ("u", '{"webhook_url":"u"}')]
    ),
    read("list_runs", "page", {}, LIST),
    read("list_runs", "page", {"page": 100}, "/v1/runs?page=100&page_size=100"),
    read("list_runs", "page_size", {"page_size": 1}, "/v1/runs?page=1&page_size=1"),
    *(
        read(call, argument, {argument: value}, f"/v1/runs?{query}page=1&page_size=100")
        for call in ("list_runs", "iter_runs")
        for argument, value, query in LISTED
    ),
    Row("cancel_runs", "run_ids", {"run_ids": ["a", "b", "a"]}, *CANCEL),
    Row("cancel_runs", "run_ids", {"run_ids": ("a", "b")}, *CANCEL),
    *(
        read("webhook_failure_reason", "run_id", {"run_id": run_id}, target)
        for run_id, target in [
            ("wr_1", "/v1/agents/runs?search_key=wr_1"),
            ("tsk_1", "/api/v1/tasks/tsk_1"),
            ("a/b", "/api/v1/tasks/a%2Fb"),
        ]
    ),
]
ROWS += [
    read("get_run_artifacts", "run_id", {"run_id": "wr_1"}, "/v1/runs/wr_1/artifacts"),
    read("get_run_artifacts", "run_id", AWKWARD_ID, f"{AWKWARD}/artifacts"),
    *(
        read(
            "get_run_artifacts",
            "artifact_type",
            {"run_id": "wr_1", "artifact_type": given},
            f"/v1/runs/wr_1/artifacts{query}",
        )
        for given, query in ARTIFACT_TYPES
    ),
    read("get_run_timeline", "run_id", {"run_id": "wr_1"}, "/v1/runs/wr_1/timeline"),
    read("get_run_timeline", "run_id", AWKWARD_ID, f"{AWKWARD}/timeline"),
    Row("retry_workflow_run", "run_id", {"run_id": "wr_1"}, RERUN),
    Row("retry_workflow_run", "run_id", {"run_id": "a/b"}, "/v1/workflows/runs/a%2Fb/retry"),
    *(
        Row("retry_workflow_run", name, {"run_id": "wr_1", name: value}, RERUN, headers=headers)
        for name, value, headers in RERUN_HEADERS
    ),
    read("get_run_tags", "run_id", {"run_id": "wr_1"}, "/v1/runs/wr_1/tags"),
    Row("apply_run_tags", "run_id", {"run_id": "wr_1"}, "/v1/runs/wr_1/tags", "{}"),
    *(
        Row(
            "apply_run_tags",
            name,
            {"run_id": "wr_1", name: value},
            "/v1/runs/wr_1/tags",
            f'{{"{name}":{text}}}',
        )
        for name, values in TAG_FIELDS.items()
        for value, text in values
    ),
    Row("create_browser_session", "timeout", {}, SESSIONS, "{}"),
    *(
        Row("create_browser_session", name, {name: value}, SESSIONS, f'{{"{name}":{text}}}')
        for name, values in SESSION_FIELDS.items()
        for value, text in values
    ),
    read(
        "get_browser_session",
        "browser_session_id",
        {"browser_session_id": "a/b"},
        f"{SESSIONS}/a%2Fb",
    ),
    *(
        Row(
            "extend_browser_session",
            argument,
            {"browser_session_id": "pbs_1", "additional_minutes": 10},
            f"{SESSIONS}/pbs_1/extend",
            '{"additional_minutes":10}',
        )
        for argument in ("browser_session_id", "additional_minutes")
    ),
    Row(
        "close_browser_session",
        "browser_session_id",
        {"browser_session_id": "pbs_1"},
        f"{SESSIONS}/pbs_1/close",
    ),
]
#: What the waits of `wait_for_run` are; they never leave this machine.
WAITS = {"timeout", "min_interval", "max_interval"}
#: The first row of each call is the least it can be called with.
LEAST = {row.call: row for row in reversed(ROWS)}

both = pytest.mark.parametrize("way", WAYS)


def check_sent(row: Row, transport: Recording) -> None:
    request = transport.only
    content = row.content.encode()
    headers = {
        "host": "api.example.com",
        "x-api-key": KEY,
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "cache-control": "no-cache",
        "user-agent": "runqueue",
        "connection": "close",  # as every transport but our own is told
    }
    if row.method == "POST":
        headers["content-length"] = str(len(content))
    if content:
        headers["content-type"] = "application/json"
    assert request.method == row.method
    assert request.url.raw_path.decode() == row.target
    assert request.content == content
    assert dict(request.headers) == headers | row.headers
    assert len(request.headers.raw) == len(request.headers)  # none of them twice


@both
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.call}-{row.argument}")
def test_an_argument_is_sent_as_the_table_says_and_nothing_else(row: Row, way: Way) -> None:
    transport = Recording()
    called(way, transport, row.call, **row.given)
    check_sent(row, transport)


def test_the_table_covers_every_argument_of_every_call() -> None:
    calls = {name: getattr(AgentClient, name) for name in dir(AgentClient) if name[0] != "_"}
    there_are = {
        (name, argument) for name, call in calls.items() for argument in _arguments_of(call)
    }
    elsewhere = {("wait_for_run", argument) for argument in WAITS}
    elsewhere |= {(name, "request_options") for name in LEAST}  # test_request_options.py
    assert {(row.call, row.argument) for row in ROWS} | elsewhere == there_are
    assert set(LEAST) == set(calls)


def _arguments_of(call: Any) -> list[str]:
    return list(inspect.signature(call).parameters)[1:]
