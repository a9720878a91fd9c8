"""`runqueue results`: jobs that have ended as a file, one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from runqueue.cli.follow.watch import FollowedJobs, watch
from runqueue.cli.results.formats import Format, ResultsKind, format_of, write_rows
from runqueue.cli.results.output_file import is_special, new_file
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_selection import FilterOptions
from runqueue.cli.shared.options import with_options
from runqueue.cli.shared.output import state_words
from runqueue.cli.shared.queues import Url, home_of, opened
from runqueue.producer.listing import ALL, Filter
from runqueue.records.batch import Batch
from runqueue.records.job import Job, JobState

#: Seconds between two progress lines.
_QUIET_SECONDS = 5.0

OneBatch = Annotated[str | None, typer.Argument(metavar="BATCH", help="As --batch.")]
State = Annotated[JobState | None, typer.Option(help="Only jobs that ended in this state.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="The file: .jsonl, .csv (or with .gz behind it) or .parquet; an existing"
        " one is replaced at the end.",
    ),
]
Errors = Annotated[
    bool,
    typer.Option(
        "--errors", help="Only failed, canceled and dead jobs, and of a batch the unconfirmed ones."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the batch is over.")]


@dataclass(frozen=True, slots=True)
class ExportOptions(FilterOptions):
    """The options that choose the jobs, and the file."""

    one: OneBatch = None
    state: State = None
    errors: Errors = False
    output: Output = None
    wait: Wait = False
    url: Url = None

    @property
    def chosen(self) -> Filter:
        """The filters."""
        wanted = self.wanted._replace(state=self.state)
        if self.one and self.batch:
            raise ended("name the batch once", Exit.USAGE)
        return wanted._replace(batch=self.one or self.batch)


@with_options
def results(options: ExportOptions) -> None:
    """Write jobs that have ended and match the filters, one line each.

    Those of a batch come in the order of the upload; if some of it have not ended, the exit code is
    1. Others, and what Redis cannot tell, come the newest end first; with an archive, the last
    seconds may be missing. Without -o the lines go to stdout, as JSON.
    """
    output, errors = options.output, options.errors
    wanted = format_of(output) if output else Format(ResultsKind.JSONL)
    with opened(options.url) as queue:
        chosen, account, found = options.chosen, options.account, None
        if chosen == ALL and account is None:
            words = "name a batch, or give filters (--group, --state, --since and others)"
            raise ended(words, Exit.USAGE)
        if chosen.batch is None and options.wait:
            raise ended("--wait needs a batch", Exit.USAGE)
        if chosen.batch:
            if options.wait:
                watch(queue, FollowedJobs(queue, [chosen.batch]))
            # Read first: jobs that end from here on may be missing, and are reported so.
            found = queue.get_batch(chosen.batch)
        whose = account or (found.account if found else home_of(queue))
        jobs = queue.iter_results(None, chosen, account=whose, errors=errors)
        _write(output, wanted, jobs, found.total if found else None)
        if found:
            _report_missing(found, queue.get_batch(found.id))


def _write(
    output: Path | None, wanted: Format, jobs: Iterator[Job], total: int | None = None
) -> None:
    if output is None:
        write_rows(sys.stdout.buffer, wanted, (job.as_row() for job in jobs))
        sys.stdout.buffer.flush()
        return
    rows = _Rows(jobs, total)
    with new_file(output) as file:
        write_rows(file, wanted, rows)
    if not is_special(output):
        typer.echo(f"{counted(rows.count, 'job')} written to {output.resolve()}")


class _Rows:
    """The rows of jobs, counted; a line now and then says how many were written."""

    def __init__(self, jobs: Iterator[Job], total: int | None) -> None:
        self.count = 0
        self._jobs, self._total = jobs, total

    def __iter__(self) -> Iterator[dict[str, Any]]:
        said = time.monotonic()
        for job in self._jobs:
            yield job.as_row()
            self.count += 1
            if time.monotonic() - said > _QUIET_SECONDS:
                said = time.monotonic()
                of = "" if self._total is None else f" of {self._total:,}"
                print_err(f"{self.count:,}{of} jobs written")


def _as_of(found: Batch) -> str | None:
    """Return when a batch was over: while that is unchanged, no job of it was submitted again."""
    at = found.finished_at if found.is_over else None
    return at.isoformat() if at else None


def _report_missing(before: Batch, after: Batch) -> None:
    """Report which jobs may be missing; the exit code reports it, too.

    Args:
        before, after: the batch before and after it was read: the file is complete only if both
            are over, at the same time.
    """
    found = after if before.is_over else before
    waiting = {state.value: n for state, n in found.states.items() if not state.is_over}
    if missing := sum(waiting.values()):
        print_err(
            f"runqueue: {missing:,} of {counted(found.total, 'job')} had not ended"
            f" ({state_words(waiting)}): repeat the command, or give --wait, for all of them"
        )
    elif _as_of(before) != _as_of(after):
        print_err("runqueue: jobs were submitted again while they were read: repeat the command")
    else:
        return
    raise typer.Exit(Exit.NOT_ALL_COMPLETED)
