"""Whether a run may be a job's, by the request that a server shows of it."""

import math
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import HttpUrl, TypeAdapter

from api_client import ListedRun
from runqueue.request.requests import Kind
from worker.runs.comparison import Comparison, ShownRun, Similarity, compare, normalized_url
from worker.runs.plausible import Index

_HTTP_URL = TypeAdapter(HttpUrl)
EQUAL, DIFFERENT, UNSURE = Similarity.EQUAL, Similarity.DIFFERENT, Similarity.UNSURE
TASK = {"prompt": "Read the price.", "url": "https://shop.test/p"}
FLOW = {"workflow_id": "wpid_1", "parameters": {"order": "17"}}
LOGIN = {
    "credential_type": "1password",
    "onepassword_vault_id": "v1",
    "onepassword_item_id": "i1",
    "url": "https://shop.test/login",
    "prompt": "Log in.",
}
DOWNLOAD = {"navigation_goal": "Get the bills.", "url": "https://shop.test/bills"}
#: What a server adds to every task that it shows.
ADDED = {
    "user_agent": None,
    "title": None,
    "engine": "skyvern-1.0",
    "proxy_location": "RESIDENTIAL",
    "data_extraction_schema": None,
    "error_code_mapping": None,
    "max_steps": 10,
    "webhook_url": None,
    "totp_identifier": None,
    "totp_url": None,
    "browser_session_id": None,
    "publish_workflow": False,
    "include_action_history_in_verification": False,
    "max_screenshot_scrolls": None,
    "extra_http_headers": None,
}
#: What a server adds to every workflow run.
ADDED_TO_FLOW = {
    "title": "The workflow's own title",
    "proxy_location": "RESIDENTIAL",
    "webhook_url": None,
    "totp_identifier": None,
    "totp_url": None,
    "run_metadata": None,
    "extra_http_headers": None,
    "max_elapsed_time_minutes": None,
}


def run_of(
    request: Mapping[str, Any] | None,
    run_type: str | None = "task_v1",
    *,
    workflow: Mapping[str, Any] | None = None,
    workflow_id: str | None = None,
) -> ShownRun:
    """A run as a server shows it."""
    listed = ListedRun("run_1", "running", run_type, None, 0.0, None, workflow_id)
    return ShownRun(listed, request, workflow)


def task(
    sent: Mapping[str, Any], shown: Mapping[str, Any], run_type: str = "task_v1"
) -> Comparison:
    """Compare a task with a run that shows its own fields, what a server adds, and `shown`."""
    own = {name: value for name, value in sent.items() if name in ADDED or name in TASK}
    return compare("task", sent, run_of({**ADDED, **own, **shown}, run_type))


def flow(sent: Mapping[str, Any], shown: Mapping[str, Any]) -> Comparison:
    """Compare a workflow with a run that shows what a server adds, and `shown`."""
    return compare("workflow", sent, run_of({**ADDED_TO_FLOW, **shown}, "workflow_run"))


def made(
    block_type: str,
    sent: Mapping[str, Any],
    *,
    shown: Mapping[str, Any] | None = None,
    **block: Any,
) -> ShownRun:
    """A run of the workflow that a server makes of a login, or a download of files."""
    parameters = [{"key": "credential", "vault_id": "v1", "item_id": "i1"}]
    own = {
        "block_type": block_type,
        "url": sent.get("url"),
        "navigation_goal": sent.get("prompt") or sent.get("navigation_goal"),
        **block,
    }
    definition = {"workflow_definition": {"parameters": parameters, "blocks": [own]}}
    request = {**ADDED_TO_FLOW, "workflow_id": "wpid_9", "parameters": {}, **(shown or {})}
    return run_of(request, "workflow_run", workflow=definition, workflow_id="wpid_9")


# What a certified server shows of a request is equal to it.

