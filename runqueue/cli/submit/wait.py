"""`runqueue submit --wait`: polls the jobs until there is nothing left to wait for."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from runqueue.cli.follow.job_id_store import JobList
from runqueue.cli.follow.tracker import Following
from runqueue.cli.follow.watch_batch import follow_jobs
from runqueue.cli.results.line_file import ResultsError
from runqueue.cli.results.live_file import Results
from runqueue.cli.results.result_lines import result_lines
from runqueue.cli.shared.exit_codes import Exit, print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.queues import Queue
from runqueue.cli.submit.line_checker import CheckedInput
from runqueue.errors import BatchNotFound, QueueUnavailable
from runqueue.producer.queue import RunQueue
from runqueue.producer.upload_report import UploadReport
from runqueue.records.job import JobState

_CALLBACK = ("--callback-url", "--callback-at")


class Stopped(Exception):  # noqa: N818 - what it says is in its name
    """The jobs are followed no further; they go on.

    Args:
        why: what ended it.
    """

    def __init__(self, why: BaseException) -> None:
        self._why = why
        super().__init__(str(why))

    @property
    def code(self) -> Exit:
        """How the command ends."""
        if isinstance(self._why, KeyboardInterrupt):
            return Exit.INTERRUPTED
        is_away = isinstance(self._why, QueueUnavailable)
        return Exit.UNAVAILABLE if is_away else Exit.NOT_ALL_COMPLETED

    def report(self, found: CheckedInput, outcome: UploadReport, arguments: Sequence[str]) -> None:
        """Report why the jobs are followed no further, and how to follow them again.

        Args:
            found, outcome: what the file was, and what became of it.
            arguments: of the command.
        """
        is_ours = isinstance(self._why, KeyboardInterrupt)
        print_err("runqueue: interrupted" if is_ours else f"runqueue: {self._why}")
        if found.checker.without_id:
            # Submitting these lines again would make new jobs of them, and new, paid, runs.
            batches = " and ".join(f"runqueue status {batch}" for batch in outcome.batches.values())
            lines = counted(found.checker.without_id, "line")
            print_err(
                f"The jobs go on. Do not submit the file again: {lines} without a custom_id would"
                f" run twice. To follow them: {batches}"
            )
        elif found.source.name == "-":
            print_err("The jobs go on. Submit the same lines again to follow them.")
        else:
            again = shlex.join(["runqueue", *_without_callback(arguments)])
            print_err(f"The jobs go on. To follow them: {again}")


def _without_callback(arguments: Sequence[str]) -> Iterator[str]:
    """Leave out the callback: the batch has it already, and the URL may hold a secret."""
    left = iter(arguments)
    for argument in left:
        if argument in _CALLBACK:
            next(left, None)
        elif not argument.startswith(tuple(f"{name}=" for name in _CALLBACK)):
            yield argument


def to_follow(
    queue: Queue,
    found: CheckedInput,
    outcome: UploadReport,
    jobs: JobList,
    grace: float,
    *,
    keep: bool,
) -> Following:
    """Return what to follow; batches with no jobs but the file's are followed by their counts.

    Args:
        queue: the queue.
        found, outcome: what the file was, and what became of it.
        jobs: the ids that were kept.
        grace: seconds a job may be unconfirmed before it counts as stuck.
        keep: whether the ids of all jobs are needed as they end.
    """
    counted_by = dict(outcome.new)
    for batch, known in outcome.known.items():
        if batch and _is_whole(queue, batch, known.jobs):
            counted_by[batch] = known.jobs
    jobs.settle(counted_by.keys(), keep=keep)
    following = Following(queue, counted_by, jobs, sorted(found.checker.jobs), grace)
    if (others := outcome.jobs - following.total) > 0:
        print_err(
            f"{counted(others, 'job')} of other batches, known before, will not be waited for"
        )
    return following


def _is_whole(queue: Queue, batch: str, jobs: int) -> bool:
    try:
        found = queue.get_batch(batch)
    except BatchNotFound:  # its jobs are kept longer
        return False
    return found.sealed and found.total == jobs


def follow(queue: Queue, following: Following, results: Results | None) -> None:
    """Poll the jobs until there is nothing left to wait for.

    Raises:
        Stopped: they are followed no further.
    """
    try:
        _follow(queue, following, results)
        if results and not isinstance(queue, RunQueue):
            for batch in following.sizes:  # in the order of the file
                for lines in result_lines(queue, batch):
                    results.append([line.text for line in lines])
        if results:
            results.finish()
    except (KeyboardInterrupt, QueueUnavailable, ResultsError) as error:
        raise Stopped(error) from None


def _follow(queue: Queue, following: Following, results: Results | None) -> None:
    def take(job_ids: list[str]) -> None:
        if results and isinstance(queue, RunQueue):
            results.write(queue, job_ids)

    follow_jobs(
        queue,
        following,
        lambda: following.poll(take if results else None),
        lambda: following.take_rest(take),
    )


def verdict(states: Counter[str]) -> Exit:
    """Return the exit code after a wait."""
    all_completed = states[JobState.COMPLETED.value] == states.total()
    return Exit.OK if all_completed else Exit.NOT_ALL_COMPLETED
