"""The kinds of requests whose answers are lost: what changes how a server shows a run.

In a body `{t}` becomes the job's token, `{w}` the id of the kind's workflow. A kind of which a job
can hold no token, or must not, is told apart by its workflow, or judged by counting.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Nothing listens there: runs of the tests harm nobody.
HOST = "http://127.0.0.1:9"

#: What the workflows with parameters declare.
PARAMETERS = (
    {"key": "order", "workflow_parameter_type": "string"},
    {"key": "currency", "workflow_parameter_type": "string", "default_value": "EUR"},
    {"key": "count", "workflow_parameter_type": "integer", "default_value": 3},
    {"key": "share", "workflow_parameter_type": "float", "default_value": 1.5},
    {"key": "flag", "workflow_parameter_type": "boolean", "default_value": False},
    {"key": "more", "workflow_parameter_type": "json", "default_value": {"k": [1]}},
)

_LOGIN = {"credential_type": "1password", "onepassword_vault_id": "v", "onepassword_item_id": "i"}


@dataclass(frozen=True, slots=True)
class RequestKind:
    """One kind of request.

    Args:
        name: its name in tables.
        kind: the job's kind.
        body: a template of its body.
        equal: jobs whose bodies are the same, per set; 1 = each has a token or workflow of its own.
        declares: whether its workflow declares `PARAMETERS`.
    """

    name: str
    kind: str
    body: Mapping[str, Any]
    equal: int = 1
    declares: bool = False

    @property
    def slug(self) -> str:
        """Its name, as `pytest -k` takes it."""
        return re.sub(r"[^a-z0-9.]+", "_", self.name.lower())


def _task(name: str, equal: int = 1, /, **fields: Any) -> RequestKind:
    return RequestKind(name, "task", {"prompt": "{t}", "url": f"{HOST}/page", **fields}, equal)


def _workflow(name: str, equal: int = 1, /, **fields: Any) -> RequestKind:
    body = {"workflow_id": "{w}", **fields}
    return RequestKind(name, "workflow", body, equal, declares=bool(fields.get("parameters")))


def _without_url(kind: RequestKind) -> RequestKind:
    body = {name: value for name, value in kind.body.items() if name != "url"}
    return RequestKind(kind.name, kind.kind, body, kind.equal)


_V1, _V2 = {"engine": "skyvern-1.0"}, {"engine": "skyvern-2.0"}

TASKS = (
    _task("task"),
    _task("task, url without path", url=HOST),
    _task("task, url in upper case", url="HTTP://LOCALHOST:80/Page"),
    _task("task, url with letters to encode", url=f"{HOST}/ä?x=ü#f"),
    _task("task, url encoded", url=f"{HOST}/%7Ea%20b?x=%C3%BC"),
    _task("task, webhook", webhook_url=f"{HOST}/hook"),
    _task("task, title", title="A title of ours"),
    _task("task, geo proxy", proxy_location={"country": "US"}),
    _task("task, publish_workflow", publish_workflow=True),
    _task("task, extraction schema", data_extraction_schema={"type": "object", "b": 1, "a": 2}),
    _task("task, action history", include_action_history_in_verification=True),
    _without_url(_task("task, no url")),
    _task("task 1.0", **_V1),
    _task("task 1.0, url without path", url=HOST, **_V1),
    _task("task 1.0, publish_workflow, title", publish_workflow=True, title="Lost", **_V1),
    _without_url(_task("task 1.0, no url", title="Titled", **_V1)),
    _task("task openai-cua", engine="openai-cua"),
    _task(
        "task anthropic-cua, geo proxy", engine="anthropic-cua", proxy_location={"country": "DE"}
    ),
    _task("task 2.0", **_V2),
    _task("task 2.0, url without path", url=HOST, **_V2),
    _task("task 2.0, url in upper case", url="HTTP://LOCALHOST:80", **_V2),
    _task("task 2.0, url with letters to encode", url=f"{HOST}/ä?x=ü#f", **_V2),
    _without_url(_task("task 2.0, no url", **_V2)),
    _task("task 2.0, webhook", webhook_url=f"{HOST}/hook", **_V2),
    _task("task 2.0, webhook without path", webhook_url="HTTP://127.0.0.1:9", **_V2),
    _task("task 2.0, title", title="Overwritten", **_V2),
    _task("task 2.0, geo proxy", proxy_location={"country": "US"}, **_V2),
    _task(
        "task 2.0, geo proxy with city",
        proxy_location={"country": "US", "subdivision": "CA", "city": "San Francisco"},
        **_V2,
    ),
    _task("task 2.0, proxy name", proxy_location="RESIDENTIAL_GB", **_V2),
    _task("task 2.0, proxy url", proxy_location={"url": "http://proxy.test:1"}, **_V2),
    _task("task 2.0, error codes", error_code_mapping={"gone": "it is gone"}, **_V2),
    _task("task 2.0, extraction schema", data_extraction_schema={"b": 1, "a": [2]}, **_V2),
    _task("task 2.0, schema list", data_extraction_schema=[{"a": 1}], **_V2),
    _task("task 2.0, schema text", data_extraction_schema="the price", **_V2),
    _task("task 2.0, max_steps", max_steps=7, **_V2),
    _task("task 2.0, scrolls", max_screenshot_scrolls=2, **_V2),
    _task("task 2.0, totp", totp_identifier="me", totp_url="HTTP://127.0.0.1:9", **_V2),
    _task("task 2.0, headers", extra_http_headers={"x-shop": "7"}, **_V2),
    _task("task 2.0, user agent", user_agent="shop/1", **_V2),
    _task("task 2.0, nulls", webhook_url=None, title=None, max_steps=None, **_V2),
    _task("task 2.0, prompt with edges", prompt="  {t}\n\u00fc\u2028 ", **_V2),
)

WORKFLOWS = (
    _workflow("workflow"),
    _workflow("workflow, empty parameters", parameters={}),
    _workflow("workflow, one of its parameters", parameters={"order": "{t}"}),
    _workflow(
        "workflow, all parameters",
        parameters={
            "order": "{t}",
            "currency": "USD",
            "count": 4,
            "share": 0.5,
            "flag": True,
            "more": [1],
        },
    ),
    _workflow(
        "workflow, values to cast",
        parameters={"order": "{t}", "count": "7", "share": 2, "flag": "true", "more": '{"z": 2}'},
    ),
    _workflow("workflow, undeclared names", parameters={"order": "{t}", "unknown": "x"}),
    _workflow("workflow, unreadable run", parameters={"order": "{t}", "count": 7.0}),
    _workflow("workflow, webhook", webhook_url=f"{HOST}/hook"),
    _workflow("workflow, webhook and parameters", webhook_url=HOST, parameters={"order": "{t}"}),
    _workflow("workflow, run_metadata", run_metadata={"ours": "x"}),
    _workflow("workflow, title", title="Not kept"),
    _workflow("workflow, geo proxy", proxy_location={"country": "US"}),
    _workflow("workflow, headers", extra_http_headers={"x-shop": "7"}),
    _workflow("workflow, time limit", max_elapsed_time_minutes=5, max_screenshot_scrolls=1),
    _workflow("workflow, totp", totp_identifier="me", totp_url=HOST),
    _workflow("workflow, reuse_browser_session", reuse_browser_session=True),
    RequestKind("workflow by agent_id", "workflow", {"agent_id": "{w}"}),
)

OTHERS = (
    RequestKind("login", "login", {"url": f"{HOST}/{{t}}", **_LOGIN}),
    RequestKind(
        "login, webhook", "login", {"url": f"{HOST}/{{t}}", "webhook_url": f"{HOST}/hook", **_LOGIN}
    ),
    RequestKind("login, prompt, no url", "login", {"prompt": "{t}", **_LOGIN}),
    RequestKind(
        "download_files", "download_files", {"navigation_goal": "{t}", "url": f"{HOST}/files"}
    ),
    RequestKind(
        "download_files, webhook",
        "download_files",
        {"navigation_goal": "{t}", "url": HOST, "webhook_url": HOST},
    ),
    RequestKind("download_files, no url", "download_files", {"navigation_goal": "{t}"}),
)

EQUAL = (
    _task("equal tasks", 12),
    _task("equal tasks 2.0", 12, **_V2),
    _without_url(_task("equal tasks 2.0, no url", 12, **_V2)),
    _workflow("identical workflows", 100),
    _workflow("identical workflows with webhook", 12, webhook_url=f"{HOST}/hook"),
    _workflow("identical workflows with parameters", 12, parameters={"order": "{t}"}),
    RequestKind("equal logins", "login", {"url": f"{HOST}/{{t}}", **_LOGIN}, 12),
    RequestKind("equal downloads", "download_files", {"navigation_goal": "{t}"}, 12),
)

ALL = (*TASKS, *WORKFLOWS, *OTHERS, *EQUAL)


def filled(template: Any, token: str, workflow: str) -> Any:
    """Return a template with its token and its workflow in their places."""
    if isinstance(template, str):
        return template.replace("{t}", token).replace("{w}", workflow)
    if isinstance(template, Mapping):
        return {name: filled(value, token, workflow) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, token, workflow) for value in template]
    return template
