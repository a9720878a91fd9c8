"""Webhook URLs that name a private address are warned of when they are submitted."""

from collections.abc import Iterator

import pytest

from runqueue import TaskRunRequest
from runqueue.producer.chunks import Handed, Packet, packets
from runqueue.producer.inbox import InboxLine, check_lines
from runqueue.request.private_targets import (
    VARIABLE,
    PrivateHosts,
    allow_private_targets,
    private_callback,
    private_host,
)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nothing said before, and nothing set."""
    monkeypatch.setattr("runqueue.request.private_targets._once.logged", set())
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
        (f"http://{'a' * 300}.localhost/x", "localhost"),
        ("http://\u202ea.localhost/x", "localhost"),
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


def submitted(*jobs: Handed) -> list[Packet]:
    """What `enqueue_many` makes of jobs before it sends them."""
    return list(packets(jobs))


def test_a_private_webhook_url_is_accepted_with_a_warning_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    submitted(*(line(f"http://me:pass@10.0.0.5/{path}?token=secret") for path in ("a", "b")))
    submitted(TaskRunRequest(prompt="Read it.", webhook_url="http://10.0.0.6/hook"))

    said = [record.getMessage() for record in caplog.records]

    assert len(said) == 2
    assert said[0].startswith("body.webhook_url: 10.0.0.5 is a private address")
    assert VARIABLE in said[0]
    assert "pass" not in said[0]
    assert "secret" not in said[0]


def test_a_private_webhook_url_in_a_line_that_nobody_is_answered_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_lines([InboxLine(line("http://10.0.0.7/hook"), "key")], "inbox", {"default"})

    assert "body.webhook_url: 10.0.0.7 is a private address" in caplog.text


@pytest.mark.parametrize("hosts", [1, 3, 4])
def test_one_warning_names_the_first_three_addresses_and_counts_the_jobs(hosts: int) -> None:
    found = PrivateHosts()
    for n in range(2 * hosts):
        found.note({"webhook_url": f"http://10.0.0.{n % hosts}/"})
    found.note({"webhook_url": "https://shop.example/"})
    found.note({})

    named = {
        1: "10.0.0.0 is a private address: ",
        3: "10.0.0.0, 10.0.0.1, 10.0.0.2 are private addresses: ",
        4: "10.0.0.0, 10.0.0.1, 10.0.0.2 and others are private addresses: ",
    }
    (warning,) = found.warnings()
    assert (warning.field, warning.jobs) == ("body.webhook_url", 2 * hosts)
    assert warning.message.startswith(named[hosts])


def test_where_no_url_is_private_there_is_no_warning() -> None:
    found = PrivateHosts()
    found.note({"webhook_url": "https://shop.example/"})

    assert found.warnings() == private_callback("https://shop.example/") == private_callback(None)
    assert not found.warnings()


def test_nothing_is_said_where_private_targets_are_allowed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_private_targets(allowed=True)
    submitted(line("http://10.0.0.5/"))
    allow_private_targets(allowed=None)
    monkeypatch.setenv(VARIABLE, "True")
    submitted(line("http://10.0.0.5/"))

    assert not caplog.records
    monkeypatch.setenv(VARIABLE, "1")
    assert not private_callback("http://10.0.0.5/")


def test_a_public_webhook_url_is_accepted_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    submitted(line("https://shop.example/hook"))

    assert not caplog.records
