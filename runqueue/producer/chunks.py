"""From what a producer enqueues to script calls: checked, grouped and cut to size."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runqueue.errors import FieldError, IdempotencyConflict, InvalidJob
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.records.quotas import SUBMITTING_QUOTA
from runqueue.request.job_spec import JobSpec, parse_line
from runqueue.request.request_checks import RequestChecks
from runqueue.request.requests import AnyRunRequest
from runqueue.store import job_calls
from runqueue.store.scripts import ScriptCall
from runqueue.tracing import SpanUnderWay, ambient

#: What can be enqueued: a checked job, a request object, a batch file's line (parsed or not).
Handed = JobSpec | AnyRunRequest | Mapping[str, Any] | bytes | str

#: Jobs, and bytes of them, in a short packet.
_SHORT, _SHORT_BYTES = 100, 1024 * 1024


@dataclass(slots=True)
class Packet:
    """Checked jobs of one account, ready for one script call.

    Args:
        traceparent: the trace of jobs that name none themselves.
    """

    account: str
    positions: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    arguments: list[job_calls.EncodedJob] = field(default_factory=list, repr=False)
    size: int = 0
    lanes: set[tuple[int, str]] = field(default_factory=set, repr=False)
    traceparent: str = field(default_factory=ambient)

    def add(self, position: int, spec: JobSpec) -> None:
        """Take in one more job."""
        self.put(position, spec.custom_id, job_calls.encode_job(spec, self.traceparent))

    def put(self, position: int, key: str | None, encoded: job_calls.EncodedJob) -> None:
        """Take in one more job that is encoded already."""
        self.positions.append(position)
        self.keys.append(key)
        self.arguments.append(encoded)
        self.size += encoded.size
        self.lanes.add(encoded.lane)

    @property
    def is_full(self) -> bool:
        """Return whether one script call should take no more."""
        return (
            len(self.positions) >= job_calls.CHUNK
            or self.size >= job_calls.CHUNK_BYTES
            or len(self.positions) + job_calls.LANE_WORK * len(self.lanes) >= job_calls.CHUNK_WORK
        )

    def cut(self, most: int, most_bytes: float = math.inf) -> Iterator["Packet"]:
        """Yield its jobs in packets of so many, and of so many bytes, at most; each has one."""
        start = size = 0
        for end, encoded in enumerate(self.arguments):
            if end > start and (end - start >= most or size + encoded.size > most_bytes):
                yield self._part(slice(start, end), size)
                start, size = end, 0
            size += encoded.size
        yield self._part(slice(start, None), size)

    def cut_short(self) -> Iterator["Packet"]:
        """Yield its jobs in packets that keep Redis from others for a millisecond each."""
        return self.cut(_SHORT, _SHORT_BYTES)

    def _part(self, some: slice, size: int) -> "Packet":
        part = Packet(self.account, traceparent=self.traceparent)
        part.positions, part.size = self.positions[some], size
        part.keys, part.arguments = self.keys[some], self.arguments[some]
        return part

    def call(self, batch: str | None) -> ScriptCall[list[Enqueued]]:
        """Return the script call."""
        return job_calls.enqueue(
            self.account, self.arguments, self.keys, batch, SUBMITTING_QUOTA.get()
        )


def packets(jobs: Iterable[Handed], checks: RequestChecks | None = None) -> Iterator[Packet]:
    """Check jobs and yield them in packets of one account each, in constant memory.

    Args:
        jobs: the jobs.
        checks: as `parse_line` takes them.

    Raises:
        InvalidJob: at the first job with a fault; fields are named `[index].field`.
    """
    filling: dict[str, Packet] = {}
    for position, job in enumerate(jobs):
        try:
            spec = check(job, checks)
        except InvalidJob as error:
            raise placed(error, f"[{position}].") from None
        packet = filling.get(spec.account)
        if packet is None:
            packet = filling[spec.account] = Packet(spec.account)
        packet.add(position, spec)
        if packet.is_full:
            yield filling.pop(spec.account)
    yield from filling.values()


def check(job: Handed, checks: RequestChecks | None = None) -> JobSpec:
    """Check one job; a request object gets the options' defaults.

    Args:
        job: the job; a `JobSpec` was checked when it was made.
        checks: as `parse_line` takes them.

    Raises:
        InvalidJob: it names every field at fault.
    """
    # Checked first: most are lines, and what a request's class answers to `isinstance` is Python.
    if isinstance(job, (dict, bytes, str)):
        return parse_line(job, checks=checks)
    if isinstance(job, JobSpec):
        return job
    if isinstance(job, AnyRunRequest):
        return JobSpec.of(job, checks=checks)
    return parse_line(job, checks=checks)


def placed(error: InvalidJob, where: str) -> InvalidJob:
    """Return an error whose fields are named by the place of the job as well."""
    return InvalidJob([FieldError(f"{where}{f.field}", f.message) for f in error.errors])


def in_order(parts: Iterable[tuple[list[int], list[Enqueued]]]) -> list[Enqueued]:
    """Return the answers to all jobs, which come with their positions, in the order of these."""
    ordered: dict[int, Enqueued] = {}
    for positions, answers in parts:
        ordered.update(zip(positions, answers, strict=True))
    return [ordered[position] for position in sorted(ordered)]


def traced(answers: list[Enqueued], step: SpanUnderWay) -> list[Enqueued]:
    """Return the answers; a span of the call names its job, or says how many they are."""
    if len(answers) == 1:
        step.set_attributes(messaging__message__id=answers[0].job_id)
    else:
        step.set_attributes(messaging__batch__message_count=len(answers))
    return answers


def accepted(answer: Enqueued) -> Enqueued:
    """Return the answer to a single job.

    Raises:
        IdempotencyConflict: its key was used before for another body.
        InvalidJob: another job holds a file of it.
    """
    if answer.fault is not None:
        raise InvalidJob([answer.fault])
    if answer.status is EnqueueStatus.CONFLICT:
        raise IdempotencyConflict(answer.custom_id or "", answer.job_id)
    return answer
