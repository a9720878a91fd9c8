"""`runqueue submit --wait`: when it ends, how, and what the results file holds."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from runqueue.cli.follow.account_holds import Holds, hold_words
from runqueue.cli.shared.saying import Saying
from runqueue.cli.submit.command import _grace
from runqueue.records import claim_items
from tests.runqueue.cli.commanding import Desk, line, lines
from tests.runqueue.cli.following import followed, rows


def test_it_ends_with_0_when_every_job_has_completed(desk: Desk) -> None:
    file = desk.file(lines(5))

    with desk.working(Desk.end):
        result = desk.run("submit", file, "--wait")

    assert result.exit_code == 0, result.output
    assert "completed │    5" in result.stdout
    assert "5/5 done" in result.stderr


def test_it_ends_with_1_when_a_job_has_failed(desk: Desk) -> None:
    with desk.working(lambda desk, jobs: desk.end(jobs, "failed")):
        result = desk.run("submit", desk.file(lines(1)), "--wait")

    assert result.exit_code == 1


def test_the_results_file_has_one_row_for_each_job(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    with desk.working(Desk.end):
        report = desk.json("submit", desk.file(lines(250)), "--results", str(out))

    assert report["states"] == {"completed": 250}
    assert {row["custom_id"] for row in rows(out)} == {f"order-{n}" for n in range(250)}
    assert {row["output"] for row in rows(out)} == {"42"}
    assert not out.with_name("out.jsonl.part").exists()


def test_it_covers_jobs_known_from_before_and_of_other_accounts(desk: Desk, tmp_path: Path) -> None:
    desk.know("second")
    desk.run("submit", desk.file([line("old")], "before.jsonl"))
    desk.end(desk.claim())
    file = desk.file([line("old"), line("new"), line("other", account="second")])
    desk.queue.cancel(desk.queue.enqueue_many([line("other", account="second")])[0].job_id)
    out = tmp_path / "out.jsonl"

    with desk.working(Desk.end):
        result = desk.run("submit", file, "--results", str(out))

    assert result.exit_code == 1
    states = {row["custom_id"]: row["state"] for row in rows(out)}
    assert states == {"old": "completed", "new": "completed", "other": "canceled"}


def lose_since(desk: Desk, jobs: list[claim_items.Claimed], seconds: float) -> None:
    """Lose the answers to claimed jobs, so many seconds ago."""
    if jobs:
        desk.lose(jobs)
        since = dict.fromkeys((job.job_id for job in jobs), int((time.time() - seconds) * 1e6))
        desk.client.zadd("runqueue:{default}:unconfirmed", since)


@pytest.mark.parametrize(("grace", "seconds"), [("0.2", 61), ("30", 91), ("100", 251)])
def test_it_gives_up_on_a_job_that_is_unconfirmed_for_longer_than_the_search_takes(
    desk: Desk, tmp_path: Path, grace: str, seconds: float
) -> None:
    desk.environ["RUNQUEUE_UNCONFIRMED_GRACE_SECONDS"] = grace
    out = tmp_path / "out.jsonl"

    with desk.working(lambda desk, jobs: lose_since(desk, jobs, seconds)):
        result = desk.run("submit", desk.file(lines(1)), "--results", str(out))

    assert result.exit_code == 1
    assert [row["state"] for row in rows(out)] == ["unconfirmed"]


@pytest.mark.parametrize(("grace", "seconds"), [("0", 55), ("5", 60), ("30", 85), ("100", 245)])
def test_it_waits_while_the_search_can_still_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, grace: str, seconds: float
) -> None:
    monkeypatch.setenv("RUNQUEUE_UNCONFIRMED_GRACE_SECONDS", grace)
    ids = desk.unconfirmed(lines(1))
    since = int((time.time() - seconds) * 1e6)
    desk.client.zadd("runqueue:{default}:unconfirmed", {ids[0]: since})

    with followed(desk, ids, _grace()) as following:
        following.poll()

        assert following.stuck == 0


def test_skipped_lines_do_not_spoil_the_exit_code(desk: Desk) -> None:
    with desk.working(Desk.end):
        result = desk.run("submit", desk.file([line("a"), "oops"]), "--skip-invalid", "--wait")

    assert result.exit_code == 0


def test_a_conflict_spoils_the_exit_code_though_all_else_completed(desk: Desk) -> None:
    desk.run("submit", desk.file([line("a")], "first.jsonl"))
    file = desk.file([line("a", prompt="Something else."), line("b")])

    with desk.working(Desk.end):
        result = desk.run("submit", file, "--wait")

    assert result.exit_code == 3


def test_an_earlier_results_file_stays_until_the_new_one_is_whole(
    desk: Desk, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("earlier\n")
    seen = []

    def work(desk: Desk, jobs: object) -> None:
        seen.append(out.read_text())
        desk.end(jobs)  # type: ignore[arg-type]

    with desk.working(work):
        desk.run("submit", desk.file(lines(1)), "--results", str(out))

    assert "earlier\n" in seen
    assert len(rows(out)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_said_and_the_jobs_go_on(desk: Desk) -> None:
    with desk.working(Desk.end):
        result = desk.run("submit", desk.file(lines(1)), "--results", "/dev/full")

    assert result.exit_code == 1
    assert "cannot write results to /dev/full: No space left on device" in result.stderr
    assert "The jobs go on" in result.stderr


def test_an_interrupt_leaves_the_jobs_and_says_how_to_go_on(desk: Desk) -> None:
    file = desk.file(lines(2))
    command = [sys.executable, "-m", "runqueue.cli", "submit", file, "--wait"]
    environ = {**os.environ, "RUNQUEUE_REDIS_URL": desk.url}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "0/2 done" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

    assert process.returncode == 130
    assert f"runqueue submit {file} --wait" in said
    assert "Traceback" not in said
    assert desk.states() == {"ready": 2}


def test_an_interrupt_never_advises_to_submit_again_what_has_no_custom_id(desk: Desk) -> None:
    with desk.working(Desk.end):
        result = desk.run("submit", desk.file([line(None)]), "--results", "/dev/full")
    (batch,) = cast("list[bytes]", desk.client.zrange("runqueue:{default}:batches", 0, -1))

    said = "Do not submit the file again: 1 line without a custom_id would run twice"
    assert said in result.stderr
    assert f"runqueue status {batch.decode()}" in result.stderr


def test_what_holds_the_account_is_said_once_while_somebody_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.cli.follow.account_holds._EVERY", 0.0)
    desk.claim()
    said: list[str] = []
    holds = Holds(desk.queue, Saying(said.append))
    holds.poll(["default"])
    assert said == []
    hold(desk, "default", "HTTP 403: no")
    holds.poll(["default"])
    holds.poll(["default"])

    (told,) = said
    assert re.fullmatch(
        r"account default: nothing is submitted for the next \d+ s"
        r" \(`runqueue resume` tries at once\): HTTP 403: no",
        told,
    )


def test_what_lasts_is_said_again_in_ever_longer_intervals(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.cli.follow.account_holds._EVERY", 0.0)
    said: list[float] = []
    now = 0.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("runqueue.cli.shared.saying.time", clock)
    holds = Holds(desk.queue, Saying(lambda _: said.append(now)))

    for second in range(0, 500, 10):
        now = float(second)
        holds.poll(["default"])

    assert said == [0.0, 60.0, 180.0, 420.0]


def hold(desk: Desk, account: str, reason: str, seconds: float = 60, kind: str = "account") -> None:
    """Hold an account's submissions."""
    until = int((time.time() + seconds) * 1e6)
    meta = f"runqueue:{{{account}}}:meta"
    desk.client.hset(meta, "hold_kind", kind)
    desk.client.hset(meta, mapping={"hold_until": until, "hold_reason": reason})


