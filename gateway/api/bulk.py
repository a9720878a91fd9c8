"""Checking one large job, or many in an array, in a process beside the gateway."""

from collections.abc import Iterator
from typing import Final

from gateway.checks.elements import Elements
from gateway.checks.messages import MAX_FAULTS, Findings, TooLarge
from runqueue.errors import FieldError, InvalidJob
from runqueue.producer.chunks import Packet
from runqueue.producer.upload import read_line
from runqueue.request.job_spec import JobSpec
from runqueue.request.private_targets import FieldWarning, PrivateHosts

#: Jobs, and bytes of them, in one body.
MAX_JOBS: Final = 1_000
MAX_BYTES: Final = 4 * 1024 * 1024
#: Where more of them go.
MORE_JOBS: Final = "POST /v1/batches takes any number of jobs"

KEY_HEADER: Final = "Idempotency-Key"
_NO_ARRAY: Final = f"expected an array of 1 to {MAX_JOBS:,} jobs, or an object with one"


def read_job(raw: bytes, account: str, key: str | None) -> JobSpec:
    """Check one job.

    Args:
        raw: the job, as a line of a batch file.
        account: its account if it names none.
        key: the header Idempotency-Key; None = there is none.

    Raises:
        InvalidJob: names every field at fault.
    """
    try:
        spec = read_line(raw, account)
    except InvalidJob as refused:  # here the whole is no line
        fields = ["job" if fault.field == "line" else fault.field for fault in refused.errors]
        faults = zip(fields, refused.errors, strict=True)
        raise InvalidJob([FieldError(field, fault.message) for field, fault in faults]) from None
    if key is not None:
        if spec.custom_id not in {None, key}:
            words = f"expected the body's custom_id, or none: got {key!r} and {spec.custom_id!r}"
            raise InvalidJob([FieldError(KEY_HEADER, words)])
        spec.custom_id = key
    return spec


def packed(spec: JobSpec, traceparent: str) -> tuple[Packet, list[FieldWarning]]:
    """Return a job as a packet, and the fields that will not do what its sender may expect."""
    hosts = PrivateHosts()
    hosts.note(spec.body)
    packet = Packet(spec.account, traceparent=traceparent)
    packet.add(0, spec)
    return packet, hosts.warnings()


class OneJobCheck:
    """Checks a body that is one job: see `read_job`.

    Args:
        traceparent: the trace of a job that names none.
    """

    def __init__(self, account: str, key: str | None, traceparent: str) -> None:
        self.findings = Findings()
        self._account, self._key, self._traceparent = account, key, traceparent
        self._raw = bytearray()

    def feed(self, part: bytes) -> Iterator[None]:
        """Add a part of it."""
        self._raw += part
        yield None

    def end(self) -> Iterator[Packet]:
        """Yield it.

        Raises:
            InvalidJob: names every field at fault.
        """
        spec = read_job(bytes(self._raw), self._account, self._key)
        packet, self.findings.warnings = packed(spec, self._traceparent)
        yield packet


class ManyJobsCheck:
    """Checks an array of jobs, one after the other, so that never more than one is parsed.

    Args:
        account: the account of jobs that name none.
        traceparent: the trace of jobs that name none.
    """

    def __init__(self, account: str, traceparent: str) -> None:
        self.findings = Findings()
        self._account, self._traceparent = account, traceparent
        self._elements = Elements(_NO_ARRAY)
        self._count = 0
        self._private = PrivateHosts()
        #: The packet of each account that is not full, and the full ones; all are kept until it is
        #: known that no job is bad.
        self._filling: dict[str, Packet] = {}
        self._full: list[Packet] = []

    def feed(self, part: bytes) -> Iterator[None]:
        """Check the jobs that end in a part.

        Raises:
            NotReadable: the body holds no array of jobs.
            TooLarge: there are too many.
        """
        return self._check(self._elements.feed(part))

    def end(self) -> Iterator[Packet | None]:
        """Yield packets of all jobs, or none if one of them is bad.

        Raises:
            NotReadable, TooLarge: as `feed`.
            InvalidJob: fields are wrong, named `[index].field`.
        """
        yield from self._check(self._elements.end())
        if not self._count:
            raise InvalidJob([FieldError("jobs", _NO_ARRAY)])
        if self.findings.errors:
            raise InvalidJob(self.findings.errors)
        self.findings.warnings = self._private.warnings()
        self._full += self._filling.values()
        self._filling.clear()
        while self._full:
            yield self._full.pop(0)

    def _check(self, elements: Iterator[bytes]) -> Iterator[None]:
        if self.findings.has_seen_enough:
            return
        for raw in elements:
            if not self._take(raw):
                return
            yield None

    def _take(self, raw: bytes) -> bool:
        """Check one job; False = checking more would not change the report."""
        index = self._count
        self._count += 1
        if index >= MAX_JOBS:
            raise TooLarge(f"expected at most {MAX_JOBS:,} jobs; {MORE_JOBS}")
        try:
            self._put(index, read_line(raw, self._account))
        except InvalidJob as error:
            found = self.findings
            found.bad += 1
            found.errors += (FieldError(f"[{index}].{f.field}", f.message) for f in error.errors)
            del found.errors[MAX_FAULTS:]
            found.has_seen_enough = len(found.errors) >= MAX_FAULTS
        return not self.findings.has_seen_enough

    def _put(self, index: int, spec: JobSpec) -> None:
        if self.findings.bad:
            return  # no job is accepted
        self._private.note(spec.body)
        packet = self._filling.get(spec.account)
        if packet is None:
            packet = Packet(spec.account, traceparent=self._traceparent)
            self._filling[spec.account] = packet
        packet.add(index, spec)
        if packet.is_full:
            self._full.append(self._filling.pop(spec.account))
