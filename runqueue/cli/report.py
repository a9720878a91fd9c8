"""What `runqueue submit` says of a file: what was found in it, and what became of it."""

from typing import Any

import orjson
import typer

from runqueue.cli.lines import Checked
from runqueue.cli.show import print_states
from runqueue.cli.upload import HandedIn
from runqueue.cli.words import counted

_OF_THE_FILE = ("file", "jobs", "repeated", "invalid")


def report_of(checked: Checked, handed: HandedIn) -> dict[str, Any]:
    """Return what --json says of a file that was handed in."""
    return {
        "file": checked.name,
        "jobs": checked.jobs,
        "new": handed.new,
        "known": sum(known.jobs for known in handed.known.values()),
        "repeated": checked.repeated,
        "batches": handed.batches,
        "known_in": [
            {"batch": batch, "jobs": known.jobs, "since": known.since.isoformat()}
            for batch, known in handed.known.items()
        ],
        "invalid": [line._asdict() for line in checked.bad],
        "conflicts": [
            {"line": line.number, "custom_id": line.custom_id, "job_id": job_id}
            for line, job_id in handed.conflicts
        ],
    }


def say_checked(checked: Checked, *, as_json: bool) -> None:
    """Say what is in a file that was only checked."""
    if as_json:
        report = report_of(checked, HandedIn())
        typer.echo(orjson.dumps({key: report[key] for key in _OF_THE_FILE}))
        return
    found = f"{counted(checked.jobs, 'job')}, {counted(checked.bad_lines, 'bad line')}"
    typer.echo(f"{checked.name}: {found}; nothing was handed in")


def say_handed_in(checked: Checked, handed: HandedIn) -> None:
    """Say what became of a file's lines."""
    for account, batch in handed.batches.items():
        where = "" if account == "default" else f" (account {account})"
        typer.echo(f"batch {batch}{where}")
    typer.echo(f"{counted(handed.new, 'job')} handed in")
    for known_in, known in handed.known.items():
        where = f"in batch {known_in}" if known_in else "without a batch"
        typer.echo(f"{known.jobs:,} known already, {where}, since {known.since:%Y-%m-%d %H:%M} UTC")
    if checked.repeated:
        repeat = "line repeats" if checked.repeated == 1 else "lines repeat"
        typer.echo(f"{checked.repeated:,} {repeat} the job of an earlier line")
    if handed.conflicts:
        typer.echo(f"{len(handed.conflicts):,} in conflict with jobs handed in earlier")


def say_end(report: dict[str, Any], *, as_json: bool, waited: bool) -> None:
    """Say how a file's jobs ended, if they were waited for; as JSON, all there is to say."""
    if as_json:
        typer.echo(orjson.dumps(report))
    elif waited:
        print_states(report["states"])
        if report["results"]:
            typer.echo(f"results: {report['results']}")
