"""Turning a request into a submission and its two echoes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from simulator.model.fields import (
    DownloadFields,
    Engine,
    LoginFields,
    SimulatedCredentialType,
    TaskFields,
    WorkflowFields,
)
from simulator.model.plan import FORCED_KEYS
from simulator.model.runs import SubmittedRun
from simulator.model.search import haystack
from simulator.model.urls import normalised, with_scheme
from simulator.model.workflows import BlockFields, Workflow, cast
from simulator.replies import ORGANIZATION, Json, RefusedError

#: The title with which engine 2.0 replaces the client's.
OVERWRITTEN_TITLE = "New Workflow"

#: Steps that a task of the other engines may take by default.
_DEFAULT_STEPS = 10

#: Replaces the address that the server's model chooses if a task names none.
GENERATED_URL = "https://generated.example/"

_RUN_TYPES = {
    Engine.ONE: "task_v1",
    Engine.TWO: "task_v2",
    Engine.THREE: "task_v3",
    Engine.OPENAI: "openai_cua",
    Engine.ANTHROPIC: "anthropic_cua",
    Engine.UI_TARS: "ui_tars",
    Engine.YUTORI: "yutori_navigator",
}
_OWN_PROMPT = frozenset({Engine.OPENAI, Engine.ANTHROPIC, Engine.UI_TARS, Engine.YUTORI})

#: Characters that a text column refuses: control characters but tabs and line ends.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")

#: Fields that a task's first answer echoes, and those that `get_run` still shows.
_KEPT_OF_TASKS: tuple[str, ...] = (
    *("prompt", "url", "engine", "proxy_location", "data_extraction_schema", "totp_identifier"),
    *("error_code_mapping", "webhook_url", "totp_url", "max_steps", "max_screenshot_scrolls"),
)
_FIRST_OF_TASKS: tuple[str, ...] = (
    *(name for name in _KEPT_OF_TASKS if name != "max_steps"),
    *("browser_session_id", "start_fresh_browser", "file_ids"),
)
_FIRST_OF_TWO: tuple[str, ...] = (
    *_FIRST_OF_TASKS,
    *("max_steps", "browser_profile_id", "publish_workflow"),
)
_KEPT_OF_WORKFLOWS: tuple[str, ...] = (
    *("workflow_id", "proxy_location", "webhook_url", "totp_url", "totp_identifier"),
    *("browser_session_id", "start_fresh_browser", "max_screenshot_scrolls", "browser_address"),
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A parsed submission.

    Args:
        submission: the kept part.
        echo: the request as the first answer shows it, JSON.
    """

    submission: SubmittedRun
    echo: bytes


def task_submission(fields: TaskFields, *, any_profile: bool = True) -> Prepared:
    """Parse a task.

    Args:
        fields: its body.
        any_profile: every browser profile exists; else none does.

    Raises:
        RefusedError: 400, 404 or 422, the server does not do that.
    """
    _check_files(fields.file_ids)
    engine, sent = fields.engine, fields.model_copy()
    first, kept = _FIRST_OF_TASKS, _KEPT_OF_TASKS
    if engine is Engine.TWO:
        _check_profile(fields.browser_profile_id, any_profile=any_profile)
        fields.title = OVERWRITTEN_TITLE
        first = _FIRST_OF_TWO
        kept = _without(_KEPT_OF_TASKS, "max_steps", "max_screenshot_scrolls")
    else:
        _check_older_engine(fields)
    fields.proxy_location = _known_proxy(fields.proxy_location)
    echo = _echo(fields, first)
    if engine is not Engine.TWO:
        fields.max_steps = fields.max_steps or _DEFAULT_STEPS
    return Prepared(
        SubmittedRun(
            kind="task",
            id_prefix="tsk_v2_" if engine is Engine.TWO else "tsk_",
            run_type=_RUN_TYPES[engine],
            title=fields.title,
            sent_title=sent.title,
            target=fields.url,
            webhook_url=fields.webhook_url or None,
            prompt=sent.prompt,
            request=_echo(fields, kept),
            haystack=haystack(fields.title, fields.url),
            hidden_haystack=haystack(*_headers(fields.extra_http_headers))
            if engine is Engine.TWO
            else None,
            forced=_forced_by_url(fields.url),
            session_id=fields.browser_session_id,
        ),
        echo,
    )


