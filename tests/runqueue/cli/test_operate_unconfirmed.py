"""`runqueue unconfirmed` and `runqueue orphans`: what may have a run, and runs without a job."""

import pytest

from runqueue import JobState
from runqueue.ids import job_id_for, new_id
from tests.runqueue.cli.commanding import Desk, line, lines

UNKNOWN = job_id_for("default", "", "unknown")
HOSTILE = "[bold]call[/bold] \\[me]"


def test_unconfirmed_jobs_are_listed_with_why(either: Desk) -> None:
    first, second = either.unconfirmed([line("a"), line("b", group="shop")])

    rows = either.listed("unconfirmed")

    assert [(row["job_id"], row["reason"]) for row in rows] == [
        (job_id, "no answer") for job_id in sorted([first, second])
    ]
    assert [row["job_id"] for row in either.listed("unconfirmed", "--group", "shop")] == [second]
    assert first in either.run("unconfirmed", "list").stdout


def test_a_held_job_that_gave_its_slot_back_is_still_listed(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])
    prefix = "runqueue:{default}:"
    either.client.zrem(f"{prefix}unconfirmed", job_id)
    either.client.zadd(f"{prefix}unconfirmed_no_slot", {job_id: 1})

    assert [row["job_id"] for row in either.listed("unconfirmed")] == [job_id]


def test_an_adopted_run_is_followed(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    result = either.run("unconfirmed", "adopt", job_id, "tsk_1", "--yes")

    assert (result.exit_code, result.stdout) == (0, "1 of 1: follows its run\n")
    job = either.queue.get(job_id)
    assert (job.state, job.run_id, job.reason) == (JobState.RUNNING, "tsk_1", None)
    assert either.listed("unconfirmed") == []


def test_adopting_the_same_run_twice_is_no_mistake(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    runs = ("tsk_1", "tsk_1", "tsk_2")
    codes = [either.run("unconfirmed", "adopt", job_id, r, "--yes").exit_code for r in runs]

    assert codes == [0, 0, 3]
    assert either.queue.get(job_id).run_id == "tsk_1"


def test_a_run_that_is_another_job_s_is_not_adopted(either: Desk) -> None:
    first, second = either.unconfirmed(lines(2))
    either.run("unconfirmed", "adopt", first, "tsk_1", "--yes")

    result = either.run("unconfirmed", "adopt", second, "tsk_1", "--yes")

    assert result.exit_code == 3
    assert f"{second}: the run is another job's" in result.stderr
    assert either.queue.get(second).state is JobState.UNCONFIRMED


@pytest.mark.parametrize("unknown", ["nonsense", UNKNOWN, job_id_for("elsewhere", "", "x")])
def test_a_job_that_is_not_on_record_adopts_nothing(either: Desk, unknown: str) -> None:
    result = either.run("unconfirmed", "adopt", unknown, "tsk_1")

    assert result.exit_code == 3
    assert f"no job, batch or custom_id '{unknown}' on record" in result.stderr


def test_an_orphan_is_adopted_by_the_job_that_it_belongs_to(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])
    either.orphan("tsk_1", new_id("default"))

    either.run("unconfirmed", "adopt", job_id, "tsk_1", "--yes")

    assert either.queue.get(job_id).run_id == "tsk_1"
    assert either.listed("orphans") == []


@pytest.mark.parametrize("run_id", ["", " ", "tsk 1", "tsk\x1b1", "banana", "tsk_", "tsk_1;"])
def test_what_cannot_be_a_run_s_id_is_not_adopted(either: Desk, run_id: str) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    result = either.run("unconfirmed", "adopt", job_id, run_id)

    assert result.exit_code in {2, 3}
    assert either.queue.get(job_id).state is JobState.UNCONFIRMED


def test_resubmitting_asks_even_for_named_jobs_since_a_run_may_exist(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    refused = either.run("unconfirmed", "resubmit", job_id, stdin=b"n\n")
    assert (refused.exit_code, either.states()) == (2, {"unconfirmed": 1})
    assert "submit 1 job again, although runs of them may exist?" in refused.stderr

    agreed = either.run("unconfirmed", "resubmit", job_id, stdin=b"y\n")
    assert (agreed.exit_code, either.states()) == (0, {"ready": 1})
    assert "1 of 1: ready" in agreed.stdout


def test_resubmitting_by_filter_leaves_the_others_alone(either: Desk) -> None:
    either.unconfirmed([line("a"), line("b", group="shop"), line("c", group="shop")])

    result = either.run("unconfirmed", "resubmit", "--group", "shop", "--yes")

    assert result.stdout == "2 of 2: ready\n"
    assert either.states() == {"ready": 2, "unconfirmed": 1}


def test_a_job_whose_cancel_was_asked_for_is_not_submitted_again(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])
    either.queue.cancel(job_id)

    result = either.run("unconfirmed", "resubmit", job_id, "--yes")

    assert result.exit_code == 3
    assert f"{job_id}: a cancel was requested" in result.stderr
    assert either.states() == {"unconfirmed": 1}


def test_failing_a_job_shows_why_and_it_can_be_replayed(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])
    either.environ["COLUMNS"] = "200"

    result = either.run("unconfirmed", "fail", job_id, "--why", HOSTILE)

    assert (result.exit_code, result.stdout) == (0, "1 of 1: settled\n")
    assert either.queue.get(job_id).reason == f"failed by a person: {HOSTILE}"
    assert HOSTILE in either.run("dead", "list").stdout
    assert either.run("dead", "replay", job_id).exit_code == 0
    assert either.states() == {"ready": 1}


