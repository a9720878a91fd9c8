"""From what a producer hands in to script calls: checked first, then grouped and cut to size."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runqueue import calls
from runqueue.errors import FieldError, IdempotencyConflict, InvalidJob
from runqueue.job import Enqueued, EnqueueStatus
from runqueue.requests import TaskRunRequest, WorkflowRunRequest
from runqueue.spec import JobSpec, parse_line

#: What can be handed in: a checked job, a request object, or a line of a batch file (parsed or not).
Handed = JobSpec | TaskRunRequest | WorkflowRunRequest | Mapping[str, Any] | bytes | str


@dataclass(slots=True)
class Packed:
    """Checked jobs of one account as script arguments: bytes only, which cost the garbage collector
    nothing (100,000 checked jobs kept as objects took 24 µs each, a fraction of it as bytes)."""

    positions: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    arguments: list[calls.JobArguments] = field(default_factory=list)


def pack_all(jobs: Iterable[Handed]) -> tuple[int, dict[str, Packed]]:
    """Check every job before any is stored; returns how many there are, and them by account.

    Raises:
        InvalidJob: at the first job with a fault; fields are named `[index].field`.
    """
    accounts: dict[str, Packed] = {}
    count = 0
    for count, job in enumerate(jobs, start=1):
        try:
            spec = check(job)
        except InvalidJob as error:
            raise InvalidJob(
                [FieldError(f"[{count - 1}].{f.field}", f.message) for f in error.errors]
            ) from None
        packed = accounts.get(spec.account)
        if packed is None:
            packed = accounts[spec.account] = Packed()
        packed.positions.append(count - 1)
        packed.keys.append(spec.custom_id)
        packed.arguments.append(calls.pack_job(spec))
    return count, accounts


def check(job: Handed) -> JobSpec:
    """Check one job; a request object gets the options' defaults.

    Raises:
        InvalidJob: it names every field at fault.
    """
    if isinstance(job, JobSpec):
        return job
    if isinstance(job, (TaskRunRequest, WorkflowRunRequest)):
        return JobSpec.of(job)
    return parse_line(job)


def chunks(packed: Packed) -> Iterator[slice]:
    """Yield the slices of an account's jobs that go into one script call each."""
    start, size = 0, 0
    for i, arguments in enumerate(packed.arguments):
        length = len(arguments[-1])
        if i - start >= calls.CHUNK or (i > start and size + length > calls.CHUNK_BYTES):
            yield slice(start, i)
            start, size = i, 0
        size += length
    if start < len(packed.arguments):
        yield slice(start, len(packed.arguments))


def merge(total: int, parts: Iterable[tuple[list[int], list[Enqueued]]]) -> list[Enqueued]:
    """Return the answers of all chunks in the order the jobs were handed in."""
    merged: list[Enqueued | None] = [None] * total
    for positions, answers in parts:
        for position, answer in zip(positions, answers, strict=True):
            merged[position] = answer
    return [answer for answer in merged if answer is not None]


def accepted(answer: Enqueued) -> Enqueued:
    """Return the answer to a single job.

    Raises:
        IdempotencyConflict: its key was used before for another body.
    """
    if answer.status is EnqueueStatus.CONFLICT:
        raise IdempotencyConflict(answer.custom_id or "", answer.job_id)
    return answer
