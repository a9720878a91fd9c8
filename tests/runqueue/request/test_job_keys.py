"""The keys of a job: those that it names, and those that follow from its request."""

from typing import Any

import pytest

from runqueue import InvalidJob
from runqueue.request.job_spec import parse_line


def spec(body: dict[str, Any], kind: str = "task", **options: Any) -> Any:
    """A checked job."""
    return parse_line({"kind": kind, "body": body, **options})


TASK = {"prompt": "x"}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://shop.example/17", "host:shop.example"),
        ("HTTP://user:secret@Shop.Example:8443?x=@y", "host:shop.example"),
        ("https://127.0.0.1/", "host:127.0.0.1"),
        ("https://shop.example#x@y", "host:shop.example"),
    ],
)
def test_the_host_of_its_url_is_a_key_of_a_task(url: str, key: str) -> None:
    assert spec({**TASK, "url": url}).all_keys == key


def test_an_odd_host_has_a_key_all_the_same_and_equal_ones_share_it() -> None:
    keys = [
        spec({**TASK, "url": f"https://{host}/x"}).all_keys
        for host in ("[2001:db8::1]", "[2001:db8::1]", "münchen.example")
    ]
    assert keys[0] == keys[1] != keys[2]
    assert all(key.startswith("host:") and len(key) == 29 for key in keys)


def test_a_session_and_a_profile_are_keys_and_all_are_sorted() -> None:
    body = {**TASK, "browser_session_id": "pbs_1"}
    job = spec(body, keys=["site:b", "login:a", "site:b"])
    assert job.keys == ("site:b", "login:a")
    assert job.all_keys == "login:a session:pbs_1 site:b"
    workflow = spec({"workflow_id": "wpid_1", "browser_profile_id": "bp_1"}, "workflow")
    assert workflow.all_keys == "profile:bp_1"


def test_one_time_codes_and_a_credential_are_keys_and_the_key_does_not_say_whose_codes() -> None:
    keys = [
        spec({**TASK, "totp_identifier": who}).all_keys for who in ("Ann@x.test", "ann@x.test ")
    ]
    assert keys[0] == keys[1]
    assert keys[0].startswith("totp:")
    assert "ann" not in keys[0]
    assert spec({**TASK, "totp_identifier": ""}).all_keys == ""
    login = {"credential_type": "skyvern", "credential_id": "cred_1", "url": "https://x.test"}
    assert spec(login, "login").all_keys == "credential:cred_1"


def test_a_job_without_any_has_none() -> None:
    assert spec(TASK).all_keys == ""
    assert spec(TASK, keys=None).keys == ()


@pytest.mark.parametrize(
    "keys",
    [
        [],
        "site:a",
        ["site"],
        ["Site:a"],
        ["site:"],
        [":a"],
        ["site:a b"],
        ["site:*"],
        ["site:a\n"],
        ["s:" + "a" * 127],
        [f"s:{n}" for n in range(5)],
        [1],
        {"site:a": 1},
    ],
)
def test_keys_that_are_none_are_named(keys: object) -> None:
    with pytest.raises(InvalidJob) as refused:
        spec(TASK, keys=keys)
    assert [error.field for error in refused.value.errors] == ["keys"]
    assert "expected a list of 1 to 4 keys" in str(refused.value)
    assert "got an array" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [(["acme"], "'acme'"), (["site:a", 1], "1"), ([f"s:{n}" for n in range(5)], "5 of them")],
)
def test_a_refused_key_is_shown(keys: object, words: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        spec(TASK, keys=keys)
    assert str(refused.value).endswith(f", got {words}")
