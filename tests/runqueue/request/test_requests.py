"""The run requests: what they take, what they refuse, what they never show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runqueue import InvalidJob
from runqueue.request.requests import (
    KNOWN_CREDENTIAL_TYPES,
    KNOWN_ENGINES,
    KNOWN_PROXY_LOCATIONS,
    MAX_FILES,
    MODELS,
    SENSITIVE_FIELDS,
    DownloadFilesRunRequest,
    LoginRunRequest,
    TaskRunRequest,
    WorkflowRunRequest,
)

SECRET = "hunter2"


def task(**fields: Any) -> TaskRunRequest:
    return TaskRunRequest.model_validate({"prompt": "Read the price.", **fields})


def workflow(**fields: Any) -> WorkflowRunRequest:
    return WorkflowRunRequest.model_validate({"workflow_id": "wpid_1", **fields})


def login(**fields: Any) -> LoginRunRequest:
    return LoginRunRequest.model_validate({"credential_type": "skyvern", **fields})


def download(**fields: Any) -> DownloadFilesRunRequest:
    return DownloadFilesRunRequest.model_validate({"navigation_goal": "Get it.", **fields})


def test_a_field_left_out_stays_out_and_an_explicit_none_stays_null() -> None:
    given = task(webhook_url=None)
    assert given.model_fields_set == {"prompt", "webhook_url"}
    assert given.model_dump(exclude_unset=True) == {
        "prompt": "Read the price.",
        "webhook_url": None,
    }


@pytest.mark.parametrize("make", [task, workflow, login, download])
def test_every_optional_field_may_be_null(make: Any) -> None:
    required = {"prompt", "workflow_id", "agent_id", "credential_type", "navigation_goal"}
    for name in type(make()).model_fields.keys() - required:
        assert getattr(make(**{name: None}), name) is None


@pytest.mark.parametrize("seconds", [0, -1, 86_401, "90", True])
def test_a_download_is_given_seconds(seconds: object) -> None:
    assert download(download_timeout=90).download_timeout == 90
    assert download(download_timeout=0.5).download_timeout == 0.5
    with pytest.raises(ValidationError):
        download(download_timeout=seconds)


def test_a_run_takes_fifty_files() -> None:
    assert task(file_ids=["f"] * MAX_FILES).file_ids == ["f"] * MAX_FILES
    for wrong in (["f"] * (MAX_FILES + 1), [""], [7], "file_1", ["a file"]):
        for make in (task, workflow):
            with pytest.raises(ValidationError):
                make(file_ids=wrong)


def test_names_that_skyvern_may_add_are_taken() -> None:
    places = [{"country": "US"}, {"url": "http://p.test:3128"}]
    for place in (*KNOWN_PROXY_LOCATIONS, "RESIDENTIAL_XX", *places):
        given = task(proxy_location=place).model_dump(exclude_unset=True)
        assert given["proxy_location"] == place
    for engine in (*KNOWN_ENGINES, "an-engine-of-tomorrow"):
        assert task(engine=engine).engine == engine
    for vault in (*KNOWN_CREDENTIAL_TYPES, "a-vault-of-tomorrow"):
        assert login(credential_type=vault).credential_type == vault
    for schema in ({"type": "object"}, ["price"], "the price"):
        assert task(data_extraction_schema=schema).data_extraction_schema == schema


@pytest.mark.parametrize(
    "url",
    [
        "https://example.test",
        "HTTP://example.test:8080/a?b=c#d",
        "http://user:pass@example.test/",
        "http://[::1]:9222/",
        "https://bücher.example.test/ä?q=ö",
        "https://example.test?sim_seconds=1",
    ],
)
def test_a_web_url_with_a_host_is_taken(url: str) -> None:
    assert task(url=url, webhook_url=url, totp_url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.test",
        "ftp://example.test",
        "https://",
        "https:///path",
        "https://?q",
        "https://:80/",
        "https://user@/",
        "https://a b.test/",
        "https://a.test/x y",
        "https://a.test/\n",
        "https://a.test/\x00",
        " https://a.test",
        "https://a.test:port/",
        "javascript:alert(1)//https://a.test",
        17,
    ],
)
@pytest.mark.parametrize("name", ["url", "webhook_url", "totp_url"])
def test_what_is_no_web_url_is_refused(name: str, url: object) -> None:
    with pytest.raises(ValidationError):
        task(**{name: url})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", ""),
        ("prompt", " \n\t"),
        ("prompt", "a\x00b"),
        ("prompt", None),
        ("max_steps", "10"),
        ("max_steps", 10.0),
        ("max_steps", True),
        ("max_steps", 0),
        ("max_steps", 100_001),
        ("max_screenshot_scrolls", -1),
        ("title", "a\x00b"),
        ("title", "\ud800"),
        ("title", 7),
        ("publish_workflow", "true"),
        ("publish_workflow", 1),
        ("user_agent", "a\r\nX-Api-Key: b"),
        ("user_agent", "ä"),
        ("extra_http_headers", {"X-A": "a\nb"}),
        ("extra_http_headers", {"X A": "a"}),
        ("extra_http_headers", {"X-A": 1}),
        ("cdp_connect_headers", {"X-A": "a\rb"}),
        ("error_code_mapping", {"sold_out": 1}),
        ("data_extraction_schema", 5),
        ("proxy_location", {"city": "Boise"}),
        ("proxy_location", {"country": "US", "planet": "Earth"}),
        ("model", "gpt"),
        ("max_step", 10),
    ],
)
def test_a_value_that_the_api_could_not_mean_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        task(**{name: value})


def test_a_workflow_may_be_named_by_the_newer_agent_id() -> None:
    assert WorkflowRunRequest(agent_id="wpid_1").agent_id == "wpid_1"


@pytest.mark.parametrize(
    "ids",
    [
        {},
        {"workflow_id": None},
        {"workflow_id": "wpid_1", "agent_id": "wpid_1"},
        {"workflow_id": ""},
    ],
)
def test_a_workflow_must_be_named_exactly_once(ids: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WorkflowRunRequest.model_validate(ids)


def test_a_request_is_refused_in_the_words_that_a_line_is() -> None:
    fields: dict[str, Any] = {"prompt": SECRET, "max_step": 3, "url": "ftp://x", "priority": "high"}
    with pytest.raises(InvalidJob) as refused:
        TaskRunRequest(**fields)
    assert list(map(str, refused.value.errors)) == [
        (
            "body.url: expected an http:// or https:// URL with a host and without spaces,"
            " got text that does not begin with either"
        ),
        "body.max_step: unknown field, did you mean 'max_steps'?",
        "body.priority: unknown field, 'priority' belongs beside the body",
    ]
    with pytest.raises(InvalidJob, match="expected exactly one of workflow_id and agent_id"):
        WorkflowRunRequest()


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        task().prompt = "Something else."  # type: ignore[misc]


SECRETS: dict[str, Any] = {
    "totp_identifier": SECRET,
    "totp_url": f"https://codes.example.test/{SECRET}",
    "parameters": {"password": SECRET},
    "extra_http_headers": {"X-Auth": SECRET},
    "cdp_connect_headers": {"X-Auth": SECRET},
    "browser_address": f"ws://{SECRET}@browser.example.test",
    "url": f"https://user:{SECRET}@example.test/a?token={SECRET}#{SECRET}",
    "webhook_url": f"https://example.test/hook?key={SECRET}",
    "model": {"api_key": SECRET},
    "run_metadata": {"note": SECRET},
    "proxy_location": {"url": f"http://user:{SECRET}@proxy.example.test"},
    "onepassword_totp_field_name": SECRET,
    "azure_vault_username_key": SECRET,
    "azure_vault_password_key": SECRET,
    "azure_vault_totp_secret_key": SECRET,
}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_neither_repr_nor_str_shows_a_secret(name: str) -> None:
    make = next(make for make in (task, workflow, login) if name in make().__class__.model_fields)
    request = make(**{name: SECRETS[name]})
    assert SECRET not in repr(request) + str(request)
    assert f"{name}=" in repr(request)


def test_every_sensitive_field_is_a_field_and_tried_above() -> None:
    fields = {name for model in MODELS.values() for name in model.model_fields}
    assert fields & SECRETS.keys() >= SENSITIVE_FIELDS


def test_a_refusal_does_not_show_the_refused_value() -> None:
    with pytest.raises(ValidationError) as refusal:
        task(totp_url=SECRET)
    assert SECRET not in str(refusal.value)


def test_repr_shows_a_place_in_full_and_a_long_prompt_in_part() -> None:
    shown = repr(task(prompt="x" * 5_000, proxy_location={"country": "DE"}, max_steps=3))
    assert "country='DE'" in shown
    assert "max_steps=3" in shown
    assert len(shown) < 300
