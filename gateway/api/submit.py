"""Submitting jobs: one, or up to 1,000 of which all are accepted or none."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import Header, Request
from starlette.responses import Response

from gateway.api import job_schema
from gateway.api.bulk import (
    KEY_HEADER,
    MAX_BYTES,
    MAX_JOBS,
    MORE_JOBS,
    ManyJobsCheck,
    OneJobCheck,
    packed,
    read_job,
)
from gateway.api.routing import Routes, location_of
from gateway.api.schemas import Accepted, AcceptedMany, answer_values, warning_values
from gateway.checks.messages import CheckWork
from gateway.http.holds import hold_answer, in_turn
from gateway.http.protocol import connection_of
from gateway.http.request_body import body_of, gathered, json_answer
from gateway.state.state import gate_of
from gateway.tenants.rate_limit import HEADERS, admit
from gateway.tenants.scope import tenant_scope_of
from runqueue.errors import FieldError, InvalidRequest
from runqueue.producer.async_queue import enqueue_packets
from runqueue.producer.chunks import Packet, accepted, told
from runqueue.records.job import Enqueued, EnqueueStatus
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES
from runqueue.request.private_targets import FieldWarning
from runqueue.tracing import ambient, enqueuing

router = Routes("jobs")

#: Bytes of one job: what one line of a batch file may have.
MAX_BODY = 8 * MAX_PAYLOAD_BYTES
#: Bytes above which a job is checked in a process of its own.
_LARGE = 64 * 1024
#: Bytes of the answer to one job of many, what it repeats of the body apart.
_ANSWERED = 512
#: Seconds that a body waits for its turn to be checked.
CHECK_SECONDS = 30.0
_BUSY = "too many bodies are being checked; try again"

#: A string of structured headers (RFC 8941), or, since many send that, the bare text.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-~][ -~]*")
_ESCAPED = re.compile(r'\\(["\\])')

Key = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        description="The job's `custom_id`, as a string in quotes: the same key with the same"
        " request is the same job.",
        examples=['"order-17"'],
    ),
]
_BODY = {"schema": job_schema.REFERENCE, "example": job_schema.EXAMPLE}
_JOBS = {"type": "array", "items": job_schema.REFERENCE, "minItems": 1, "maxItems": MAX_JOBS}
_WRAPPED = {
    "type": "object",
    "required": ["jobs"],
    "additionalProperties": False,
    "properties": {"jobs": _JOBS},
}
_BULK = {"schema": {"oneOf": [_WRAPPED, _JOBS]}, "example": {"jobs": [job_schema.EXAMPLE]}}
_LOCATION = location_of(f"/v1/jobs/{job_schema.EXAMPLE_ID}", "job")
_WRONG = "body.max_step: unknown field, did you mean 'max_steps'?"
_USED = f"key 'order-17' was used for job {job_schema.EXAMPLE_ID} with another body"


@router.call(
    "POST /v1/jobs",
    "enqueue",
    "Submit a job",
    {"description": "It is in the queue.", "model": Accepted, "headers": _LOCATION | HEADERS},
    status=202,
    problems={409: _USED, 422: _WRONG, 429: ""},
    body=body_of(_BODY),
)
async def submit(request: Request, idempotency_key: Key = None) -> Response:
    """Submit one run request: the body is a line of a batch file.

    The job is in the queue once this is answered. With a `custom_id`, or the same as the header
    `Idempotency-Key`, submitting it again makes no second job; without, it does.
    """
    gate, tenant_scope = gate_of(request), tenant_scope_of(request)
    await admit(request, gate.limiter)
    key = read_key(idempotency_key)
    async with gate.body_memory.parts(request, MAX_BODY) as parts:
        if sum(map(len, parts)) > _LARGE:
            with enqueuing() as step:
                work = partial(OneJobCheck, tenant_scope.default, key, ambient())
                packets, warnings = await _checked(request, work, parts)
                await admit(request, gate.limiter, 1)
                (answer,) = told(await enqueue_packets(tenant_scope.queue, packets), step)
        else:
            spec = read_job(b"".join(parts), tenant_scope.default, key)
            await admit(request, gate.limiter, 1)
            with enqueuing() as step:
                packet, warnings = packed(spec, ambient())
                (answer,) = told(await enqueue_packets(tenant_scope.queue, [packet]), step)
    values = answer_values(accepted(answer)) | warning_values(warnings)
    return json_answer(values, 202, f"/v1/jobs/{answer.job_id}")


@router.call(
    "POST /v1/jobs:bulk",
    "enqueue",
    f"Submit up to {MAX_JOBS:,} jobs",
    {"description": "They are in the queue.", "model": AcceptedMany, "headers": HEADERS},
    status=202,
    problems={422: f"[0].{_WRONG}", 429: ""},
    body=body_of(_BULK),
)
async def submit_many(request: Request) -> Response:
    """Submit an array of lines of a batch file, or an object that has one as `jobs`.

    All of them are accepted, or, if a field of one is wrong, none. A job whose key was used for
    another request is reported among the answers as `conflict`; the others are accepted. More jobs
    go as an upload (`POST /v1/batches`).
    """
    gate, tenant_scope = gate_of(request), tenant_scope_of(request)
    await admit(request, gate.limiter)
    async with gate.body_memory.parts(request, MAX_BYTES, MORE_JOBS) as parts:
        size = sum(map(len, parts))
        with enqueuing() as step:
            work = partial(ManyJobsCheck, tenant_scope.default, ambient())
            packets, warnings = await _checked(request, work, parts)
            count = sum(len(packet.keys) for packet in packets)
            hold_answer(request, gate.answers, tenant_scope.name, size + count * _ANSWERED)
            await admit(request, gate.limiter, count)
            if len(packets) > 1:  # otherwise one call, without a batch
                packets = [part for packet in packets for part in packet.cut_short()]
            found = told(await enqueue_packets(tenant_scope.queue, packets), step)
        return await asyncio.to_thread(_many, found, warnings)


async def _checked(
    request: Request, work: CheckWork, parts: list[bytes]
) -> tuple[list[Packet], list[FieldWarning]]:
    """Check a body outside the event loop; each part is freed once it was sent."""
    packets: list[Packet] = []
    name, checks = tenant_scope_of(request).name, gate_of(request).checks
    async with (
        in_turn(checks.turns, name, CHECK_SECONDS, _BUSY),
        checks.check(work, name, connection_of(request.scope).is_gone) as check,
    ):
        async for part in gathered(_taken(parts)):
            packets += [packet async for packet in check.feed(part)]
        packets += [packet async for packet in check.end()]
        return packets, check.findings.warnings


async def _taken(parts: list[bytes]) -> AsyncIterator[bytes]:
    parts.reverse()
    while parts:
        yield parts.pop()


def _many(found: list[Enqueued], warnings: list[FieldWarning]) -> Response:
    counts = Counter(answer.status for answer in found)
    return json_answer(
        {
            "counts": {status.value: counts[status] for status in EnqueueStatus},
            "jobs": [answer_values(answer) for answer in found],
            **warning_values(warnings),
        },
        202,
    )


def read_key(header: str | None) -> str | None:
    """Read the header Idempotency-Key.

    Raises:
        InvalidRequest: it is not a valid key.
    """
    if header is None:
        return None
    text = header.strip()
    if quoted := _QUOTED.fullmatch(text):
        text = _ESCAPED.sub(r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        text = ""
    if not 0 < len(text) <= 256:
        words = 'expected 1 to 256 printable ASCII characters in quotes, such as "order-17"'
        raise InvalidRequest([FieldError(KEY_HEADER, words)])
    return text