def workflow_submission(
    fields: WorkflowFields, workflow: Workflow, *, any_profile: bool = True
) -> Prepared:
    """Parse a run of a workflow.

    Args:
        fields: its body.
        workflow: the workflow that it runs.
        any_profile: every browser profile exists; else none does.

    Raises:
        RefusedError: 400, 404 or 422, the server does not do that.
    """
    _check_files(fields.file_ids)
    if fields.browser_type is not None:
        raise RefusedError(
            400, f"browser_type='{fields.browser_type}' is not supported by this runtime: none is."
        )
    _check_profile(fields.browser_profile_id, any_profile=any_profile)
    given = fields.parameters or {}
    parameters = cast(workflow, given)
    sent_title, fields.title = fields.title, workflow.title
    echo = fields.model_dump_json().encode()
    fields.proxy_location = _known_proxy(fields.proxy_location)
    kept = WorkflowFields.model_construct(
        **{name: getattr(fields, name) for name in _KEPT_OF_WORKFLOWS},
        parameters=parameters.shown,
        title=workflow.title,
    )
    return Prepared(
        SubmittedRun(
            kind="workflow",
            id_prefix="wr_",
            run_type="workflow_run",
            title=workflow.title,
            sent_title=sent_title,
            target=workflow.permanent_id,
            webhook_url=fields.webhook_url or None,
            prompt=None,
            request=kept.model_dump_json().encode(),
            haystack=haystack(workflow.title, workflow.permanent_id),
            inputs_haystack=haystack(
                *workflow.searchable, *parameters.stored, *_headers(fields.extra_http_headers)
            ),
            forced={key: given[key] for key in FORCED_KEYS if key in given},
            workflow=workflow,
            session_id=fields.browser_session_id,
            unreadable=parameters.unreadable,
            tags=fields.run_metadata,
            run_with=fields.run_with or "agent",
            ai_fallback=fields.ai_fallback,
            scrolls=fields.max_screenshot_scrolls,
            extra_http_headers=fields.extra_http_headers,
        ),
        echo,
    )


def block_submission(
    fields: LoginFields | DownloadFields, workflow: Workflow, *, any_profile: bool = True
) -> Prepared:
    """Parse a login or a download, which runs a workflow of its own.

    Args:
        fields: its body.
        workflow: the one that was made for it.
        any_profile: every browser profile exists; else none does.

    Raises:
        RefusedError: 404, its browser profile is not there.
    """
    totp_url = fields.totp_url and with_scheme(fields.totp_url, "totp_url")
    run = WorkflowFields.model_construct(
        workflow_id=workflow.version_id,
        title=workflow.title,
        proxy_location=fields.proxy_location,
        webhook_url=fields.webhook_url or None,
        totp_url=totp_url and normalised(totp_url, "totp_url"),
        totp_identifier=fields.totp_identifier,
        browser_session_id=fields.browser_session_id,
        browser_profile_id=fields.browser_profile_id,
        start_fresh_browser=fields.start_fresh_browser,
        max_screenshot_scrolls=fields.max_screenshot_scrolling_times,
    )
    echo = run.model_dump_json().encode()
    run.workflow_id = workflow.permanent_id
    run.extra_http_headers = fields.extra_http_headers
    run.browser_address = fields.browser_address
    if run.proxy_location is None:
        run.proxy_location = WorkflowFields.model_fields["proxy_location"].default
    prepared = workflow_submission(run, workflow, any_profile=any_profile)
    forced = _forced_by_url(fields.url)
    prompt = fields.prompt if isinstance(fields, LoginFields) else fields.navigation_goal
    submission = prepared.submission.replaced(forced=forced, prompt=prompt)
    return Prepared(submission, echo)


def check_block(fields: LoginFields | DownloadFields, *, any_credential: bool = False) -> None:
    """Check a login or a download before its workflow is made.

    Args:
        fields: the request's.
        any_credential: every credential of Skyvern's own exists; else none does.

    Raises:
        RefusedError: 400 or 404, something is missing or unknown.
    """
    for name in ("url", "totp_url"):
        if address := getattr(fields, name):
            normalised(address, name)
    if isinstance(fields, LoginFields):
        _check_credential(fields, any_credential=any_credential)


def block_of(fields: LoginFields | DownloadFields) -> BlockFields:
    """The block that the workflow of a login or a download has."""
    content: dict[str, Any] = {
        "task_type": "general",
        "url": fields.url and with_scheme(fields.url),
        "max_steps_per_run": 10,
        "totp_verification_url": fields.totp_url and with_scheme(fields.totp_url, "totp_url"),
        "totp_identifier": fields.totp_identifier,
        "complete_verification": True,
        "include_extracted_text": True,
    }
    if isinstance(fields, LoginFields):
        content["navigation_goal"] = fields.prompt or "Log in with the credential (simulated)."
    else:
        content |= {
            "navigation_goal": fields.navigation_goal,
            "max_steps_per_run": fields.max_steps_per_run or 10,
            "download_suffix": fields.download_suffix,
            "download_timeout": fields.download_timeout,
            "complete_on_download": True,
            "include_action_history_in_verification": True,
        }
    label = "login" if isinstance(fields, LoginFields) else "file_download"
    return BlockFields(block_type=label, label=label, title=label, **content)


