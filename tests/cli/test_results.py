"""`runqueue results`: the jobs of a batch as a file."""

import csv
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runqueue.cli.export import COLUMNS
from tests.cli.commanding import Desk, batch_of, line, lines


@pytest.fixture
def batch(desk: Desk) -> str:
    """Four jobs: completed, failed, dead, ready."""
    batch = batch_of(desk, *lines(4))
    first, second, third, _ = desk.claim()
    desk.end([first])
    desk.end([second], "failed")
    desk.refuse([third], 'No such "engine",\nat all')
    return batch


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in text.splitlines()]


def test_results_are_lines_of_json_in_the_order_of_the_upload(desk: Desk, batch: str) -> None:
    rows = rows_of(desk.run("results", batch).stdout)
    assert [row["custom_id"] for row in rows] == [f"order-{n}" for n in range(4)]
    assert [row["state"] for row in rows] == ["completed", "failed", "dead", "submitting"]
    assert rows[0]["output"] == "42"
    assert rows[2]["failure_reason"] == 'No such "engine",\nat all'


def test_errors_alone(desk: Desk, batch: str) -> None:
    rows = rows_of(desk.run("results", batch, "--errors").stdout)
    assert [row["state"] for row in rows] == ["failed", "dead"]


def test_results_in_a_file(desk: Desk, batch: str) -> None:
    out = desk.folder / "out.jsonl"
    out.write_text("of before\n")
    result = desk.run("results", batch, "-o", str(out))
    assert result.stdout == f"4 jobs written to {out}\n"
    assert rows_of(out.read_text()) == rows_of(desk.run("results", batch).stdout)
    assert [path.name for path in desk.folder.glob("out*")] == ["out.jsonl"]


def test_results_as_a_table(desk: Desk, batch: str) -> None:
    out = desk.folder / "out.csv"
    desk.run("results", batch, "-o", str(out), "--errors")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["custom_id"] for row in rows] == ["order-1", "order-2"]
    assert rows[1]["failure_reason"] == 'No such "engine",\nat all'
    assert rows[0]["run_status"] == "failed"


def test_a_table_has_all_that_a_line_has(desk: Desk, batch: str) -> None:
    for row in rows_of(desk.run("results", batch).stdout):
        assert row.keys() <= set(COLUMNS)


def test_an_output_that_is_an_object_is_json_in_its_cell(desk: Desk) -> None:
    batch = batch_of(desk, line("a"))
    (job,) = desk.claim()
    desk.end([job])
    desk.client.set(
        f"runqueue:{{default}}:result:{job.job_id}", '{"output": {"price": 5, "name": "ä"}}'
    )
    out = desk.folder / "out.csv"
    desk.run("results", batch, "-o", str(out))
    with out.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["output"]) == {"price": 5, "name": "ä"}


def test_no_errors_are_an_empty_file(desk: Desk) -> None:
    batch = batch_of(desk, line("a"))
    out = desk.folder / "out.jsonl"
    assert desk.run("results", batch, "--errors", "-o", str(out)).exit_code == 0
    assert out.read_text() == ""


@pytest.mark.parametrize("name", ["out.parquet", "out", "out.json"])
def test_a_file_of_another_kind_is_refused(desk: Desk, batch: str, name: str) -> None:
    result = desk.run("results", batch, "-o", str(desk.folder / name))
    assert result.exit_code == 2
    assert ".jsonl or .csv" in result.stderr


def test_a_batch_that_is_none_leaves_the_file_as_it_was(desk: Desk) -> None:
    out = desk.folder / "out.jsonl"
    out.write_text("of before\n")
    assert desk.run("results", "nonsense", "-o", str(out)).exit_code == 3
    assert out.read_text() == "of before\n"


def test_a_folder_that_is_none(desk: Desk, batch: str) -> None:
    result = desk.run("results", batch, "-o", str(desk.folder / "none" / "out.jsonl"))
    assert result.exit_code == 1
    assert "cannot write results to" in result.stderr


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_full_disk_leaves_no_broken_line(desk: Desk, name: str) -> None:
    batch = batch_of(desk, *lines(250))
    out = desk.folder / name
    out.write_text("of before\n")
    size = 100_000
    desk.run("results", batch, "-o", str(desk.folder / f"whole-{name}"))
    whole = (desk.folder / f"whole-{name}").read_bytes()
    size = len(whole) * 2 // 3
    with room_for(size):
        result = desk.run("results", batch, "-o", str(out))
    assert result.exit_code == 1
    assert "cannot write results to" in result.stderr
    assert out.read_text() == "of before\n"
    part = out.with_name(f"{name}.part").read_bytes()
    assert 0 < len(part) <= size
    assert whole.startswith(part)
    assert part.endswith(b"\n")
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == whole


def test_a_full_device_is_told(desk: Desk, batch: str) -> None:
    result = desk.run("results", batch, "-o", "/dev/full")
    assert result.exit_code == 1
    assert "No space left" in result.stderr
