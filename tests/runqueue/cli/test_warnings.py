"""Webhook URLs of private addresses at the command line: accepted, and told once, with a count."""

from collections.abc import Iterator
from typing import Any

import pytest

from runqueue.request.private_targets import VARIABLE, allow_private_targets
from tests.runqueue.cli.commanding import Desk
from tests.runqueue.cli.gateways import by_http

WORDS = f"10.0.0.5 is a private address: runqueue itself sends nothing there unless {VARIABLE}=true"
WARNING = {"field": "body.webhook_url", "message": WORDS, "jobs": 3}


@pytest.fixture(autouse=True)
def _as_the_environment_says() -> Iterator[None]:
    yield
    allow_private_targets(allowed=None)


@pytest.fixture(params=["Redis", "HTTP"])
def place(request: pytest.FixtureRequest, desk: Desk) -> Desk:
    """Where commands are given that reach Redis, and where they reach a gateway."""
    if request.param == "Redis":
        return desk
    return by_http(desk, request.getfixturevalue("gateway_url"))


def jobs(count: int = 3) -> list[dict[str, Any]]:
    urls = [f"http://u:pass@10.0.0.5/{n}?t=secret" for n in range(count)]
    return [{"kind": "task", "body": {"prompt": "a", "webhook_url": url}} for url in urls]


def test_private_webhook_urls_are_told_in_one_line_that_counts_them(place: Desk) -> None:
    result = place.run("submit", place.file(jobs()))

    assert result.exit_code == 0
    assert result.stderr.count(f"warning: body.webhook_url: {WORDS} (3 jobs)") == 1
    assert result.stderr.count("private address") == 1
    assert "secret" not in result.output
    assert "3 jobs submitted" in result.stdout


def test_the_json_of_a_submission_holds_its_warnings(place: Desk) -> None:
    file = place.file(jobs())

    assert place.json("submit", file)["warnings"] == [WARNING]


def test_a_private_callback_url_is_told_once(place: Desk) -> None:
    file = place.file([{"kind": "task", "body": {"prompt": "a"}}])

    result = place.run("submit", file, "--callback-url", "http://localhost:9/?t=secret")

    assert result.exit_code == 0
    assert result.stderr.count("warning: callback_url: localhost is a private address") == 1
    assert result.stderr.count("private address") == 1
    assert "secret" not in result.output


def test_validate_tells_of_private_webhook_urls_as_well(desk: Desk) -> None:
    file = desk.file(jobs())

    assert f"warning: body.webhook_url: {WORDS} (3 jobs)" in desk.run("validate", file).stderr
    assert desk.json("validate", file)["warnings"] == [WARNING]


def test_nothing_is_told_where_the_environment_allows_private_addresses(desk: Desk) -> None:
    desk.environ[VARIABLE] = "true"

    result = desk.run("submit", desk.file(jobs()), "--callback-url", "http://localhost:9/")

    assert (result.exit_code, "private" in result.output) == (0, False)


def test_a_file_that_is_refused_is_not_warned_of(place: Desk) -> None:
    result = place.run("submit", place.file([*jobs(), "oops"]))

    assert result.exit_code == 3
    assert "private address" not in result.output
