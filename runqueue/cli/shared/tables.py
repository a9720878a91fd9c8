"""Lists of jobs and runs that need a person: as a table, or one JSON object a line."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Annotated, Any, TypeVar

import orjson
import typer

from runqueue.cli.shared.exit_codes import tell
from runqueue.cli.shared.formatting import ago
from runqueue.cli.shared.output import print_columns
from runqueue.operator.operations import Filter, Operations
from runqueue.records.account import AccountStats
from runqueue.records.job import Candidate, Job, JobState, Stray

T = TypeVar("T")

Limit = Annotated[int, typer.Option(min=1, help="Show so many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]

#: The columns of tables; more do not fit in 80 characters.
_COLUMNS = {
    JobState.DEAD: ("job_id", "custom_id", "kind", "group", "attempts", "reason"),
    JobState.UNCONFIRMED: ("job_id", "custom_id", "group", "since", "on_unconfirmed", "note"),
}
#: Headings of columns whose names are too wide.
_TITLES = {
    "on_unconfirmed": "policy",
    "note": "reason",
    "webhook_attempts": "tries",
    "webhook_status": "status",
    "webhook_error": "error",
    "created_at": "created",
    "completed": "done",
    "ended_at": "ended",
    "max_concurrent": "cap",
}
#: Columns shown as a time ago.
_AGES = {"since", "created_at", "ended_at", "at"}
_ORPHAN_COLUMNS = ("run_id", "job_id", "attempt", "since", "why")


def show_jobs(
    operations: Operations,
    state: JobState,
    wanted: Filter,
    account: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Show jobs of a state, oldest first.

    Args:
        operations: the queue's.
        state: dead or unconfirmed.
        wanted, account: which of them.
        limit: show so many at most.
        as_json: show all that is known of each.
    """
    total = partial(total_of, operations, account, lambda stats: stats.states[state])
    jobs = operations.find(state, wanted, account=account)
    found = up_to(limit, jobs, total if wanted == Filter() else None)
    rows = [job_row(job) for job in found]
    if state is JobState.UNCONFIRMED:
        _add_doubts(operations, found, rows)
    print_rows(rows, _COLUMNS[state], as_json=as_json)


def show_orphans(operations: Operations, account: str | None, limit: int, *, as_json: bool) -> None:
    """Show orphan runs: runs of ours that no job owns; arguments as for `show_jobs`."""
    total = partial(total_of, operations, account, lambda stats: stats.strays)
    found = up_to(limit, operations.strays(account=account), total)
    rows = [_orphan_row(orphan) for orphan in found]
    print_rows(rows, _ORPHAN_COLUMNS, as_json=as_json)


def total_of(
    operations: Operations, account: str | None, count: Callable[[AccountStats], int]
) -> int:
    """Return a count of one account, or its sum over all."""
    stats = operations.queue.stats()
    return sum(count(stats[name]) for name in stats if account in {None, name})


def up_to(limit: int, found: Iterable[T], total: Callable[[], int | None] | None = None) -> list[T]:
    """Return the first of a list; report on stderr if it has more.

    Args:
        limit: how many at most.
        found: the list.
        total: returns how many it has, where that is known without reading all of it.
    """
    some = list(islice(found := iter(found), limit))
    if next(found, None) is not None:
        tell_more(limit, total() if total else None)
    return some


def each_once(jobs: Iterable[Job]) -> Iterator[Job]:
    """Leave out jobs that come a second time."""
    seen: set[str] = set()
    for job in jobs:
        if job.id not in seen:
            seen.add(job.id)
            yield job


def tell_more(limit: int, total: int | None) -> None:
    """Report that a list was cut.

    Args:
        limit: how many are shown.
        total: how many there are, where that is known without reading all of it.
    """
    more = "more" if total is None or total <= limit else f"{total - limit:,} more"
    tell(f"… and {more}; --limit shows more than {limit}")


def job_row(job: Job) -> dict[str, Any]:
    """Return what --json shows of a job in any list."""
    return {
        "job_id": job.id,
        "custom_id": job.custom_id,
        "account": job.account,
        "namespace": job.namespace,
        "kind": job.kind,
        "group": job.group,
        "batch": job.batch,
        "attempts": job.attempts,
        "reason": job.reason,
        "created_at": job.created_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
    }


def _add_doubts(operations: Operations, jobs: list[Job], rows: list[dict[str, Any]]) -> None:
    """Add the columns of unconfirmed jobs: since when, and what is planned for them."""
    now = datetime.now(UTC)
    states = operations.queue.states([job.id for job in jobs])
    for job, row, (_, seconds) in zip(jobs, rows, states, strict=True):
        del row["ended_at"]
        row["since"] = (now - timedelta(seconds=seconds)).isoformat(timespec="seconds")
        row["on_unconfirmed"] = job.on_unconfirmed
        row["cancel_requested"] = job.cancel_requested
        row["candidates"] = [candidate.as_dict() for candidate in job.candidates]
        runs = ", ".join(candidate.run_id for candidate in job.candidates)
        row["note"] = (job.search_note or job.reason or "") + (runs and f": {runs}")


def doubt_values(job: Job, *, as_json: bool) -> dict[str, Any]:
    """Return the values of unconfirmed jobs only: the last search and its candidates."""
    if job.state is not JobState.UNCONFIRMED:
        return {}
    if as_json:
        candidates: Any = [candidate.as_dict() for candidate in job.candidates]
    else:
        candidates = "; ".join(map(_candidate_words, job.candidates)) or None
    return {"search_note": job.search_note, "candidates": candidates}


def _candidate_words(candidate: Candidate) -> str:
    differs = f", not {', '.join(candidate.different)}" if candidate.different else ""
    equal = ", ".join(candidate.equal) or "nothing"
    made = f", made {candidate.created_at:%Y-%m-%d %H:%M:%S} UTC" if candidate.created_at else ""
    return f"{candidate.run_id} ({candidate.status}{made}; equal: {equal}{differs})"


def _orphan_row(orphan: Stray) -> dict[str, Any]:
    return {
        "run_id": orphan.run_id,
        "job_id": orphan.job_id,
        "account": orphan.account,
        "attempt": orphan.attempt,
        "since": orphan.since.isoformat(timespec="seconds"),
        "why": orphan.why,
    }


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
    return ago(datetime.fromisoformat(value)) if name in _AGES else str(value)