TASKS_AS_SHOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing but defaults added": ({}, {}),
    "a host without a path": ({"url": "http://127.0.0.1:9"}, {"url": "http://127.0.0.1:9/"}),
    "a URL in upper case, with a default port, a space and a letter that is not ASCII": (
        {"url": "HTTP://LOCALHOST:80/a b?x=ü#f"},
        {"url": "http://localhost/a%20b?x=%C3%BC#f"},
    ),
    "a doubled www": ({"url": "https://www.www.shop.test/p"}, {"url": "https://www.shop.test/p"}),
    "a title that is listed, not shown": ({"title": "T"}, {"title": None}),
    "a place, with nulls added": (
        {"proxy_location": {"country": "US"}},
        {"proxy_location": {"country": "US", "subdivision": None, "city": None, "isISP": False}},
    ),
    "headers, an agent and a model that are not shown": (
        {"extra_http_headers": {"x-shop": "7"}, "user_agent": "me", "model": {"name": "m"}},
        {"extra_http_headers": None, "user_agent": None},
    ),
    "a flag that is shown off": (
        {"include_action_history_in_verification": True},
        {"include_action_history_in_verification": False},
    ),
    "steps that are not shown yet": ({"max_steps": 7}, {"max_steps": None}),
    "steps": ({"max_steps": 7}, {}),
    "nulls": ({"webhook_url": None, "title": None, "max_steps": None, "totp_url": None}, {}),
    "a schema": ({"data_extraction_schema": {"b": 1, "a": [2]}}, {}),
    "a schema as a list": ({"data_extraction_schema": [{"a": 1}]}, {}),
    "a schema in words": ({"data_extraction_schema": "the price"}, {}),
    "a schema as text that is shown as JSON": (
        {"data_extraction_schema": '{"type": "object"}'},
        {"data_extraction_schema": {"type": "object"}},
    ),
    "a schema that is empty and not shown": (
        {"data_extraction_schema": {}},
        {"data_extraction_schema": None},
    ),
    "codes of errors": ({"error_code_mapping": {"gone": "it is gone"}}, {}),
    "one-time codes": (
        {"totp_identifier": "me", "totp_url": "HTTP://127.0.0.1:9"},
        {"totp_url": "http://127.0.0.1:9/"},
    ),
    "a prompt with space around it": ({"prompt": "  Read\n\u00fc\u2028 "}, {}),
}


@pytest.mark.parametrize(("sent", "shown"), TASKS_AS_SHOWN.values(), ids=TASKS_AS_SHOWN)
@pytest.mark.parametrize(
    ("engine", "run_type"),
    [
        ({}, "task_v1"),
        ({"engine": "skyvern-1.0"}, "task_v1"),
        ({"engine": "skyvern-2.0"}, "task_v2"),
        ({"engine": "openai-cua"}, "openai_cua"),
    ],
    ids=["no engine", "1.0", "2.0", "cua"],
)
def test_what_a_server_shows_of_a_task_is_equal_to_it(
    sent: dict[str, Any], shown: dict[str, Any], engine: dict[str, Any], run_type: str
) -> None:
    found = task({**TASK, **engine, **sent}, shown, run_type)

    assert (found.similarity, found.different) == (EQUAL, ())


FLOWS_AS_SHOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no parameters": ({"workflow_id": "w"}, {"workflow_id": "w", "parameters": {}}),
    "empty parameters, defaults added": (
        {"workflow_id": "w", "parameters": {}},
        {"workflow_id": "w", "parameters": {"currency": "EUR"}},
    ),
    "one of two parameters": (
        {"workflow_id": "w", "parameters": {"order": "17"}},
        {"workflow_id": "w", "parameters": {"order": "17", "currency": "EUR"}},
    ),
    "undeclared names dropped": (
        {"workflow_id": "w", "parameters": {"order": "17", "unknown": "x"}},
        {"workflow_id": "w", "parameters": {"order": "17"}},
    ),
    "a null that became a default": (
        {"workflow_id": "w", "parameters": {"order": "17", "currency": None}},
        {"workflow_id": "w", "parameters": {"order": "17", "currency": "EUR"}},
    ),
    "agent_id for workflow_id": ({"workflow_id": "w"}, {"agent_id": "w"}),
    "workflow_id for agent_id": ({"agent_id": "w"}, {"workflow_id": "w"}),
    "fields that are not shown": (
        {
            "workflow_id": "w",
            "title": "t",
            "run_metadata": {"a": "b"},
            "extra_http_headers": {"a": "b"},
            "max_elapsed_time_minutes": 5,
            "max_steps_override": 9,
            "reuse_browser_session": True,
            "user_agent": "me",
        },
        {"workflow_id": "w", "browser_profile_id": "bp_1"},
    ),
    "one-time codes": (
        {"workflow_id": "w", "totp_identifier": "me", "totp_url": "http://A.test"},
        {"workflow_id": "w", "totp_identifier": "me", "totp_url": "http://a.test/"},
    ),
    "an empty identifier that the workflow's own replaces": (
        {"workflow_id": "w", "totp_identifier": ""},
        {"workflow_id": "w", "totp_identifier": "the workflow's"},
    ),
}


