"""Tables in which something is amiss that would take other rows with it, or a value away."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runqueue.cli.commanding import Desk

GOOD = [f"c{number},Read." for number in range(500)]


def table(desk: Desk, *rows: str) -> str:
    path = desk.folder / "jobs.csv"
    path.write_text("".join(f"{row}\n" for row in ("custom_id,body.prompt", *rows)))
    return str(path)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ('b,"Read it.', 'd,"Read it."', "expected CSV"),
        ('b,"Read it.', "d,Read it.", "expected CSV"),
        ('b,"Read it.', 'd,Read it.","more"', "expected 2 cells, one a column, got 3"),
    ],
)
def test_a_stray_quote_that_took_other_rows_with_it_is_not_skipped(
    desk: Desk, first: str, last: str, said: str
) -> None:
    file = table(desk, "a,Read it.", first, *GOOD, last)

    result = desk.run("submit", file, "--skip-invalid")

    assert result.exit_code == 3
    assert f"{file}:3: line: {said}" in result.stderr
    assert "this row takes 502 lines, up to 504: is a quote in it misplaced" in result.stderr
    assert "Nothing was submitted." in result.stderr
    assert desk.states() == {}


def test_a_stray_quote_in_a_line_of_its_own_is_skipped_with_that_line(desk: Desk) -> None:
    report = desk.json("submit", table(desk, 'a,"Read"it.', *GOOD), "--skip-invalid")

    assert (report["jobs"], report["invalid_lines"]) == (500, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_row_without_an_end_takes_no_more_memory_than_a_line(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"custom_id,body.prompt\n")
        for _ in range(500):
            file.write((b'"' + b"a" * 1000 + b'\n",') * 1000)
    code = (
        "from runqueue.cli.app import run\n"
        "try: run()\n"
        # Not `ru_maxrss`, which begins with the memory of the process that started this one.
        "finally: print(*[s for s in open('/proc/self/status') if s.startswith('VmHWM')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=desk.folder,
    )

    assert done.returncode == 3
    assert f"{path}:2: line: expected at most 8 MiB a row" in done.stderr
    assert int(done.stdout.rpartition("VmHWM:")[2].split()[0]) < 200_000, "kB"


@pytest.mark.parametrize("cell", ["NaN", "Infinity", "1e999", "[1e999]"])
def test_a_number_that_json_has_not_is_a_bad_line(desk: Desk, cell: str) -> None:
    file = desk.folder / "jobs.csv"
    file.write_text(f"order\n{cell}\n")
    template = (
        '{"kind": "workflow", "body": {"workflow_id": "w", "parameters": {"n": "{order:json}"}}}'
    )

    result = desk.run("submit", str(file), "--template", template)

    assert result.exit_code == 3
    assert f"{file}:2: body.parameters.n: expected JSON in its cell" in result.stderr


def test_a_time_that_is_no_number_of_json_is_not_now(desk: Desk) -> None:
    file = desk.folder / "jobs.csv"
    file.write_text("custom_id,body.prompt,run_at\na,Read.,1e999\n")

    result = desk.run("submit", str(file))

    assert result.exit_code == 3
    assert f"{file}:2: run_at: " in result.stderr
    assert desk.states() == {}
