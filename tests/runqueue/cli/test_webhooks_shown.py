"""What `runqueue status` and `stats` say of webhooks."""

from __future__ import annotations

import re

from tests.runqueue.cli.commanding import Desk
from tests.runqueue.cli.delivering import (
    abandoned,
    delivered,
    everywhere,
    relayed,
    settle,
    taken,
    told,
)


def status_line(desk: Desk, job_id: str) -> str:
    """What `status` says of a job's webhook."""
    lines = desk.run("status", job_id).stdout.splitlines()
    return "".join(row for row in lines if row.startswith("webhook"))


def test_status_says_in_one_line_what_became_of_the_webhook(either: Desk) -> None:
    made = everywhere(either)
    settle(either, [made["relay"]], "again", 503, "HTTP 503")

    shown = {key: status_line(either, job_id) for key, job_id in made.items()}
    shown = {key: re.sub(r"in \d+ s", "in a moment", line) for key, line in shown.items()}
    assert shown == {
        "relay": "webhook: pending after 1 attempt, last answer 503: HTTP 503, due now",
        "watch": "webhook: pending, again in a moment",
        "gone": "webhook: abandoned after 1 attempt, last answer 410: gone",
        "hidden": "webhook: unknown after 1 attempt",
        "told": "webhook: delivered after 1 attempt, last answer 200",
        "quiet": "",
    }


def test_status_says_nothing_of_a_webhook_before_the_end(either: Desk) -> None:
    (job,) = taken(either, told("a"))

    assert status_line(either, job.job_id) == ""


def test_a_program_is_shown_the_webhook_value_by_value(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a"))

    shown = either.json("status", job_id)

    assert {name: shown[name] for name in shown if name.startswith("webhook")} == {
        name: value
        for name, value in either.json("webhooks", "list").items()
        if name.startswith("webhook")
    }


def test_an_address_is_shown_without_what_may_be_secret_in_it(either: Desk) -> None:
    (job_id,) = relayed(either, told("a"))
    url = "https://me:pa55@other.test:81/h?token=t0ken#x"
    either.run("webhooks", "retry", job_id, "--webhook-url", url)

    assert status_line(either, job_id) == "webhook: pending, due now (to https://other.test:81/h)"
    assert either.json("status", job_id)["webhook_override"] == "https://other.test:81/h"
    assert either.json("webhooks", "list")["webhook_override"] == "https://other.test:81/h"


def test_stats_count_the_webhooks_that_were_not_delivered(either: Desk) -> None:
    everywhere(either)

    shown = either.run("stats").stdout

    assert "webhooks 2 pending, 1 abandoned, 1 unknown (`runqueue webhooks list`)\n" in shown


def test_stats_say_nothing_of_webhooks_that_arrived(either: Desk) -> None:
    delivered(either, told("a"))

    assert "webhooks:" not in either.run("stats").stdout
    deliveries = {"pending": 0, "delivered": 1, "abandoned": 0, "unknown": 0}
    assert either.json("stats")["default"]["deliveries"] == deliveries


def test_a_job_s_id_is_shown_whole_however_long_the_error_is(either: Desk) -> None:
    either.environ["COLUMNS"] = "80"
    (job_id,) = abandoned(either, told("b" * 200), error="The receiver said: " + "no " * 100)

    assert job_id in either.run("webhooks", "list").stdout
