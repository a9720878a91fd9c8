"""`runqueue submit`: check a file, hand it in, and follow its jobs to their ends."""

import math
import os
import shlex
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runqueue import ids
from runqueue.cli.exits import Exit, errors_told, tell
from runqueue.cli.follow import SOONEST, Following, be_patient, next_pause
from runqueue.cli.holds import Holds
from runqueue.cli.lines import Checked, check, opened
from runqueue.cli.report import report_of, say_checked, say_end, say_handed_in
from runqueue.cli.results import Results, ResultsError
from runqueue.cli.show import display
from runqueue.cli.upload import HandedIn, hand_in
from runqueue.cli.words import counted
from runqueue.errors import QueueUnavailable, RunQueueError
from runqueue.job import JobState
from runqueue.queue import RunQueue

#: Seconds between two words on how far the handing in is.
_QUIET_SECONDS = 2.0
_GRACE = "RUNQUEUE_UNCONFIRMED_GRACE_SECONDS"
#: An unconfirmed job is found or submitted again, where that can be done, by two searches half a
#: minute apart, the first no sooner than the grace: until so many graces, or seconds beyond one.
_GRACES, _BEYOND = 2.5, 60.0


@dataclass(frozen=True, slots=True)
class _Asked:
    file: str
    wait: bool
    results: Path | None
    as_json: bool
    namespace: str
    skip_invalid: bool


def submit(
    file: Annotated[str, typer.Argument(help="One job a line, as JSON; - reads stdin.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every job has ended.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Write each job's end to this file; implies --wait.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file only; needs no queue.")
    ] = False,
    namespace: Annotated[
        str,
        typer.Option(help="The namespace of lines that name none; custom_ids are unique in it."),
    ] = "",
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid",
            help="Hand in the good lines although others are bad; the exit code is then that of the"
            " jobs.",
        ),
    ] = False,
) -> None:
    """Hand in a file of jobs.

    Every line is checked before the first is handed in; a bad one is named on stderr, and nothing
    is handed in then. Handing in a file again makes no second job of a line with a custom_id.

    With --wait the command ends when every job has ended, or has been unconfirmed for longer than
    the search for its run takes: two and a half times RUNQUEUE_UNCONFIRMED_GRACE_SECONDS (30), or a
    minute more than it, whichever is longer. Give that variable the workers' value. The wait covers
    every line, also those whose jobs were known.
    """
    if namespace and not ids.is_name(namespace):
        raise typer.BadParameter(
            "expected 1 to 32 of a-z, 0-9, _ and -, the first a letter or digit",
            param_hint="--namespace",
        )
    if results is not None and (str(results) == "-" or _same_file(file, results)):
        raise typer.BadParameter("expected a file other than the jobs'", param_hint="--results")
    asked = _Asked(file, wait or results is not None, results, as_json, namespace, skip_invalid)
    grace = _grace()
    with errors_told():
        checked = _checked(asked)
        if dry_run:
            code = _tell_bad(checked, asked)
            say_checked(checked, as_json=as_json)
        else:
            code = _run(checked, asked, grace)
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


def _checked(asked: _Asked) -> Checked:
    try:
        with opened(asked.file) as lines:
            return check(asked.file, lines, asked.namespace)
    except OSError as error:
        said = f"cannot read {asked.file}: {error.strerror or error}"
        raise typer.BadParameter(said, param_hint="FILE") from None


def _run(checked: Checked, asked: _Asked, grace: float) -> Exit:
    with ExitStack() as stack:
        queue = stack.enter_context(RunQueue())
        checked.refuse_accounts(queue.accounts())
        if _tell_bad(checked, asked):
            return Exit.INVALID
        results = stack.enter_context(_results(asked.results)) if asked.results else None
        handed = _hand_in(queue, checked)
        code = _tell_conflicts(checked, handed, asked)
        report = report_of(checked, handed)
        if not asked.as_json:
            say_handed_in(checked, handed)
        if asked.wait:
            following = Following(queue, handed.job_ids, grace)
            try:
                _follow(queue, following, results)
            except (KeyboardInterrupt, QueueUnavailable, ResultsError) as error:
                return _stopped(error, asked, checked, handed)
            code = code or _verdict(following.states)
            report |= {"states": dict(following.states)}
            report |= {"results": str(asked.results) if asked.results else None}
        say_end(report, as_json=asked.as_json, waited=asked.wait)
    return code