@pytest.mark.parametrize(("sent", "shown"), FLOWS_AS_SHOWN.values(), ids=FLOWS_AS_SHOWN)
def test_what_a_server_shows_of_a_workflow_run_is_equal_to_its_request(
    sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    found = flow(sent, shown)

    assert (found.similarity, found.different) == (EQUAL, ())


def parameter(sent: Any, shown: Any) -> Comparison:
    """Compare workflow runs by a parameter's value."""
    request, run = ({"workflow_id": "w", "parameters": {"a": value}} for value in (sent, shown))
    return flow(request, run)


#: A parameter's value as sent, and as a workflow shows it that declares some type.
CASTS: dict[str, tuple[Any, Any]] = {
    "integer of text": ("7", 7),
    "integer of a number with a fraction of 0": (7.0, 7),
    "integer of text with zeros": ("007", 7),
    "integer of text with a sign": ("+7", 7),
    "integer of text with space": (" 7 ", 7),
    "integer of grouped digits": ("1_000", 1000),
    "integer of a truth value": (True, 1),
    "float of an integer": (2, 2.0),
    "float of text": ("7", 7.0),
    "float of short text": (".5", 0.5),
    "float of text without a fraction": ("7.", 7.0),
    "float of an exponent": ("1E3", 1000.0),
    "float of an integer with too many digits": (2**53 + 1, float(2**53)),
    "boolean of text": ("true", True),
    "boolean of capital text": ("TRUE", True),
    "boolean of a digit": ("1", True),
    "boolean of a number": (0, False),
    "string of an integer": (7, "7"),
    "string of a float": (7.5, "7.5"),
    "string of a large float": (1e16, "1e+16"),
    "string of a truth value": (True, "True"),
    "json of text": ('{"z": 2}', {"z": 2}),
    "json of text with space": (" [1, 2]\n", [1, 2]),
    "json of a number": ("7", 7),
    "json of a text in quotes": ('"x"', "x"),
    "json of itself": ({"k": [1]}, {"k": [1]}),
    "a URL that is rewritten": ("HTTP://A.test", "http://a.test/"),
}


@pytest.mark.parametrize(("sent", "shown"), CASTS.values(), ids=CASTS)
def test_a_parameter_is_equal_to_what_it_is_cast_to(sent: Any, shown: Any) -> None:
    found = parameter(sent, shown)

    assert (found.similarity, found.equal) == (EQUAL, ("workflow_id", "parameters.a"))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("17", "18"),
        ("17", 18),
        (17, 18),
        (17, "18"),
        (1.5, 2.5),
        (7.5, 8),
        ("true", False),
        (True, "False"),
        ("yes", True),
        (2**53 + 1, 2**53),
        ("9007199254740993", 9007199254740992),
        ("order 17", 17),
        (400 * "9", 17),
        (400 * "9", 1.5),
        ({"a": 1}, {"a": 2}),
        ([1, 2], [2, 1]),
        ('{"a": 1}', {"a": 2}),
        ("a", "A"),
        ("https://a.test/x", "https://a.test/y"),
    ],
)
def test_another_value_of_a_parameter_is_another_request_s(sent: Any, shown: Any) -> None:
    found = parameter(sent, shown)

    assert (found.similarity, found.different) == (DIFFERENT, ("parameters.a",))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("s3://files/a", {"url": "https://signed.test/a"}),
        ({"a": 1}, "{'a': 1}"),
        (["a"], "a"),
        (7.9, 7),
    ],
    ids=["an object of a URL", "text of an object", "text of a list", "a fraction that was cut"],
)
def test_a_value_of_another_shape_says_nothing(sent: Any, shown: Any) -> None:
    found = parameter(sent, shown)

    assert found.similarity is UNSURE


