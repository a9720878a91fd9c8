"""Enqueued jobs with their requests, and the choice of some of them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from runqueue.records.job import Job


class EnqueuedJob(NamedTuple):
    """A job and its run request.

    Args:
        job: the job as it is now.
        body: the request's fields as they were enqueued; {} = they are not stored any more.
    """

    job: Job
    body: dict[str, Any]


class Wanted(NamedTuple):
    """Which jobs are meant; None = any.

    Args:
        kind: task, workflow, login or download_files.
        group: the group.
        body: a part of the request's body: the fields that it names, and in objects within it the
            entries that these name, have to be equal.
    """

    kind: str | None = None
    group: str | None = None
    body: Mapping[str, Any] | None = None

    def fits(self, found: EnqueuedJob) -> bool:
        """Say whether a job is meant."""
        return (
            self.kind in {None, found.job.kind}
            and self.group in {None, found.job.group}
            and _has(found.body, self.body or {})
        )

    def __str__(self) -> str:
        named = {name: value for name, value in self._asdict().items() if value is not None}
        return ", ".join(f"{name}={value!r}" for name, value in named.items()) or "any"


def _has(value: Any, part: Any) -> bool:
    if isinstance(part, Mapping):
        names = isinstance(value, Mapping)
        return names and all(name in value and _has(value[name], part[name]) for name in part)
    return bool(value == part)


def listed(jobs: Iterable[EnqueuedJob]) -> str:
    """Describe jobs in lines, for people."""
    return "\n".join(
        f"  {found.job.kind} in group {found.job.group!r}, {found.job.state}: {found.body}"
        for found in jobs
    )
