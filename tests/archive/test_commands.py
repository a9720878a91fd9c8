"""The commands that read the archive, with Redis and with a gateway."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archive.opened import archived_queue
from runqueue import RunQueue
from runqueue.cli.shared import queues
from tests.archive.surfaces import Archived
from tests.runqueue.cli import gateways
from tests.runqueue.cli.commanding import Desk, batch_of, line


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The archive's."""
    return f"sqlite:///{tmp_path_factory.mktemp('archive')}/archive.sqlite"


@pytest.fixture(params=["redis", "gateway"])
def either(
    request: pytest.FixtureRequest,
    archived: Archived,
    queue: RunQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """Where commands are given: to Redis and the archive, and to a gateway."""
    redis_url = request.getfixturevalue("redis_url")
    desk = Desk(redis_url, tmp_path, archived.client, queue, {"RUNQUEUE_ARCHIVE_URL": archived.url})
    if request.param == "gateway":
        return gateways.by_http(desk, request.getfixturevalue("gateway_url"))
    # As by its entry point, which an environment has that installed this version.
    monkeypatch.setattr(queues, "server_part", lambda *_: archived_queue)
    return desk


@pytest.fixture
def failed(either: Desk, archived: Archived) -> list[str]:
    """Failed jobs, which Redis has no more, but for the last, which is dead."""
    options = {"group": "acme", "metadata": {"order": "17"}}
    rows = [line(f"invoice-{n}", prompt=f"Pay invoice 471{n}", **options) for n in range(3)]
    ids = [answer.job_id for answer in either.queue.enqueue_many(rows)]
    either.end(either.claim(), "failed")
    ids += either.dead([line("other")], "No such engine 7")
    archived.write(*ids)
    archived.forget(*ids[:3])
    return ids


def test_jobs_are_listed_and_counted_by_every_filter(either: Desk, failed: list[str]) -> None:
    options = ["--since", "12h", "--state", "failed", "--group", "acme"]
    options += ["--text", "invoice 4711", "--metadata", "order=17"]
    assert [row["job_id"] for row in either.listed("jobs", *options)] == [failed[1]]
    assert either.json("jobs", "count", "--text", "invoice") == {"jobs": 3, "is_exact": True}
    assert either.run("jobs", "count", "--text", "nothing").stdout == "0 jobs\n"
    wrong = either.run("jobs", "list", "--metadata", "order")
    assert (wrong.exit_code, "metadata: expected name=value" in wrong.stderr) == (3, True)


def test_errors_and_a_chart_are_tables(either: Desk, failed: list[str]) -> None:
    table = either.run("errors", "--since", "1h").stdout
    assert "No such engine <n>" in table
    assert "total: 4 failures, 0 credits" in table
    assert table.count(" new ") == 2 + 1  # and the column's title
    (row,) = either.json("errors", "--state", "dead")["groups"]
    assert (row["jobs"], row["share_of_failures"]) == (1, 1.0)
    found = either.listed("jobs", "--error", row["id"])
    assert [one["job_id"] for one in found] == [failed[3]]
    chart = either.json("chart", "--group", "acme", "--since", "2h")
    assert sum(sum(point["jobs"].values()) for point in chart["points"]) == 3
    table = either.run("chart", "--since", "2h").stdout
    assert table.splitlines()[-1].split()[:4] == ["total", "4", "100.0", "%"]


def test_a_chart_by_group_says_what_each_took(either: Desk, failed: list[str]) -> None:
    table = either.run("chart", "--by", "group", "--since", "2h").stdout
    rows = [row.split()[:5] for row in table.splitlines()]
    assert [row for row in rows if row and row[0] in {"acme", "default", "total"}] == [
        ["acme", "3", "100.0", "%", "0"],
        ["default", "1", "100.0", "%", "0"],
        ["total", "4", "100.0", "%", "0"],
    ]
    assert [one["jobs"] for one in either.json("chart", "--by", "group")["top"]] == [3, 1]
    refused = either.run("chart", "--by", "workflow", "--group", "acme")
    assert (refused.exit_code, "without `by` one of" in refused.stderr) == (3, True)


def test_a_batch_that_redis_has_no_more_is_that_of_the_archive(
    either: Desk, archived: Archived
) -> None:
    batch = batch_of(either, line("a", group="g"), line("b"), line("c"))
    jobs = either.claim()
    either.end(jobs[:1])
    either.end(jobs[1:], "failed")
    ids = [job.job_id for job in jobs]
    archived.write(*ids)
    archived.forget(batch, *ids)
    for command in (["status", batch], ["batch", "show", batch]):
        found = either.json(*command)
        assert (found["archived"], found["states"]) == (True, {"completed": 1, "failed": 2})
        assert "archived" in either.run(*command).stdout
    rows = either.run("results", batch, "--state", "failed", "--group", "default")
    assert (rows.exit_code, len(rows.stdout.splitlines())) == (0, 2), rows.output
    assert len(either.run("results", "--batch", batch).stdout.splitlines()) == 3
    canceled = either.run("cancel", batch)
    assert (canceled.exit_code, canceled.stdout) == (3, "")


def test_open_jobs_are_listed_by_every_filter_of_redis(either: Desk, failed: list[str]) -> None:
    workflow = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}}
    either.queue.enqueue_many(
        [line("open", metadata={"order": "17"}), {**line("run"), **workflow}, line("more")]
    )
    for options, expected in (
        ([], {"open", "run", "more"}),
        (["--metadata", "order=17"], {"open"}),
        (["--custom-id", "run"], {"run"}),
        (["--workflow", "wpid_1"], {"run"}),
        (["--group", "acme"], set()),
    ):
        found = either.listed("jobs", "--open", *options)
        assert {row["custom_id"] for row in found} == expected, options
    for field in ("text", "error"):
        refused = either.run("jobs", "list", "--open", f"--{field}", "17")
        words = f"{field}: finds jobs that have ended"
        assert (refused.exit_code, words in refused.stderr) == (3, True)


