"""Checking one job, or many in an array."""

from typing import Final

from gateway.checks.elements import elements_of
from gateway.checks.findings import MAX_FAULTS, too_large
from runqueue.errors import FieldError, InvalidJob
from runqueue.producer.chunks import Packet, placed
from runqueue.producer.upload import read_line

#: Jobs, and bytes of them, in one body.
MAX_JOBS: Final = 1_000
MAX_BYTES: Final = 4 * 1024 * 1024
#: Where more of them go.
MORE_JOBS: Final = "POST /v1/batches takes any number of jobs"

_NO_ARRAY: Final = f"expected an array of 1 to {MAX_JOBS:,} jobs"


def read_job(raw: bytes, account: str, traceparent: str) -> list[Packet]:
    """Check one job; arguments as of `read_jobs`.

    What is parsed may take twenty times the bytes of the packet, in which nothing of it is left.

    Raises:
        InvalidJob: it names every field at fault.
    """
    spec = read_line(raw, account)
    packet = Packet(spec.account, traceparent=traceparent)
    packet.add(0, spec)
    return [packet]


def read_jobs(raw: bytes, account: str, traceparent: str) -> list[Packet]:
    """Check an array of jobs, one after the other: never more than one is parsed at a time.

    Args:
        raw: the array.
        account: the account of jobs that name none.
        traceparent: the trace of jobs that name none.

    Raises:
        InvalidRequest: it is no array of jobs.
        Refused: there are too many.
        InvalidJob: fields are wrong, named `[index].field`.
    """
    filling: dict[str, Packet] = {}
    full: list[Packet] = []
    errors: list[FieldError] = []
    index = -1
    for index, element in enumerate(elements_of(raw, _NO_ARRAY)):
        if index >= MAX_JOBS:
            raise too_large(f"expected at most {MAX_JOBS:,} jobs; {MORE_JOBS}")
        try:
            spec = read_line(element, account)
        except InvalidJob as error:
            errors += placed(error, f"[{index}].").errors
            if len(errors) >= MAX_FAULTS:
                break
            continue
        if errors:
            continue  # no job is accepted
        packet = filling.get(spec.account)
        if packet is None:
            packet = filling[spec.account] = Packet(spec.account, traceparent=traceparent)
        packet.add(index, spec)
        if packet.is_full:
            full.append(filling.pop(spec.account))
    if index < 0:
        raise InvalidJob([FieldError("jobs", _NO_ARRAY)])
    if errors:
        raise InvalidJob(errors[:MAX_FAULTS])
    return [*full, *filling.values()]
