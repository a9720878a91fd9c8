"""`runqueue results` and `errors`: jobs that have ended as a file, one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runqueue.cli.follow.watch_batch import watch_batch
from runqueue.cli.results.formats import Format, as_csv, format_of, make
from runqueue.cli.results.line_file import ResultsError, is_special
from runqueue.cli.results.partial_file import Mark, Of, Part
from runqueue.cli.results.result_lines import ResultLine, result_lines
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_selection import Account, Group
from runqueue.cli.shared.options import Since, Until, with_options
from runqueue.cli.shared.output import state_words
from runqueue.cli.shared.queues import Queue, Url, find, home_of, opened
from runqueue.errors import RunQueueError
from runqueue.producer.listing import ALL, Filter
from runqueue.producer.results import BAD
from runqueue.records.batch import Batch
from runqueue.records.job import JobState

#: Seconds between two progress lines.
_QUIET_SECONDS = 5.0

OneBatch = Annotated[
    str | None,
    typer.Argument(metavar="BATCH", help="The id of a batch; or choose jobs by the filters."),
]
State = Annotated[JobState | None, typer.Option(help="Only jobs that ended in this state.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="The file: .jsonl, .csv (or with .gz behind it) or .parquet; an existing"
        " one is replaced at the end. If cut off, the same command continues it.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the batch is over.")]
Anew = Annotated[bool, typer.Option("--anew", help="Start over; discard a part written before.")]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of both commands."""

    batch: OneBatch = None
    group: Group = None
    state: State = None
    since: Since = None
    until: Until = None
    account: Account = None
    output: Output = None
    wait: Wait = False
    anew: Anew = False
    url: Url = None


@with_options
def results(
    options: ExportOptions,
    *,
    errors: Annotated[
        bool, typer.Option("--errors", help="Only jobs that went wrong, as `runqueue errors`.")
    ] = False,
) -> None:
    """Write jobs that have ended, one line each.

    Those of a batch come in the order of the upload; if some of them have not ended, the exit code
    is 1. With --group, --state, --since, --until or --account they are those of any batch or none,
    the newest end first. Without -o the lines go to stdout, as JSON.
    """
    _export(options, "errors" if errors else "results")


@with_options
def errors(options: ExportOptions) -> None:
    """Write the failed, canceled and dead jobs, and of a batch the unconfirmed ones.

    Otherwise as `runqueue results`.
    """
    _export(options, "errors")


def _export(options: ExportOptions, what: str) -> None:
    _check_choice(options)
    of, output = Of(options.batch or "", what), options.output
    wanted = None if output is None or is_special(output) else format_of(output)
    with opened(options.url) as queue:
        if options.batch is None:
            _export_ended(queue, options, of, wanted)
            return
        # Read first: jobs that end from here on may be missing, and are reported so.
        found = watch_batch(queue, of.batch) if options.wait else queue.get_batch(of.batch)
        if output is None or wanted is None:
            with closing(result_lines(queue, of.batch, errors=_errors(of))) as pages:
                _stream(pages, output)
        else:
            try:
                _write(queue, found, of, output.resolve(), wanted, anew=options.anew)
            except ResultsError as error:
                raise ended(str(error), error.code) from None
        _report_missing(found, queue.get_batch(of.batch))


def _check_choice(options: ExportOptions) -> None:
    """End the command unless a batch or a filter is given, and not both."""
    filtered = _filter(options) != ALL or options.account is not None
    if filtered == (options.batch is not None):
        filters = "--group, --state, --since, --until or --account"
        words = (
            f"not both a batch and {filters}" if filtered else f"name a batch, or give {filters}"
        )
        raise ended(words, Exit.USAGE)
    if filtered and options.wait:
        raise ended("--wait needs a batch", Exit.USAGE)


def _filter(options: ExportOptions) -> Filter:
    return Filter(options.group, state=options.state, since=options.since, until=options.until)


