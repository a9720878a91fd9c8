"""`runqueue webhooks list`: which webhooks did not arrive, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from runqueue import RunQueue
from runqueue.records.batch import JobPage
from tests.runqueue.cli.commanding import Desk, batch_of, line
from tests.runqueue.cli.delivering import (
    a_moment_ago,
    abandoned,
    delivered,
    ended_at,
    everywhere,
    relayed,
    settle,
    taken,
    told,
    unknown,
)

HOSTILE = "[red]no[/red] \x1b[2J\nstate: \u202edelivered"


def keys(desk: Desk, *options: str) -> set[str]:
    """The custom_ids of what `webhooks list` shows."""
    return {row["custom_id"] for row in desk.listed("webhooks", *options)}


def test_a_program_is_shown_all_that_is_known_of_a_webhook(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a", group="shop"))
    job = either.queue.get(job_id)
    assert job.ended_at is not None
    assert job.webhook.settled_at is not None

    assert either.listed("webhooks") == [
        {
            "job_id": job_id,
            "custom_id": "a",
            "account": "default",
            "namespace": "",
            "kind": "task",
            "group": "shop",
            "batch": None,
            "attempts": 1,
            "reason": None,
            "created_at": job.created_at.isoformat(),
            "ended_at": job.ended_at.isoformat(),
            "state": "completed",
            "run_id": f"r-{job_id}",
            "run_status": "completed",
            "webhook": "abandoned",
            "webhook_attempts": 1,
            "webhook_status": 410,
            "webhook_error": "gone",
            "webhook_override": None,
            "webhook_settled_at": job.webhook.settled_at.isoformat(),
            "webhook_next_try_at": None,
        }
    ]


def test_a_person_is_shown_a_row_a_webhook(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a"), error="HTTP 410: gone")
    ended_at(either, [job_id], a_moment_ago(3 * 3600 + 5))

    head, row, *rest = either.run("webhooks", "list").stdout.splitlines()

    titles = ["job_id", "custom_id", "webhook", "tries", "status", "ended", "error"]
    assert head.split() == titles
    cells = [job_id, "a", "abandoned", "1", "410", "3", "h", "HTTP", "410:", "gone"]
    assert row.split() == cells
    assert rest == []


def test_what_is_not_known_of_a_webhook_takes_no_room(either: Desk) -> None:
    (job_id,) = relayed(either, told("a"))

    row = either.run("webhooks", "list").stdout.splitlines()[1]

    assert row.split() == [job_id, "a", "pending", "0", "0", "s"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "relay watch gone hidden"),
        (["--pending"], "relay watch"),
        (["--abandoned"], "gone"),
        (["--unknown"], "hidden"),
        (["--abandoned", "--unknown"], "gone hidden"),
        (["--group", "shop"], "watch gone"),
        (["--group", "shop", "--pending"], "watch"),
        (["--account", "default"], "relay watch gone hidden"),
        (["--account", "second"], ""),
        (["--batch", "nonsense"], ""),
    ],
    ids=str,
)
def test_filters_choose_what_is_listed(either: Desk, options: list[str], expected: str) -> None:
    either.know("second")
    everywhere(either)

    assert keys(either, *options) == set(expected.split())


def test_jobs_of_one_batch_are_chosen_by_it(either: Desk) -> None:
    batch = batch_of(either, told("a"), told("b"))
    either.end(either.claim())
    relayed(either, told("other"))

    assert keys(either, "--batch", batch) == {"a", "b"}


AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize(
    "since",
    [
        AN_HOUR_AGO.isoformat(),
        AN_HOUR_AGO.strftime("%Y-%m-%dT%H:%M:%SZ"),
        AN_HOUR_AGO.astimezone(timezone(timedelta(hours=-7))).isoformat(),
        "60m",
    ],
    ids=["utc", "z", "elsewhere", "ago"],
)
def test_since_chooses_by_the_end_of_the_run(either: Desk, since: str) -> None:
    ended_at(either, abandoned(either, told("before"), told("long before")), a_moment_ago(2 * 3600))
    ended_at(either, abandoned(either, told("after")), a_moment_ago(1800))
    relayed(either, told("now"))

    assert keys(either, "--since", since) == {"after", "now"}


def test_a_run_that_ended_at_that_very_moment_is_meant(either: Desk) -> None:
    moment = datetime.now(UTC).replace(microsecond=123_000) - timedelta(hours=1)
    ended_at(either, abandoned(either, told("a")), moment)

    assert keys(either, "--since", moment.isoformat()) == {"a"}
    assert keys(either, "--since", (moment + timedelta(microseconds=1)).isoformat()) == set()


@pytest.mark.parametrize("command", [["list"], ["retry", "--yes"]], ids=" ".join)
@pytest.mark.parametrize(
    "since",
    ["", "tomorrow", "7200", "-5h", "2030-02-31", "20300131", "2030-01-31T12:00:00", "\udcff"],
)
def test_what_is_no_time_is_refused_with_what_was_expected(
    either: Desk, command: list[str], since: str
) -> None:
    abandoned(either, told("a"))

    result = either.run("webhooks", *command, "--since", since)

    assert (result.exit_code, result.stdout) == (2, "")
    words = " ".join(result.stderr.split())
    assert "'--since': expected a time with its zone such as" in words
    assert 'how long ago such as "12h" or "3d"' in words


def test_an_empty_list_says_so(either: Desk) -> None:
    delivered(either, told("a"))
    relayed(either, line("b"))

    assert either.run("webhooks", "list").stdout == "none\n"
    assert either.listed("webhooks") == []


def test_a_list_is_cut_at_its_limit_and_says_how_much_is_left(either: Desk) -> None:
    abandoned(either, *[told(f"a{number}") for number in range(40)])
    relayed(either, *[told(f"b{number}") for number in range(20)])

    assert len(either.listed("webhooks")) == 50
    assert len(either.listed("webhooks", "--limit", "60")) == 60
    result = either.run("webhooks", "list", "--limit", "7", "--json")
    assert len(result.stdout.splitlines()) == 7
    assert result.stderr == "… and more; --limit shows more than 7\n"
    result = either.run("webhooks", "list", "--limit", "7", "--abandoned")
    assert result.stderr == "… and more; --limit shows more than 7\n"


def test_abandoned_ones_are_listed_in_the_order_in_which_that_was_decided(either: Desk) -> None:
    first, second = relayed(either, told("a"), told("b"))
    settle(either, [second], "abandoned", 500)
    settle(either, [first], "abandoned", 500)

    assert [row["job_id"] for row in either.listed("webhooks", "--abandoned")] == [second, first]


@pytest.mark.parametrize("option", ["--group", "--batch", "--account"])
def test_a_filter_that_was_given_nothing_does_not_mean_everything(
    either: Desk, option: str
) -> None:
    assert either.run("webhooks", "list", option, "").exit_code == 2


@pytest.mark.parametrize("limit", ["0", "many"])
def test_a_limit_that_is_none_is_wrong_usage(either: Desk, limit: str) -> None:
    assert either.run("webhooks", "list", "--limit", limit).exit_code == 2


def test_an_account_that_nobody_knows_is_told(either: Desk) -> None:
    result = either.run("webhooks", "list", "--account", "nobody")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "nobody" in result.stderr


def test_words_of_the_receiver_never_steer_the_terminal(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a"), error=HOSTILE)
    either.environ["COLUMNS"] = "200"

    for command in (["webhooks", "list"], ["status", job_id]):
        shown = either.run(*command).stdout
        assert "[red]no[/red]" in shown
        assert all(character.isprintable() for character in shown.replace("\n", ""))
        assert "\nstate: \ufffddelivered" not in shown
    assert either.listed("webhooks")[0]["webhook_error"] == HOSTILE


def test_a_job_that_is_done_again_is_listed_no_more(either: Desk) -> None:
    jobs = taken(either, told("a"))
    either.end(jobs, "failed")
    settle(either, [jobs[0].job_id], "abandoned", 410)
    assert keys(either) == {"a"}

    either.run("dead", "replay", "a")

    assert keys(either) == set()


def test_what_an_index_names_is_shown_as_its_record_says(either: Desk) -> None:
    (job_id,) = unknown(either, told("a"))
    either.client.zadd("runqueue:{default}:abandoned", {job_id: 1})

    assert [row["webhook"] for row in either.listed("webhooks")] == ["unknown"]
    assert either.listed("webhooks", "--abandoned") == []


def test_a_webhook_that_is_tried_meanwhile_is_listed_once(
    either: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayed(either, told("a"))
    pages = RunQueue.job_pages

    def twice(*arguments: Any, **options: Any) -> Iterator[JobPage]:
        for page in pages(*arguments, **options):
            yield JobPage(page.jobs * 2, "")

    monkeypatch.setattr(RunQueue, "job_pages", twice)

    result = either.run("webhooks", "list", "--limit", "1", "--json")

    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
