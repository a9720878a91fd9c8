"""The commands for jobs that need a person: dead and unconfirmed ones; and for orphan runs."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from runqueue.cli.shared.audit_log import record_counts_change
from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_names import named_jobs
from runqueue.cli.shared.job_selection import (
    Account,
    All,
    FilterOptions,
    JobOptions,
    Namespace,
    OperatorAction,
    Yes,
    confirm,
    print_settled,
)
from runqueue.cli.shared.options import command_group, with_options
from runqueue.cli.shared.queues import Queue, Url, find, opened
from runqueue.cli.shared.tables import AsJson, Limit, job_row, print_rows, up_to
from runqueue.operator.decisions import Settled
from runqueue.records.job import Job, JobState, is_run_id

dead = command_group("Dead jobs: ended without a run.")
unconfirmed = command_group(
    "Unconfirmed jobs: the answer to their submission was lost, so a run may exist."
)
orphans = command_group("Orphan runs: runs of ours that no job owns.")

#: The columns of tables; more do not fit in 80 characters.
_COLUMNS = {
    JobState.DEAD: ("job_id", "custom_id", "kind", "group", "attempts", "reason"),
    JobState.UNCONFIRMED: ("job_id", "custom_id", "group", "since", "on_unconfirmed", "note"),
}
_ORPHAN_COLUMNS = ("run_id", "job_id", "attempt", "since", "why")

Replayed = Annotated[
    Literal["dead", "failed", "canceled"],
    typer.Option("--state", help="With a filter: jobs in this state."),
]
SomeJobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, or custom_ids.")]
OneJob = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or its custom_id.")]


@dataclass(frozen=True, slots=True)
class ListOptions(FilterOptions):
    """The options of a list of jobs."""

    limit: Limit = 50
    url: Url = None
    as_json: AsJson = False


def _show(state: JobState, options: ListOptions) -> None:
    """Show jobs of a state, oldest first."""
    with opened(options.url) as queue:
        jobs = find(queue, options.wanted._replace(state=state), options.account)
        found = up_to(options.limit, jobs)
        rows = [job_row(job) for job in found]
        if state is JobState.UNCONFIRMED:
            _add_unconfirmed(queue, found, rows)
        print_rows(rows, _COLUMNS[state], as_json=options.as_json)


def _add_unconfirmed(queue: Queue, jobs: list[Job], rows: list[dict[str, Any]]) -> None:
    """Add the columns of unconfirmed jobs: since when, and what is planned for them."""
    now = datetime.now(UTC)
    states = queue.states([job.id for job in jobs])
    for job, row, (_, seconds) in zip(jobs, rows, states, strict=True):
        del row["ended_at"]
        row["since"] = (now - timedelta(seconds=seconds)).replace(microsecond=0)
        row["on_unconfirmed"] = job.on_unconfirmed
        row["cancel_requested"] = job.cancel_requested
        row["candidates"] = [candidate.as_dict() for candidate in job.candidates]
        runs = ", ".join(candidate.run_id for candidate in job.candidates)
        row["note"] = (job.search_message or job.reason or "") + (runs and f": {runs}")


@dead.command("list")
@with_options
def list_dead(options: ListOptions) -> None:
    """Show dead jobs with the reasons, oldest first."""
    _show(JobState.DEAD, options)


@dead.command()
@with_options
def replay(options: JobOptions, *, state: Replayed = "dead") -> None:
    """Submit dead, failed or canceled jobs again: named ones, or those of a state by filter."""
    with opened(options.url) as queue:
        of = JobState(state)
        hint = "only dead jobs were searched; --state failed or canceled chooses others"
        ids = options.ids(queue, of, hint if of is JobState.DEAD else "")
        confirm(f"submit {counted(len(ids), 'job')} again", yes=options.yes or bool(options.jobs))
        print_settled(queue, queue.replay(ids), options.action("replay", of))


@dead.command()
@with_options
def discard(options: JobOptions) -> None:
    """Remove dead jobs, or quarantined ones by id, for good, with their idempotency keys."""
    with opened(options.url) as queue:
        ids = _to_discard(options, queue)
        confirm(f"remove {counted(len(ids), 'job')} for good", yes=options.yes)
        print_settled(queue, queue.discard(ids), options.action("discard", JobState.DEAD))


def _to_discard(options: JobOptions, queue: Queue) -> list[str]:
    """Return the ids of the chosen jobs; quarantined ones cannot be looked up."""
    if options.is_by_filter():
        return options.ids(queue, JobState.DEAD)
    names = options.jobs or []
    quarantined = {one for found in queue.stats().values() for one in found.quarantined_ids}
    others = [name for name in names if name not in quarantined]
    found = named_jobs(queue, others, options.namespace)
    return [*(name for name in names if name in quarantined), *found]


@unconfirmed.command("list")
@with_options
def list_unconfirmed(options: ListOptions) -> None:
    """Show unconfirmed jobs, oldest first."""
    _show(JobState.UNCONFIRMED, options)


@unconfirmed.command()
def adopt(
    job: OneJob, run_id: str, *, namespace: Namespace = "", yes: Yes = False, url: Url = None
) -> None:
    """Give an unconfirmed job its run: the search ends, and the run is followed."""
    if not is_run_id(run_id):
        raise typer.BadParameter("expected a run's id: tsk_… or wr_…", param_hint="RUN_ID")
    with opened(url) as queue:
        (job_id,) = named_jobs(queue, [job], namespace)
        found = queue.get(job_id)
        if found.state is JobState.UNCONFIRMED:
            named = {candidate.run_id for candidate in found.candidates}
            confirm(
                f"give the job run {run_id}, which no search found to match",
                yes=yes or run_id in named,
            )
        settled = {job_id: queue.adopt(job_id, run_id)}
        print_settled(queue, settled, OperatorAction("adopt", "", run_id, [job]))


@unconfirmed.command()
@with_options
def resubmit(options: JobOptions) -> None:
    """Confirm that no run exists and submit the jobs again; a job with a run would run twice."""
    with opened(options.url) as queue:
        ids = options.ids(queue, JobState.UNCONFIRMED)
        jobs_again = f"submit {counted(len(ids), 'job')} again"
        confirm(f"{jobs_again}, although runs of them may exist", yes=options.yes)
        action = options.action("resubmit", JobState.UNCONFIRMED)
        print_settled(queue, queue.resubmit(ids), action)


@unconfirmed.command()
@with_options
def fail(
    options: JobOptions, *, why: Annotated[str, typer.Option(help="Shown on the jobs.")] = ""
) -> None:
    """Stop the search: the jobs become dead (canceled if so requested) and can be replayed."""
    with opened(options.url) as queue:
        ids = options.ids(queue, JobState.UNCONFIRMED)
        confirm(
            f"stop the search for the runs of {counted(len(ids), 'job')}",
            yes=options.yes or bool(options.jobs),
        )
        action = options.action("fail", JobState.UNCONFIRMED, why)
        print_settled(queue, queue.fail(ids, why), action)


def approve(jobs: SomeJobs, *, namespace: Namespace = "", url: Url = None) -> None:
    """Approve paused runs: they go on. `jobs list --paused` shows what waits for a person."""
    with opened(url) as queue:
        settled = queue.approve(named_jobs(queue, jobs, namespace))
        print_settled(queue, settled, OperatorAction("approve", named=jobs))


def reject(jobs: SomeJobs, *, namespace: Namespace = "", url: Url = None) -> None:
    """Reject paused runs: they are canceled, and others are left alone."""
    with opened(url) as queue:
        ids = named_jobs(queue, jobs, namespace)
        paused = [job.id for job in queue.get_many(ids, result=False) if job and job.paused_since]
        canceled = queue.cancel_jobs(paused)
        asked = {one for one in paused if canceled[one] is Settled.WILL_BE_CANCELED}
        settled = {one: Settled.DONE if one in asked else Settled.NOT_PAUSED for one in ids}
        print_settled(queue, settled, OperatorAction("reject", named=jobs))


@orphans.command("list")
def list_orphans(
    *, account: Account = None, limit: Limit = 50, url: Url = None, as_json: AsJson = False
) -> None:
    """Show orphan runs: runs of ours that no job owns."""
    with opened(url) as queue:
        found = up_to(limit, queue.orphans(account=account))
        rows = [one._asdict() | {"since": one.since.replace(microsecond=0)} for one in found]
        print_rows(rows, _ORPHAN_COLUMNS, as_json=as_json)


@orphans.command("cancel")
def cancel_orphans(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Run ids.")] = None,
    *,
    account: Account = None,
    everything: All = False,
    yes: Yes = False,
    url: Url = None,
) -> None:
    """Have the workers cancel orphan runs; those that have ended leave the list."""
    with opened(url) as queue:
        if bool(runs) == everything:
            both = ", not both" if runs else ""
            raise ended(f"name runs or give --all{both}", Exit.USAGE)
        named = set(runs or ())
        found = [s for s in queue.orphans(account=account) if not named or s.run_id in named]
        if missing := named - {orphan.run_id for orphan in found}:
            raise ended(f"no orphan {', '.join(sorted(missing))}", Exit.INVALID)
        confirm(f"cancel {counted(len(found), 'run')}", yes=yes or bool(runs))
        done = queue.cancel_orphans(found)
        counts = Counter(orphan.account for orphan in found)
        came_to = f"{done:,} will be canceled"
        record_counts_change(queue, "cancel_orphans", counts, came_to, noun="run", of=len(found))
        typer.echo(came_to)
