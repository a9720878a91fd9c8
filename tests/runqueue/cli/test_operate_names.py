"""Jobs that need a person are named by custom_id as well; what cannot be meant is told."""

from __future__ import annotations

import pytest

from runqueue import RunQueueError
from runqueue.store.keys import Keys
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines


@pytest.mark.parametrize(
    ("kind", "command", "left"),
    [
        ("dead", "replay", {"ready": 1, "dead": 1}),
        ("dead", "discard", {"dead": 1}),
        ("unconfirmed", "resubmit", {"ready": 1, "unconfirmed": 1}),
        ("unconfirmed", "fail", {"dead": 1, "unconfirmed": 1}),
    ],
)
def test_jobs_are_named_by_custom_id(
    either: Desk, kind: str, command: str, left: dict[str, int]
) -> None:
    either.bring(kind, lines(2))

    result = either.run(kind, command, "order-1", "--yes")

    assert result.exit_code == 0
    assert either.states() == left


@pytest.mark.parametrize("how", ["type", "attempt"])
def test_a_quarantined_job_is_discarded_by_its_id_and_may_be_enqueued_again(
    either: Desk, how: str
) -> None:
    (job,) = either.queue.enqueue_many([line("a")])
    key = f"{Keys('default').prefix}job:{job.job_id}"
    either.client.set(key, "a typo") if how == "type" else either.client.hset(key, how, "x")
    with pytest.raises(RunQueueError, match="UNREADABLE"):
        either.queue.cancel(job.job_id)

    result = either.run("dead", "discard", job.job_id, "--yes")

    assert (result.exit_code, result.stdout) == (0, "1 of 1: removed\n")
    assert either.queue.stats()["default"].quarantined == 0
    assert either.queue.enqueue_many([line("a")])[0].status == "new"


def test_a_run_is_adopted_by_a_custom_id(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    assert either.run("unconfirmed", "adopt", "a", "tsk_1", "--yes").exit_code == 0

    assert either.queue.get(job_id).run_id == "tsk_1"


@pytest.mark.parametrize(
    "command",
    [
        ["dead", "replay", "a"],
        ["dead", "discard", "a"],
        ["unconfirmed", "resubmit", "b"],
        ["unconfirmed", "fail", "b"],
        ["unconfirmed", "adopt", "b", "tsk_1"],
    ],
    ids=" ".join,
)
def test_the_namespace_of_a_custom_id_is_given_beside_it(either: Desk, command: list[str]) -> None:
    either.dead([line("a", namespace="shop")])
    either.unconfirmed([line("b", namespace="shop")])
    yes = ["--yes"]

    assert either.run(*command, *yes).exit_code == 3
    assert either.states() == {"dead": 1, "unconfirmed": 1}
    assert either.run(*command, *yes, "--namespace", "shop").exit_code == 0
    assert either.states() != {"dead": 1, "unconfirmed": 1}


def test_a_namespace_is_not_taken_for_a_filter(either: Desk) -> None:
    either.dead([line("a")])

    result = either.run("dead", "discard", "--all", "--namespace", "shop", "--yes")

    assert (result.exit_code, either.states()) == (2, {"dead": 1})


@pytest.mark.parametrize("command", [["dead", "replay"], ["unconfirmed", "fail"]], ids=" ".join)
def test_a_batch_is_no_job_and_the_way_to_choose_its_jobs_is_told(
    either: Desk, command: list[str]
) -> None:
    batch = batch_of(either, line("a"))

    result = either.run(*command, batch)

    assert result.exit_code == 3
    assert result.stderr == f"runqueue: {batch} is a batch: its jobs are chosen by --batch\n"


def test_a_job_is_done_once_however_often_it_is_named(either: Desk) -> None:
    (job_id,) = either.dead([line("a")])

    assert either.run("dead", "replay", job_id, "a").stdout == "1 of 1: ready again\n"


def test_of_each_job_that_is_not_replayed_it_is_told_why(either: Desk) -> None:
    batch = batch_of(either, line("a"))
    either.queue.cancel_batch(batch)
    either.run("cancel", "a")
    either.unconfirmed([line("b")])

    result = either.run("dead", "replay", "a", "b")

    assert (result.exit_code, result.stdout) == (3, "0 of 2: ready again\n")
    assert result.stderr.splitlines() == [
        "runqueue: a: its batch was canceled",
        "runqueue: b: not dead, failed or canceled, but unconfirmed",
    ]


def test_jobs_that_become_canceled_are_not_said_to_be_dead(either: Desk) -> None:
    first, _ = either.unconfirmed(lines(2))
    either.queue.cancel(first)

    result = either.run("unconfirmed", "fail", "--all", "--yes")

    assert result.stdout == "2 of 2: settled\n"
    assert either.states() == {"canceled": 1, "dead": 1}


@pytest.mark.parametrize(
    ("command", "question"),
    [
        (["cancel"], "cancel 1 job?"),
        (["dead", "replay"], "submit 1 job again?"),
        (["dead", "discard"], "remove 1 job for good?"),
        (["unconfirmed", "fail"], "stop the search for the runs of 1 job?"),
    ],
    ids=" ".join,
)
def test_one_job_is_not_called_jobs(either: Desk, command: list[str], question: str) -> None:
    either.dead([line("a")])
    either.unconfirmed([line("b")])

    assert question in either.run(*command, "--all", stdin=b"n\n").stderr
