"""The commands for jobs that need a person: dead ones, unconfirmed ones, runs that no job owns."""

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
import typer

from runqueue.cli.choosing import (
    Account,
    All,
    Batch,
    Group,
    Reason,
    Yes,
    by_filter,
    confirm,
    operating,
)
from runqueue.cli.exits import Exit, tell
from runqueue.cli.show import print_columns
from runqueue.job import Job, JobState, Stray
from runqueue.operate import Filter, Operations, Settled

dead = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs without a run that need a person."
)
unconfirmed = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs that may have a run nobody knows of."
)
strays = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Runs of ours that no job owns."
)

Limit = Annotated[int, typer.Option(min=1, help="Show so many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="Job ids.")]


@dead.command("list")
def list_dead(
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show dead jobs and the words they died with, oldest first."""
    with operating() as operations:
        found = operations.find(JobState.DEAD, Filter(group, batch, reason), account=account)
        _show_jobs(found, limit, as_json=as_json)


@dead.command()
def replay(
    jobs: JobIds = None,
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Submit jobs again: the named ones (dead, failed or canceled), or dead ones by filter."""
    with operating() as operations:
        wanted = Filter(group, batch, reason)
        ids = _chosen(operations, JobState.DEAD, jobs, wanted, account, everything=everything)
        confirm(f"submit {len(ids):,} jobs again", yes=yes or bool(jobs))
        _tell_done(operations.replay(ids), "are ready again")


@dead.command()
def discard(
    jobs: JobIds = None,
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Remove dead jobs for good, with their idempotency keys."""
    with operating() as operations:
        wanted = Filter(group, batch, reason)
        ids = _chosen(operations, JobState.DEAD, jobs, wanted, account, everything=everything)
        confirm(f"remove {len(ids):,} dead jobs for good", yes=yes)
        _tell_done(operations.discard(ids), "removed")


@unconfirmed.command("list")
def list_unconfirmed(
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show unconfirmed jobs, oldest first."""
    with operating() as operations:
        wanted = Filter(group, batch, reason)
        found = operations.find(JobState.UNCONFIRMED, wanted, account=account)
        _show_jobs(found, limit, as_json=as_json)


@unconfirmed.command()
def adopt(job: str, run_id: str) -> None:
    """Say which run is the job's: it is followed from now on."""
    if not run_id.isprintable() or not run_id or " " in run_id:
        raise typer.BadParameter("expected a run's id", param_hint="RUN_ID")
    with operating() as operations:
        _tell_settled({job: operations.adopt(job, run_id)}, "follows its run")


@unconfirmed.command()
def resubmit(
    jobs: JobIds = None,
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Say that there is no run: the jobs are submitted again. A run that is there runs twice."""
    with operating() as operations:
        wanted = Filter(group, batch, reason)
        ids = _chosen(
            operations, JobState.UNCONFIRMED, jobs, wanted, account, everything=everything
        )
        confirm(f"submit {len(ids):,} jobs again, although runs of them may exist", yes=yes)
        _tell_settled(operations.resubmit(ids), "ready")


@unconfirmed.command()
def fail(
    jobs: JobIds = None,
    *,
    group: Group = None,
    batch: Batch = None,
    reason: Reason = None,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
    why: Annotated[str, typer.Option(help="Shown on the jobs.")] = "",
) -> None:
    """Stop looking: the jobs are dead, and can be replayed later."""
    with operating() as operations:
        wanted = Filter(group, batch, reason)
        ids = _chosen(
            operations, JobState.UNCONFIRMED, jobs, wanted, account, everything=everything
        )
        confirm(f"stop looking for the runs of {len(ids):,} jobs", yes=yes or bool(jobs))
        _tell_settled(operations.fail(ids, why), "dead")


@strays.command("list")
def list_strays(*, account: Account = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show runs of ours that no job owns."""
    with operating() as operations:
        rows: list[dict[str, Any]] = []
        for stray in operations.strays(account=account):
            if len(rows) == limit:
                tell(f"… and more; --limit shows more than {limit}")
                break
            rows.append(_stray_row(stray))
        _print_rows(rows, as_json=as_json)


@strays.command("cancel")
def cancel_strays(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Run ids.")] = None,
    *,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Have the workers cancel strays; one that is over disappears from the list."""
    with operating() as operations:
        if bool(runs) == everything:
            tell("runqueue: name runs, or give --all")
            raise typer.Exit(Exit.INVALID)
        named = set(runs or ())
        found = [s for s in operations.strays(account=account) if not named or s.run_id in named]
        if missing := named - {stray.run_id for stray in found}:
            tell(f"runqueue: no stray {', '.join(sorted(missing))}")
            raise typer.Exit(Exit.INVALID)
        confirm(f"cancel {len(found):,} runs", yes=yes or bool(runs))
        typer.echo(f"{operations.cancel_strays(found):,} will be canceled")


def _chosen(
    operations: Operations,
    state: JobState,
    jobs: list[str] | None,
    wanted: Filter,
    account: str | None,
    *,
    everything: bool,
) -> list[str]:
    """Return the ids of the named jobs, or of those a filter leaves; neither is a mistake."""
    if not by_filter(jobs, wanted, account, everything=everything):
        return jobs or []
    found = [job.id for job in operations.find(state, wanted, account=account)]
    if not found:
        typer.echo("none")
        raise typer.Exit(Exit.OK)
    return found


def _tell_done(outcomes: dict[str, bool], done: str) -> None:
    """Say how many jobs it came to, and which ones it did not."""
    for job_id, was_done in outcomes.items():
        if not was_done:
            tell(f"runqueue: {job_id}: no such job, or not in a state for it")
    good = sum(outcomes.values())
    typer.echo(f"{good:,} of {len(outcomes):,} {done}")
    if good < len(outcomes):
        raise typer.Exit(Exit.INVALID)


def _tell_settled(settled: dict[str, Settled], done: str) -> None:
    """Say what came of each decision; the exit code tells if one could not be carried out."""
    good = sum(outcome is Settled.DONE for outcome in settled.values())
    for job_id, outcome in settled.items():
        if outcome is not Settled.DONE:
            tell(f"runqueue: {job_id}: {outcome.value}")
    typer.echo(f"{good:,} of {len(settled):,}: {done}")
    if good < len(settled):
        raise typer.Exit(Exit.INVALID)


def _show_jobs(found: Iterable[Job], limit: int, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for job in found:
        if len(rows) == limit:
            tell(f"… and more; --limit shows more than {limit}")
            break
        rows.append(_job_row(job))
    _print_rows(rows, as_json=as_json)


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "custom_id": job.custom_id,
        "kind": job.kind,
        "group": job.group,
        "attempts": job.attempts,
        "reason": job.reason,
    }


def _stray_row(stray: Stray) -> dict[str, Any]:
    return {
        "run_id": stray.run_id,
        "job_id": stray.job_id,
        "attempt": stray.attempt,
        "since": stray.since.isoformat(timespec="seconds"),
        "why": stray.why,
    }


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(orjson.dumps(row))
    elif rows:
        cells = [["" if v is None else str(v) for v in row.values()] for row in rows]
        print_columns(list(rows[0]), cells)
    else:
        typer.echo("none")
