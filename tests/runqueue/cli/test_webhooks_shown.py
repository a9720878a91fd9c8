"""What `runqueue status` and `stats` say of webhooks."""

from __future__ import annotations

import re

from tests.runqueue.cli.commanding import Desk
from tests.runqueue.cli.delivering import (
    delivered,
    everywhere,
    gave_up,
    relayed,
    settle,
    taken,
    told,
)


def status_line(desk: Desk, job_id: str) -> str:
    """What `status` says of a job's webhook."""
    lines = desk.run("status", job_id).stdout.splitlines()
    return "".join(row for row in lines if row.startswith("webhook"))


def test_status_says_in_one_line_what_became_of_the_webhook(desk: Desk) -> None:
    made = everywhere(desk)
    settle(desk, [made["relay"]], "again", 503, "HTTP 503")

    shown = {key: status_line(desk, job_id) for key, job_id in made.items()}
    shown = {key: re.sub(r"in \d+ s", "in a moment", line) for key, line in shown.items()}
    assert shown == {
        "relay": "webhook: pending after 1 attempt, last answer 503: HTTP 503, due now",
        "watch": "webhook: pending, again in a moment",
        "gone": "webhook: gave up after 1 attempt, last answer 410: gone",
        "hidden": "webhook: unknown after 1 attempt",
        "told": "webhook: delivered after 1 attempt, last answer 200",
        "quiet": "",
    }


def test_status_says_nothing_of_a_webhook_before_the_end(desk: Desk) -> None:
    (job,) = taken(desk, told("a"))

    assert status_line(desk, job.job_id) == ""


def test_a_program_is_shown_the_webhook_value_by_value(desk: Desk) -> None:
    (job_id,) = gave_up(desk, told("a"))

    shown = desk.json("status", job_id)

    assert {name: shown[name] for name in shown if name.startswith("webhook")} == {
        name: value
        for name, value in desk.json("webhooks", "list").items()
        if name.startswith("webhook")
    }


def test_an_address_is_shown_without_what_may_be_secret_in_it(desk: Desk) -> None:
    (job_id,) = relayed(desk, told("a"))
    url = "https://me:pa55@other.test:81/h?token=t0ken#x"
    desk.run("webhooks", "retry", job_id, "--webhook-url", url)

    assert status_line(desk, job_id) == "webhook: pending, due now (to https://other.test:81/h)"
    assert desk.json("status", job_id)["webhook_override"] == "https://other.test:81/h"
    assert desk.json("webhooks", "list")["webhook_override"] == "https://other.test:81/h"


def test_stats_count_the_webhooks_that_were_not_delivered(desk: Desk) -> None:
    everywhere(desk)

    shown = desk.run("stats").stdout

    assert "webhooks: 2 pending, 1 gave up, 1 unknown (`runqueue webhooks list`)\n" in shown


def test_stats_say_nothing_of_webhooks_that_arrived(desk: Desk) -> None:
    delivered(desk, told("a"))

    assert "webhooks:" not in desk.run("stats").stdout
    deliveries = {"pending": 0, "delivered": 1, "gave_up": 0, "unknown": 0}
    assert desk.json("stats")["default"]["deliveries"] == deliveries


def test_a_job_s_id_is_shown_whole_however_long_the_error_is(desk: Desk) -> None:
    desk.environ["COLUMNS"] = "80"
    (job_id,) = gave_up(desk, told("b" * 200), error="The receiver said: " + "no " * 100)

    assert job_id in desk.run("webhooks", "list").stdout
