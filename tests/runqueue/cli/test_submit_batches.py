"""The batches that `runqueue submit` makes: their rules, and what is waited for of them."""

from pathlib import Path

import pytest

from tests.runqueue.cli.commanding import Desk, line, lines
from tests.runqueue.cli.test_wait import rows


def end(desk: Desk, count: int, state: str = "completed") -> None:
    desk.end(desk.claim()[:count], state)


def test_a_file_that_is_wholly_known_is_followed_by_its_batch(desk: Desk, tmp_path: Path) -> None:
    file, out = desk.file(lines(3)), tmp_path / "out.jsonl"
    batch = desk.json("submit", file)["batches"]["default"]

    with desk.working(Desk.end):
        report = desk.json("submit", file, "--results", str(out))

    assert report["known_in"][0]["batch"] == batch
    assert report["states"] == {"completed": 3}
    assert [row["custom_id"] for row in rows(out)] == ["order-0", "order-1", "order-2"]


def test_of_a_batch_that_is_larger_only_the_file_s_jobs_are_waited_for(
    desk: Desk, tmp_path: Path
) -> None:
    desk.json("submit", desk.file(lines(4), "larger.jsonl"))
    end(desk, 2)
    out = tmp_path / "out.jsonl"

    report = desk.json("submit", desk.file(lines(2)), "--results", str(out))

    assert report["states"] == {"completed": 2}
    assert len(rows(out)) == 2


def test_a_batch_that_its_rules_abort_is_not_waited_for(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file = desk.file(lines(600))
    rules = ["--abort-at-failure-ratio", "0.5", "--abort-after", "10"]

    with desk.working(lambda desk, jobs: desk.end(jobs, "failed")):
        result = desk.run("submit", file, "--results", str(out), *rules)

    assert result.exit_code == 1
    assert "its rules aborted it" in result.stderr
    assert "runqueue batch resume" in result.stderr
    assert {row["state"] for row in rows(out)} == {"failed"}
    assert "600/600 done" not in result.stderr
    assert len(rows(out)) == desk.states()["failed"]


def test_a_batch_gets_the_metadata_that_is_given_with_its_file(either: Desk) -> None:
    file = either.file([line("a", metadata={"order": "17"})])
    given = ["--metadata", "customer=acme", "--metadata", "note=a=b, c"]

    batch = either.json("submit", file, *given)["batches"]["default"]

    metadata = {"customer": "acme", "note": "a=b, c"}
    assert either.json("batch", "show", batch)["metadata"] == metadata
    shown = 'metadata: {"customer":"acme","note":"a=b, c"}'
    assert shown in either.run("batch", "show", batch).stdout.splitlines()
    assert either.json("status", "a")["metadata"] == {"order": "17"}
    assert 'metadata: {"order":"17"}' in either.run("status", "a").stdout.splitlines()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metadata", "order"], "--metadata"),
        (["--metadata", "a b=1"], "--metadata"),
        (["--canary", "0"], "--canary"),
        (["--abort-at-failure-ratio", "2"], "--abort-at-failure-ratio"),
        (["--expires-after", "soon"], "expected seconds, or a number with s, m, h or d"),
        (["--callback-at", "0.5"], "expected a callback_url beside it"),
        (["--callback-url", "ftp://user.test"], "--callback-url"),
        (["--name", "a\nb"], "expected printable text"),
    ],
)
def test_rules_that_are_none_are_wrong_usage(desk: Desk, options: list[str], said: str) -> None:
    result = desk.run("submit", desk.file(lines(1)), *options)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert desk.states() == {}


def test_a_batch_gets_its_name_and_its_rules(desk: Desk) -> None:
    options = ["--name", "nightly", "--canary", "2", "--canary-ratio", "0.5"]
    options += ["--expires-after", "1.5h", "--callback-url", "https://hooks.test/x"]
    options += ["--callback-at", "0.5", "--callback-at", "0.9"]

    report = desk.json("submit", desk.file(lines(5)), *options)

    found = desk.queue.get_batch(report["batches"]["default"])
    assert (found.name, found.held) == ("nightly", "canary")
    assert len(desk.claim()) == 2
    record = desk.client.hgetall(f"runqueue:{{default}}:batch:{found.id}")
    assert record[b"expires_after"] == b"5400000000"
    assert record[b"callback_at"] == b"0.5 0.9"


def test_conflicts_beyond_a_hundred_are_counted_alone(desk: Desk) -> None:
    desk.json("submit", desk.file(lines(150), "first.jsonl"))
    others = [line(f"order-{n}", prompt="Something else.") for n in range(150)]

    result = desk.run("submit", desk.file(others))

    assert result.exit_code == 3
    assert result.stderr.count("was submitted with another body") == 100
    assert "50 more are in conflict" in result.stderr
