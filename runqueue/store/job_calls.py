"""The producer's calls: which script, with which arguments, and how its reply reads.

Pure functions: `RunQueue` and `AsyncRunQueue` only send what is made here. The worker's are in
`worker_calls.py`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from redis.exceptions import ResponseError

from runqueue import ids
from runqueue.connection.redis_errors import UNREADABLE
from runqueue.errors import (
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    FieldError,
    InvalidRequest,
    JobArchived,
)
from runqueue.records.account import AccountStats, read_stats
from runqueue.records.batch import NO_RULES, Batch, BatchPage, BatchRules, read_batch
from runqueue.records.job import (
    Enqueued,
    EnqueueStatus,
    Job,
    JobState,
    fields_of,
    parse_result,
    read_job,
)
from runqueue.records.quotas import Quota
from runqueue.records.waits import read_waits
from runqueue.request.job_options import RECORDED
from runqueue.request.job_spec import JobSpec, Priority
from runqueue.request.time_range import from_microseconds, in_microseconds
from runqueue.store import codec, compression
from runqueue.store.operator_calls import Seen
from runqueue.store.replies import codes, flat, of_ids, page, rows, texts
from runqueue.store.scripts import Argument, ScriptCall, load

#: Jobs in one script call: Lua's `unpack` takes 1,000 without harm, and 8,000 fail.
CHUNK = 1000
#: Bytes of bodies in one script call, so that one call never holds Redis up for long.
CHUNK_BYTES = 16 * 1024 * 1024
#: Work in one script call, for the same reason: a job counts as one, and each priority of a group
#: that jobs have as three more, which is what it costs Redis.
CHUNK_WORK, LANE_WORK = 1_300, 3


class EncodedJob(NamedTuple):
    """A checked job as `enqueue.lua` takes it; the last three fields are not sent.

    Args:
        options: a JSON object, '' = none. A text is a field of the job's record, as it is; a time,
            `{"at": <us>}` or `{"after": <us>}`, is for the script.
        stored: its body.
        lane: its priority and group.
        state: the job's first one.
        max_steps: of its request; None = it names none.
    """

    job_id: str
    digest: bytes
    options: bytes
    stored: bytes
    lane: tuple[int, str]
    state: JobState
    max_steps: int | None

    @property
    def size(self) -> int:
        """Bytes of its body and its options."""
        return len(self.stored) + len(self.options)


_NEW, _READY, _SCHEDULED = EnqueueStatus.NEW, JobState.READY, JobState.SCHEDULED
_REFUSED = EnqueueStatus.REFUSED
_STATUSES = {1: EnqueueStatus.KNOWN, 2: EnqueueStatus.CONFLICT, 4: _REFUSED, 5: _REFUSED}
_TAKEN_OVER, _FILE_TAKEN, _BEYOND_BUDGET = 3, 4, 5
_NO_BATCH = "-"
#: What `seal_batch` says of an upload that was not finished in time, and of one that holds another
#: number of jobs than was expected.
EXPIRED, MISMATCH = -2, -3


def job_id_of(spec: JobSpec) -> str:
    """Return the id of a job: derived from its key, random without one."""
    if spec.custom_id is None:
        return ids.new_id(spec.account)
    return ids.job_id_for(spec.account, spec.namespace, spec.custom_id)


def _options(spec: JobSpec) -> dict[str, Any]:
    texts: dict[str, Any] = {name: getattr(spec, name) for name in RECORDED}
    texts |= {
        "priority": "" if spec.priority is Priority.NORMAL else str(int(spec.priority)),
        "group": "" if spec.group == "default" else spec.group,
        "max_run": str(spec.max_run_us or ""),
        "retry": spec.retry.stored() if spec.retry else "",
        "keys": spec.all_keys,
        "max_steps": "" if spec.max_steps is None else str(spec.max_steps),
        "files": " ".join(spec.files),
    }
    for name, when in ("run_at", spec.run_at), ("deadline", spec.deadline):
        if when:
            texts[name] = {"after" if when.relative else "at": when.microseconds}
    return {name: value for name, value in texts.items() if value}


def encode_job(spec: JobSpec, traceparent: str = "") -> EncodedJob:
    """Return a checked job as the enqueue script takes it."""
    digest, stored = codec.encode(spec, traceparent)
    options = _options(spec)
    return EncodedJob(
        job_id_of(spec),
        digest,
        orjson.dumps(options) if options else b"",
        stored,
        (int(spec.priority), spec.group),
        _SCHEDULED if spec.run_at else _READY,
        spec.max_steps,
    )


def enqueue(
    account: str,
    jobs: Sequence[EncodedJob],
    keys: Sequence[str | None],
    batch: str | None = None,
    quota: Quota | None = None,
) -> ScriptCall[list[Enqueued]]:
    """Accept up to `CHUNK` jobs of one account in one script call.

    Args:
        account: whose jobs these are.
        jobs: the jobs, encoded.
        keys: their idempotency keys.
        batch: an open batch they belong to.
        quota: of the caller that enqueues them, beside the account's own quotas.
    """
    head = [batch or _NO_BATCH, quota.stored() if quota else ""]
    parse = partial(_enqueued, jobs, keys, batch)
    return ScriptCall(load("enqueue"), account, [*head, *_arguments(jobs)], parse)


def look_up(
    account: str, jobs: Sequence[EncodedJob], keys: Sequence[str | None]
) -> ScriptCall[list[Enqueued]]:
    """Return what `enqueue` would answer, and store nothing."""
    parse = partial(_enqueued, jobs, keys, None)
    return ScriptCall(load("look_up"), account, _arguments(jobs), parse)


def _arguments(jobs: Sequence[EncodedJob]) -> list[Argument]:
    return flat(job[:4] for job in jobs)


def _enqueued(
    jobs: Sequence[EncodedJob], keys: Sequence[str | None], batch: str | None, reply: list[Any]
) -> list[Enqueued]:
    now = from_microseconds(int(reply[0]))

    def made_at(row: Any) -> datetime:
        return from_microseconds(int(reply[0]) + row) if row and isinstance(row, int) else now

    return [
        Enqueued(job.job_id, _NEW, key, job.state, batch, made_at(row))
        if isinstance(row, int) or row[0] == _TAKEN_OVER
        else _known(job, key, row)
        for job, key, row in zip(jobs, keys, reply[1:], strict=True)
    ]


def _known(job: EncodedJob, key: str | None, row: list[Any]) -> Enqueued:
    code, state, batch, created, *taken = row
    fault = None
    if code == _FILE_TAKEN:
        owner, file = (part.decode() for part in taken)
        fault = FieldError("body.file_ids", f"expected files of its own: {file!r} is job {owner}'s")
    elif code == _BEYOND_BUDGET:
        scope, most = (part.decode() for part in taken)
        steps = "none" if job.max_steps is None else f"{job.max_steps:,}"
        words = (
            f"expected {int(most):,} at most, as max_steps of a task, max_steps_override of a"
            f" workflow or max_steps_per_run of a download (a login has none), got {steps}:"
            f" the budget of {scope} is strict"
        )
        fault = FieldError("body.max_steps", words)
    name = None if fault else _batch_name(batch)
    at = from_microseconds(int(created))
    return Enqueued(job.job_id, _STATUSES[code], key, JobState(state.decode()), name, at, fault)


def _batch_name(raw: bytes | None) -> str | None:
    return None if raw is None or raw == b"-" else raw.decode()


def open_batch(
    account: str, batch: str, name: str, rules: BatchRules = NO_RULES, metadata: str = ""
) -> ScriptCall[bool]:
    """Open a batch; it is held until `seal_batch`."""
    arguments = [batch, name, *rules.stored(), metadata]
    return ScriptCall(load("open_batch"), account, arguments, bool)


def seal_batch(account: str, batch: str, expected: int | None = None) -> ScriptCall[int]:
    """Accept a batch; the reply is for `sealed`.

    Args:
        account: whose it is.
        batch: its id.
        expected: how many jobs it has to hold to be accepted; None = any number.
    """
    return ScriptCall(
        load("seal_batch"), account, [batch, "" if expected is None else expected], int
    )


def sealed(batch: str, reply: int, expected: int | None = None) -> int:
    """Return what `seal_batch` replies: the number of jobs.

    Raises:
        BatchNotFound: no such batch is on record.
        BatchExpired: its upload was not finished in time.
        BatchMismatch: it holds another number of jobs than was expected.
    """
    if reply == MISMATCH:
        raise BatchMismatch(batch, expected or 0)
    if reply < 0:
        raise BatchExpired(batch) if reply == EXPIRED else BatchNotFound(batch)
    return reply


def discard_batch(account: str, batch: str) -> ScriptCall[bool]:
    """Give an unfinished upload up."""
    return ScriptCall(load("discard_batch"), account, [batch], bool)


def get_batch(account: str, batch: str) -> ScriptCall[Batch | None]:
    """Read a batch and the counts of its states."""

    def parse(reply: list[Any]) -> Batch | None:
        now, flat, jobs, waits = reply
        return read_batch(account, batch, flat, int(jobs), int(now), waits=waits)

    return ScriptCall(load("get_batch"), account, [batch], parse)


def list_batch(account: str, batch: str, start: int, count: int) -> ScriptCall[list[str]]:
    """Read a page of a batch's job ids."""
    return ScriptCall(load("list_batch"), account, [batch, start, count], texts)


