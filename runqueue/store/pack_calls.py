"""The calls that pack jobs that are over: which there are, and what they are packed as."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from runqueue.store import compression
from runqueue.store.replies import records, rows
from runqueue.store.scripts import Argument, ScriptCall, load

#: What a string of its own takes in Redis beside its bytes.
KEY_BYTES = 100


class PlainJob(NamedTuple):
    """A job that is over, as it is stored.

    Args:
        ended_us: when it ended.
        body: its envelope and its request.
        result: the API's answer; b"" = it has none.
    """

    job_id: str
    ended_us: int
    body: bytes
    result: bytes


class Unpacked(NamedTuple):
    """What is to be packed next.

    Args:
        more: whether there is more than this.
        stands, stands_then: how far packing is, and how far behind these jobs.
    """

    more: bool
    stands: bytes
    stands_then: bytes
    jobs: list[PlainJob]


class Packed(NamedTuple):
    """A job as it is to be stored, and as it was read.

    Args:
        result: b"" = it has none, or its body holds it.
    """

    read: PlainJob
    body: bytes
    result: bytes


def packed(job: PlainJob) -> Packed | None:
    """Return what a job is stored as; None = it stays as it is, which is shorter or unreadable."""
    line, newline, rest = job.body.partition(b"\n")
    if not newline:
        return None
    try:
        request = compression.request_of(rest)
        # Of a packed body and a plain result the body holds that of an end before.
        result = compression.result_of(job.result, job.ended_us)
    except ValueError:
        return None
    is_apart = len(result) > compression.APART
    within, apart = (b"", result) if is_apart else (result, b"")
    body = line + newline + compression.pack(request, within, job.ended_us)
    own = compression.pack(b"", apart, job.ended_us) if is_apart else b""
    saved = KEY_BYTES if job.result and not own else 0
    if len(body) + len(own) >= len(job.body) + len(job.result) + saved:
        return None
    return Packed(job, body, own)


def unpacked(account: str, after_us: int, limit: int, allowed_bytes: int) -> ScriptCall[Unpacked]:
    """Read jobs that are over and not packed; see `unpacked.lua`."""

    def parse(reply: list[Any]) -> Unpacked:
        jobs = records(PlainJob, rows(reply, 3, 4))
        return Unpacked(bool(reply[0]), reply[1], reply[2], jobs)

    return ScriptCall(load("unpacked"), account, [after_us, limit, allowed_bytes], parse)


def pack(account: str, read: Unpacked, jobs: Sequence[Packed]) -> ScriptCall[int]:
    """Store what was packed; the reply is how many jobs were as they had been read."""
    arguments: list[Argument] = [read.stands, read.stands_then]
    for job in jobs:
        was = job.read
        sizes = (len(was.body), len(was.result))
        arguments += [was.job_id, was.ended_us, *sizes, job.body, job.result]
    return ScriptCall(load("pack"), account, arguments, int)
