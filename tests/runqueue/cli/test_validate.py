"""`runqueue validate`: what is in a file; what inputs there are."""

import gzip
import json
import resource
from typing import Any

import pytest

from runqueue.producer import dedup
from tests.runqueue.cli.commanding import Desk, line, lines

NOWHERE = "redis://127.0.0.1:1/0"


def test_a_file_is_described_without_a_queue(desk: Desk) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = NOWHERE
    flow = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}, "account": "second"}
    file = desk.file([line("a"), line("a"), flow, line(None)])

    found = desk.json("validate", file)

    assert found["jobs"] == 3
    assert found["kinds"] == {"task": 2, "workflow": 1}
    assert found["accounts"] == {"default": 2, "second": 1}
    assert (found["repeated"], found["without_custom_id"], found["invalid"]) == (1, 2, [])
    assert found["estimated_seconds"] == {}


def test_people_are_told_the_same(desk: Desk) -> None:
    result = desk.run("validate", desk.file([line("a"), line("a"), line(None)]))

    assert result.exit_code == 0
    assert "2 jobs, 0 bad lines; nothing was submitted" in result.stdout
    assert "1 line repeats the job of an earlier line" in result.stdout
    assert "kinds: 2 task" in result.stdout
    assert "1 job without a custom_id" in result.stdout


def test_a_queue_that_is_there_is_asked_for_its_accounts_and_limits(desk: Desk) -> None:
    desk.client.hset("runqueue:{default}:limits", "env:submissions_per_second", 2)
    file = desk.file([*lines(600), line("x", account="nobody")])

    result = desk.run("validate", file)

    assert result.exit_code == 3
    assert f"{file}:601: account: unknown account 'nobody'" in result.stderr
    assert "account default: about " in result.stdout
    assert desk.states() == {}


def test_a_repeat_far_behind_the_first_is_found(desk: Desk) -> None:
    far = [*lines(2_500), line("order-3"), line("order-4", prompt="Something else.")]
    file = desk.file(far)

    found = desk.json("validate", file)

    assert (found["jobs"], found["repeated"], found["invalid_lines"]) == (2_500, 1, 1)
    (bad,) = found["invalid"]
    assert bad["number"] == 2_502
    assert "names another job at line 5" in bad["message"]


def test_of_many_bad_lines_the_first_hundred_are_told(desk: Desk) -> None:
    file = desk.file(["oops"] * 2_500)

    result = desk.run("validate", file)

    assert result.stderr.count(": line: ") == 100
    assert f"{file}:100: line: " in result.stderr
    assert "2,500 bad lines, 2,400 of them not shown" in result.stderr
    assert desk.json("validate", file)["invalid_lines"] == 2_500


def text(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", ["jobs.jsonl.gz", "jobs.jsonl", "jobs"])
def test_packed_lines_are_known_by_their_bytes(desk: Desk, name: str) -> None:
    path = desk.folder / name
    path.write_bytes(gzip.compress(text(lines(3))) + gzip.compress(text([line("last")])))

    assert desk.json("submit", str(path))["new"] == 4


def test_packed_lines_come_from_stdin_too(desk: Desk) -> None:
    assert desk.run("submit", "-", stdin=gzip.compress(text(lines(3)))).exit_code == 0
    assert desk.states() == {"ready": 3}


@pytest.mark.parametrize("cut", [20, 4_000, -4])
def test_a_packed_file_that_was_cut_is_named_and_nothing_is_submitted(desk: Desk, cut: int) -> None:
    path = desk.folder / "jobs.jsonl.gz"
    path.write_bytes(gzip.compress(text(lines(3_000)))[:cut])

    result = desk.run("submit", str(path), "--skip-invalid")

    assert result.exit_code == 3
    assert "the gzip data is incomplete: the file was cut" in result.stderr
    assert "Nothing was submitted" in result.stderr
    assert desk.claim() == []


def test_packed_data_that_is_broken_is_named(desk: Desk) -> None:
    whole = bytearray(gzip.compress(text(lines(3_000))))
    whole[len(whole) // 2] ^= 0xFF
    path = desk.folder / "jobs.jsonl.gz"
    path.write_bytes(whole)

    result = desk.run("submit", str(path))

    assert result.exit_code == 3
    assert "the gzip data is broken" in result.stderr
    assert desk.claim() == []


def test_a_line_without_an_end_takes_no_memory_and_is_named(desk: Desk) -> None:
    path = desk.folder / "jobs.jsonl"
    path.write_bytes(text(lines(1)) + b"x" * 9_000_000 + b"\n" + b"oops\n")

    result = desk.run("submit", str(path))

    assert f"{path}:2: line: expected at most 8 MiB" in result.stderr
    assert f"{path}:3: line: " in result.stderr


def test_utf_16_is_named(desk: Desk) -> None:
    path = desk.folder / "jobs.jsonl"
    path.write_bytes(text(lines(1)).decode().encode("utf-16"))

    assert "expected UTF-8, got UTF-16" in desk.run("submit", str(path)).stderr


def test_a_full_disk_under_the_temporary_files_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "_CACHE_KB", 1)
    file = desk.file(lines(5_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        result = desk.run("submit", file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert result.exit_code == 4
    assert "cannot write a temporary file" in result.stderr
    assert desk.claim() == []


def test_a_folder_is_no_file(desk: Desk) -> None:
    assert desk.run("validate", str(desk.folder)).exit_code == 2


def test_steps_are_forecast_by_the_runs_before(desk: Desk) -> None:
    seen: Any = {"steps:runs": 4, "steps": 40, "steps:squares": 440}
    desk.client.hset("runqueue:{default}:limits", "env:submissions_per_second", 2)
    desk.client.hset("runqueue:{default}:counters", mapping=seen)
    file = desk.file(lines(10))

    assert "about 100 steps (58 to 142), if they are" in desk.run("validate", file).stdout
    steps = {"amount": 100, "least": 58, "most": 142}
    assert desk.json("validate", file)["estimated_steps"]["default"] == steps
