"""`runqueue submit --wait`: waits for the jobs of a file, and writes their results."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import typer

from runqueue.cli.follow.watch import FollowedJobs, watch
from runqueue.cli.results.formats import format_of, write_rows
from runqueue.cli.results.output_file import new_file
from runqueue.cli.shared.exit_codes import Exit, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.queues import Queue
from runqueue.errors import BatchNotFound, RunQueueError
from runqueue.producer.upload_report import UploadReport
from runqueue.records.job import Job, JobState

#: Jobs read at once: their results may be large.
_SOME = 100


def wait(
    queue: Queue,
    accounts: Sequence[str],
    outcome: UploadReport,
    known: Mapping[str, list[str]],
    results: Path | None,
) -> tuple[dict[str, int], Exit]:
    """Wait for the jobs of a file; returns how many are in which state, and the exit code.

    Args:
        queue: the queue.
        accounts: the accounts of the jobs.
        outcome: what became of the file.
        known: the ids of jobs that were known before, by their batches.
        results: where their results are written.
    """
    whole = [batch for batch, found in outcome.known.items() if _is_whole(queue, batch, found.jobs)]
    batches = [*outcome.new, *filter(None, whole)]
    others = [job for batch, ids in known.items() if batch not in batches for job in ids]
    with _saying_how_to_go_on(batches):
        followed = FollowedJobs(queue, batches, others, accounts)
        watch(queue, followed)
        if results:
            with new_file(results) as file:
                jobs = chain.from_iterable(map(queue.iter_results, batches))
                rows = (job.as_row() for job in chain(jobs, _read(queue, others)))
                write_rows(file, format_of(results), rows)
    left = outcome.jobs - followed.total
    if left > 0:
        print_err(f"{counted(left, 'job')} of other batches, known before: not waited for")
    all_completed = not left and followed.states[JobState.COMPLETED.value] == followed.total
    return dict(followed.states), Exit.OK if all_completed else Exit.NOT_ALL_COMPLETED


def _is_whole(queue: Queue, batch: str | None, jobs: int) -> bool:
    """Return whether a batch has no jobs but these: it is followed by its counts."""
    try:
        found = queue.get_batch(batch) if batch else None
    except BatchNotFound:  # its jobs are kept longer
        return False
    return found is not None and found.sealed and found.total == jobs


def _read(queue: Queue, job_ids: Sequence[str]) -> Iterator[Job]:
    for start in range(0, len(job_ids), _SOME):
        yield from filter(None, queue.get_many(job_ids[start : start + _SOME]))


@contextmanager
def _saying_how_to_go_on(batches: Sequence[str]) -> Iterator[None]:
    """Say how to follow the jobs if the wait is cut off.

    Submitting the file again would make new, paid, runs of lines without a custom_id.
    """
    try:
        yield
    except (KeyboardInterrupt, RunQueueError, typer.Exit):
        print_err("The jobs go on. To follow them, and to have their results:")
        for batch in batches:
            print_err(f"runqueue results {batch} --wait -o OUT")
        raise
