"""Webhook URLs that name a private address are warned of when they are handed in."""

from collections.abc import Iterator

import pytest

from runqueue import TaskRunRequest
from runqueue.batches import BatchRules
from runqueue.private_targets import VARIABLE, allow_private_targets, private_host
from runqueue.spec import JobSpec, parse_line


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nothing said before, and nothing set."""
    monkeypatch.setattr("runqueue.private_targets._process.warned", set())
    monkeypatch.delenv(VARIABLE, raising=False)
    allow_private_targets(allowed=None)
    yield
    allow_private_targets(allowed=None)


def line(url: str) -> dict[str, object]:
    return {"kind": "task", "body": {"prompt": "Read it.", "webhook_url": url}}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://10.0.0.5:8000/hook", "10.0.0.5"),
        ("https://me:pw@192.168.1.7/", "192.168.1.7"),
        ("http://[::1]:80/x", "[::1]"),
        ("http://[fd00::1]/x", "[fd00::1]"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("HTTP://LOCALHOST:9000", "localhost"),
        ("http://a.localhost./x", "a.localhost"),
        ("https://shop.example/10.0.0.5", None),
        ("https://10.0.0.5.example/", None),
        ("https://1.1.1.1/", None),
        ("https://[2606:4700::1111]/", None),
        ("https://shop7/", None),
        ("no url", None),
        (7, None),
    ],
)
def test_a_private_host_is_told_by_its_address_or_its_name(url: object, host: str | None) -> None:
    assert private_host(url) == host


def test_a_private_webhook_url_is_accepted_with_a_warning_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for path in ("a", "b"):
        parse_line(line(f"http://me:pass@10.0.0.5/{path}?token=secret"))
    JobSpec.of(TaskRunRequest(prompt="Read it.", webhook_url="http://10.0.0.6/hook"))

    said = [record.getMessage() for record in caplog.records]

    assert len(said) == 2
    assert said[0].startswith("webhook_url: 10.0.0.5 is a private address")
    assert VARIABLE in said[0]
    assert "pass" not in said[0]
    assert "secret" not in said[0]


def test_a_private_callback_url_of_a_batch_is_warned_of_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    BatchRules(callback_url="http://127.0.0.1:9000/hook")

    assert "callback_url: 127.0.0.1 is a private address" in caplog.text


def test_nothing_is_said_where_private_targets_are_allowed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_private_targets(allowed=True)
    parse_line(line("http://10.0.0.5/"))
    allow_private_targets(allowed=None)
    monkeypatch.setenv(VARIABLE, "True")
    parse_line(line("http://10.0.0.5/"))

    assert not caplog.records


def test_a_public_webhook_url_is_accepted_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    parse_line(line("https://shop.example/hook"))

    assert not caplog.records