def _export_ended(queue: Queue, options: ExportOptions, of: Of, wanted: Format | None) -> None:
    """Write the jobs of a filter."""
    account = options.account or home_of(queue)
    lines = result_lines(queue, None, _filter(options), account=account, errors=_errors(of))
    with closing(lines) as pages:
        if options.output is None or wanted is None:
            _stream(pages, options.output)
            return
        target = options.output.resolve()
        try:
            with Part(target, of, anew=options.anew) as part:
                part.begin(None)
                _fill(part, pages)
                _finish(part, target, wanted)
        except ResultsError as error:
            raise ended(str(error), error.code) from None


def _stream(pages: Iterator[list[ResultLine]], output: Path | None) -> None:
    """Write to a pipe or device, which cannot be resumed."""
    texts: Iterator[bytes] = (b"".join(line.text for line in lines) for lines in pages)
    if output is not None and output.suffix == ".csv":
        texts = as_csv([line.text for line in lines] for lines in pages)
    if output is None:
        for text in texts:
            sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    with output.open("wb") as file:
        for text in texts:
            file.write(text)


def _errors(of: Of) -> bool:
    return of.what == "errors"


def _write(queue: Queue, found: Batch, of: Of, target: Path, wanted: Format, *, anew: bool) -> None:
    """Write a file, or continue its part."""
    with Part(target, of, anew=anew) as part:
        if part.rows and (_as_of(found) is None or part.as_of != _as_of(found)):
            _report_stale(part, part.drop_stale(_order(queue, found, of)))
        if part.rows:
            print_err(f"{counted(part.rows, 'job')} are in {part.path}: continuing after them")
        part.begin(_as_of(found))
        with _how_to_go_on(part):
            lines = result_lines(queue, of.batch, errors=_errors(of), after=part.last)
            with closing(lines) as pages:
                _fill(part, pages, found.total)
        _finish(part, target, wanted)


def _finish(part: Part, target: Path, wanted: Format) -> None:
    """Make the file of its part."""
    if not wanted.is_lines:
        with part.failing():
            make(target, wanted, part.chunks)
    part.end(rename=wanted.is_lines)
    typer.echo(f"{counted(part.rows, 'job')} written to {target}")


def _report_stale(part: Part, lines: int) -> None:
    if not lines:
        return
    words = "last line" if lines == 1 else f"last {lines:,} lines"
    why = "a job was submitted again, or one before them has ended"
    print_err(f"{part.path}: the {words} will be written anew: {why}")


def _as_of(found: Batch) -> str | None:
    """Return when a batch was over: while that is unchanged, no job of it was submitted again."""
    at = found.finished_at if found.is_over else None
    return at.isoformat() if at else None


def _order(queue: Queue, found: Batch, of: Of) -> Iterator[tuple[str, Mark | None]]:
    """Yield the jobs of a batch in the order of the upload, and how each wanted one ended."""
    for job in find(queue, Filter(batch=found.id), found.account):
        is_wanted = job.state in BAD if _errors(of) else job.is_over
        at = job.ended_at.isoformat() if job.ended_at else None
        yield job.id, Mark(job.state.value, at) if is_wanted else None


@contextmanager
def _how_to_go_on(part: Part) -> Iterator[None]:
    """Report what is written if the queue or the user ends the writing."""
    try:
        yield
    except (RunQueueError, KeyboardInterrupt):
        if words := part.how_to_go_on():
            print_err(f"runqueue: {words.removeprefix('; ')}")
        raise


def _fill(part: Part, pages: Iterator[list[ResultLine]], total: int | None = None) -> None:
    told = time.monotonic()
    for lines in pages:
        part.append_lines(lines)
        if time.monotonic() - told > _QUIET_SECONDS:
            told = time.monotonic()
            whole = "" if total is None else f"{part.rows:,} of "
            size = part.rows if total is None else total
            print_err(f"{whole}{counted(size, 'job')} written")


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