def test_failing_by_filter_is_counted_first(either: Desk) -> None:
    either.unconfirmed(lines(3))

    refused = either.run("unconfirmed", "fail", "--all", stdin=b"n\n")
    assert "stop the search for the runs of 3 jobs?" in refused.stderr
    assert (refused.exit_code, either.states()) == (2, {"unconfirmed": 3})

    assert either.run("unconfirmed", "fail", "--all", "--yes").exit_code == 0
    assert either.states() == {"dead": 3}


@pytest.mark.parametrize("command", ["resubmit", "fail"])
def test_each_job_that_could_not_be_settled_is_named(either: Desk, command: str) -> None:
    (good,) = either.unconfirmed([line("a")])
    ready = either.queue.enqueue_many([line("b")])[0].job_id

    result = either.run("unconfirmed", command, good, ready, "--yes")

    assert result.exit_code == 3
    assert result.stderr == f"runqueue: {ready}: not unconfirmed, but ready\n"
    assert result.stdout.startswith("1 of 2: ")


def test_orphans_are_listed_with_what_they_were_submitted_for(either: Desk) -> None:
    job_id = new_id("default")
    either.orphan("tsk_1", job_id)

    (row,) = either.listed("orphans")

    assert row.pop("since")
    assert row == {
        "run_id": "tsk_1",
        "job_id": job_id,
        "account": "default",
        "attempt": 1,
        "why": "job is gone",
    }
    assert "job is gone" in either.run("orphans", "list").stdout


def test_a_run_that_comes_after_its_job_has_moved_on_is_listed(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])
    either.run("unconfirmed", "fail", job_id)

    either.orphan("tsk_1", job_id)

    assert [row["why"] for row in either.listed("orphans")] == ["job was dead"]


def test_the_list_of_orphans_is_cut_at_its_limit(either: Desk) -> None:
    for number in range(60):
        either.orphan(f"tsk_{number}", new_id("default"))

    result = either.run("orphans", "list", "--json", "--limit", "20")

    assert len(result.stdout.splitlines()) == 20
    assert result.stderr == "… and more; --limit shows more than 20\n"
    assert len(either.listed("orphans", "--limit", "100")) == 60


def test_named_orphans_are_canceled_without_a_question(either: Desk) -> None:
    for number in range(3):
        either.orphan(f"tsk_{number}", new_id("default"))

    result = either.run("orphans", "cancel", "tsk_0", "tsk_2")

    assert (result.exit_code, result.stdout) == (0, "2 will be canceled\n")
    due = either.client.zrange("runqueue:{default}:cancels", 0, -1)
    assert due == [b"orphan tsk_0", b"orphan tsk_2"]


def test_all_orphans_are_counted_before_they_are_canceled(either: Desk) -> None:
    for number in range(3):
        either.orphan(f"tsk_{number}", new_id("default"))

    refused = either.run("orphans", "cancel", "--all", stdin=b"n\n")
    assert (refused.exit_code, "cancel 3 runs?" in refused.stderr) == (2, True)
    assert either.client.zcard("runqueue:{default}:cancels") == 0

    assert either.run("orphans", "cancel", "--all", "--yes").stdout == "3 will be canceled\n"
    assert either.client.zcard("runqueue:{default}:cancels") == 3


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], "name runs or give --all\n"),
        (["tsk_0", "--all"], "name runs or give --all, not both\n"),
    ],
)
def test_without_names_or_all_or_with_both_no_orphan_is_canceled(
    either: Desk, chosen: list[str], words: str
) -> None:
    either.orphan("tsk_0", new_id("default"))

    result = either.run("orphans", "cancel", *chosen)

    assert result.exit_code == 2
    assert words in result.stderr
    assert either.client.zcard("runqueue:{default}:cancels") == 0


def test_a_run_that_is_no_orphan_is_named_and_none_is_canceled(either: Desk) -> None:
    either.orphan("tsk_0", new_id("default"))

    result = either.run("orphans", "cancel", "tsk_0", "tsk_9", "[red]x")

    assert result.exit_code == 3
    assert "no orphan [red]x, tsk_9" in result.stderr
    assert either.client.zcard("runqueue:{default}:cancels") == 0


def test_a_run_that_no_search_found_to_be_like_it_is_adopted_only_by_a_yes(either: Desk) -> None:
    (job_id,) = either.unconfirmed([line("a")])

    refused = either.run("unconfirmed", "adopt", job_id, "tsk_1", stdin=b"n\n")
    assert (refused.exit_code, either.states()) == (2, {"unconfirmed": 1})
    assert "which no search found to match?" in refused.stderr

    candidates = '[{"run_id":"tsk_1","status":"running","equal":["url"],"different":[]}]'
    either.client.hset(f"runqueue:{{default}}:job:{job_id}", "candidates", candidates)
    assert either.run("unconfirmed", "adopt", job_id, "tsk_1").exit_code == 0
    assert either.states() == {"running": 1}
