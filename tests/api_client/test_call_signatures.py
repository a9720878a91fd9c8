"""The shape of the calls: which arguments, in which order, with which defaults.

The order of the first arguments and their defaults are those of Skyvern's own SDK; what newer
servers take comes after them.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from api_client import OMIT, AgentClient, AsyncAgentClient
from tests.api_client.recording import WAYS, Recording, Way, called

SIGNATURES = {
    "run_task": """(self, *, prompt, user_agent=None, url=OMIT, engine=OMIT, title=OMIT, \
proxy_location=OMIT, data_extraction_schema=OMIT, error_code_mapping=OMIT, max_steps=OMIT, \
webhook_url=OMIT, totp_identifier=OMIT, totp_url=OMIT, browser_session_id=OMIT, \
publish_workflow=OMIT, include_action_history_in_verification=OMIT, browser_profile_id=OMIT, \
start_fresh_browser=OMIT, model=OMIT, extra_http_headers=OMIT, cdp_connect_headers=OMIT, \
max_screenshot_scrolls=OMIT, browser_address=OMIT, run_with=OMIT, file_ids=OMIT, \
request_options=None)""",
    "run_workflow": """(self, *, workflow_id=OMIT, template=None, max_steps_override=None, \
user_agent=None, parameters=OMIT, title=OMIT, proxy_location=OMIT, webhook_url=OMIT, \
totp_url=OMIT, totp_identifier=OMIT, browser_session_id=OMIT, agent_id=OMIT, \
browser_profile_id=OMIT, start_fresh_browser=OMIT, model=OMIT, reuse_browser_session=OMIT, \
max_elapsed_time_minutes=OMIT, ai_fallback=OMIT, run_metadata=OMIT, extra_http_headers=OMIT, \
cdp_connect_headers=OMIT, max_screenshot_scrolls=OMIT, browser_address=OMIT, run_with=OMIT, \
file_ids=OMIT, browser_type=OMIT, request_options=None)""",
    "login": """(self, *, credential_type, user_agent=None, url=OMIT, prompt=OMIT, \
credential_id=OMIT, bitwarden_collection_id=OMIT, bitwarden_item_id=OMIT, \
onepassword_vault_id=OMIT, onepassword_item_id=OMIT, onepassword_totp_field_name=OMIT, \
azure_vault_name=OMIT, azure_vault_username_key=OMIT, azure_vault_password_key=OMIT, \
azure_vault_totp_secret_key=OMIT, webhook_url=OMIT, proxy_location=OMIT, totp_identifier=OMIT, \
totp_url=OMIT, browser_session_id=OMIT, browser_profile_id=OMIT, start_fresh_browser=OMIT, \
browser_address=OMIT, extra_http_headers=OMIT, cdp_connect_headers=OMIT, \
max_screenshot_scrolling_times=OMIT, request_options=None)""",
    "download_files": """(self, *, navigation_goal, user_agent=None, url=OMIT, \
download_suffix=OMIT, download_timeout=OMIT, max_steps_per_run=OMIT, webhook_url=OMIT, \
proxy_location=OMIT, totp_identifier=OMIT, totp_url=OMIT, browser_session_id=OMIT, \
browser_profile_id=OMIT, start_fresh_browser=OMIT, browser_address=OMIT, extra_http_headers=OMIT, \
cdp_connect_headers=OMIT, max_screenshot_scrolling_times=OMIT, request_options=None)""",
    "get_run": "(self, run_id, *, request_options=None)",
    "cancel_run": "(self, run_id, *, request_options=None)",
    "retry_run_webhook": "(self, run_id, *, webhook_url=OMIT, request_options=None)",
    "list_runs": """(self, *, search_key=None, status=None, tags=None, page=1, page_size=100, \
request_options=None)""",
    "iter_runs": "(self, *, search_key=None, status=None, tags=None, request_options=None)",
    "cancel_runs": "(self, run_ids, *, request_options=None)",
    "webhook_failure_reason": "(self, run_id, *, request_options=None)",
    "wait_for_run": """(self, run_id, *, timeout=None, min_interval=1.0, max_interval=30.0, \
request_options=None)""",
    "get_run_artifacts": "(self, run_id, *, artifact_type=None, request_options=None)",
    "get_run_timeline": "(self, run_id, *, request_options=None)",
    "retry_workflow_run": """(self, run_id, *, max_steps_override=None, user_agent=None, \
request_options=None)""",
    "get_run_tags": "(self, run_id, *, request_options=None)",
    "apply_run_tags": """(self, run_id, *, tags=OMIT, tags_to_delete=OMIT, colors=OMIT, \
request_options=None)""",
    "create_browser_session": """(self, *, timeout=OMIT, url=OMIT, proxy_location=OMIT, \
proxy_session_id=OMIT, extensions=OMIT, browser_type=OMIT, browser_profile_id=OMIT, \
generate_browser_profile=OMIT, browser_settings=OMIT, needs_live_view=OMIT, \
request_options=None)""",
    "get_browser_session": "(self, browser_session_id, *, request_options=None)",
    "extend_browser_session": """(self, browser_session_id, *, additional_minutes, \
request_options=None)""",
    "close_browser_session": "(self, browser_session_id, *, request_options=None)",
}

both = pytest.mark.parametrize("way", WAYS)
clients = pytest.mark.parametrize("client", [AgentClient, AsyncAgentClient])


def calls_of(client: type) -> dict[str, Callable[..., Any]]:
    return {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}


def bare(call: Callable[..., Any]) -> str:
    """The signature without its types."""
    signature = inspect.signature(call)
    parameters = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@clients
def test_the_arguments_their_order_and_their_defaults_are_these(client: type) -> None:
    assert {name: bare(call) for name, call in calls_of(client).items()} == SIGNATURES


def test_left_out_is_shown_by_its_name() -> None:
    assert repr(OMIT) == "OMIT"


@both
@pytest.mark.parametrize(
    ("call", "given", "error"),
    [
        ("run_task", {"prompt": "p", "promt": "p"}, TypeError),
        ("run_task", {}, TypeError),
        ("run_workflow", {}, TypeError),
        ("run_workflow", {"workflow_id": "w", "agent_id": "w"}, TypeError),
        ("run_workflow", {"workflow_id": "w", "paramters": {}}, TypeError),
        ("get_run", {"run_id": ""}, ValueError),
        ("cancel_run", {"run_id": "a", "webhook_url": "u"}, TypeError),
        ("retry_run_webhook", {"run_id": ""}, ValueError),
        ("list_runs", {"search_key": "ab"}, ValueError),
        ("list_runs", {"page": 0}, ValueError),
        ("list_runs", {"page": 101}, ValueError),
        ("list_runs", {"page_size": 101}, ValueError),
        ("list_runs", {"page": 1.5}, ValueError),
        ("list_runs", {"page": "1"}, ValueError),
        ("list_runs", {"page_size": 10.0}, ValueError),
        ("list_runs", {"page": True}, ValueError),
        ("list_runs", {"status": [OMIT]}, TypeError),
        ("iter_runs", {"search_key": "ab"}, ValueError),
        ("iter_runs", {"page": 1}, TypeError),
        ("cancel_runs", {"run_ids": "tsk_1"}, TypeError),
        ("cancel_runs", {"run_ids": ["tsk_1", None]}, TypeError),
        ("run_task", {"prompt": "p", "model": {"a": OMIT}}, TypeError),
        ("webhook_failure_reason", {"run_id": ""}, ValueError),
        ("wait_for_run", {"run_id": "a", "min_interval": 0}, ValueError),
        ("wait_for_run", {"run_id": "a", "min_interval": 2, "max_interval": 1}, ValueError),
        ("wait_for_run", {"run_id": "a", "timeout": -1}, ValueError),
        ("wait_for_run", {"run_id": "a", "timeout": float("nan")}, ValueError),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_before_anything_is_sent(
    call: str, given: dict[str, Any], error: type[Exception], way: Way
) -> None:
    transport = Recording()
    with pytest.raises(error):
        called(way, transport, call, **given)
    assert transport.requests == []