def credential_of(fields: LoginFields | DownloadFields) -> Json | None:
    """The parameter by which a login's workflow names its credential."""
    if not isinstance(fields, LoginFields):
        return None
    if fields.credential_type is SimulatedCredentialType.ONEPASSWORD:
        return {
            "parameter_type": "onepassword",
            "vault_id": fields.onepassword_vault_id,
            "item_id": fields.onepassword_item_id,
            "totp_field_name": fields.onepassword_totp_field_name,
            "totp_identifier": fields.totp_identifier,
        }
    if fields.credential_type is SimulatedCredentialType.AZURE:
        return {
            "parameter_type": "azure_vault_credential",
            "vault_name": fields.azure_vault_name,
            "username_key": fields.azure_vault_username_key,
            "password_key": fields.azure_vault_password_key,
            "totp_secret_key": fields.azure_vault_totp_secret_key,
        }
    return {
        "parameter_type": "bitwarden_login_credential",
        "url_parameter_key": fields.url,
        "bitwarden_collection_id": fields.bitwarden_collection_id,
        "bitwarden_item_id": fields.bitwarden_item_id,
        "totp_identifier": fields.totp_identifier,
    }


def _check_credential(fields: LoginFields, *, any_credential: bool) -> None:
    kind = fields.credential_type
    if kind is SimulatedCredentialType.SKYVERN:
        if not fields.credential_id:
            raise RefusedError(400, "credential_id is required to login with Skyvern credential")
        if not any_credential:
            raise RefusedError(404, f"Credential {fields.credential_id} not found")
        return
    if kind is SimulatedCredentialType.BITWARDEN:
        if not fields.bitwarden_collection_id and not fields.bitwarden_item_id:
            raise RefusedError(400, "Missing required value for workflow parameter.")
        return
    name, needed = _NEEDED[kind]
    for field in needed:
        if not getattr(fields, field):
            raise RefusedError(400, f"{field} is required to login with {name} credential")


_NEEDED = {
    SimulatedCredentialType.ONEPASSWORD: (
        "1Password",
        ("onepassword_vault_id", "onepassword_item_id"),
    ),
    SimulatedCredentialType.AZURE: (
        "Azure Vault",
        ("azure_vault_name", "azure_vault_username_key", "azure_vault_password_key"),
    ),
}


def _check_older_engine(fields: TaskFields) -> None:
    """Refuse fields that these engines do not take; rewrite prompts and addresses as they do."""
    for name in ("browser_profile_id", "start_fresh_browser"):
        if getattr(fields, name):
            raise RefusedError(
                400, f"{name} is not supported for the skyvern_v1 or CUA task engines."
            )
    if fields.engine is Engine.UI_TARS:
        raise RefusedError(400, "The ui-tars engine is not enabled on this server")
    if not fields.url:
        fields.url = GENERATED_URL
        if fields.engine not in _OWN_PROMPT:
            fields.prompt = f"Simulated goal: {fields.prompt}"
    fields.prompt = _CONTROL.sub("", fields.prompt)


def _check_files(file_ids: list[str] | None) -> None:
    if file_ids:
        unknown = f"These file ids are not available to attach; unknown: {', '.join(file_ids)}"
        raise RefusedError(422, unknown)


def _check_profile(profile_id: str | None, *, any_profile: bool) -> None:
    if profile_id and not any_profile:
        missing = f"Browser profile {profile_id} not found for organization {ORGANIZATION}"
        raise RefusedError(404, missing)


def _known_proxy(proxy: Any) -> Any:
    """An unknown location is dropped; `{"url": …}` is a proxy of the user's."""
    return None if isinstance(proxy, dict) and "url" not in proxy else proxy


def _echo(fields: TaskFields, names: tuple[str, ...]) -> bytes:
    # Not orjson: its bytes keep the 8 kB they were written into for as long as the run lives.
    kept = TaskFields.model_construct(**{name: getattr(fields, name) for name in names})
    return kept.model_dump_json().encode()


def _without(names: tuple[str, ...], *dropped: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in dropped)


def _headers(headers: Mapping[str, str] | None) -> list[str]:
    return [text for pair in (headers or {}).items() for text in pair]


def _forced_by_url(url: str | None) -> dict[str, object]:
    if url is None or "sim_" not in url:
        return {}
    return {key: value for key, value in parse_qsl(urlsplit(url).query) if key in FORCED_KEYS}
