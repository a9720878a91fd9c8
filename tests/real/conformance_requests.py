"""The requests that the conformance test sends to both servers, by a name of its own each."""

from __future__ import annotations

from typing import Any

#: Nobody listens there, so a task on it fails, with a browser and without.
HOST = "http://127.0.0.1:9"

Fields = dict[str, Any]

ENGINES = (
    "skyvern-1.0",
    "skyvern-2.0",
    "skyvern-3.0",
    "openai-cua",
    "anthropic-cua",
    "ui-tars",
    "yutori-navigator",
)

#: Those that 1.0.40 has, too, and that a server has without further settings.
OLD_ENGINES = ("skyvern-1.0", "skyvern-2.0", "openai-cua", "anthropic-cua")

#: What may be sent wherever an address is taken.
_ADDRESSES: dict[str, object] = {
    "without a path": "http://127.0.0.1:9",
    "capitals, default port, blank, umlaut": "HTTP://LOCALHOST:80/a b?x=ü&y=%c3#f",
    "without a scheme": "127.0.0.1:9/deep/er",
    "host without a scheme": "localhost/deep",
    "www twice": "http://www.www.localhost/x",
    "user and password": "http://user:pass@localhost/x",
    "dots in the path": "http://127.0.0.1:9/a/../b/./c//d",
    "international host": "http://bücher.localhost/ä",
    "IPv6": "http://[::1]:9/x",
    "number as host": "http://2130706433/x",
    "braces and quotes": 'http://127.0.0.1:9/{id}/"x"?q={a}|b',
    "blanks around": "  http://127.0.0.1:9/x  ",
    "another scheme": "ftp://localhost/x",
    "javascript": "javascript:alert(1)",
    "scheme alone": "http://",
    "no host": "http:///x",
    "bad port": "http://localhost:99999/",
    "blank in the host": "http://local host/",
    "words": "not a url",
    "backslash": "http:\\\\localhost\\x",
    "tab": "http://local\thost/x",
    "too long": "http://127.0.0.1:9/" + "x" * 2100,
    "a number": 5,
}

_PROXIES: dict[str, object] = {
    "RESIDENTIAL": "RESIDENTIAL",
    "RESIDENTIAL_DE": "RESIDENTIAL_DE",
    "RESIDENTIAL_KR": "RESIDENTIAL_KR",
    "RESIDENTIAL_ISP": "RESIDENTIAL_ISP",
    "US-CA": "US-CA",
    "NONE": "NONE",
    "null": None,
    "unknown name": "MOON",
    "small letters": "residential",
    "country": {"country": "US"},
    "country in small letters": {"country": "de"},
    "country, subdivision, city": {"country": "us", "subdivision": "us-ca", "city": "Oakland"},
    "isISP": {"country": "US", "isISP": True},
    "unsupported country": {"country": "XX"},
    "long country": {"country": "USA"},
    "url": {"url": "http://user:pass@proxy.example:8080"},
    "unknown keys": {"country": "US", "planet": "earth"},
    "empty object": {},
    "list": ["US"],
}


def tasks() -> dict[str, Fields]:
    """Bodies of `POST /v1/run/tasks`; `prompt` and `url` are added where they are left out."""
    bodies: dict[str, Fields] = {"least": {}}
    for engine in ENGINES:
        bodies[f"engine {engine}"] = {"engine": engine, "title": "A title", "max_steps": 4}
    bodies |= {f"url {name}": {"url": value} for name, value in _ADDRESSES.items()}
    bodies |= {f"webhook_url {name}": {"webhook_url": value} for name, value in _ADDRESSES.items()}
    bodies |= {f"proxy {name}": {"proxy_location": value} for name, value in _PROXIES.items()}
    bodies |= {f"one field {name}": fields for name, fields in _TASK_FIELDS.items()}
    for name, fields in _TASK_FIELDS.items():
        bodies[f"one field {name}, 2.0"] = {"engine": "skyvern-2.0"} | fields
    bodies |= {f"2.0 url {name}": _two(url=_ADDRESSES[name]) for name in _FEW_ADDRESSES}
    bodies |= {f"2.0 proxy {name}": _two(proxy_location=_PROXIES[name]) for name in _FEW_PROXIES}
    bodies |= _TASK_REFUSALS
    return {name: {"prompt": "Do it", "url": HOST} | fields for name, fields in bodies.items()}