def get_jobs(
    account: str, job_ids: Sequence[str], *, result: bool = True
) -> ScriptCall[list[Job | None]]:
    """Read jobs, with or without their results; one that cannot be read fails the call.

    Its reply raises JobArchived for the first whose result the archive alone has.
    """

    def parse(reply: list[Any]) -> list[Job | None]:
        rows, now_us = list(zip(job_ids, reply[1:], strict=True)), int(reply[0])
        if result and (gone := next((job_id for job_id, row in rows if _is_archived(row)), "")):
            raise JobArchived(gone)
        return [_job(account, job_id, row, now_us) if row else None for job_id, row in rows]

    return ScriptCall(load("get_jobs"), account, [int(result), *job_ids], parse)


def readable_jobs(
    account: str, job_ids: Sequence[str]
) -> ScriptCall[tuple[list[Job | None], tuple[str, ...]]]:
    """Read jobs without their results, and which of them cannot be read: these are None."""

    def parse(reply: list[Any]) -> tuple[list[Job | None], tuple[str, ...]]:
        jobs: list[Job | None] = []
        unread: list[str] = []
        for job_id, row in zip(job_ids, reply[1:], strict=True):
            jobs.append(None)
            try:
                jobs[-1] = _job(account, job_id, row, int(reply[0])) if row else None
            except (ResponseError, *UNREADABLE):
                unread.append(job_id)
        return jobs, tuple(unread)

    return ScriptCall(load("get_jobs"), account, [0, *job_ids], parse)


