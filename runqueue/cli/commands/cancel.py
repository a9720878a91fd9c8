"""`runqueue cancel`: jobs and batches by name, or all jobs that match a filter."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from runqueue.cli.shared.audit_log import record_jobs_change
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.job_names import named
from runqueue.cli.shared.job_selection import JobOptions, State, confirm
from runqueue.cli.shared.options import OneObject, with_options
from runqueue.cli.shared.output import print_outcome
from runqueue.cli.shared.queues import Queue, find, opened
from runqueue.errors import BatchNotFound
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import Filter
from runqueue.records.batch import Batch
from runqueue.records.job import Job
from runqueue.store.operator_calls import CancelCounts

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB|BATCH", help="Ids of jobs or batches, or custom_ids of jobs."),
]


@dataclass(frozen=True, slots=True)
class CancelOptions(JobOptions):
    """The options that choose the jobs; names of batches are accepted, too."""

    jobs: Names = None
    state: State = None

    @property
    def wanted(self) -> Filter:
        """The filters; a state that is none of open jobs ends the command."""
        if self.state is not None and self.state.is_over:
            words = f"expected a state of open jobs, got {self.state.value}"
            raise typer.BadParameter(words, param_hint="--state")
        return super(CancelOptions, self).wanted._replace(state=self.state)


@with_options
def cancel(options: CancelOptions, *, as_json: OneObject = False) -> None:
    """Cancel the named jobs and batches, or the jobs that filters choose.

    A run that has begun is canceled at Skyvern; its job keeps its state until the run has ended.
    If a name is unknown, nothing is canceled.
    """
    wanted, account = options.wanted, options.account
    with opened(options.url) as queue:
        if not options.is_by_filter():
            done, values = _cancel_named(queue, options.jobs or [], options.namespace)
        else:
            open_ones = wanted if wanted.state else wanted._replace(is_open=True)
            ids = options.kept(queue, find(queue, open_ones, account))
            confirm(f"cancel {counted(len(ids), 'job')}", yes=options.yes or not ids)
            done, values = _cancel_jobs(queue, ids), {}
            if done.at_once or done.asked:
                state = wanted.state or ("" if wanted.words else "all open")
                by = ", ".join(filter(None, (state, wanted.words, options.excluded)))
                record_jobs_change(queue, "cancel", ids, canceled_words(done), by=by)
        print_canceled(done, values, as_json=as_json)


def _cancel_named(
    queue: Queue, names: list[str], namespace: str
) -> tuple[CancelCounts, dict[str, Any]]:
    """Cancel the named jobs and batches; returns the counts, and the JSON of a single one."""
    found = named(queue, names, namespace)
    if gone := next((one.id for one in found if isinstance(one, Batch) and one.archived), ""):
        raise BatchNotFound(gone)
    batches = dict.fromkeys(one.id for one in found if not isinstance(one, Job))
    # A named job of a named batch counts once.
    jobs = [one.id for one in found if isinstance(one, Job) and one.batch not in batches]
    done = _cancel_jobs(queue, jobs)
    if done.at_once or done.asked:
        what = "cancel" if len(jobs) > 1 else "cancel_job"
        record_jobs_change(queue, what, jobs, canceled_words(done))
    for one in batches:
        of_batch = queue.cancel_batch(one)
        record_jobs_change(queue, "cancel_batch", [one], canceled_words(of_batch))
        done += of_batch
    if len(found) > 1:
        return done, {}
    if batches:
        return done, {"batch": found[0].id, "jobs": done.jobs, "cancel_requested": True}
    (job,) = queue.get_many(jobs, result=False)
    state = job.state if job else None
    over = state is None or state.is_over
    return done, {"job_id": found[0].id, "state": state, "cancel_requested": not over}


def _cancel_jobs(queue: Queue, job_ids: list[str]) -> CancelCounts:
    outcomes = [*queue.cancel_jobs(job_ids).values()]
    at_once = outcomes.count(Settled.CANCELED)
    asked = outcomes.count(Settled.WILL_BE_CANCELED)
    return CancelCounts(at_once, asked, len(outcomes) - at_once - asked)


def canceled_words(done: CancelCounts) -> str:
    """Return the counts of a cancel in words."""
    return (
        f"{done.at_once:,} canceled at once, the runs of {done.asked:,} will be canceled,"
        f" {done.over:,} over already"
    )


def print_canceled(done: CancelCounts, values: dict[str, Any], *, as_json: bool) -> None:
    """Print the counts of a cancel; as JSON, with other values before them."""
    counts = {"canceled": done.at_once, "will_be_canceled": done.asked, "over": done.over}
    words = "none" if done == CancelCounts() else canceled_words(done)
    print_outcome(words, {**values, **counts}, as_json=as_json)
