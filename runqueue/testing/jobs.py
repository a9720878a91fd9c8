"""Enqueued jobs with their requests, and which of them are meant."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, Unpack

from runqueue.records.job import Job


class EnqueuedJob(NamedTuple):
    """A job as it is now, and the fields of its request; {} = they are not stored any more."""

    job: Job
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.job.kind} in group {self.job.group!r}, {self.job.state}: {self.body}"


class Wanted(TypedDict, total=False):
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


def fits(found: EnqueuedJob, **wanted: Unpack[Wanted]) -> bool:
    """Say whether a job is meant."""
    job = found.job
    is_kind = wanted.get("kind", job.kind) == job.kind
    is_group = wanted.get("group", job.group) == job.group
    return is_kind and is_group and _has(found.body, wanted.get("body", {}))


def _has(value: Any, part: Any) -> bool:
    if not isinstance(part, Mapping):
        return bool(value == part)
    return isinstance(value, Mapping) and all(
        name in value and _has(value[name], part[name]) for name in part
    )
