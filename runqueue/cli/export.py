"""`runqueue results`: the jobs of a batch as a file, one line each."""

import csv
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from runqueue.cli.exits import Exit, errors_told, tell
from runqueue.cli.results import Results, ResultsError
from runqueue.cli.words import counted
from runqueue.job import Job, JobState
from runqueue.queue import RunQueue

#: Jobs written at once.
_CHUNK = 100
#: Seconds between two words on how far the writing is.
_QUIET_SECONDS = 5.0
_BAD = {JobState.FAILED, JobState.CANCELED, JobState.DEAD}
_NAMES = {".jsonl", ".ndjson", ".csv"}
#: What a table has of `Job.as_row`; the last ones a line of JSON has only where there is something.
COLUMNS = (
    *("custom_id", "job_id", "state", "run_id", "run_status", "output", "failure_reason"),
    *("attempts", "runs", "kind", "priority", "group", "batch"),
    *("created_at", "started_at", "ended_at", "webhook"),
    *("app_url", "recording_url", "screenshot_urls", "downloaded_files", "step_count"),
    "result_omitted",
)

#: Returns jobs as lines of the file.
_Write = Callable[[list[Job]], bytes]


def results(
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The id of a batch.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The file, .jsonl or .csv; one that exists is replaced, at the end.",
        ),
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Only jobs that failed, are dead or were canceled.")
    ] = False,
) -> None:
    """Write the jobs of a batch, one line each, in the order of the upload.

    Jobs that have not ended are among them, as they stand. Without -o they go to stdout, as JSON.
    """
    if output is not None and output.suffix not in _NAMES and not _is_special(output):
        raise typer.BadParameter("expected a name that ends in .jsonl or .csv", param_hint="-o")
    with errors_told(), RunQueue() as queue:
        total = queue.get_batch(batch).total
        jobs = (job for job in queue.iter_results(batch) if not errors or job.state in _BAD)
        if output is None:
            for lines, _ in _in_chunks(jobs, _as_json):
                sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()
            return
        try:
            written = _write(output, jobs, total)
        except ResultsError as error:
            tell(f"runqueue: {error}")
            raise typer.Exit(Exit.NOT_ALL_COMPLETED) from None
        typer.echo(f"{counted(written, 'job')} written to {output}")


def _is_special(path: Path) -> bool:
    return path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file())


def _write(path: Path, jobs: Iterable[Job], total: int) -> int:
    """Write a file; returns how many jobs are in it."""
    written, told = 0, time.monotonic()
    with Results(path) as file:
        if path.suffix == ".csv":
            file.append(_rows([list(COLUMNS)]))
        for lines, count in _in_chunks(jobs, _as_table if path.suffix == ".csv" else _as_json):
            file.append(lines)
            written += count
            if time.monotonic() - told > _QUIET_SECONDS:
                told = time.monotonic()
                tell(f"{written:,} of {counted(total, 'job')} written")
        file.finish()
    return written


def _in_chunks(jobs: Iterable[Job], write: _Write) -> Iterator[tuple[bytes, int]]:
    """Yield some lines, and of how many jobs they are."""
    left = iter(jobs)
    while some := list(islice(left, _CHUNK)):
        yield write(some), len(some)


def _as_json(jobs: list[Job]) -> bytes:
    return b"".join(orjson.dumps(job.as_row()) + b"\n" for job in jobs)


def _as_table(jobs: list[Job]) -> bytes:
    return _rows([[_cell(row.get(name)) for name in COLUMNS] for row in map(Job.as_row, jobs)])


def _rows(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, (dict, list, bool)) else value