_FEW_ADDRESSES = ("without a path", "capitals, default port, blank, umlaut", "without a scheme")
_FEW_PROXIES = ("country", "null", "NONE", "url")


def _two(**fields: object) -> Fields:
    return {"engine": "skyvern-2.0", **fields}


_TASK_FIELDS: dict[str, Fields] = {
    "title": {"title": "A title"},
    "title null": {"title": None},
    "title empty": {"title": ""},
    "prompt empty": {"prompt": ""},
    "prompt with blanks": {"prompt": "  two\nlines ü \t\r|\u0001|\u0000|\u000b|\u000c| "},
    "prompt with odd signs": {"prompt": "\u001f|\u007f|\u0085|\u200b|\ufeff|\U0001f600"},
    "schema object": {"data_extraction_schema": {"type": "object", "properties": {"a": {}}}},
    "schema list": {"data_extraction_schema": [{"a": 1}]},
    "schema text": {"data_extraction_schema": "a: number"},
    "schema JSON text": {"data_extraction_schema": '{"a": 1}'},
    "error codes": {"error_code_mapping": {"out_of_stock": "when it is sold out"}},
    "error codes null": {"error_code_mapping": None},
    "max_steps": {"max_steps": 3},
    "max_steps as text": {"max_steps": "3"},
    "max_steps 0": {"max_steps": 0},
    "max_steps 1000": {"max_steps": 1000},
    "totp_identifier": {"totp_identifier": "me@example.com"},
    "totp_url": {"totp_url": "https://EXAMPLE.com"},
    "totp_url bad": {"totp_url": "ftp://x"},
    "session unknown": {"browser_session_id": "pbs_1"},
    "profile unknown": {"browser_profile_id": "bp_1"},
    "fresh": {"start_fresh_browser": True},
    "fresh false": {"start_fresh_browser": False},
    "model": {"model": {"name": "gemini"}},
    "headers": {"extra_http_headers": {"X-Mark": "v"}},
    "cdp headers": {"cdp_connect_headers": {"X-Mark": "v"}},
    "publish": {"publish_workflow": True, "title": "A title"},
    "publish false": {"publish_workflow": False},
    "history": {"include_action_history_in_verification": True},
    "history null": {"include_action_history_in_verification": None},
    "scrolls": {"max_screenshot_scrolls": 3},
    "scrolls too many": {"max_screenshot_scrolls": 100000},
    "scrolls negative": {"max_screenshot_scrolls": -2},
    "address": {"browser_address": "http://127.0.0.1:9"},
    "run_with agent": {"run_with": "agent"},
    "run_with code": {"run_with": "code"},
    "run_with unknown": {"run_with": "magic"},
    "files none": {"file_ids": []},
    "files null": {"file_ids": None},
    "unknown field": {"promt": "typo"},
    "metadata": {"run_metadata": {"rq_job": "t1"}},
}

_TASK_REFUSALS: dict[str, Fields] = {
    "prompt number": {"prompt": 5},
    "prompt null": {"prompt": None},
    "engine unknown": {"engine": "skyvern-9.9"},
    "engine null": {"engine": None},
    "title number": {"title": 5},
    "publish null": {"publish_workflow": None},
    "publish as text": {"publish_workflow": "yes"},
    "publish as word": {"publish_workflow": "perhaps"},
    "fresh null": {"start_fresh_browser": None},
    "fresh with session": {"start_fresh_browser": True, "browser_session_id": "pbs_1"},
    "fresh with profile": {"start_fresh_browser": True, "browser_profile_id": "bp_1"},
    "fresh with address": {"start_fresh_browser": True, "browser_address": "http://127.0.0.1:9"},
    "fresh with all": {
        "start_fresh_browser": True,
        "browser_session_id": "pbs_1",
        "browser_address": "http://127.0.0.1:9",
    },
    "max_steps text": {"max_steps": "many"},
    "max_steps fraction": {"max_steps": 1.5},
    "error codes with null": {"error_code_mapping": {"a": None}},
    "error codes list": {"error_code_mapping": ["a"]},
    "schema number": {"data_extraction_schema": 5},
    "model text": {"model": "gemini"},
    "headers with number": {"extra_http_headers": {"a": 5}},
    "history text": {"include_action_history_in_verification": "perhaps"},
    "address bad": {"browser_address": "nowhere"},
    "address empty": {"browser_address": ""},
    "run_with number": {"run_with": 5},
    "files unknown": {"file_ids": ["file_1"]},
    "files too many": {"file_ids": ["file_1"] * 51},
    "files with number": {"file_ids": [5]},
    "several at once": {"prompt": 5, "engine": "x", "max_steps": "many"},
}

