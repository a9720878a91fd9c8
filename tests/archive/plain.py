"""The archive as a list: what each search, count, group of errors and chart has to be."""

import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import orjson

from archive.errors import ErrorKind, generic
from archive.rows import EndedJob, words_of
from runqueue.producer.listing import Filter
from runqueue.request.time_range import from_microseconds
from runqueue.store import codec


class Plain(NamedTuple):
    """A job, as far as filters look at it."""

    id: str
    account: str
    state: str
    group: str
    batch: str | None
    workflow: str | None
    custom_id: str | None
    metadata: dict[str, str]
    words: str
    reason: str
    webhook: str
    error: int | None
    credits: int
    created_us: int
    started_us: int | None
    ended_us: int

    @property
    def ended(self) -> datetime:
        """When it ended."""
        return from_microseconds(self.ended_us)


def plain(job: EndedJob) -> Plain:
    """Return a job as filters see it."""
    record = {name: value.decode() for name, value in job.record.items()}
    _, request = codec.read_request(job.body)
    custom_id = codec.read_envelope(job.body.partition(b"\n")[0])[1]
    reason = record.get("reason", "")
    has_error = record["state"] in {"failed", "dead"}
    kind = ErrorKind(job.account, record.get("category", ""), generic(reason))
    searched = [request.get(name) for name in ("prompt", "title", "url")]
    return Plain(
        job.id,
        job.account,
        record["state"],
        record["group"],
        record.get("batch"),
        request.get("workflow_id"),
        custom_id,
        orjson.loads(record.get("metadata", "{}")),
        words_of([*searched, custom_id, reason]),
        reason,
        record.get("delivery", "none"),
        kind.id if has_error else None,
        int((record.get("usage") or "::").split(":")[1] or 0),
        int(record["created"]),
        int(record["started"]) if "started" in record else None,
        int(record["ended"]),
    )


def _fits(job: Plain, wanted: Filter, text: list[str]) -> bool:
    """Return whether a filter means a job, which has to have words that begin so."""
    return (
        not wanted.is_open
        and not wanted.is_paused
        and wanted.state in {None, job.state}
        and wanted.group in {None, job.group}
        and wanted.batch in {None, job.batch}
        and wanted.workflow in {None, job.workflow}
        and wanted.error in {None, job.error}
        and wanted.custom_id in {None, job.custom_id}
        and wanted.webhook in {None, job.webhook}
        and (wanted.reason or "").lower() in job.reason.lower()
        and dict(wanted.metadata).items() <= job.metadata.items()
        and all(f" {part}" in f" {job.words}" for part in text)
        and (wanted.since is None or job.ended >= wanted.since)
        and (wanted.until is None or job.ended < wanted.until)
    )


def expected(jobs: Iterable[Plain], account: str, wanted: Filter) -> list[Plain]:
    """Return the jobs that a filter means, the newest end first."""
    text = words_of([wanted.text]).split()
    found = [job for job in jobs if job.account == account and _fits(job, wanted, text)]
    return sorted(
        found, key=lambda job: (job.ended_us, zlib.crc32(job.id.encode()) % 1024), reverse=True
    )
