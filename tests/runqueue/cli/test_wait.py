"""`runqueue submit --wait`: when it ends, how, and what the results file holds."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runqueue.cli.follow import watch
from runqueue.cli.follow.watch import FollowedJobs, _holds, unconfirmed_grace
from runqueue.cli.shared.account_holds import hold_words
from runqueue.records.claim_items import Claimed
from tests.runqueue.cli.commanding import Desk, line, lines


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


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


def test_unconfirmed_jobs_end_the_waiting_once_they_last_longer_than_the_search_takes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "unconfirmed_grace", lambda: 0.1)
    out = tmp_path / "out.jsonl"

    def work(desk: Desk, jobs: list[Claimed]) -> None:
        desk.end(jobs[:1])
        desk.lose(jobs[1:])

    with desk.working(work):
        report = desk.json("submit", desk.file(lines(3)), "--results", str(out))

    assert report["states"] == {"completed": 1, "unconfirmed": 2}
    assert [row["state"] for row in rows(out)] == ["completed"]


@pytest.mark.parametrize(
    ("given", "seconds"), [("0", 60), ("5", 65), ("", 90), ("30", 90), ("100", 250)]
)
def test_it_waits_while_the_search_can_still_end(
    monkeypatch: pytest.MonkeyPatch, given: str, seconds: float
) -> None:
    monkeypatch.setenv("RUNQUEUE_UNCONFIRMED_GRACE_SECONDS", given)
    assert unconfirmed_grace() == seconds


def test_a_grace_that_is_none_ends_the_command_before_anything_is_submitted(desk: Desk) -> None:
    desk.environ["RUNQUEUE_UNCONFIRMED_GRACE_SECONDS"] = "soon"

    assert desk.run("submit", desk.file(lines(1)), "--wait").exit_code == 2

    assert desk.states() == {}


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
    assert re.search(r"runqueue results \w+ --wait -o OUT", said)
    assert "Traceback" not in said
    assert desk.states() == {"ready": 2}


def said_of(desk: Desk, *job_ids: str, account: str = "default") -> list[str]:
    """Return what is said to keep jobs waiting."""
    followed = FollowedJobs(desk.queue, [], job_ids, [account])
    return [words for _, words in _holds(desk.queue, followed, is_last=False)]


def test_what_holds_the_account_is_said_while_somebody_waits(desk: Desk) -> None:
    desk.claim()
    assert said_of(desk) == []
    hold(desk, "default", "HTTP 403: no")

    (told,) = said_of(desk)

    assert re.fullmatch(
        r"account default: nothing is submitted for the next \d+ s"
        r" \(`runqueue resume` tries at once\): HTTP 403: no",
        told,
    )


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


def test_of_accounts_that_nobody_waits_for_nothing_is_said(desk: Desk) -> None:
    desk.know("second")
    desk.claim()
    hold(desk, "second", "HTTP 403: no")

    assert said_of(desk) == []


def test_that_no_worker_is_there_is_said_while_somebody_waits(desk: Desk) -> None:
    assert said_of(desk) == ["no worker process serves account default"]


def test_what_lasts_is_said_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_HOLDS_EVERY", 0.0)
    monkeypatch.setattr(watch, "_POLL", 0.05)
    ended = threading.Timer(1.0, lambda: desk.end(desk.claim()))
    ended.start()
    result = desk.run("submit", desk.file(lines(1)), "--wait")
    ended.join()

    assert result.exit_code == 0
    assert result.stderr.count("no worker process serves account default") == 1


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
