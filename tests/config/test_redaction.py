"""The last look at a log line: whatever gets into one, secrets and requests do not come out."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logging import setup_logging
from config.redaction import REDACTED, Redactor
from config.settings import Settings
from runqueue import tracing
from tests.traces import collected

KEY = "sk-live-0123456789"
HOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def told(value: Any, name: str = "error", *secrets: str) -> Any:
    """What is left of a value."""
    return Redactor(secrets)(None, "info", {name: value})[name]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {REDACTED}"),
        ("basic dXNlcjpwYXNz= and more", f"basic {REDACTED} and more"),
        (f"signed with {HOOK}.", f"signed with {REDACTED}."),
        ('{"api_key": "a b", "n": 1}', f'{{"api_key": {REDACTED}, "n": 1}}'),
        ("{'prompt': 'Read it\\'s price', 'n': 1}", f"{{'prompt': {REDACTED}, 'n': 1}}"),
        ("x-api-key: abc", f"x-api-key: {REDACTED}"),
        ("?token=abc&n=1", f"?token={REDACTED}&n=1"),
        ("redis://user:pass@host:6379/0", f"redis://{REDACTED}@host:6379/0"),
        ("GET https://x.test/a?token=1&b=2 failed", f"GET https://x.test/a?{REDACTED} failed"),
        ("see https://x.test/a#secret", f"see https://x.test/a?{REDACTED}"),
        ("Authorization: Token abc.def-123", f"Authorization: Token {REDACTED}"),
        ("authorization: abcdef", f"authorization: {REDACTED}"),
        ("Cookie: session=abc; other=def\nnext", f"Cookie: {REDACTED}\nnext"),
        ("client_secret=abc access_token=def", f"client_secret={REDACTED} access_token={REDACTED}"),
        ("password: hunter22, once", f"password: {REDACTED}, once"),
        ("token = 'a b' and", f"token = {REDACTED} and"),
        ("totp_identifier=ann@x.test,", f"totp_identifier={REDACTED},"),
        ("navigation_goal: 'log in as ann'", f"navigation_goal: {REDACTED}"),
        ('{"parameters": {"a": [1, "}"]}, "n": 1}', f'{{"parameters": {REDACTED}, "n": 1}}'),
        ("extra_http_headers={'X-Auth': 'a'}, n=1", f"extra_http_headers={REDACTED}, n=1"),
        ("body=b'a b', n=1", f"body={REDACTED}, n=1"),
        (r"{\"prompt\": \"it\\\"s\", \"n\": 1}", rf"{{\"prompt\": {REDACTED}, \"n\": 1}}"),
        ("{'totp_code': 123456, 'n': 1}", f"{{'totp_code': {REDACTED}, 'n': 1}}"),
        ("[type=int, input_value={'a': 'b'}, n=1]", f"[type=int, input_value={REDACTED}, n=1]"),
        ("'prompt': 'cut off in the mid…", f"'prompt': {REDACTED}"),
        ("redis://user:p@ss@host:6379/0", f"redis://{REDACTED}@host:6379/0"),
        ("redis://:pa/ss?w#d@host:6379/0", f"redis://{REDACTED}@host:6379/0"),
        ("{'input': 'a', 'db_password': 'b'}", f"{{'input': 'a', 'db_password': {REDACTED}}}"),
        (
            f"/v1/webhooks/skyvern/default/aaaa/1/{'0' * 32}",
            f"/v1/webhooks/skyvern/default/aaaa/1/{REDACTED}",
        ),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_any_text(text: str, left: str) -> None:
    assert told(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9464/metrics",
        "SKYVERN_API_KEY: expected the API key of your Skyvern account",
        "the token is missing",
        "bearer of news",
        "body.prompt: expected text that is not blank, got a whole number",
        "body = await self._read(headers)",
        "http://127.0.0.1:8080/users/@me",
        "max_tokens=5, secretary: Ann",
        "host-1-4711-a1b2c3",
        "job aaaabbbbccccddddeeeeffff is completed",
    ],
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert told(text) == text


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "X-Api-Key", "authorization", "prompt", "parameters", "totp_url", "body"),
        *("Cookie", "client_secret", "db_password", "totp_code", "aws_secret_access_key"),
    ],
)
def test_a_field_of_a_known_name_is_not_shown_however_deep_it_stands(name: str) -> None:
    assert told("anything", name) == REDACTED
    assert told({"a": [{name: {"b": "anything"}}]}) == {"a": [{name: REDACTED}]}


def test_the_secrets_of_the_process_are_found_wherever_they_stand() -> None:
    assert told(f"no {KEY}x", "event", KEY) == f"no {REDACTED}x"
    assert told([{"a": KEY}], "runs", KEY) == [{"a": REDACTED}]
    assert told(ValueError(KEY), "error", KEY) == f"ValueError('{REDACTED}')"
    # One of three characters would be found in every other word.
    assert told("the other", "event", "the") == "the other"


def test_a_secret_of_the_process_is_found_in_the_name_of_a_field() -> None:
    assert told({KEY: 1}, "runs", KEY) == {REDACTED: 1}


def test_bytes_and_what_is_too_deep_or_too_long_are_not_shown() -> None:
    deep: Any = "x"
    for _ in range(10):
        deep = [deep]

    assert told(b"bytes") == REDACTED
    assert REDACTED in str(told(deep))
    assert len(told("x" * 100_000)) < 21_000


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)))  # fmt: skip
def test_any_line_can_be_looked_at(event: dict[str, Any]) -> None:
    names = set(event)

    assert set(Redactor([KEY])(None, "info", event)) == names


def test_the_settings_name_every_secret_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SKYVERN_API_KEY": KEY,
        "RUNQUEUE_PREVIOUS_API_KEYS": "sk-old-987654",
        "RUNQUEUE_WEBHOOK_SECRETS": HOOK,
        "RUNQUEUE_ACCOUNTS__ACME__API_KEY": "sk-acme-555",
        "RUNQUEUE_REDIS_URL": "redis://user:p%40ssword@host/0",
        "RUNQUEUE_BROKER_URL": "redis://:another-one@host/1",
    }.items():
        monkeypatch.setenv(name, value)

    secrets = Settings().secrets("redis://:of-the-embedded@127.0.0.1:6379/0")

    assert "of-the-embedded" in secrets
    assert {KEY, "sk-old-987654", HOOK, "sk-acme-555", "p@ssword", "another-one"} <= set(secrets)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where logs go, set up as a worker does it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    setup_logging("INFO", [KEY])
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_structlog_and_the_standard_library_are_looked_at_alike(stderr: io.StringIO) -> None:
    structlog.get_logger().info("event", error=f"no {KEY}", prompt="Read it.", job_id="abc")
    logging.getLogger("other").warning("with %s", KEY, extra={"headers": {"a": "b"}})
    try:
        int(f"key {KEY}")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("other").exception("failed, too")

    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert len(lines) == 4
    assert KEY not in stderr.getvalue()
    assert lines[0]["prompt"] == REDACTED
    assert lines[0]["job_id"] == "abc"
    assert lines[1]["headers"] == REDACTED
    assert all("ValueError" in line["exception"] for line in lines[2:])


def test_a_line_within_a_span_names_its_trace(stderr: io.StringIO) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with collected(), tracing.continuing(f"00-{trace}-b7ad6b7169203331-01"):
        structlog.get_logger().info("within")
    structlog.get_logger().info("outside")

    within, outside = map(json.loads, stderr.getvalue().splitlines())
    assert (within["trace_id"], within["span_id"]) == (trace, "b7ad6b7169203331")
    assert "trace_id" not in outside
