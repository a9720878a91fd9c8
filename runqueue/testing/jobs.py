"""Enqueued jobs with their requests, and which of them are meant."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from runqueue.records.job import Job


class EnqueuedJob(NamedTuple):
    """A job as it is now, and the fields of its request; {} = they are not stored any more."""

    job: Job
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.job.kind} in group {self.job.group!r}, {self.job.state}: {self.body}"


class JobCriteria(TypedDict, total=False):
    """Which jobs are meant; what is not named may be any.

    Attributes:
        kind: task, workflow, login or download_files.
        group: their group.
        body: a part of the request's body: the fields that it names have to be equal, and of
            objects within it the entries that are named.
    """

    kind: str
    group: str
    body: Mapping[str, Any]


def fits(
    found: EnqueuedJob,
    *,
    kind: str | None = None,
    group: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> bool:
    """Say whether a job is meant; the arguments are those of `JobCriteria`."""
    is_kind = kind in {None, found.job.kind} and group in {None, found.job.group}
    return is_kind and _has(found.body, body or {})


def _has(value: Any, part: Any) -> bool:
    if not isinstance(part, Mapping):
        return bool(value == part)
    return isinstance(value, Mapping) and all(
        name in value and _has(value[name], part[name]) for name in part
    )
