"""`runqueue results` and `errors`: the jobs of a batch as a file."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runqueue.records.job import COLUMNS
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines
from tests.runqueue.cli.exporting import over, rows_of
from tests.runqueue.cli.test_batches import soon


@pytest.fixture
def batch(either: Desk) -> str:
    """Five jobs: completed, failed, dead, unconfirmed, and one that is being submitted."""
    batch = batch_of(either, *lines(5))
    first, second, third, fourth, _ = either.claim()
    either.end([first])
    either.end([second], "failed")
    either.refuse([third], 'No such "engine",\nat all')
    either.lose([fourth])
    return batch


def give_result(desk: Desk, job_id: str, result: dict[str, Any]) -> None:
    """Have a job's run bring something else."""
    desk.client.set(f"runqueue:{{default}}:result:{job_id}", json.dumps(result))


def with_outputs(desk: Desk, *outputs: Any) -> str:
    """Hand in a batch whose jobs complete with these outputs."""
    batch = batch_of(desk, *lines(len(outputs)))
    jobs = desk.claim()
    desk.end(jobs)
    for job, output in zip(jobs, outputs, strict=True):
        give_result(desk, job.job_id, {"output": output})
    return batch


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_results_are_a_line_for_each_job_that_has_ended_in_the_order_of_the_upload(
    either: Desk, batch: str
) -> None:
    result = either.run("results", batch)

    rows = rows_of(result.stdout)
    assert [row["custom_id"] for row in rows] == ["order-0", "order-1", "order-2"]
    assert [row["state"] for row in rows] == ["completed", "failed", "dead"]
    assert rows[0]["output"] == "42"
    assert rows[2]["failure_reason"] == 'No such "engine",\nat all'
    assert result.exit_code == 1
    assert "2 of 5 jobs had not ended (submitting 1, unconfirmed 1)" in result.stderr


def test_errors_are_what_did_not_go_well(either: Desk, batch: str) -> None:
    rows = rows_of(either.run("results", "--errors", batch).stdout)
    assert [row["state"] for row in rows] == ["failed", "dead", "unconfirmed"]


def test_a_batch_that_is_over_is_written_whole(either: Desk) -> None:
    batch = over(either, 3)
    out = either.folder / "out.jsonl"
    out.write_text("of before\n")

    result = either.run("results", batch, "-o", str(out))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"3 jobs written to {out}\n"
    assert out.read_text() == either.run("results", batch).stdout
    assert [path.name for path in either.folder.glob("out*")] == ["out.jsonl"]


def test_what_has_ended_of_a_batch_that_is_not_over_is_written_and_the_rest_told(
    either: Desk, batch: str
) -> None:
    out = either.folder / "out.jsonl"
    result = either.run("results", batch, "-o", str(out))
    assert result.exit_code == 1
    assert len(rows_of(out.read_text())) == 3
    assert "2 of 5 jobs had not ended" in result.stderr
    assert "--wait" in result.stderr


def test_the_end_of_the_batch_is_waited_for(either: Desk) -> None:
    batch = batch_of(either, *lines(3))
    jobs = either.claim()
    with soon(either.client, either.end, jobs):  # type: ignore[arg-type]
        result = either.run("results", batch, "--wait")
    assert result.exit_code == 0
    assert len(rows_of(result.stdout)) == 3


def test_results_are_the_same_from_redis_and_over_http(desk: Desk, either: Desk) -> None:
    batch = over(desk, 20)
    assert either.run("results", batch).stdout == desk.run("results", batch).stdout


# Formats.


def test_results_as_a_table(either: Desk, batch: str) -> None:
    out = either.folder / "out.csv"
    either.run("results", "--errors", batch, "-o", str(out))
    rows = table_of(out)
    assert [row["custom_id"] for row in rows] == ["order-1", "order-2", "order-3"]
    assert rows[1]["failure_reason"] == 'No such "engine",\nat all'
    assert rows[0]["run_status"] == "failed"


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_packed_results_are_the_same(desk: Desk, name: str) -> None:
    batch = over(desk, 5)
    for one in (name, f"{name}.gz"):
        assert desk.run("results", batch, "-o", str(desk.folder / one)).exit_code == 0
    plain, packed = (desk.folder / one for one in (name, f"{name}.gz"))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_a_table_has_all_that_a_line_has(desk: Desk) -> None:
    batch = over(desk, 3)
    for row in rows_of(desk.run("results", batch).stdout):
        assert row.keys() <= set(COLUMNS)


def test_an_output_that_is_an_object_is_json_in_its_cell(desk: Desk) -> None:
    batch = with_outputs(desk, {"price": 5, "name": "ä"})
    out = desk.folder / "out.csv"
    desk.run("results", batch, "-o", str(out))
    (row,) = table_of(out)
    assert json.loads(row["output"]) == {"price": 5, "name": "ä"}


