"""The run API's calls, as arguments in and a `Call` out. Pure functions; both clients send them.

Each function here is a method of `AgentClient` and of `AsyncAgentClient`, by its name and with its
signature and docstring. Every argument of a submission is keyword-only, so that a misspelt one is
refused: the server ignores a field it does not know.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from api_client.answers.parsing import (
    parse_nothing,
    parse_replay,
    parse_run,
    parse_run_list,
    parse_task_run,
    parse_workflow_run,
)
from api_client.arguments import OMIT, Omit, RequestOptions, header_arguments, is_whole, run_path
from api_client.call import Call, CallKind, make_call
from api_client.types import (
    CredentialKind,
    Engine,
    Proxy,
    RunListItem,
    RunResponse,
    RunWebhookReplayResponse,
    Schema,
    TaskRunResponse,
    WorkflowRunResponse,
)

T = TypeVar("T")

#: Where a run of each kind is submitted.
TASKS_PATH = "v1/run/tasks"
WORKFLOWS_PATH = "v1/run/workflows"
LOGIN_PATH = "v1/run/tasks/login"
DOWNLOAD_FILES_PATH = "v1/run/tasks/download_files"
RUNS_PATH = "v1/runs"
#: Of workflow runs alone, with what they cost.
WORKFLOW_RUNS_PATH = "v1/workflows/runs"
CANCEL_PATH = "v1/runs/cancel"

#: Seconds. Both calls send the run's webhook inside the request: a replay makes one attempt of up
#: to 60 s, a cancel three of 30 s each with pauses (94 s were seen).
REPLAY_TIMEOUT = 90.0
CANCEL_TIMEOUT = 120.0

#: The server's own bounds; a longer page or a shorter search is refused with 422.
MAX_PAGE = 100
MAX_PAGE_SIZE = 100
MIN_SEARCH_KEY = 3


def run_task(
    *,
    prompt: str,
    user_agent: str | None = None,
    url: str | Omit | None = OMIT,
    engine: Engine | Omit | None = OMIT,
    title: str | Omit | None = OMIT,
    proxy_location: Proxy | Omit | None = OMIT,
    data_extraction_schema: Schema | Omit | None = OMIT,
    error_code_mapping: Mapping[str, str | None] | Omit | None = OMIT,
    max_steps: int | Omit | None = OMIT,
    webhook_url: str | Omit | None = OMIT,
    totp_identifier: str | Omit | None = OMIT,
    totp_url: str | Omit | None = OMIT,
    browser_session_id: str | Omit | None = OMIT,
    publish_workflow: bool | Omit | None = OMIT,
    include_action_history_in_verification: bool | Omit | None = OMIT,
    browser_profile_id: str | Omit | None = OMIT,
    start_fresh_browser: bool | Omit | None = OMIT,
    model: Mapping[str, Any] | Omit | None = OMIT,
    extra_http_headers: Mapping[str, str | None] | Omit | None = OMIT,
    cdp_connect_headers: Mapping[str, str | None] | Omit | None = OMIT,
    max_screenshot_scrolls: int | Omit | None = OMIT,
    browser_address: str | Omit | None = OMIT,
    run_with: str | Omit | None = OMIT,
    file_ids: Sequence[str] | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[TaskRunResponse]:
    """Start a run of a task (POST v1/run/tasks); again only if it is known that no run was made.

    `OMIT`, the default, leaves an argument out; None is sent as null.
    """
    return _submission(TASKS_PATH, parse_task_run, locals())


def run_workflow(
    *,
    workflow_id: str | Omit = OMIT,
    template: bool | None = None,
    max_steps_override: int | None = None,
    user_agent: str | None = None,
    parameters: Mapping[str, Any] | Omit | None = OMIT,
    title: str | Omit | None = OMIT,
    proxy_location: Proxy | Omit | None = OMIT,
    webhook_url: str | Omit | None = OMIT,
    totp_url: str | Omit | None = OMIT,
    totp_identifier: str | Omit | None = OMIT,
    browser_session_id: str | Omit | None = OMIT,
    agent_id: str | Omit = OMIT,
    browser_profile_id: str | Omit | None = OMIT,
    start_fresh_browser: bool | Omit | None = OMIT,
    model: Mapping[str, Any] | Omit | None = OMIT,
    reuse_browser_session: bool | Omit | None = OMIT,
    max_elapsed_time_minutes: int | Omit | None = OMIT,
    ai_fallback: bool | Omit | None = OMIT,
    run_metadata: Mapping[str, Any] | Omit | None = OMIT,
    extra_http_headers: Mapping[str, str | None] | Omit | None = OMIT,
    cdp_connect_headers: Mapping[str, str | None] | Omit | None = OMIT,
    max_screenshot_scrolls: int | Omit | None = OMIT,
    browser_address: str | Omit | None = OMIT,
    run_with: str | Omit | None = OMIT,
    file_ids: Sequence[str] | Omit | None = OMIT,
    browser_type: str | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[WorkflowRunResponse]:
    """Start a run of a workflow (POST v1/run/workflows); `agent_id` is `workflow_id`'s newer name.

    Submitted again only if it is known that no run was made. `OMIT`, the default, leaves an
    argument out; None is sent as null.

    Raises:
        TypeError: neither of the two ids, or both.
    """
    if (workflow_id in {OMIT, None}) == (agent_id in {OMIT, None}):
        raise TypeError("run_workflow takes workflow_id or agent_id, and one of them")
    return _submission(WORKFLOWS_PATH, parse_workflow_run, locals())


def login(
    *,
    credential_type: CredentialKind,
    user_agent: str | None = None,
    url: str | Omit | None = OMIT,
    prompt: str | Omit | None = OMIT,
    credential_id: str | Omit | None = OMIT,
    bitwarden_collection_id: str | Omit | None = OMIT,
    bitwarden_item_id: str | Omit | None = OMIT,
    onepassword_vault_id: str | Omit | None = OMIT,
    onepassword_item_id: str | Omit | None = OMIT,
    onepassword_totp_field_name: str | Omit | None = OMIT,
    azure_vault_name: str | Omit | None = OMIT,
    azure_vault_username_key: str | Omit | None = OMIT,
    azure_vault_password_key: str | Omit | None = OMIT,
    azure_vault_totp_secret_key: str | Omit | None = OMIT,
    webhook_url: str | Omit | None = OMIT,
    proxy_location: Proxy | Omit | None = OMIT,
    totp_identifier: str | Omit | None = OMIT,
    totp_url: str | Omit | None = OMIT,
    browser_session_id: str | Omit | None = OMIT,
    browser_profile_id: str | Omit | None = OMIT,
    start_fresh_browser: bool | Omit | None = OMIT,
    browser_address: str | Omit | None = OMIT,
    extra_http_headers: Mapping[str, str | None] | Omit | None = OMIT,
    cdp_connect_headers: Mapping[str, str | None] | Omit | None = OMIT,
    max_screenshot_scrolling_times: int | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[WorkflowRunResponse]:
    """Log in to a site with a stored credential (POST v1/run/tasks/login; newer servers).

    The server makes a workflow of its own for each call, and a run of it. Submitted again only if
    it is known that no run was made. `OMIT`, the default, leaves an argument out; None is sent as
    null.

    Args:
        credential_type: where the credential is stored.
        user_agent: sent as header `x-user-agent`.
        url: page to log in on.
        prompt: how to log in, in words; the server's own without.
        credential_id: of the type `skyvern`.
        bitwarden_collection_id, bitwarden_item_id: of the type `bitwarden`.
        onepassword_vault_id, onepassword_item_id, onepassword_totp_field_name: of the type
            `1password`.
        azure_vault_name, azure_vault_username_key, azure_vault_password_key,
            azure_vault_totp_secret_key: of the type `azure_vault`.
        webhook_url, proxy_location, totp_identifier, totp_url, browser_session_id,
            browser_profile_id, start_fresh_browser, browser_address, extra_http_headers,
            cdp_connect_headers, max_screenshot_scrolling_times: as the run API describes them.
        request_options: as everywhere.
    """
    return _submission(LOGIN_PATH, parse_workflow_run, locals())


def download_files(
    *,
    navigation_goal: str,
    user_agent: str | None = None,
    url: str | Omit | None = OMIT,
    download_suffix: str | Omit | None = OMIT,
    download_timeout: float | Omit | None = OMIT,
    max_steps_per_run: int | Omit | None = OMIT,
    webhook_url: str | Omit | None = OMIT,
    proxy_location: Proxy | Omit | None = OMIT,
    totp_identifier: str | Omit | None = OMIT,
    totp_url: str | Omit | None = OMIT,
    browser_session_id: str | Omit | None = OMIT,
    browser_profile_id: str | Omit | None = OMIT,
    start_fresh_browser: bool | Omit | None = OMIT,
    browser_address: str | Omit | None = OMIT,
    extra_http_headers: Mapping[str, str | None] | Omit | None = OMIT,
    cdp_connect_headers: Mapping[str, str | None] | Omit | None = OMIT,
    max_screenshot_scrolling_times: int | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[WorkflowRunResponse]:
    """Download files from a site (POST v1/run/tasks/download_files; newer servers).

    The server makes a workflow of its own for each call, and a run of it. Submitted again only if
    it is known that no run was made. `OMIT`, the default, leaves an argument out; None is sent as
    null.

    Args:
        navigation_goal: how to get to the files, in words.
        user_agent: sent as header `x-user-agent`.
        download_timeout: seconds that a download may take.
        url, download_suffix, max_steps_per_run, webhook_url, proxy_location, totp_identifier,
            totp_url, browser_session_id, browser_profile_id, start_fresh_browser, browser_address,
            extra_http_headers, cdp_connect_headers, max_screenshot_scrolling_times: as the run API
            describes them.
        request_options: as everywhere.
    """
    return _submission(DOWNLOAD_FILES_PATH, parse_workflow_run, locals())


def get_run(run_id: str, *, request_options: RequestOptions | None = None) -> Call[RunResponse]:
    """Read a run (GET v1/runs/{run_id}); a read that fails for a passing reason is made again."""
    return make_call(CallKind.READ, run_path(run_id), parse_run, request_options=request_options)


def cancel_run(run_id: str, *, request_options: RequestOptions | None = None) -> Call[None]:
    """Cancel a run (POST v1/runs/{run_id}/cancel); again only if nothing came of it.

    The server sends the run's webhook before it answers. A task that is over answers 400
    (`BadRequestError`), so a cancel whose answer was lost is not repeated: the second one would
    fail because the first succeeded. A 5xx is no sign that the run goes on: read it.
    """
    return make_call(
        CallKind.CANCEL,
        run_path(run_id, "cancel"),
        parse_nothing,
        request_options=request_options,
        patience=CANCEL_TIMEOUT,
    )


def retry_run_webhook(
    run_id: str,
    *,
    webhook_url: str | Omit | None = OMIT,
    request_options: RequestOptions | None = None,
) -> Call[RunWebhookReplayResponse | None]:
    """Have Skyvern send a run's webhook once more (POST v1/runs/{run_id}/retry_webhook).

    An answer only says that an attempt was made: check `delivered`. Servers that say nothing of
    the attempt give None.

    Args:
        run_id: a run that is over.
        webhook_url: where to, on newer servers; else the run's own URL.
        request_options: as everywhere.
    """
    return make_call(
        CallKind.WEBHOOK,
        run_path(run_id, "retry_webhook"),
        parse_replay,
        fields=None if webhook_url is OMIT else {"webhook_url": webhook_url},
        request_options=request_options,
        patience=REPLAY_TIMEOUT,
        route="retry_webhook",
    )


def list_runs(
    *,
    search_key: str | None = None,
    status: str | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
    page: int = 1,
    page_size: int = MAX_PAGE_SIZE,
    request_options: RequestOptions | None = None,
) -> Call[list[RunListItem]]:
    """Read one page of the account's runs, newest first (GET v1/runs; newer servers).

    Args:
        search_key: text of 3 characters or more to search for, whatever its case; with it the
            server checks the first 1,000 matches only.
        status: one status, or several.
        tags: up to 20 terms: a tag's value, `key:*` or `key:value`. Of terms of one key any has to
            match, of different keys all. A server that knows no tags (1.0.40) ignores it and shows
            all runs (tests/real/test_client_calls.py).
        page: 1 to 100.
        page_size: 1 to 100.
        request_options: as everywhere.

    Raises:
        ValueError: what the server would refuse.
        NotSupported: a server without such a list.
    """
    if search_key is not None and len(search_key) < MIN_SEARCH_KEY:
        raise ValueError(f"search_key: expected {MIN_SEARCH_KEY} characters or more")
    for name, value, most in (("page", page, MAX_PAGE), ("page_size", page_size, MAX_PAGE_SIZE)):
        if not is_whole(value) or not 1 <= value <= most:
            raise ValueError(f"{name}: expected a whole number, 1 to {most}, got {value!r}")
    statuses = [status] if isinstance(status, str) else list(status or ())
    terms = [tags] if isinstance(tags, str) else list(tags or ())
    return make_call(
        CallKind.READ,
        RUNS_PATH,
        parse_run_list,
        query={
            "search_key": search_key,
            "status": statuses or None,
            "tags": terms or None,
            "page": page,
            "page_size": page_size,
        },
        request_options=request_options,
        route="list_runs",
    )


def _submission(path: str, read: Callable[[Any], T], given: dict[str, Any]) -> Call[T]:
    """Make the call that submits a run of its arguments, by their names.

    All are fields of the body, but for those that travel as headers or in the query.
    """
    options = given.pop("request_options")
    query = {"template": given.pop("template", None)}
    headers = {name: given.pop(name, None) for name in ("user_agent", "max_steps_override")}
    return make_call(
        CallKind.SUBMISSION,
        path,
        read,
        fields=given,
        query=query,
        headers=header_arguments(**headers),
        request_options=options,
    )
