"""Requests that Skyvern is known not to take, and some close by that it takes.

The unit tests hold our check to this table, tests/real/ a server.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

#: What each kind requires. The real tests put a workflow and a credential of theirs in.
LEAST: dict[str, dict[str, Any]] = {
    "task": {"prompt": "Read the price.", "url": "https://shop.example/17"},
    "workflow": {"workflow_id": "wpid_1"},
    "login": {"credential_type": "skyvern", "credential_id": "cred_1"},
    "download_files": {"navigation_goal": "Download the last invoice."},
}


class Broken(NamedTuple):
    """A request that breaks a rule.

    Args:
        kind, body: the request, with what its kind requires.
        field: the one at fault.
        answer: what the server says: its status, or `ignored` where it takes the request without
            the field.
    """

    kind: str
    body: dict[str, Any]
    field: str
    answer: Literal[400, 422, "ignored"] = 422

    def __str__(self) -> str:
        return f"{self.kind}-{'-'.join(self.body)}"[:60]


FRESH: dict[str, Any] = {"start_fresh_browser": True}
V2: dict[str, Any] = {"engine": "skyvern-2.0"}
SESSION, PROFILE = {"browser_session_id": "pbs_1"}, {"browser_profile_id": "bp_1"}
ADDRESS = {"browser_address": "http://browser.example:9222"}
NULL_HEADER = {"X-Trace": None}
BLOCKS = ("login", "download_files")

BROKEN: list[Broken] = [
    *(
        Broken(kind, {**(V2 if kind == "task" else {}), **FRESH, **other}, "start_fresh_browser")
        for kind in LEAST
        for other in (SESSION, PROFILE, ADDRESS)
    ),
    Broken("task", FRESH, "start_fresh_browser", 400),
    Broken("task", {**FRESH, "engine": "skyvern-1.0"}, "start_fresh_browser", 400),
    Broken("task", {**FRESH, "engine": "skyvern-3.0"}, "start_fresh_browser", 400),
    Broken("task", {**FRESH, "engine": "openai-cua"}, "start_fresh_browser", 400),
    Broken("task", PROFILE, "browser_profile_id", 400),
    Broken("task", {**PROFILE, "engine": "anthropic-cua"}, "browser_profile_id", 400),
    *(Broken(kind, {"start_fresh_browser": None}, "start_fresh_browser") for kind in LEAST),
    Broken("task", {"engine": None}, "engine"),
    Broken("task", {"publish_workflow": None}, "publish_workflow"),
    Broken("workflow", {"agent_id": None}, "agent_id"),
    *(Broken(kind, {"extra_http_headers": NULL_HEADER}, "extra_http_headers") for kind in LEAST),
    *(Broken(kind, {"cdp_connect_headers": NULL_HEADER}, "cdp_connect_headers") for kind in LEAST),
    Broken("task", {"error_code_mapping": {"sold_out": None}}, "error_code_mapping"),
    Broken("workflow", {"max_elapsed_time_minutes": 481}, "max_elapsed_time_minutes"),
    Broken("workflow", {"browser_type": "chrome", **SESSION}, "browser_type"),
    Broken("workflow", {"browser_type": "chrome", **ADDRESS}, "browser_type"),
    Broken("workflow", {"model": {"model_name": "gemini-2.5-flash"}}, "model", "ignored"),
    Broken("workflow", {"run_metadata": {str(n): "x" for n in range(21)}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k" * 65: "x"}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k": "x" * 257}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k": 7}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k": None}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k": "__untagged__"}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"k": " __other__ "}}, "run_metadata"),
    Broken("workflow", {"run_metadata": {"skyvern.k": "x"}}, "run_metadata", "ignored"),
    *(Broken(kind, {"proxy_location": {"country": "US"}}, "proxy_location") for kind in BLOCKS),
    *(
        Broken(kind, {"proxy_location": {"url": "http://p.example"}}, "proxy_location")
        for kind in BLOCKS
    ),
    Broken("login", {"credential_id": None}, "credential_id", 400),
    Broken(
        "login",
        {"credential_type": "1password", "onepassword_vault_id": "v"},
        "onepassword_item_id",
        400,
    ),
    Broken(
        "login",
        {
            "credential_type": "azure_vault",
            "azure_vault_name": "v",
            "azure_vault_username_key": "u",
        },
        "azure_vault_password_key",
        400,
    ),
]

#: Close to the rules, and taken.
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("task", {**FRESH, **V2}),
    ("task", {**FRESH, "publish_workflow": True}),
    ("task", {"start_fresh_browser": False, **ADDRESS}),
    ("workflow", FRESH),
    ("workflow", {"max_elapsed_time_minutes": 480}),
    ("workflow", {"model": None}),
    ("workflow", {"run_metadata": {"k" * 64: "x" * 256}}),
    ("workflow", {"run_metadata": {str(n): "x" for n in range(20)}}),
    ("workflow", {"run_metadata": {"k": "__Other__"}}),
    ("workflow", {"run_metadata": {"cost centre": "a,b"}}),
    ("workflow", {"proxy_location": {"country": "US"}}),
    ("workflow", {"proxy_location": {"url": "http://proxy.example:3128"}}),
    ("task", {"proxy_location": {"url": "http://proxy.example:3128"}}),
    ("task", {"proxy_location": "RESIDENTIAL_SA"}),
    ("download_files", {**FRESH}),
    ("download_files", {"proxy_location": "RESIDENTIAL_NL"}),
]