@given(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.text(max_size=8),
    )
)
def test_no_value_is_taken_for_another_s_by_a_cast_of_its_own(value: Any) -> None:
    # By the server's rules: each declared type's cast of what was sent.
    casts: list[Any] = [str(value)]
    for cast in (int, float):
        try:
            casts.append(cast(value))
        except (ValueError, OverflowError):
            continue

    for shown in casts:
        if isinstance(shown, float) and not math.isfinite(shown):
            continue  # JSON cannot show it
        found = parameter(value, shown)
        assert found.similarity is not DIFFERENT, (value, shown)


# Differences that deny, and those that do not.

STRONG: dict[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "prompt": ("task", {}, {"prompt": "Read another price."}),
    "the url's path": ("task", {}, {"url": "https://shop.test/q"}),
    "the url's host": ("task", {}, {"url": "https://shop2.test/p"}),
    "the url's query": ("task", {}, {"url": "https://shop.test/p?x=1"}),
    "the url's case": ("task", {}, {"url": "https://shop.test/P"}),
    "schema": ("task", {"data_extraction_schema": {"a": 1}}, {"data_extraction_schema": {"a": 2}}),
    "codes of errors": ("task", {"error_code_mapping": {"a": "b"}}, {"error_code_mapping": {}}),
    "totp_identifier": ("task", {"totp_identifier": "me"}, {"totp_identifier": "you"}),
    "totp_url": ("task", {"totp_url": "https://a.test/1"}, {"totp_url": "https://a.test/2"}),
    "workflow": ("workflow", {}, {"workflow_id": "wpid_2", "agent_id": None}),
    "a workflow's totp_identifier": (
        "workflow",
        {"totp_identifier": "me"},
        {"totp_identifier": "you"},
    ),
    "a workflow's totp_url": (
        "workflow",
        {"totp_url": "https://a.test/1"},
        {"totp_url": "https://a.test/2"},
    ),
}


@pytest.mark.parametrize(("kind", "sent", "shown"), STRONG.values(), ids=STRONG)
def test_a_difference_in_what_is_shown_unchanged_denies(
    kind: Kind, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    found = (
        task({**TASK, **sent}, shown)
        if kind == "task"
        else flow({**FLOW, **sent}, {**FLOW, **sent, **shown})
    )

    assert found.similarity is DIFFERENT
    assert len(found.different) == 1


WEAK: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "engine": ({"engine": "skyvern-1.0"}, {"engine": "skyvern-2.0"}),
    "max_steps": ({"max_steps": 4}, {"max_steps": 10}),
    "scrolls": ({"max_screenshot_scrolls": 2}, {"max_screenshot_scrolls": 3}),
    "proxy": ({"proxy_location": "RESIDENTIAL_GB"}, {"proxy_location": "RESIDENTIAL"}),
    "place": ({"proxy_location": {"country": "US"}}, {"proxy_location": {"country": "DE"}}),
    "a place as a name": ({"proxy_location": {"country": "US"}}, {"proxy_location": "US-CA"}),
    "a proxy of the user's": (
        {"proxy_location": {"url": "http://a.test:1"}},
        {"proxy_location": {"url": "****"}},
    ),
    "a webhook that is another's": (
        {"webhook_url": "https://app.test/a"},
        {"webhook_url": "https://app.test/b"},
    ),
    "a webhook that was not sent": ({}, {"webhook_url": "https://app.test/b"}),
    "a schema that was not sent": ({}, {"data_extraction_schema": {"a": 1}}),
    "codes of errors that were not sent": ({}, {"error_code_mapping": {"a": "b"}}),
    "an identifier that was not sent": ({}, {"totp_identifier": "me"}),
}