#: Parameters that the workflow under test declares; `need` is the one without a default.
DECLARED: tuple[Fields, ...] = (
    {"key": "need", "workflow_parameter_type": "string"},
    {"key": "text", "workflow_parameter_type": "string", "default_value": "t"},
    {"key": "whole", "workflow_parameter_type": "integer", "default_value": 7},
    {"key": "real", "workflow_parameter_type": "float", "default_value": 1.5},
    {"key": "flag", "workflow_parameter_type": "boolean", "default_value": False},
    {"key": "data", "workflow_parameter_type": "json", "default_value": {"k": 1}},
    {"key": "file", "workflow_parameter_type": "file_url", "default_value": "http://h/x"},
)


def definition(title: str, *parameters: Fields, **more: object) -> Fields:
    """The body of `POST /v1/workflows` for a workflow that waits a second.

    Args:
        title: of the workflow.
        parameters: what it declares.
        more: `blocks`, to do something else.
    """
    wait: list[Fields] = [{"block_type": "wait", "label": "w1", "wait_sec": 1}]
    declared = [{"parameter_type": "workflow", **parameter} for parameter in parameters]
    inner: Fields = {"parameters": declared, "blocks": wait} | more
    return {"json_definition": {"title": title, "workflow_definition": inner}}


def workflow_runs() -> dict[str, Fields]:
    """Bodies of `POST /v1/run/workflows` for the workflow that declares `DECLARED`."""
    bodies = {name: {"parameters": given} for name, given in _PARAMETERS.items()}
    full: Fields = {"parameters": {"need": "n"}}
    bodies |= {f"one field {name}": full | fields for name, fields in _WORKFLOW_FIELDS.items()}
    bodies |= {f"webhook_url {name}": full | {"webhook_url": a} for name, a in _ADDRESSES.items()}
    bodies |= {f"proxy {name}": full | {"proxy_location": p} for name, p in _PROXIES.items()}
    return bodies


_PARAMETERS: dict[str, Fields | None] = {
    "all given": {
        "need": "n",
        "text": "t2",
        "whole": 8,
        "real": 2.5,
        "flag": True,
        "data": [1],
        "file": "http://h/y",
    },
    "defaults": {"need": "n"},
    "undeclared": {"need": "n", "nobody": "x"},
    "undeclared alone": {"nobody": "x"},
    "missing": {},
    "none": None,
    "null for need": {"need": None},
    "null for default": {"need": "n", "whole": None},
    "empty text": {"need": ""},
    "string from number": {"need": 5, "text": 2.50},
    "string from object": {"need": {"a": 1}},
    "string from bool": {"need": True},
    "integer from text": {"need": "n", "whole": "9"},
    "integer from float": {"need": "n", "whole": 9.7},
    "integer from bool": {"need": "n", "whole": True},
    "integer bad": {"need": "n", "whole": "abc"},
    "float from integer": {"need": "n", "real": 2},
    "float from text": {"need": "n", "real": "2.5"},
    "float bad": {"need": "n", "real": "x"},
    "boolean from text": {"need": "n", "flag": "TRUE"},
    "boolean from number": {"need": "n", "flag": 1},
    "boolean bad": {"need": "n", "flag": "yes"},
    "json from text": {"need": "n", "data": '{"z": 1, "a": [2]}'},
    "json bad": {"need": "n", "data": "{"},
    "json number": {"need": "n", "data": 5},
    "json order": {"need": "n", "data": {"z": 1, "a": 2}},
    "file from number": {"need": "n", "file": 5},
}