def _is_archived(row: list[Any] | bytes | None) -> bool:
    """Say whether the archive alone has a job's result, as the job had one."""
    return isinstance(row, list) and {b"archived", b"run_id"} <= {*row[0][::2]}


def _job(account: str, job_id: str, row: list[Any] | bytes, now_us: int) -> Job:
    if isinstance(row, bytes):
        raise ResponseError(row.decode(errors="replace"))  # what is wrong with its record
    record, envelope, held, result, waits = row
    fields = fields_of(record)
    return read_job(
        account,
        job_id,
        fields,
        codec.read_envelope(envelope),
        is_batch_canceled=held == b"canceled",
        result=parse_result(compression.result_of(result, int(fields.get("ended", 0)))),
        waits_for=read_waits(account, waits, now_us),
    )


def _states(reply: list[Any]) -> list[tuple[JobState | None, float]]:
    return [_state(raw, int(reply[0])) for raw in reply[1:]]


#: Read states; beside each the seconds it has been unconfirmed (0 when it is not).
job_states = of_ids("job_states", _states)


def _state(raw: bytes, now_us: int) -> tuple[JobState | None, float]:
    name, _, since = raw.decode().partition(":")
    if not name:
        return None, 0.0
    return JobState(name), (now_us - float(since)) / 1e6 if since else 0.0


#: Request the cancel of jobs: per id 1 canceled, 2 flagged, 0 over already, -1 unknown.
cancel = of_ids("cancel", codes)


def accept_server(account: str, *, is_latest: bool) -> ScriptCall[bool]:
    """Report what the owner of a Redis that was started knows of it; True = an account takes it.

    Args:
        account: the account.
        is_latest: it lost nothing. Else the runs are listed before anything is submitted, if it is
            another server than the one that the account knows.
    """
    return ScriptCall(load("accept_server"), account, [int(is_latest)], bool)