def test_what_a_spreadsheet_would_take_for_a_formula_is_text_in_a_table(desk: Desk) -> None:
    outputs: list[Any] = [
        '=HYPERLINK("http://x")',
        "+1+1",
        "-cmd",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "\uff1d1",
    ]
    outputs += ["-12.5", -3, "a=b", "a; b-c", "1,=1"]
    behind = ["x;=1+1", "x\t@SUM(A1)", 'x\n"=1', "x\r\n +1", "x;;-1", {"a": "x;=1"}]
    batch = with_outputs(desk, *outputs, *behind)
    out = desk.folder / "out.csv"

    desk.run("results", batch, "-o", str(out))

    assert [row["output"] for row in table_of(out)] == [
        *('\'=HYPERLINK("http://x")', "'+1+1", "'-cmd", "'@SUM(A1)", "'\t'=1", "' =1", "'\uff1d1"),
        *("-12.5", "-3", "a=b", "a; b-c", "1,=1"),
        *("x;'=1+1", "x\t'@SUM(A1)", "x\n\"'=1", "x\r\n '+1", "x;;'-1", '{"a":"x;\'=1"}'),
    ]
    desk.run("results", batch, "-o", str(desk.folder / "out.jsonl"))
    rows = rows_of((desk.folder / "out.jsonl").read_text())
    assert [row["output"] for row in rows] == [*outputs, *behind]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_metadata_is_one_column_of_results(either: Desk, form: str) -> None:
    batch = batch_of(either, line("a", metadata={"order": "=17", "b": "ä"}), line("b"))
    either.end(either.claim())
    out = either.folder / f"out.{form}"
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")

    assert either.run("results", batch, "-o", str(out)).exit_code == 0

    if form == "jsonl":
        found = [row["metadata"] for row in rows_of(out.read_bytes())]
    else:
        rows = table_of(out) if form == "csv" else parquet.read_table(out).to_pylist()
        found = [json.loads(row["metadata"]) for row in rows]
    assert found == [{"order": "=17", "b": "ä"}, {}]


def test_results_as_parquet_have_types(either: Desk) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    batch = with_outputs(either, {"price": 5}, "=1", None)
    out = either.folder / "out.parquet"

    result = either.run("results", batch, "-o", str(out))

    assert result.stdout == f"3 jobs written to {out}\n"
    table = parquet.read_table(out)
    assert tuple(table.column_names) == tuple(COLUMNS)
    rows = table.to_pylist()
    assert [row["output"] for row in rows] == ['{"price":5}', '"=1"', None]
    assert rows[0]["ended_at"].tzinfo is not None
    assert [row["attempts"] for row in rows] == [1, 1, 1]
    assert [path.name for path in either.folder.glob("out*")] == ["out.parquet"]


def test_results_of_any_shape_find_their_place_in_parquet(desk: Desk) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    batch = batch_of(desk, *lines(2))
    jobs = desk.claim()
    desk.end(jobs)
    strange = {"app_url": ["x"], "output": 1.5, "result_omitted": "no"}
    give_result(desk, jobs[0].job_id, strange)
    give_result(desk, jobs[1].job_id, {"screenshot_urls": ["https://a.test"]})
    out = desk.folder / "out.parquet"

    assert desk.run("results", batch, "-o", str(out)).exit_code == 0

    first, second = parquet.read_table(out).to_pylist()
    assert (first["app_url"], first["output"]) == ('["x"]', "1.5")
    assert second["screenshot_urls"] == '["https://a.test"]'


def test_a_parquet_file_of_no_lines_can_be_read(desk: Desk) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = desk.folder / "out.parquet"
    assert desk.run("results", "--errors", over(desk, 1), "-o", str(out)).exit_code == 0
    assert parquet.read_table(out).num_rows == 0


def test_parquet_without_its_library_names_the_extra(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = desk.run("results", over(desk, 1), "-o", str(desk.folder / "out.parquet"))
    assert result.exit_code == 2
    assert "pip install 'runqueue[parquet]'" in result.stderr


def test_no_errors_are_an_empty_file(either: Desk) -> None:
    out = either.folder / "out.jsonl"
    assert either.run("results", "--errors", over(either, 1), "-o", str(out)).exit_code == 0
    assert out.read_text() == ""


# What goes wrong.


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.json", "out.parquet.gz"])
def test_a_file_of_another_kind_is_refused(desk: Desk, name: str) -> None:
    result = desk.run("results", over(desk, 1), "-o", str(desk.folder / name))
    assert result.exit_code == 2
    assert ".jsonl, .csv" in result.stderr


def test_a_batch_that_is_none_leaves_the_file_as_it_was(either: Desk) -> None:
    out = either.folder / "out.jsonl"
    out.write_text("of before\n")
    assert either.run("results", "nonsense", "-o", str(out)).exit_code == 3
    assert [path.name for path in either.folder.glob("out*")] == ["out.jsonl"]
    assert out.read_text() == "of before\n"


def test_a_folder_that_is_none(desk: Desk) -> None:
    result = desk.run("results", over(desk, 1), "-o", str(desk.folder / "none" / "out.jsonl"))
    assert result.exit_code == 1
    assert "cannot write results to" in result.stderr


def test_a_full_device_is_told(desk: Desk) -> None:
    result = desk.run("results", over(desk, 1), "-o", "/dev/full")
    assert result.exit_code == 1
    assert "No space left" in result.stderr


def test_the_results_of_an_account_without_workers_are_told_as_missing(desk: Desk) -> None:
    batch = batch_of(desk, line("a"))
    result = desk.run("results", batch)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 of 1 job had not ended (ready 1)" in result.stderr
