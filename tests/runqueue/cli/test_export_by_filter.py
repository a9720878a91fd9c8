"""`runqueue results` and `errors` of jobs that have no batch, or of several."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from runqueue.producer import results as reading
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines
from tests.runqueue.cli.exporting import rows_of


def written(desk: Desk, *arguments: str) -> list[str]:
    result = desk.run("results", *arguments)
    assert result.exit_code == 0, result.output
    return [row["custom_id"] for row in rows_of(result.stdout)]


@pytest.fixture
def ended(desk: Desk) -> Desk:
    """Jobs of a group and of a batch, one after the other: completed, failed, dead; one is open."""
    desk.queue.enqueue_many([line("a", group="shop"), line("b", group="shop")])
    batch_of(desk, line("c", group="shop"), line("d"))
    jobs = {desk.queue.get(job.job_id).custom_id: job for job in desk.claim()}
    desk.end([jobs["a"]])
    desk.end([jobs["b"]], "failed")
    desk.refuse([jobs["c"]])
    return desk


def test_results_by_filter_come_the_newest_end_first_of_any_batch_or_none(
    ended: Desk, either: Desk
) -> None:
    assert written(either, "--group", "shop") == ["c", "b", "a"]
    assert written(either, "--group", "other") == []
    assert written(either, "--account", "default", "--state", "failed") == ["b"]
    result = either.run("results", "--errors", "--group", "shop", "--since", "12h")
    assert [row["state"] for row in rows_of(result.stdout)] == ["dead", "failed"]


def test_results_by_filter_are_those_between_two_times(ended: Desk, either: Desk) -> None:
    (row,) = rows_of(either.run("results", "--state", "failed").stdout)
    assert written(either, "--since", row["ended_at"]) == ["c", "b"]
    assert written(either, "--until", row["ended_at"]) == ["a"]
    assert written(either, "--since", "1h", "--until", row["ended_at"]) == ["a"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".jsonl.gz", ".parquet"])
def test_results_by_filter_are_written_in_every_format(
    ended: Desk, either: Desk, suffix: str, tmp_path: Path
) -> None:
    out = tmp_path / f"out{suffix}"
    result = either.run("results", "--group", "shop", "-o", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"3 jobs written to {out}\n"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            assert [row["custom_id"] for row in csv.DictReader(file)] == ["c", "b", "a"]


def test_many_results_come_each_once_in_small_steps(
    desk: Desk, either: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_IDS", 7)
    desk.queue.enqueue_many(lines(40))
    desk.end(desk.claim())
    found = written(either, "--since", "1h")
    assert len(found) == len(set(found)) == 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a batch, or give filters (--group, --state, --since and others)"),
        (["a", "--batch", "b"], "name the batch once"),
        (["--group", "g", "--wait"], "--wait needs a batch"),
    ],
)
def test_a_batch_or_a_filter_is_needed(either: Desk, arguments: list[str], words: str) -> None:
    result = either.run("results", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_batch_is_a_filter_among_the_others(desk: Desk, either: Desk) -> None:
    batch = batch_of(desk, line("a", group="g"), line("b"), line("c", group="g"), line("d"))
    jobs = {desk.queue.get(job.job_id).custom_id: job for job in desk.claim()}
    desk.end([jobs["c"]], "failed")
    desk.end([jobs["a"], jobs["b"]])
    for named in ([batch], ["--batch", batch]):
        for options, expected in (
            ([], ["a", "b", "c"]),
            (["--group", "g"], ["a", "c"]),
            (["--state", "failed"], ["c"]),
            (["--errors"], ["c"]),
            (["--group", "default", "--since", "1h"], ["b"]),
        ):
            result = either.run("results", *named, *options)
            assert [row["custom_id"] for row in rows_of(result.stdout)] == expected, options
            assert (result.exit_code, "1 of 4 jobs had not ended" in result.stderr) == (1, True)
    assert either.run("results", batch, "--account", "other").exit_code == 3
    unknown = either.run("results", "--batch", "nma3otfnxlrcktlsz4d7qmri", "--group", "g")
    assert (unknown.exit_code, unknown.stdout) == (3, "")


def test_a_state_in_which_no_job_has_ended_is_refused(desk: Desk, either: Desk) -> None:
    desk.know("default")
    result = either.run("results", "--state", "running")
    assert result.exit_code == 3
    assert "state: expected completed, failed, canceled or dead, got running" in result.stderr