def resume(account: str) -> ScriptCall[str]:
    """End an account's hold; the reply is its reason, '' if there was none."""
    return ScriptCall(load("resume"), account, ["", ""], lambda reply: str(reply[1].decode()))


def stats(account: str) -> ScriptCall[AccountStats]:
    """Read an account's statistics."""
    return ScriptCall(load("stats"), account, [], lambda reply: read_stats(account, reply))


# The calls about batches that run: hold them, list them, find what ended badly in them.

#: Batches of a page, at most.
MOST = 1000
_CURSOR = re.compile(r"\d{1,16} [a-z2-7]{24}")


def hold_batch(account: str, batch: str, what: str, seen: str = "") -> ScriptCall[str | None]:
    """Pause or resume a batch; returns what holds it now ('' = nothing), None = no such batch.

    Args:
        account, batch: whose it is, and its id.
        what: `pause` or `resume`.
        seen: what held it when a person decided to resume it.
    """

    def parse(reply: bytes | None) -> str | None:
        return None if reply is None else reply.decode()

    return ScriptCall(load("hold_batch"), account, [batch, what, seen], parse)


def list_batches(account: str, cursor: str, count: int) -> ScriptCall[BatchPage]:
    """Read a page of batches; arguments and errors as for `RunQueue.list_batches`."""
    if not 1 <= count <= MOST:
        raise InvalidRequest([FieldError("limit", f"expected 1 to {MOST}, got {count}")])
    if cursor and not _CURSOR.fullmatch(cursor):
        raise InvalidRequest([FieldError("cursor", "expected one that a page of batches gave")])

    def parse(reply: list[Any]) -> BatchPage:
        unread: list[str] = []
        batches = list(_batches(account, reply[2:], int(reply[1]), unread))
        return BatchPage(batches, reply[0].decode(), tuple(unread))

    return ScriptCall(load("list_batches"), account, [cursor, count], parse)


def _batches(account: str, replies: list[Any], now_us: int, unread: list[str]) -> Iterator[Batch]:
    for name, record, jobs, waits in rows(replies, 0, 4):
        found = None
        try:  # a record that Redis could not read is a text
            found = read_batch(account, name.decode(), record, int(jobs), now_us, waits=waits)
        except UNREADABLE:
            unread.append(name.decode(errors="replace"))
        if found is not None:
            yield found


class EndedBadly(NamedTuple):
    """A job that is dead, failed or canceled, as it was seen; reason is '' if it has none."""

    seen: Seen
    state: JobState
    reason: str


def ended_badly(
    account: str, batch: str, start: int, count: int
) -> ScriptCall[tuple[int, list[EndedBadly]]]:
    """Find the dead, failed and canceled jobs of a page; returns the page's length and these."""

    def parse(reply: list[Any]) -> tuple[int, list[EndedBadly]]:
        return int(reply[0]), [
            EndedBadly(
                (name.decode(), int(n), int(at)),
                JobState(state.decode()),
                reason.decode(errors="replace"),
            )
            for name, n, at, state, reason in rows(reply, 1, 5)
        ]

    return ScriptCall(load("ended_badly"), account, [batch, start, count], parse)


def page_ended(
    account: str,
    states: Iterable[str],
    cursor: str,
    count: int,
    looks: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ScriptCall[tuple[str, list[str]]]:
    """Read a page of the jobs that ended; returns the next cursor ('' = that was the last page).

    Args:
        account: whose jobs.
        states: completed, failed, canceled or dead.
        cursor: '' = from the newest end on.
        count: jobs, at most.
        looks: ends to read, at most.
        since, until: only ends from then on, and before then.
    """
    times = ["" if at is None else in_microseconds(at) for at in (since, until)]
    arguments = [" ".join(states), cursor, count, looks, *times]
    return ScriptCall(load("page_ended"), account, arguments, page)


def remove_abandoned(account: str, batch: str, limit: int) -> ScriptCall[int]:
    """Remove jobs of an upload that was abandoned.

    Args:
        account, batch: whose it is, and its id.
        limit: how many at most.

    Returns:
        How many were read: as many as the limit, or more = there is more to do.
    """
    return ScriptCall(load("expire_batches"), account, ["", limit, batch], int)
