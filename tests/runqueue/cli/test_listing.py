"""The lists of what needs a person, as people see them and as programs read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from runqueue.cli.shared.formatting import ago, counted
from tests.runqueue.cli.commanding import Desk, batch_of, line

LONG = "The server said: " + "no " * 160


def rows_of(desk: Desk, group: str) -> list[str]:
    """The lines of a list below its head."""
    return desk.run(group, "list").stdout.splitlines()[1:]


@pytest.mark.parametrize(("columns", "at_most"), [("80", 2), ("200", 1)])
def test_a_long_reason_takes_no_more_than_the_room_that_is_left(
    desk: Desk, columns: str, at_most: int
) -> None:
    desk.environ["COLUMNS"] = columns
    desk.dead([line("order-1")], LONG)

    rows = rows_of(desk, "dead")

    assert len(rows) <= at_most
    assert "The server said:" in rows[0]
    assert rows[-1].rstrip().endswith("…")


def test_a_long_reason_is_whole_in_json(desk: Desk) -> None:
    desk.dead([line("order-1")], LONG.strip())

    assert json.loads(desk.run("dead", "list", "--json").stdout)["reason"] == LONG.strip()


def test_a_long_custom_id_is_clipped_too(desk: Desk) -> None:
    desk.environ["COLUMNS"] = "80"
    desk.dead([line("b" * 250)])

    assert len(rows_of(desk, "dead")) < 6


def test_json_lines_name_the_account_and_the_batch(desk: Desk) -> None:
    batch = batch_of(desk, line("a", namespace="shop"))
    desk.refuse(desk.claim())

    row = json.loads(desk.run("dead", "list", "--json").stdout)

    assert (row["account"], row["namespace"], row["batch"]) == ("default", "shop", batch)


def test_unconfirmed_jobs_are_listed_with_their_age_and_what_becomes_of_them(desk: Desk) -> None:
    first, second = desk.unconfirmed([line("a"), line("b", on_unconfirmed="hold")])
    since = datetime.now(UTC) - timedelta(minutes=5, seconds=3)
    scores = dict.fromkeys([first, second], int(since.timestamp() * 1e6))
    desk.client.zadd("runqueue:{default}:unconfirmed", scores)

    told = [
        json.loads(row) for row in desk.run("unconfirmed", "list", "--json").stdout.splitlines()
    ]
    by_id = {row["job_id"]: row for row in told}

    assert abs(datetime.fromisoformat(by_id[first]["since"]) - since) < timedelta(seconds=2)
    assert by_id[first]["on_unconfirmed"] == "auto"
    assert by_id[second]["on_unconfirmed"] == "hold"
    cells = {row.split()[0]: row.split()[1:] for row in rows_of(desk, "unconfirmed")}
    assert cells[second] == ["b", "default", "5", "min", "hold", "no", "answer"]


def test_of_an_unconfirmed_job_json_says_whether_its_cancel_was_asked_for(desk: Desk) -> None:
    (job_id,) = desk.unconfirmed([line("a")])
    desk.queue.cancel(job_id)

    assert json.loads(desk.run("unconfirmed", "list", "--json").stdout)["cancel_requested"] is True


def test_stats_fit_in_80_columns(desk: Desk) -> None:
    desk.environ["COLUMNS"] = "80"
    desk.client.hset(
        "runqueue:{default}:limits",
        mapping={
            f"env:{name}": "12345"
            for name in (
                "submissions_per_second",
                "burst_size",
                "concurrent_runs",
                "requests_per_second",
            )
        },
    )
    desk.unconfirmed([line("a")])

    shown = desk.run("stats").stdout

    assert "calls 12345/s" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59, "59 s"), (61, "1 min"), (7_300, "2 h"), (200_000, "2 d")],
)
def test_an_age_is_said_in_its_largest_unit(seconds: float, words: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == words


def test_one_is_no_plural() -> None:
    assert (counted(0, "job"), counted(1, "job"), counted(2_000, "job")) == (
        "0 jobs",
        "1 job",
        "2,000 jobs",
    )
