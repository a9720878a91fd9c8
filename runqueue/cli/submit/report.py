"""The reports of `runqueue submit` on a file: its content, and what became of it."""

from typing import Any

import orjson
import typer

from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.output import print_states
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.producer.upload_report import UploadReport


def found_in(reading: CheckedInput) -> dict[str, Any]:
    """Return the JSON report on a file that was checked."""
    return {
        "file": reading.source.name,
        "jobs": reading.checker.jobs.total(),
        "repeated": reading.checker.repeated,
        "invalid": [line._asdict() for line in reading.bad],
        "invalid_lines": reading.checker.bad_lines,
    }


def report_of(reading: CheckedInput, outcome: UploadReport) -> dict[str, Any]:
    """Return the JSON report on a file that was submitted."""
    return {
        **found_in(reading),
        "new": outcome.new.total(),
        "known": outcome.known_jobs,
        "batches": outcome.batches,
        "known_in": [
            {
                "batch": batch,
                "jobs": known.jobs,
                "since": known.since.isoformat() if known.since else None,
            }
            for batch, known in outcome.known.items()
        ],
        "conflicts": [conflict._asdict() for conflict in outcome.shown_conflicts],
        "conflicting_lines": outcome.conflicts,
    }


def print_submitted(reading: CheckedInput, outcome: UploadReport) -> None:
    """Report what became of a file's lines."""
    for account, batch in outcome.batches.items():
        where = "" if account == "default" else f" (account {account})"
        typer.echo(f"batch {batch}{where}")
    typer.echo(f"{counted(outcome.new.total(), 'job')} submitted")
    for known_in, known in outcome.known.items():
        words = [f"{known.jobs:,} known already"]
        if known_in != "":
            words.append(f"in batch {known_in}" if known_in else "without a batch")
        if known.since:
            words.append(f"since {known.since:%Y-%m-%d %H:%M} UTC")
        typer.echo(", ".join(words))
    say_repeated(reading)
    if outcome.conflicts:
        typer.echo(f"{counted(outcome.conflicts, 'line')} refused")


def say_repeated(reading: CheckedInput) -> None:
    """Report how many lines repeat a job."""
    repeated = reading.checker.repeated
    if repeated:
        repeat = "line repeats" if repeated == 1 else "lines repeat"
        typer.echo(f"{repeated:,} {repeat} the job of an earlier line")


def say_end(report: dict[str, Any], *, as_json: bool, waited: bool) -> None:
    """Report how a file's jobs ended, if they were waited for; as JSON, the whole report."""
    if as_json:
        typer.echo(orjson.dumps(report))
    elif waited:
        print_states(report["states"])
        if report["results"]:
            typer.echo(f"results: {report['results']}")