_WORKFLOW_FIELDS: dict[str, Fields] = {
    "title": {"title": "A title"},
    "title number": {"title": 5},
    "parameters list": {"parameters": [1]},
    "totp_identifier": {"totp_identifier": "me@example.com"},
    "totp_url": {"totp_url": "https://EXAMPLE.com"},
    "session unknown": {"browser_session_id": "pbs_1"},
    "profile unknown": {"browser_profile_id": "bp_1"},
    "reuse": {"reuse_browser_session": False},
    "fresh": {"start_fresh_browser": True},
    "fresh with session": {"start_fresh_browser": True, "browser_session_id": "pbs_1"},
    "fresh with profile": {"start_fresh_browser": True, "browser_profile_id": "bp_1"},
    "fresh with address": {"start_fresh_browser": True, "browser_address": "http://127.0.0.1:9"},
    "fresh null": {"start_fresh_browser": None},
    "scrolls": {"max_screenshot_scrolls": 3},
    "minutes 1": {"max_elapsed_time_minutes": 1},
    "minutes 480": {"max_elapsed_time_minutes": 480},
    "minutes 481": {"max_elapsed_time_minutes": 481},
    "minutes 0": {"max_elapsed_time_minutes": 0},
    "minutes bool": {"max_elapsed_time_minutes": True},
    "minutes text": {"max_elapsed_time_minutes": "5"},
    "headers": {"extra_http_headers": {"X-Mark": "v"}},
    "cdp headers": {"cdp_connect_headers": {"X-Mark": "v"}},
    "address": {"browser_address": "http://127.0.0.1:9"},
    "address bad": {"browser_address": "nowhere"},
    "fallback": {"ai_fallback": True},
    "fallback false": {"ai_fallback": False},
    "run_with agent": {"run_with": "agent"},
    "run_with code": {"run_with": "code"},
    "run_with unknown": {"run_with": "magic"},
    "browser_type": {"browser_type": "chrome"},
    "browser_type unknown": {"browser_type": "lynx"},
    "browser_type with session": {"browser_type": "chrome", "browser_session_id": "pbs_1"},
    "metadata": {"run_metadata": {"rq_job": "m1"}},
    "metadata trimmed": {"run_metadata": {" a ": " b ", "empty": " ", "skyvern.x": "y"}},
    "metadata too many": {"run_metadata": {f"k{number}": "v" for number in range(21)}},
    "metadata long key": {"run_metadata": {"k" * 65: "v"}},
    "metadata long value": {"run_metadata": {"k": "v" * 257}},
    "metadata number": {"run_metadata": {"k": 5}},
    "metadata reserved": {"run_metadata": {"k": "__other__"}},
    "model": {"model": {"name": "gemini"}},
    "engine": {"engine": "skyvern-1.0"},
    "files unknown": {"file_ids": ["file_1"]},
    "files too many": {"file_ids": ["file_1"] * 51},
    "unknown field": {"parametres": {}},
}

LOGINS: dict[str, Fields] = {
    "least": {},
    "type alone": {"credential_type": "skyvern"},
    "type unknown": {"credential_type": "notebook"},
    "skyvern unknown": {"credential_type": "skyvern", "credential_id": "cred_1", "url": HOST},
    "bitwarden nothing": {"credential_type": "bitwarden", "url": HOST},
    "bitwarden": {
        "credential_type": "bitwarden",
        "url": HOST,
        "bitwarden_item_id": "7d1c1bd8-4f64-4b6f-8f59-b15500f8a9aa",
    },
    "1password nothing": {"credential_type": "1password", "url": HOST},
    "1password vault alone": {
        "credential_type": "1password",
        "onepassword_vault_id": "v",
        "url": HOST,
    },
    "azure nothing": {"credential_type": "azure_vault", "url": HOST},
    "azure name alone": {"credential_type": "azure_vault", "azure_vault_name": "n", "url": HOST},
    "azure no password": {
        "credential_type": "azure_vault",
        "azure_vault_name": "n",
        "azure_vault_username_key": "u",
        "url": HOST,
    },
    "azure": {
        "credential_type": "azure_vault",
        "azure_vault_name": "n",
        "azure_vault_username_key": "u",
        "azure_vault_password_key": "p",
        "url": HOST,
    },
    "no url": {
        "credential_type": "1password",
        "onepassword_vault_id": "v",
        "onepassword_item_id": "i",
    },
}