@pytest.mark.parametrize(
    ("account", "held", "words"),
    [
        (
            "second",
            ("HTTP 402", 60, "account"),
            r"for the next \d+ s \(`runqueue resume second` tries at once\)",
        ),
        ("second", ("lost", 1e9, "person"), "until `runqueue resume second`"),
        ("default", ("restarted, in whatever words", 7, "redis"), r"for the next \d s"),
    ],
)
def test_a_hold_names_what_ends_it_where_that_is_a_person_s(
    desk: Desk, account: str, held: tuple[str, float, str], words: str
) -> None:
    desk.know("second")
    hold(desk, account, *held)

    told = hold_words(desk.queue.stats()[account])

    also = f"; also: no worker process serves account {account}: start one"
    expected = f"account {account}: nothing is submitted {words}: {held[0]}{also}"
    assert re.fullmatch(expected, told)


def test_of_accounts_that_nobody_waits_for_nothing_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.cli.follow.account_holds._EVERY", 0.0)
    desk.know("second")
    desk.claim()
    hold(desk, "second", "HTTP 403: no")
    said: list[str] = []

    Holds(desk.queue, Saying(said.append)).poll(["default"])

    assert said == []


def test_that_no_worker_is_there_is_said_once_while_somebody_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runqueue.cli.follow.account_holds._EVERY", 0.0)
    said: list[str] = []
    holds = Holds(desk.queue, Saying(said.append))

    holds.poll(["default"])
    holds.poll(["default"])

    assert said == ["no worker process serves account default"]


def test_only_accounts_with_open_jobs_are_waited_for(desk: Desk) -> None:
    desk.know("second")
    ids = {
        name: [desk.queue.enqueue_many([line("a", account=name)])[0].job_id]
        for name in ("default", "second")
    }
    with followed(desk, [*ids["default"], *ids["second"]]) as following:
        desk.queue.cancel(ids["default"][0])

        following.poll()

        assert following.accounts == ["second"]


@pytest.mark.parametrize("results", ["-", "jobs.jsonl"])
def test_results_never_go_where_the_jobs_come_from(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, results: str
) -> None:
    monkeypatch.chdir(desk.folder)
    desk.file(lines(1))

    assert desk.run("submit", "jobs.jsonl", "--results", results).exit_code == 2

    assert desk.states() == {}


def test_results_behind_a_link_replace_the_file_it_points_to(desk: Desk) -> None:
    target, link = desk.folder / "target.jsonl", desk.folder / "link.jsonl"
    link.symlink_to(target)
    with desk.working(Desk.end):
        desk.run("submit", desk.file(lines(2)), "--results", str(link))

    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 2