def _results(path: Path) -> Results:
    try:
        return Results(path)
    except ResultsError as error:
        raise typer.BadParameter(str(error), param_hint="--results") from None


def _tell_bad(checked: Checked, asked: _Asked) -> Exit:
    for line in checked.bad:
        tell(f"{checked.name}:{line.number}: {line.field}: {line.message}")
    if not checked.bad:
        return Exit.OK
    lines = counted(checked.bad_lines, "bad line")
    if asked.skip_invalid:
        tell(f"{lines} skipped")
        return Exit.OK
    tell(f"{lines}; nothing was handed in (--skip-invalid hands in the others)")
    return Exit.INVALID


def _hand_in(queue: RunQueue, checked: Checked) -> HandedIn:
    done, quiet_until = 0, time.monotonic() + _QUIET_SECONDS

    def told(lines: int) -> None:
        nonlocal done, quiet_until
        done += lines
        if time.monotonic() > quiet_until:
            quiet_until = time.monotonic() + _QUIET_SECONDS
            tell(f"{done:,} of {counted(checked.jobs, 'line')} handed in")

    try:
        return hand_in(queue, checked, told)
    except (KeyboardInterrupt, RunQueueError):
        tell("The file was perhaps not handed in whole; hand it in again, and it will be.")
        if checked.without_id:
            # The one step that could have been cut off after its effect is the sealing.
            tell(
                f"First look at `runqueue stats`: {counted(checked.without_id, 'line')} without a"
                " custom_id would run twice if the file was accepted after all."
            )
        raise


def _tell_conflicts(checked: Checked, handed: HandedIn, asked: _Asked) -> Exit:
    for line, job_id in handed.conflicts:
        said = f"{line.custom_id}: names job {job_id}, which was handed in with another body"
        tell(f"{checked.name}:{line.number}: custom_id: {said}")
    return Exit.INVALID if handed.conflicts and not asked.skip_invalid else Exit.OK


def _follow(queue: RunQueue, following: Following, results: Results | None) -> None:
    """Look at the jobs until there is nothing left to wait for."""
    unwritten: list[str] = []
    pause, answered = SOONEST, time.monotonic()
    with display(following.total) as shown:
        holds = Holds(queue, shown.say)
        while True:
            moved = 0
            try:
                ended = following.look()
                unwritten += ended if results else ()
                moved, over = len(ended), following.done >= following.total
                shown.show(following)
                if results:
                    unwritten += following.stuck if over else ()
                    results.write(queue, unwritten)
                if over:
                    break
                holds.look(following.accounts)
                answered = time.monotonic()
            except QueueUnavailable as error:
                be_patient(error, answered, shown.say)
            pause = next_pause(pause, moved, following.total - following.done)
            time.sleep(pause)
    if results:
        results.finish()


def _stopped(error: BaseException, asked: _Asked, checked: Checked, handed: HandedIn) -> Exit:
    """Say why the jobs are followed no further, and how to follow them again."""
    tell("runqueue: interrupted" if isinstance(error, KeyboardInterrupt) else f"runqueue: {error}")
    if checked.without_id:
        # Handing these lines in again would make new jobs of them, and new, paid, runs.
        batches = " and ".join(f"runqueue status {batch}" for batch in handed.batches.values())
        tell(
            f"The jobs go on. Do not hand the file in again: {counted(checked.without_id, 'line')}"
            f" without a custom_id would run twice. To follow them: {batches}"
        )
    elif asked.file == "-":
        tell("The jobs go on. Hand in the same lines again to follow them.")
    else:
        tell(f"The jobs go on. To follow them: {shlex.join(['runqueue', *sys.argv[1:]])}")
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return Exit.UNAVAILABLE if isinstance(error, QueueUnavailable) else Exit.NOT_ALL_COMPLETED


def _verdict(states: Counter[str]) -> Exit:
    all_completed = states[JobState.COMPLETED.value] == states.total()
    return Exit.OK if all_completed else Exit.NOT_ALL_COMPLETED
