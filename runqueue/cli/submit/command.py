"""`runqueue submit`: submits a file while it is read, and follows its jobs to their ends."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runqueue.cli.follow.batch_holds import held_words
from runqueue.cli.follow.watch import unconfirmed_grace
from runqueue.cli.results.formats import format_of
from runqueue.cli.shared.exit_codes import Exit, exit_on_error, print_err
from runqueue.cli.shared.input_lines import Source, Unreadable, open_input
from runqueue.cli.shared.options import OneObject, with_options
from runqueue.cli.shared.queues import Queue, Url, opened
from runqueue.cli.submit import batch_options, input_options
from runqueue.cli.submit.gateway_upload import submit_remotely
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.cli.submit.report import print_submitted, report_of, say_end
from runqueue.cli.submit.submit_file import UploadOptions, submit_file
from runqueue.cli.submit.wait import wait as wait_for
from runqueue.errors import BatchNotFound
from runqueue.producer.queue import RunQueue
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import NO_RULES

#: Holds that end a batch before its jobs have run; and how many batches are checked for these.
_ENDED, _MOST_BATCHES = frozenset({"aborted", "canceled", "expired"}), 20


@dataclass(frozen=True, slots=True)
class _SubmitOptions:
    upload: UploadOptions
    wait: bool
    results: Path | None
    as_json: bool


@with_options
def submit(
    file: input_options.File,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every job has ended.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Then write the jobs' results to this file; implies --wait.")
    ] = None,
    as_json: OneObject = False,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid",
            help="Submit the good lines although others are bad; the exit code is then that of the"
            " jobs.",
        ),
    ] = False,
    options: input_options.InputOptions,
    name: batch_options.Name = "",
    metadata: batch_options.Metadata = None,
    ruled: batch_options.RuleOptions,
    url: Url = None,
) -> None:
    """Submit a file of jobs, of any length.

    Lines are checked and sent as they are read, and nothing runs before the whole file is accepted:
    if a line is bad, it is named on stderr and nothing is submitted. Submitting a file again makes
    no second job of a line with a custom_id; after a killed upload it submits the rest.

    With --wait the command ends when every job has ended, or has been unconfirmed for longer than
    the search for its run takes: two and a half times RUNQUEUE_UNCONFIRMED_GRACE_SECONDS (30), or a
    minute more than it, whichever is longer. Give that variable the workers' value. The wait covers
    every line, also those of known jobs.
    """
    read = options.reader(file)
    if results is not None:
        _check_results(file, results)
    if wait or results:
        unconfirmed_grace()  # a wrong value ends the command before anything is submitted
    name = batch_options.name_of(name, file)
    entries = batch_options.metadata_of(metadata)
    upload = UploadOptions(name, options.namespace, ruled.rules, skip_invalid, entries)
    wanted = _SubmitOptions(upload, wait or results is not None, results, as_json)
    with exit_on_error(), open_input(file, read) as source:
        code = _run(source, wanted, url)
    raise typer.Exit(code)


def _check_results(file: str, results: Path) -> None:
    """End the command if the results cannot be written, before anything is submitted."""
    is_same = results.exists() and Path(file).exists() and results.samefile(file)
    if str(results) == "-" or is_same:
        raise typer.BadParameter("expected a file other than the jobs'", param_hint="--results")
    format_of(results, "--results")
    if not os.access(results.resolve().parent, os.W_OK):
        words = f"cannot write results to {results}: its folder is missing or not writable"
        raise typer.BadParameter(words, param_hint="--results")


def _run(source: Source, wanted: _SubmitOptions, url: str | None) -> Exit:
    known: dict[str, list[str]] = {}
    with opened(url) as queue:
        try:
            if isinstance(queue, RunQueue):
                kept = known if wanted.wait else None
                found, outcome = submit_file(queue, source, wanted.upload, kept)
            else:
                found, outcome = submit_remotely(queue, source, wanted.upload)
        except Unreadable:
            print_err("Nothing was submitted.")
            return Exit.INVALID
        if outcome is None:
            print_err(
                f"{found.summary()}; nothing was submitted (--skip-invalid submits the others)"
            )
            return Exit.INVALID
        code = _report_lines(found, outcome, wanted)
        _report_known(queue, outcome, wanted.upload)
        if not wanted.as_json:
            print_submitted(found, outcome)
        report = report_of(found, outcome)
        if wanted.wait:
            states, waited = wait_for(
                queue, sorted(found.checker.jobs), outcome, known, wanted.results
            )
            code = code or waited
            report |= {"states": states}
            report |= {"results": str(wanted.results) if wanted.results else None}
        say_end(report, as_json=wanted.as_json, waited=wanted.wait)
    return code


def _report_known(queue: Queue, outcome: UploadReport, upload: UploadOptions) -> None:
    """Report what holds known jobs, and that the rules do not apply to them."""
    if outcome.known and (upload.rules != NO_RULES or upload.metadata):
        print_err(
            "Jobs that were known before keep the rules, the callback and the metadata of their own"
            " batches."
        )
    for batch in list(filter(None, outcome.known))[:_MOST_BATCHES]:
        with suppress(BatchNotFound):
            found = queue.get_batch(batch)
            if found.held in _ENDED:
                words = "what of it has not run does not run by being submitted again"
                print_err(f"batch {batch}, known before: {held_words(found)}; {words}")


def _report_lines(found: CheckedInput, outcome: UploadReport, wanted: _SubmitOptions) -> Exit:
    """Report lines that were skipped or are in conflict, and a file without lines."""
    if not found.lines:
        print_err(f"{found.source.name}: it contains no job")
    if found.checker.bad_lines:
        print_err(f"{found.summary()} skipped")
    for line in outcome.shown_conflicts:
        said = f"names job {line.job_id}, which was submitted with another body"
        said = line.error or f"custom_id: {line.custom_id}: {said}"
        print_err(f"{found.source.name}:{line.line}: {said}")
    if (more := outcome.conflicts - len(outcome.shown_conflicts)) > 0:
        print_err(f"{more:,} more are in conflict")
    return Exit.INVALID if outcome.conflicts and not wanted.upload.skip_invalid else Exit.OK
