"""`runqueue submit`: submits a file while it is read, and follows its jobs to their ends."""

import math
import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runqueue.cli.follow.batch_holds import held_words
from runqueue.cli.follow.job_id_store import JobList
from runqueue.cli.results.line_file import ResultsError
from runqueue.cli.results.live_file import Results
from runqueue.cli.shared.exit_codes import Exit, exit_on_error, print_err
from runqueue.cli.shared.options import OneObject, with_options
from runqueue.cli.shared.queues import Queue, Url, opened
from runqueue.cli.submit import batch_options, input_options
from runqueue.cli.submit.gateway_upload import submit_remotely
from runqueue.cli.submit.input_lines import Source, Unreadable, open_input
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.cli.submit.report import print_submitted, report_of, say_end
from runqueue.cli.submit.submit_file import UploadOptions, submit_file
from runqueue.cli.submit.validate import check
from runqueue.cli.submit.wait import Stopped, follow, to_follow, verdict
from runqueue.errors import BatchNotFound
from runqueue.producer.queue import RunQueue
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import NO_RULES

_GRACE = "RUNQUEUE_UNCONFIRMED_GRACE_SECONDS"
#: Two searches half a minute apart, the first after the grace, find an unconfirmed job's run or let
#: it be submitted again. The wait lasts so many graces, or so many seconds beyond one.
_GRACES, _BEYOND = 2.5, 60.0
#: Holds that end a batch before its jobs have run; and how many batches are checked for these.
_ENDED, _MOST_BATCHES = frozenset({"aborted", "canceled", "expired"}), 20


@dataclass(frozen=True, slots=True)
class _SubmitOptions:
    upload: UploadOptions
    wait: bool
    results: Path | None
    as_json: bool
    grace: float


@with_options
def submit(
    file: input_options.File,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every job has ended.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Write each job's end to this file; implies --wait.")
    ] = None,
    as_json: OneObject = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, as `runqueue validate` does.")
    ] = False,
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
    if results is not None and (str(results) == "-" or _same_file(file, results)):
        raise typer.BadParameter("expected a file other than the jobs'", param_hint="--results")
    namespace = options.namespace
    upload = UploadOptions(batch_options.name_of(name, file), namespace, ruled.rules, skip_invalid)
    wanted = _SubmitOptions(upload, wait or results is not None, results, as_json, _grace())
    with exit_on_error(), open_input(file, read) as source:
        if dry_run:
            code = check(source, namespace, as_json=as_json, skip_invalid=skip_invalid)
        else:
            code = _run(source, wanted, url)
    raise typer.Exit(code)


def _same_file(file: str, results: Path) -> bool:
    return results.exists() and Path(file).exists() and results.samefile(file)


def _grace() -> float:
    try:
        seconds = float(os.environ.get(_GRACE) or 30)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise typer.BadParameter("expected a number of seconds", param_hint=_GRACE)
    return max(_GRACES * seconds, seconds + _BEYOND)


def _run(source: Source, wanted: _SubmitOptions, url: str | None) -> Exit:
    with ExitStack() as stack:
        queue = stack.enter_context(opened(url))
        results = stack.enter_context(_results(wanted.results)) if wanted.results else None
        jobs = stack.enter_context(JobList())
        try:
            if isinstance(queue, RunQueue):
                keep_all = results is not None
                found, outcome = submit_file(queue, source, wanted.upload, jobs, keep_all=keep_all)
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
            following = to_follow(queue, found, outcome, jobs, wanted.grace, keep=bool(results))
            try:
                follow(queue, following, results)
            except Stopped as stopped:
                stopped.report(found, outcome, sys.argv[1:])
                return stopped.code
            code = code or verdict(following.states)
            report |= {"states": dict(following.states)}
            report |= {"results": str(wanted.results) if wanted.results else None}
        say_end(report, as_json=wanted.as_json, waited=wanted.wait)
    return code


def _report_known(queue: Queue, outcome: UploadReport, upload: UploadOptions) -> None:
    """Report what holds known jobs, and that the rules do not apply to them."""
    if outcome.known and upload.rules != NO_RULES:
        print_err(
            "Jobs that were known before keep the rules and the callback of their own batches."
        )
    for batch in list(filter(None, outcome.known))[:_MOST_BATCHES]:
        with suppress(BatchNotFound):
            found = queue.get_batch(batch)
            if found.held in _ENDED:
                words = "what of it has not run does not run by being submitted again"
                print_err(f"batch {batch}, known before: {held_words(found)}; {words}")


def _results(path: Path) -> Results:
    try:
        return Results(path)
    except ResultsError as error:
        raise typer.BadParameter(str(error), param_hint="--results") from None


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
