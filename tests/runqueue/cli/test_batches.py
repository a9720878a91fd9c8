"""`runqueue batch`: list, show, pause, resume, cancel, retry-failed, watch."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from runqueue import BatchRules, RunQueue
from runqueue.ids import new_id
from runqueue.store.delivery_calls import CallbackOutcome, callback_claim, record_callback
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, batch_of, counts, line, lines
from tests.runqueue.cli.exporting import command


def test_the_batches_are_listed_the_newest_first(desk: Desk) -> None:
    first = batch_of(desk, line("a"))
    second = batch_of(desk, line("b"), line("c"))
    desk.end(desk.claim())

    text = desk.run("batch", "list").stdout

    assert text.index(second) < text.index(first)
    assert "completed" in text
    rows = [json.loads(row) for row in desk.run("batch", "list", "--json").stdout.splitlines()]
    assert [row["batch"] for row in rows] == [second, first]
    assert rows[0]["request_counts"]["completed"] == 2


def test_a_long_list_is_cut_and_says_so(desk: Desk) -> None:
    for name in "abc":
        batch_of(desk, line(name))

    result = desk.run("batch", "list", "--limit", "2")

    assert len(result.stdout.splitlines()) == 3
    assert "--limit shows more than 2" in result.stderr
    assert desk.run("batch", "list", "--limit", "3").stderr == ""
    assert desk.run("batch", "list", "--account", "nobody").exit_code == 3


def test_a_list_of_batches_fits_80_columns(desk: Desk) -> None:
    batch = batch_of(desk, *lines(3))
    desk.queue.pause_batch(batch)
    other = batch_of(desk, line("a"))
    desk.environ["COLUMNS"] = "80"

    _, first, second = map(str.split, desk.run("batch", "list").stdout.splitlines())

    assert first[:5] == [other, "in_progress", "0", "0", "1"]
    assert second[:5] == [batch, "paused", "0", "0", "3"]


def test_no_batches(desk: Desk) -> None:
    assert desk.run("batch", "list").stdout == "none\n"
    assert desk.run("batch", "list", "--json").stdout == ""


def test_a_batch_is_shown(either: Desk) -> None:
    batch = batch_of(either, line("a"), line("b"))
    shown = either.json("batch", "show", batch)
    assert shown["status"] == "in_progress"
    assert shown["jobs"] == shown["request_counts"]["total"] == 2
    assert "status: in_progress" in either.run("batch", "show", batch).stdout
    assert either.json("status", batch) == shown


@pytest.mark.parametrize(
    "command", ["show", "pause", "resume", "cancel", "retry-failed", "retry-callbacks", "watch"]
)
def test_a_batch_that_is_none_is_told(either: Desk, command: str) -> None:
    for name in ("nonsense", new_id("default")):
        result = either.run("batch", command, name)
        assert (result.exit_code, result.stdout) == (3, "")
        assert f"no batch '{name}' on record" in result.stderr
        assert "name it by its id, which `runqueue batch list` shows" in result.stderr


def test_a_batch_is_paused_and_resumed(either: Desk) -> None:
    batch = batch_of(either, *lines(3))
    assert either.run("batch", "pause", batch).stdout == f"batch {batch}: paused; 3 jobs held\n"
    assert either.claim() == []
    assert either.json("batch", "pause", batch)["held"] == "paused"
    assert either.run("batch", "resume", batch).stdout == f"batch {batch}: in_progress\n"
    assert either.json("batch", "resume", batch)["held"] is None
    assert len(either.claim()) == 3


def test_a_batch_is_canceled_once_and_for_all(either: Desk) -> None:
    batch = batch_of(either, *lines(3))
    said = either.json("batch", "cancel", batch)
    assert said == {"batch": batch, "cancel_requested": True, **counts(3, 0, 0)}
    assert either.run("batch", "cancel", batch).exit_code == 0
    for what in ("pause", "resume", "retry-failed"):
        result = either.run("batch", what, batch)
        assert result.exit_code == 3
        assert "was canceled, and does not go on" in result.stderr


def test_what_failed_is_submitted_again(either: Desk) -> None:
    batch = batch_of(either, *lines(4))
    first, second, third, fourth = either.claim()
    either.end([first])
    either.end([second], "failed")
    either.refuse([third])
    either.end([fourth], "canceled")

    said = either.run("batch", "retry-failed", batch)
    assert said.stdout == "2 jobs ready again: 1 failed, 1 dead\n"
    assert "1 canceled job is left as it is; --canceled includes it" in said.stderr
    assert either.states() == {"completed": 1, "ready": 2, "canceled": 1}
    done = either.json("batch", "retry-failed", batch, "--canceled")
    assert (done["retried"], done["retried_states"]) == (1, {"canceled": 1})
    assert either.run("batch", "retry-failed", batch).stdout == "0 jobs ready again\n"


def test_what_failed_for_a_reason_is_submitted_again(either: Desk) -> None:
    batch = batch_of(either, *lines(2))
    first, second = either.claim()
    either.refuse([first], "the browser crashed")
    either.refuse([second])

    said = either.run("batch", "retry-failed", batch, "--reason", "no such thing")
    assert said.stdout == "0 jobs ready again\n"
    said = either.run("batch", "retry-failed", batch, "--reason", "CRASHED")
    assert said.stdout == "1 job ready again: 1 dead\n"
    assert either.queue.get(second.job_id).state == "dead"
    assert "expected some text" in either.run("batch", "retry-failed", batch, "--reason", "").output


def test_a_batch_shows_its_rules_and_why_they_aborted_it(either: Desk) -> None:
    batch = either.queue.open_batch(
        "prices", rules=BatchRules(abort_at_failure_ratio=0.5, abort_after=2)
    )
    either.queue.enqueue_many(lines(3), batch=batch)
    either.queue.seal_batch(batch)
    either.end(either.claim()[:2], "failed")
    either.environ["COLUMNS"] = "160"
    why = "2 of 2 jobs that ended failed or are dead"

    for shown in (["batch", "show", batch], ["status", batch]):
        said = either.run(*shown).stdout
        assert "rules: aborts when 0.5 of the jobs that ended (2 at least) failed" in said
        assert f"held_reason: {why}" in said
    assert why in either.run("batch", "list").stdout
    assert either.json("batch", "show", batch)["rules"]["abort_after"] == 2


def callback_abandoned(desk: Desk) -> str:
    """A batch that is over, and whose receiver refused to hear of it."""
    batch = desk.queue.open_batch(
        "prices", rules=BatchRules(callback_url="https://user.test/hook?token=secret")
    )
    desk.queue.enqueue_many(lines(1), batch=batch)
    desk.queue.seal_batch(batch)
    desk.end(desk.claim())
    claim = callback_claim("default", "test", 10, 0, stay_idle=False, lease_us=1)
    (due,) = run(desk.client, claim).items
    told = CallbackOutcome(
        batch, due.event, due.tries, "abandoned", error="the receiver answered 410"
    )
    assert run(desk.client, record_callback("default", [told])) == [1]
    return batch


def test_callbacks_that_were_abandoned_are_sent_again(either: Desk) -> None:
    batch = callback_abandoned(either)

    assert either.run("batch", "retry-callbacks", batch).stdout == "1 callback due again\n"

    found = either.queue.get_batch(batch).callback
    assert found is not None
    assert (found.pending, found.abandoned) == (1, 0)
    again = either.run("batch", "retry-callbacks", batch)
    assert (again.stdout, again.exit_code) == ("none was abandoned\n", 0)


def test_callbacks_are_sent_again_to_another_url(either: Desk) -> None:
    batch = callback_abandoned(either)
    bad = either.run("batch", "retry-callbacks", batch, "--callback-url", "ftp://me:pw@x.test")
    assert bad.exit_code == 2
    assert "expected an http:// or https:// URL" in bad.stderr
    assert "pw" not in bad.stderr

    said = either.json("batch", "retry-callbacks", batch, "--callback-url", "https://new.test/h")

    assert (said["retried"], said["callback"]["endpoint"]) == (1, "https://new.test")


def test_a_retry_of_a_batch_that_is_held_says_how_to_let_it_go(either: Desk) -> None:
    batch = batch_of(either, line("a"))
    either.end(either.claim(), "failed")
    either.run("batch", "pause", batch)
    result = either.run("batch", "retry-failed", batch)
    assert f"`runqueue batch resume {batch}` lets them go" in result.stderr


# Watching.


def _asked(client: redis.Redis) -> int:
    """How many scripts Redis has run."""
    return int(client.info("commandstats").get("cmdstat_fcall", {}).get("calls", 0))


@contextmanager
def soon(client: redis.Redis, action: object, *arguments: str) -> Iterator[None]:
    """Do something once a command has looked at least three times."""
    before = _asked(client)

    def later() -> None:
        give_up = time.monotonic() + 30
        while _asked(client) < before + 3:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        action(*arguments)  # type: ignore[operator]

    thread = threading.Thread(target=later)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_watching_ends_with_the_batch(either: Desk) -> None:
    batch = batch_of(either, *lines(3))
    with either.working(lambda one, jobs: one.end(jobs)):
        result = either.run("batch", "watch", batch)
    assert result.exit_code == 0
    assert result.stdout == f"batch {batch}: completed: 3 completed of 3 jobs\n"
    assert "3/3 done" in result.stderr


def test_watching_a_batch_that_ended_badly_is_no_success(either: Desk) -> None:
    batch = batch_of(either, *lines(2))
    first, second = either.claim()
    either.end([first])
    either.end([second], "failed")
    result = either.run("batch", "watch", batch, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["request_counts"]["failed"] == 1


def test_watching_says_what_holds_the_batch(either: Desk) -> None:
    batch = batch_of(either, line("a"))
    either.queue.pause_batch(batch)
    watching = command(either, "batch", "watch", batch)
    assert watching.stderr is not None
    while (
        f"it is paused: `runqueue batch resume {batch}` continues it"
        not in watching.stderr.readline()
    ):
        assert watching.poll() is None
    either.queue.resume_batch(batch)
    either.end(either.claim())
    watching.communicate(timeout=60)
    assert watching.returncode == 0


def test_watching_ends_with_a_batch_that_its_rules_aborted(either: Desk) -> None:
    batch = either.queue.open_batch(rules=BatchRules(abort_at_failure_ratio=0.5, abort_after=1))
    either.queue.enqueue_many(lines(3), batch=batch)
    either.queue.seal_batch(batch)
    first, *others = either.claim()
    either.end([first], "failed")
    with soon(either.client, either.end, others):  # type: ignore[arg-type]
        result = either.run("batch", "watch", batch)
    assert result.exit_code == 1
    assert "failed (1 of 1 jobs that ended failed or are dead): " in result.stdout


def test_watching_a_batch_that_is_canceled(either: Desk, queue: RunQueue) -> None:
    batch = batch_of(either, *lines(2))
    with soon(either.client, queue.cancel_batch, batch):
        result = either.run("batch", "watch", batch)
    assert result.exit_code == 1
    assert result.stdout == f"batch {batch}: canceled: 2 canceled of 2 jobs\n"


def test_a_batch_of_which_jobs_wait_in_a_paused_group_says_so(either: Desk) -> None:
    words = "group shop is paused until `runqueue group set shop --resume`"
    either.claim()  # a worker lives
    batch = batch_of(either, line("b", group="shop"))
    assert words not in either.run("batch", "show", batch).stdout
    either.run("group", "set", "shop", "--pause")

    assert f"eta_note: waits for: {words}" in either.run("batch", "show", batch).stdout
    assert words in either.run("status", "b").stderr
    shown = either.json("batch", "show", batch)
    assert (shown["eta"], shown["eta_note"], shown["paused_group"]) == (
        None,
        f"waits for: {words}",
        "shop",
    )
    assert [wait["words"] for wait in shown["waits_for"]] == [words]
    assert "group shop is paused" in either.run("batch", "list").stdout


def test_watching_a_batch_says_that_a_group_of_it_is_paused(either: Desk) -> None:
    batch = batch_of(either, line("a", group="shop"))
    either.run("group", "set", "shop", "--pause")
    watching = command(either, "batch", "watch", batch)
    assert watching.stderr
    said = ""
    while "group shop is paused until `runqueue group set shop --resume`" not in said:
        said = watching.stderr.readline()
        assert said
    either.run("cancel", batch)
    watching.communicate(timeout=30)
    assert watching.returncode == 1
