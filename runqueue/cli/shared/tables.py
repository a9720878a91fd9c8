"""Lists of jobs and runs that need a person: as a table, or one JSON object a line."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, TypeVar

import orjson
import typer

from runqueue.cli.shared.exit_codes import print_err
from runqueue.cli.shared.formatting import ago
from runqueue.cli.shared.output import print_columns
from runqueue.records.job import Candidate, Job, JobState
from runqueue.records.waits import utc

T = TypeVar("T")

Limit = Annotated[int, typer.Option(min=1, help="Show so many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]

#: Headings of columns whose names are too wide.
_TITLES = {
    "on_unconfirmed": "policy",
    "note": "reason",
    "webhook_attempts": "tries",
    "webhook_status": "status",
    "webhook_error": "error",
    "paused_since": "since",
    "paused_url": "run",
    "created_at": "created",
    "completed": "done",
    "ended_at": "ended",
    "max_concurrent": "max concurrent",
    "first_seen": "first",
    "last_seen": "last",
    "words": "reason",
}
#: Columns shown as a time ago.
_AGES = {"since", "paused_since", "created_at", "ended_at", "at", "first_seen", "last_seen"}
#: What --json shows of a job in any list, and what some lists show of its run.
_JOB = (
    *("custom_id", "account", "namespace", "kind", "group", "batch"),
    *("attempts", "reason", "created_at", "ended_at"),
)
RUN = ("state", "run_id", "run_status")


def up_to(limit: int, found: Iterable[T]) -> list[T]:
    """Return the first of a list; report on stderr if it has more."""
    some = list(islice(found := iter(found), limit))
    if next(found, None) is not None:
        print_err(f"… and more; --limit shows more than {limit}")
    return some


def each_once(jobs: Iterable[Job]) -> Iterator[Job]:
    """Leave out jobs that come a second time; each life of one stays."""
    seen = set[tuple[str, datetime]]()
    for job in jobs:
        if (name := (job.id, job.created_at)) not in seen:
            seen.add(name)
            yield job


def print_unread(ids: Iterable[str]) -> None:
    """Name on stderr what a list left out, since it cannot be read."""
    if ids := list(dict.fromkeys(ids)):
        print_err(f"left out, as they cannot be read: {', '.join(ids)}")


def job_row(job: Job, *more: str) -> dict[str, Any]:
    """Return what --json shows of a job in any list, and more of its attributes."""
    return {"job_id": job.id} | {name: getattr(job, name) for name in (*_JOB, *more)}


def unconfirmed_values(job: Job, *, as_json: bool) -> dict[str, Any]:
    """Return the values of unconfirmed jobs only: the last search and its candidates."""
    if job.state is not JobState.UNCONFIRMED:
        return {}
    if as_json:
        candidates: Any = [candidate.as_dict() for candidate in job.candidates]
    else:
        candidates = "; ".join(map(_candidate_words, job.candidates)) or None
    return {"search_message": job.search_message, "candidates": candidates}


def _candidate_words(candidate: Candidate) -> str:
    differs = f", not {', '.join(candidate.different)}" if candidate.different else ""
    equal = ", ".join(candidate.equal) or "nothing"
    made = f", made {utc(candidate.created_at)}" if candidate.created_at else ""
    return f"{candidate.run_id} ({candidate.status}{made}; equal: {equal}{differs})"


def print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    """Print a list.

    Args:
        rows: each a job or a run, by name.
        columns: what a table shows of them.
        as_json: print all of them, one JSON object a line.
    """
    if as_json:
        for row in rows:
            typer.echo(orjson.dumps(row))
    elif rows:
        titles = [_TITLES.get(name, name) for name in columns]
        print_columns(titles, [[_cell(name, row[name]) for name in columns] for row in rows])
    else:
        typer.echo("none")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    return ago(datetime.fromisoformat(str(value))) if name in _AGES else str(value)