@pytest.mark.parametrize(("sent", "shown"), WEAK.values(), ids=WEAK)
def test_a_difference_in_what_a_server_may_change_leaves_it_open(
    sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    found = task({**TASK, **sent}, shown)

    assert found.similarity is UNSURE
    assert len(found.different) == 1


@pytest.mark.parametrize(
    "name", ["prompt", "url", "data_extraction_schema", "error_code_mapping", "totp_identifier"]
)
@pytest.mark.parametrize("shown", [None, "gone"])
def test_a_field_that_is_not_shown_is_no_evidence(name: str, shown: str | None) -> None:
    sent = {
        **TASK,
        "data_extraction_schema": {"a": 1},
        "error_code_mapping": {"a": "b"},
        "totp_identifier": "me",
    }
    echoed = {**ADDED, **sent, name: None}
    if shown == "gone":
        del echoed[name]

    found = compare("task", sent, run_of(echoed))

    assert (found.similarity, found.different) == (UNSURE, ())
    assert name not in found.equal


@given(
    present=st.sets(st.sampled_from(sorted({**ADDED, **TASK}))),
    nulls=st.sets(st.sampled_from(sorted({**ADDED, **TASK}))),
)
def test_nothing_that_a_server_adds_or_leaves_out_denies(
    present: set[str], nulls: set[str]
) -> None:
    echoed = {**ADDED, **TASK}
    shown = {name: None if name in nulls else echoed[name] for name in present}

    assert compare("task", TASK, run_of(shown)).similarity is not DIFFERENT


@pytest.mark.parametrize("kind", ["task", "workflow", "login", "download_files"])
@pytest.mark.parametrize("run_type", [None, "new_type_of_run"])
def test_a_run_of_an_unknown_type_that_shows_nothing_is_open(
    kind: Kind, run_type: str | None
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "task": TASK,
        "workflow": FLOW,
        "login": LOGIN,
        "download_files": DOWNLOAD,
    }
    sent = bodies[kind]

    if run_type is None or kind == "task":
        assert compare(kind, sent, run_of({}, run_type)).similarity is UNSURE
        assert compare(kind, sent, run_of(None, run_type)).similarity is UNSURE


@pytest.mark.parametrize(
    ("kind", "sent", "run_type"),
    [
        ("task", TASK, "task_v1"),
        ("task", TASK, "task_v2"),
        ("workflow", FLOW, "workflow_run"),
        ("login", LOGIN, "workflow_run"),
        ("download_files", DOWNLOAD, "workflow_run"),
    ],
)
def test_a_run_whose_request_cannot_be_read_may_be_anybody_s_of_its_kind(
    kind: Kind, sent: dict[str, Any], run_type: str
) -> None:
    found = compare(kind, sent, run_of(None, run_type))

    assert (found.similarity, found.equal, found.different) == (UNSURE, (), ())


@pytest.mark.parametrize(
    ("sent", "workflow_id", "similarity"),
    [
        (FLOW, "wpid_1", UNSURE),
        (FLOW, "wpid_2", DIFFERENT),
        ({"agent_id": "wpid_1"}, "wpid_2", DIFFERENT),
        ({"workflow_id": "wpid_1", "template": True}, "wpid_2", UNSURE),
    ],
)
def test_of_a_run_whose_request_cannot_be_read_the_list_shows_the_workflow(
    sent: dict[str, Any], workflow_id: str, similarity: Similarity
) -> None:
    run = run_of(None, "workflow_run", workflow_id=workflow_id)

    assert compare("workflow", sent, run).similarity is similarity


def test_of_a_login_whose_request_cannot_be_read_the_workflow_is_compared() -> None:
    readable = made("login", LOGIN)
    unread = run_of(None, "workflow_run", workflow=readable.workflow)

    assert compare("login", LOGIN, unread).similarity is UNSURE
    assert compare("login", {**LOGIN, "prompt": "Other."}, unread).similarity is DIFFERENT
    assert compare("download_files", DOWNLOAD, unread).similarity is DIFFERENT


def test_a_run_of_another_kind_is_another_request_s() -> None:
    assert compare("task", TASK, run_of({**TASK}, "workflow_run")).similarity is DIFFERENT
    assert compare("workflow", FLOW, run_of({**FLOW}, "task_v1")).similarity is DIFFERENT
    assert compare("login", LOGIN, run_of({**FLOW}, "task_v2")).similarity is DIFFERENT


# Tasks without a URL.


@pytest.mark.parametrize("run_type", ["task_v1", "openai_cua", None])
def test_of_a_task_without_a_url_a_model_s_goal_url_and_schema_deny_nothing(
    run_type: str | None,
) -> None:
    shown = {
        **ADDED,
        "prompt": "Go to the shop and read the price of the thing.",
        "url": "https://chosen.test/",
        "data_extraction_schema": {"price": "number"},
    }

    found = compare("task", {"prompt": "Read the price."}, run_of(shown, run_type))

    assert found.similarity is UNSURE


def test_an_empty_schema_of_a_task_without_a_url_is_the_model_s_to_write() -> None:
    sent = {"prompt": "Read the price.", "data_extraction_schema": {}}
    shown = {**ADDED, "prompt": "Read the price.", "data_extraction_schema": {"price": "number"}}

    assert compare("task", sent, run_of(shown)).similarity is not DIFFERENT


def test_a_task_without_a_url_whose_goal_was_kept_is_equal() -> None:
    shown = {**ADDED, "prompt": "Read the price.", "url": "https://chosen.test/"}

    assert compare("task", {"prompt": "Read the price."}, run_of(shown)).similarity is EQUAL


def test_a_task_2_0_without_a_url_keeps_its_prompt_so_that_another_one_denies() -> None:
    sent = {"prompt": "Read the price.", "engine": "skyvern-2.0"}

    assert task(sent, {"prompt": "Other."}, "task_v2").similarity is DIFFERENT


# Workflows.


def test_a_template_may_be_shown_under_another_id() -> None:
    sent = {"workflow_id": "wpid_template", "template": True}

    assert flow(sent, {"workflow_id": "wpid_copy", "parameters": {}}).similarity is UNSURE


def test_parameters_that_are_not_shown_leave_it_open() -> None:
    assert flow(FLOW, {"workflow_id": "wpid_1", "parameters": None}).similarity is UNSURE


# Logins and downloads of files.


def test_a_login_is_told_by_the_workflow_that_the_server_made_of_it() -> None:
    found = compare("login", LOGIN, made("login", LOGIN, url="https://SHOP.test/login"))

    assert found.similarity is EQUAL
    assert {"url", "prompt", "onepassword_vault_id", "onepassword_item_id"} <= set(found.equal)


def test_a_download_of_files_is_told_by_the_workflow_that_the_server_made_of_it() -> None:
    sent = {**DOWNLOAD, "download_suffix": "bill.pdf", "max_steps_per_run": 4}
    run = made("file_download", sent, download_suffix="bill.pdf", max_steps_per_run=4)

    assert compare("download_files", sent, run).similarity is EQUAL


@pytest.mark.parametrize(
    ("kind", "sent", "block_type", "block"),
    [
        ("login", LOGIN, "login", {"url": "https://shop.test/other"}),
        ("login", LOGIN, "login", {"url": None}),
        ("login", {**LOGIN, "url": None}, "login", {"url": "https://shop.test/login"}),
        (
            "download_files",
            {"navigation_goal": "Get it."},
            "file_download",
            {"url": "https://a.test/"},
        ),
        ("login", LOGIN, "login", {"navigation_goal": "Log in elsewhere."}),
        ("login", LOGIN, "file_download", {}),
        ("login", LOGIN, "wait", {}),
        ("download_files", DOWNLOAD, "file_download", {"url": "https://shop.test/other"}),
        ("download_files", DOWNLOAD, "file_download", {"navigation_goal": "Get the offers."}),
        ("download_files", DOWNLOAD, "login", {}),
    ],
)
def test_another_block_url_or_goal_is_another_request_s(
    kind: Kind, sent: dict[str, Any], block_type: str, block: dict[str, Any]
) -> None:
    assert compare(kind, sent, made(block_type, sent, **block)).similarity is DIFFERENT


@pytest.mark.parametrize("workflow", [None, {}, {"workflow_definition": {}}, {"title": "x"}])
def test_a_login_whose_workflow_cannot_be_read_is_open(workflow: dict[str, Any] | None) -> None:
    request: dict[str, Any] = {**ADDED_TO_FLOW, "workflow_id": "wpid_9", "parameters": {}}

    assert compare(
        "login", LOGIN, run_of(request, "workflow_run", workflow=workflow)
    ).similarity is (UNSURE)


def test_another_credential_leaves_a_login_open() -> None:
    run = made("login", LOGIN)

    found = compare("login", {**LOGIN, "onepassword_item_id": "i2"}, run)

    assert (found.similarity, found.different) == (UNSURE, ("onepassword_item_id",))


def test_a_workflow_s_run_is_no_login_s_though_it_shows_an_equal_workflow_id() -> None:
    many = made("login", LOGIN)
    assert many.workflow is not None
    blocks = many.workflow["workflow_definition"]["blocks"]
    two = {"workflow_definition": {"parameters": [], "blocks": [*blocks, *blocks]}}

    run = run_of(many.request, "workflow_run", workflow=two)

    assert compare("login", LOGIN, run).similarity is DIFFERENT


EQUAL_RUNS: dict[str, tuple[Kind, dict[str, Any], ShownRun]] = {
    "a login": ("login", LOGIN, made("login", LOGIN, url="https://SHOP.test/login")),
    "a login without a prompt": (
        "login",
        {**LOGIN, "prompt": None},
        made("login", LOGIN, navigation_goal="The server's own."),
    ),
    "a login without an address": (
        "login",
        {**LOGIN, "url": None},
        made("login", {**LOGIN, "url": None}),
    ),
    "a download": ("download_files", DOWNLOAD, made("file_download", DOWNLOAD)),
    "a workflow": ("workflow", FLOW, run_of({**ADDED_TO_FLOW, **FLOW}, "workflow_run")),
    "a workflow that only the list names": (
        "workflow",
        FLOW,
        run_of(
            {**ADDED_TO_FLOW, "parameters": {"order": "17"}}, "workflow_run", workflow_id="wpid_1"
        ),
    ),
    "a template that is not named": (
        "workflow",
        {"workflow_id": "wpid_t", "template": True, "parameters": {"a": "1"}},
        run_of({**ADDED_TO_FLOW, "parameters": {"a": "1"}}, "workflow_run"),
    ),
}


@pytest.mark.parametrize("name", EQUAL_RUNS)
def test_an_equal_run_is_among_those_that_are_compared(name: str) -> None:
    kind, sent, run = EQUAL_RUNS[name]

    assert compare(kind, sent, run).similarity is EQUAL
    assert [*Index([run]).equal(kind, sent)] == [run]


# Normalising URLs.

_HOSTS = st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,8}(\.[a-zA-Z]{2,5})?", fullmatch=True)
_PATHS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="?#\\"),
    max_size=12,
)
_PORTS = st.sampled_from(["", ":80", ":443", ":8080"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["http", "https", "HTTP", "Https"]))
    www = draw(st.sampled_from(["", "www.", "www.www.", "WWW.www.www."]))
    tail = draw(st.one_of(st.just(""), _PATHS.map("/{}".format)))
    query = draw(st.one_of(st.just(""), _PATHS.map("?{}".format)))
    return f"{scheme}://{www}{draw(_HOSTS)}{draw(_PORTS)}{tail}{query}"