def test_results_by_filter_are_a_table(either: Desk, failed: list[str]) -> None:
    out = either.folder / "out.csv"
    result = either.run("results", "--text", "invoice", "-o", str(out))
    assert result.exit_code == 0, result.output
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["job_id"] for row in rows} == {*failed[:3]}


def test_what_was_found_is_replayed_but_for_two(either: Desk, failed: list[str]) -> None:
    command = ["dead", "replay", "--state", "failed", "--group", "acme", "--text", "invoice"]
    command += ["--except", "invoice-0", "--except", failed[2]]
    refused = either.run(*command, stdin=b"n\n")
    assert (refused.exit_code, "submit 1 job again?" in refused.stderr) == (2, True)
    result = either.run(*command, "--yes")
    assert result.exit_code == 0, result.output
    assert "1 of 1: ready again, 1 of them enqueued anew from the archive" in result.stdout
    assert either.states()["ready"] == 1
    again = either.run("dead", "replay", failed[1])
    assert (again.exit_code, "not dead, failed or canceled" in again.stderr) == (3, True)


def test_cancel_takes_open_jobs_and_webhooks_those_of_redis(
    either: Desk, failed: list[str]
) -> None:
    either.queue.enqueue_many([line("open", group="acme", metadata={"order": "17"})])
    by_text = either.run("cancel", "--text", "invoice", "--yes")
    assert (by_text.exit_code, "text: finds jobs that have ended" in by_text.stderr) == (3, True)
    result = either.run("cancel", "--metadata", "order=17", "--yes")
    assert "1 canceled at once" in result.stdout
    assert either.run("webhooks", "retry", "--text", "invoice", "--yes").stdout == "none\n"


def test_an_archive_that_is_away_is_exit_code_4(
    archived: Archived,
    queue: RunQueue,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queues, "server_part", lambda *_: archived_queue)
    environ = {"RUNQUEUE_ARCHIVE_URL": "postgresql://a:secret-word@127.0.0.1:1/x"}
    desk = Desk(redis_url, tmp_path, archived.client, queue, environ)
    (job,) = desk.dead([line("a")])
    archived.write(job)
    result = desk.run("errors")
    assert result.exit_code == 4
    assert "secret-word" not in result.output
    assert desk.run("status", job).exit_code == 0
    assert desk.listed("jobs", "--state", "ready") == []
    assert [row["job_id"] for row in desk.listed("dead")] == [job]
    assert desk.run("dead", "replay", job).exit_code == 0
    assert desk.run("jobs", "list", "--text", "a").exit_code == 4


def test_without_the_archive_lists_of_ended_jobs_say_once_what_they_lack(
    archived: Archived, queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    desk = Desk(redis_url, tmp_path, archived.client, queue)
    archived.write(*desk.dead([line("a"), line("b")]))
    for options, said in (["--state", "dead"], 1), (["--state", "ready"], 0):
        result = desk.run("jobs", "list", *options)
        assert (result.exit_code, result.stderr.count("RUNQUEUE_ARCHIVE_URL")) == (0, said)


def test_without_an_archive_its_setting_is_named(
    archived: Archived, queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    desk = Desk(redis_url, tmp_path, archived.client, queue)
    for command in (["jobs", "list", "--text", "a"], ["errors"], ["chart"]):
        result = desk.run(*command)
        assert (result.exit_code, "RUNQUEUE_ARCHIVE_URL" in result.stderr) == (3, True)


@pytest.mark.parametrize("where", [".env", ".runqueue", ".runqueue, set to nothing"])
def test_the_archive_is_found_without_a_further_step(
    where: str, archived: Archived, queue: RunQueue, redis_url: str, tmp_path: Path
) -> None:
    desk = Desk(redis_url, tmp_path, archived.client, queue)
    (job,) = desk.dead([line("a")])
    archived.write(job)
    archived.forget(job)
    environ = {name: value for name, value in os.environ.items() if "RUNQUEUE" not in name}
    if where == ".env":
        lines = f"RUNQUEUE_REDIS_URL={redis_url}\nRUNQUEUE_ARCHIVE_URL={archived.url}\n"
        (tmp_path / ".env").write_text(lines)
    else:
        (tmp_path / ".runqueue").mkdir()
        (tmp_path / ".runqueue" / "url").write_text(redis_url)
        file = archived.url.removeprefix("sqlite:///")
        (tmp_path / ".runqueue" / "archive.sqlite").symlink_to(file)
    if "nothing" in where:
        environ["RUNQUEUE_ARCHIVE_URL"] = ""
    command = [sys.executable, "-m", "runqueue.cli", "jobs", "list", "--json"]
    said = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=True)
    assert (job.encode() in said.stdout) == ("nothing" not in where)
