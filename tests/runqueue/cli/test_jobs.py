"""`runqueue jobs list`: the page's filters, from a terminal, over Redis and over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runqueue.cli.shared.tables import each_once
from runqueue.producer import queue
from runqueue.records.claim_items import RunAccepted
from runqueue.remote import queue as remote_queue
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines


def listed(desk: Desk, *filters: str) -> list[dict[str, Any]]:
    result = desk.run("jobs", "list", *filters, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(row) for row in result.stdout.splitlines()]


def names(desk: Desk, *filters: str) -> set[str]:
    return {row["custom_id"] for row in listed(desk, *filters)}


def test_jobs_are_listed_by_state_group_batch_reason_and_name(desk: Desk, either: Desk) -> None:
    desk.dead([line("a", group="one"), line("b", group="two")])
    desk.dead([line("c", group="one")], reason="deadline")
    batch = batch_of(desk, line("d", group="one"), line("e"))

    assert names(either) == {"a", "b", "c", "d", "e"}
    assert names(either, "--state", "dead") == {"a", "b", "c"}
    assert names(either, "--state", "dead", "--group", "one") == {"a", "c"}
    assert names(either, "--reason", "ENGINE") == {"a", "b"}
    assert names(either, "--batch", batch) == {"d", "e"}
    assert names(either, "--batch", batch, "--group", "one") == {"d"}
    assert names(either, "--custom-id", "c") == {"c"}
    assert names(either, "--custom-id", "c", "--namespace", "shop") == set()


def test_a_row_says_how_the_job_is_and_why(either: Desk, desk: Desk) -> None:
    (job_id,) = desk.dead([line("a", group="one")])

    (row,) = listed(either, "--state", "dead")
    table = either.run("jobs", "list").stdout.splitlines()

    assert (row["job_id"], row["state"], row["reason"]) == (job_id, "dead", "No such engine")
    assert row["run_id"] is None
    assert table[0].split() == ["job_id", "custom_id", "state", "group", "created", "reason"]
    assert table[1].startswith(job_id)
    assert table[1].endswith("No such engine")


def test_what_cannot_be_read_is_left_out_and_named(either: Desk, desk: Desk) -> None:
    batch = batch_of(desk, line("a"), line("b"))
    bad = listed(desk, "--custom-id", "a")[0]["job_id"]
    for name in (f"job:{bad}", f"batch:{batch}"):
        desk.client.hset(f"{Keys('default').prefix}{name}", "created", "yesterday")

    jobs, batches = either.run("jobs", "list", "--json"), either.run("batch", "list", "--json")

    assert json.loads(jobs.stdout)["custom_id"] == "b"
    assert jobs.stderr == f"left out, as they cannot be read: {bad}\n"
    assert batches.stderr == f"left out, as they cannot be read: {batch}\n"


def test_no_more_are_listed_than_asked_for_and_each_once(
    either: Desk, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (queue, remote_queue):
        monkeypatch.setattr(module, "PAGE", 4)
    desk.queue.enqueue_many(lines(11))

    assert sorted(names(either)) == sorted(f"order-{n}" for n in range(11))
    assert len(listed(either)) == 11
    cut = either.run("jobs", "list", "--limit", "3")
    assert len(cut.stdout.splitlines()) == 4
    assert "… and more; --limit shows more than 3" in cut.stderr


def test_each_life_of_a_job_is_listed_once(desk: Desk) -> None:
    desk.queue.enqueue_many(lines(1))
    (job,) = desk.queue.list_jobs().jobs
    earlier = replace(job, created_at=job.created_at - timedelta(days=9))
    assert list(each_once([job, earlier, job, earlier])) == [job, earlier]


def test_an_account_without_jobs_has_none(either: Desk, desk: Desk) -> None:
    desk.know("default")
    assert either.run("jobs", "list").stdout == "none\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--state", "lost"), "--state"),
        (("--namespace", "shop"), "namespace: expected with a custom_id only"),
        (("--group", ""), "expected some text"),
        (("--account", "nobody"), "nobody"),
    ],
)
def test_a_wrong_filter_is_named(
    either: Desk, desk: Desk, arguments: tuple[str, ...], words: str
) -> None:
    desk.know("default")
    result = either.run("jobs", "list", *arguments)

    assert result.exit_code != 0
    assert words in result.output


def test_jobs_are_listed_by_when_they_ended_or_else_were_enqueued(desk: Desk, either: Desk) -> None:
    _, second, _ = desk.queue.enqueue_many(lines(3))
    claimed = desk.claim()
    desk.end(claimed[:1])
    desk.end(claimed[1:2])
    middle = desk.queue.get(second.job_id).ended_at
    assert middle is not None
    between = middle.isoformat()

    assert names(either, "--state", "completed", "--since", between) == {"order-1"}
    assert names(either, "--state", "completed", "--until", between) == {"order-0"}
    assert names(either, "--since", between) == {"order-1"}
    assert names(either, "--until", between) == {"order-0", "order-2"}
    assert names(either, "--since", "1h") == {"order-0", "order-1", "order-2"}
    assert names(either, "--until", "1h") == set()


def test_a_time_without_a_zone_is_refused(either: Desk) -> None:
    result = either.run("jobs", "list", "--since", "2030-01-31T12:00:00")
    assert result.exit_code == 2
    assert "expected a time with its zone" in result.stderr


def test_a_row_says_what_its_job_waits_for_as_status_does(either: Desk, desk: Desk) -> None:
    desk.queue.enqueue_many([line("a")])
    desk.queue.pause("default", "a deployment")
    (row,) = listed(either)
    shown = either.json("status", "a")

    assert row["waits_for"] == shown["waits_for"]
    assert row["waits_for"][0]["kind"] == "account_paused"
    table = either.run("jobs", "list").stdout  # cut at the width of the terminal
    assert row["waits_for"][0]["words"][:25] in table


def test_who_waits_for_a_person_is_listed_approved_and_rejected(either: Desk, desk: Desk) -> None:
    (answer,) = desk.queue.enqueue_many([line("a", kind="task")])
    (job,) = desk.claim()
    accepted = RunAccepted(job.job_id, job.attempt, "wr_1", "paused", 0)
    run(desk.client, worker_calls.mark_running("default", [accepted]))

    (row,) = listed(either, "--paused")
    assert (row["job_id"], row["run_id"]) == (answer.job_id, "wr_1")
    table = either.run("jobs", "list", "--paused").stdout
    assert table.split()[:4] == ["job_id", "custom_id", "since", "run"]
    assert "paused runs 1" in either.run("stats").stdout
    done = either.run("approve", "a")
    assert (done.exit_code, done.stdout) == (0, "1 of 1: will be approved\n")
    done = either.run("reject", answer.job_id)
    assert (done.exit_code, done.stdout) == (0, "1 of 1: will be canceled\n")
    desk.queue.enqueue_many([line("b")])
    for decision in ("approve", "reject"):
        refused = either.run(decision, "b")
        assert (refused.exit_code, refused.stderr) == (3, "runqueue: b: its run is not paused\n")
    assert listed(either, "--state", "ready")[0]["custom_id"] == "b"
    what = [(note.what.removesuffix("_job"), note.target) for note in desk.queue.audit()]
    rejected = "cancel" if either is not desk else "reject"  # over HTTP it is a cancel
    assert what == [(rejected, answer.job_id), ("approve", answer.job_id)]