@given(urls())
def test_normalising_a_url_twice_is_normalising_it_once(url: str) -> None:
    once = normalized_url(url)

    assert normalized_url(once) == once


@given(urls())
def test_what_a_server_makes_of_a_url_is_the_same_normalised(url: str) -> None:
    assert normalized_url(str(_HTTP_URL.validate_python(url))) == normalized_url(url)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://shop.test", "https://shop.test/"),
        ("https://shop.test:443/a", "https://shop.test/a"),
        ("HTTPS://Shop.TEST/A", "https://shop.test/A"),
        ("https://me:pw@www.www.shop.test/", "https://me:pw@www.shop.test/"),
        ("https://www.shop.test/www.www.", "https://www.shop.test/www.www."),
        ("no URL at all", "no URL at all"),
        ("", ""),
    ],
)
def test_a_url_is_written_as_a_server_writes_it(url: str, normal: str) -> None:
    assert normalized_url(url) == normal


# Secrets.


def test_a_comparison_names_fields_and_shows_no_value_of_them() -> None:
    sent = {"workflow_id": "w", "parameters": {"card": "4711-secret"}, "totp_identifier": "seed1"}
    shown = {"workflow_id": "w", "parameters": {"card": "0815-secret"}, "totp_identifier": "seed2"}

    found = flow(sent, shown)

    assert found.different == ("parameters.card", "totp_identifier")
    assert not re.search("secret|seed", repr(found))


@pytest.mark.parametrize("prompt", ["Read\tthe\x07 price.", "  Read the price.\n", "Read\nit."])
def test_control_characters_that_a_server_takes_out_of_a_prompt_are_no_difference(
    prompt: str,
) -> None:
    kept = re.sub(r"[\x00-\x1f\x7f]", "", prompt)

    sent = {**TASK, "prompt": prompt}
    assert task(sent, {**sent, "prompt": kept}).similarity is EQUAL