DOWNLOADS: dict[str, Fields] = {
    "least": {"navigation_goal": "Get it"},
    "nothing": {},
    "goal number": {"navigation_goal": 5},
    "suffix, timeout, steps": {
        "navigation_goal": "Get it",
        "download_suffix": "x.pdf",
        "download_timeout": 3,
        "max_steps_per_run": 3,
    },
    "timeout bad": {"navigation_goal": "Get it", "download_timeout": "soon"},
}

#: Fields that login and download_files share.
_BLOCK_FIELDS: dict[str, Fields] = {
    "url": {"url": "http://LOCALHOST"},
    "url without a scheme": {"url": "localhost/x"},
    "url bad": {"url": "ftp://x"},
    "url words": {"url": "not a url"},
    "webhook": {"webhook_url": "http://127.0.0.1:9/HOOK x"},
    "webhook bad": {"webhook_url": "ftp://x"},
    "totp": {"totp_url": "https://EXAMPLE.com", "totp_identifier": "me"},
    "proxy": {"proxy_location": "RESIDENTIAL_DE"},
    "proxy geo": {"proxy_location": {"country": "US"}},
    "proxy null": {"proxy_location": None},
    "session unknown": {"browser_session_id": "pbs_1"},
    "profile unknown": {"browser_profile_id": "bp_1"},
    "fresh": {"start_fresh_browser": True},
    "fresh with session": {"start_fresh_browser": True, "browser_session_id": "pbs_1"},
    "address": {"browser_address": "http://127.0.0.1:9"},
    "headers": {"extra_http_headers": {"X-Mark": "v"}},
    "cdp headers": {"cdp_connect_headers": {"X-Mark": "v"}},
    "scrolls": {"max_screenshot_scrolling_times": 3},
    "title": {"title": "A title"},
    "metadata": {"run_metadata": {"rq_job": "l1"}},
}

_ONEPASSWORD: Fields = {
    "credential_type": "1password",
    "onepassword_vault_id": "v",
    "onepassword_item_id": "i",
    "url": HOST,
}


def logins() -> dict[str, Fields]:
    """Bodies of `POST /v1/run/tasks/login`."""
    return LOGINS | {f"one field {name}": _ONEPASSWORD | f for name, f in _BLOCK_FIELDS.items()}


def downloads() -> dict[str, Fields]:
    """Bodies of `POST /v1/run/tasks/download_files`."""
    goal = {"navigation_goal": "Get it", "url": HOST}
    return DOWNLOADS | {f"one field {name}": goal | f for name, f in _BLOCK_FIELDS.items()}


#: Queries of `GET /v1/runs` that are refused, or change nothing.
QUERIES: tuple[str, ...] = (
    "page=0", "page=101", "page=x", "page_size=0", "page_size=101", "page_size=",
    "status=finished", "status=RUNNING", "status=paused&search_key=nothing-has-this",
    "search_key=ab", "search_key=",
    "run_type=task", "run_type=task_v1&run_type=bogus", "failure_category=" + "x" * 101,
    "search_key=nothing-has-this&page=11&page_size=100",
    "workflow_permanent_id=wpid_1&page=11&page_size=100",
    "tags=a:", "tags=:b", "tags=a,,b", "tags=a:b&tags=", "tags=",
    "tags=" + ",".join(f"k:v{number}" for number in range(21)),
    "&".join(f"tags=k:v{number}" for number in range(21)),
    "tags=k:nobody-has-this", "tags=nobody-has-this", "tags=nobody-has-this:*",
    "search_key=nothing-has-this", "workflow_permanent_id=wpid_1", "failure_category=NOBODY",
    "page=100&page_size=100",
)  # fmt: skip
