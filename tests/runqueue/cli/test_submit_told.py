"""What `runqueue submit` and its neighbours say where a new user would be misled."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.runqueue.cli.commanding import Desk, line, lines


@pytest.mark.parametrize("between", [0, 2_500])
def test_of_two_lines_with_one_custom_id_the_first_stands(either: Desk, between: int) -> None:
    same = [line("same", prompt=f"Prompt {number}.") for number in range(9)]
    file = either.file([same[0], *lines(between), *same[1:]])

    report = either.json("submit", file, "--skip-invalid")

    assert [bad["number"] for bad in report["invalid"]] == [between + 2 + n for n in range(8)]
    assert "at line 1, with another body" in report["invalid"][0]["message"]
    assert report["new"] == between + 1


def test_what_an_aborted_batch_never_ran_is_not_done_and_has_no_row(desk: Desk) -> None:
    out = desk.folder / "out.jsonl"
    with desk.working(lambda desk, jobs: desk.end(jobs, "failed")):
        result = desk.run("submit", desk.file(lines(50)), "--canary", "5", "--results", str(out))

    assert result.exit_code == 1
    assert "5/50 done" in result.stderr
    assert "50/50 done" not in result.stderr
    assert len(out.read_text().splitlines()) == 5


def test_jobs_that_are_known_in_a_canceled_batch_are_told(either: Desk) -> None:
    file = either.file(lines(3))
    batch = either.json("submit", file)["batches"]["default"]
    either.queue.cancel_batch(batch)

    said = either.run("submit", file, "--canary", "1").stderr

    assert f"batch {batch}, known before: it was canceled; what of it has not run" in said
    assert "known before keep the rules, the callback and the metadata of their own" in said


def test_a_batch_that_was_never_accepted_is_told_wherever_it_is_shown(either: Desk) -> None:
    batch = either.queue.open_batch("cut off")
    (job,) = either.queue.enqueue_many([line("a")], batch=batch)

    shown = either.run("status", job.job_id)
    resumed = either.run("batch", "resume", batch)

    for said in (shown.stderr, resumed.stderr):
        assert f"batch {batch}: it was not accepted yet: its upload is under way" in said
    assert (shown.exit_code, resumed.exit_code) == (0, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"custom_id": "Prüfe"}\n'.encode("latin-1"), "1: line: expected UTF-8, got byte 0xfc"),
        (
            b"PK\x03\x04 and so on",
            "1: line: expected text, or text compressed with gzip, got a zip",
        ),
        (b"\n[\n{}\n]\n", "2: line: expected one JSON object a line, got an array: jq -c '.[]'"),
        (b'{\n  "custom_id": "a"\n}\n', "1: line: expected one JSON object a line, got an object"),
    ],
)
def test_what_is_no_lines_of_json_is_told_with_what_to_do(
    desk: Desk, text: bytes, said: str
) -> None:
    file = desk.folder / "jobs.jsonl"
    file.write_bytes(text)

    result = desk.run("submit", str(file))

    assert result.exit_code == 3
    assert f"{file}:{said}" in result.stderr


def test_where_packed_lines_were_cut_is_told_by_the_line(desk: Desk) -> None:
    texts = [json.dumps(line(f"order-{n}", prompt=f"{n * 7919}")) + "\n" for n in range(3_000)]
    packed = gzip.compress("".join(texts).encode())
    file = desk.folder / "jobs.jsonl.gz"
    file.write_bytes(packed[: len(packed) * 3 // 4])

    result = desk.run("validate", str(file))

    (said,) = [row for row in result.stderr.splitlines() if "gzip data is incomplete" in row]
    assert int(said.removeprefix(f"{file}:").partition(":")[0]) > 1_000
    assert "cannot be read to its end; before that " in result.stdout


def test_an_empty_file_is_said_to_be_one(either: Desk) -> None:
    result = either.run("submit", either.file([]))

    assert result.exit_code == 0
    assert "jobs.jsonl: it contains no job" in result.stderr
