"""What can go wrong, as one tree: catch `RunQueueError` for all of it.

RunQueueError
├── InvalidRequest        what was requested cannot be accepted (also a ValueError)
│   ├── InvalidJob        a run request or its options
│   ├── InvalidBatch      the rules that a batch is to be opened with
│   ├── InvalidGroup      the settings of a group
│   ├── InvalidKeyLimit   the limit of a key
│   ├── InvalidBudget     a budget
│   └── InvalidLimits     the limits of an account
├── UnknownAccount        no account of that name is known here
├── IdempotencyConflict   the same key was used before for another body
├── JobNotFound           no job of that id is on record
├── JobArchived           the archive alone has the job's result
├── BatchNotFound         no batch of that id is on record
├── BatchCanceled         the batch was canceled: it does not go on
├── BatchExpired          the upload was not finished in time: its jobs were not accepted
├── ScheduleNotFound      there is no schedule of that name
├── BatchMismatch         the batch holds other jobs than were enqueued: it was not accepted
├── QueueUnavailable      Redis cannot be reached
│   ├── MalformedURL      the address of Redis is none: trying again does not help
│   ├── NoQueueHere       nothing says where Redis is
│   └── GatewayUnavailable   the gateway cannot be reached, or answers what none would
├── ArchiveUnavailable    the archive does not answer, or is none that can be read
├── NotAllowed            the gateway does not let the bearer of this token do that
├── QueueFull             Redis has no memory left for new jobs
│   └── QuotaReached      as many jobs, or bytes, wait as may: of an account, or of a token
├── AmbiguousAccounts     two accounts' jobs could not be distinguished
├── EvictingRedis         Redis is set up to drop keys, so jobs could vanish
└── OtherFormat           Redis holds what a version of another format wrote
"""

# ruff: noqa: N818 - the names are words of the domain: a `JobNotFound` needs no "Error" behind it

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, dataclass_transform
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that cannot be accepted.

    Args:
        field: where it is, as a dotted path such as `body.max_steps`.
        message: what was expected there; never the value of a sensitive field.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class RunQueueError(Exception):
    """Something runqueue cannot do; the subclass says what, and whether trying again helps."""


@dataclass_transform(eq_default=False)
@dataclass(eq=False, repr=False)
class _WithFields(RunQueueError):
    """An error that carries some values; each subclass has the sentence that names them."""

    _sentence: ClassVar[str]

    def __init_subclass__(cls) -> None:
        dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, field.name) for field in fields(self))  # for pickling

    def __str__(self) -> str:
        return self._sentence.format_map(vars(self))


class InvalidRequest(RunQueueError, ValueError):
    """It was refused at the door: correct the named fields; nothing was stored or sent.

    Args:
        errors: every field at fault, at least one.
    """

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors: list[FieldError] = list(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "; ".join(map(str, self.errors))


class InvalidJob(InvalidRequest):
    """The job was refused at the door: correct the named fields; nothing was stored or sent."""


class InvalidBatch(InvalidRequest):
    """The batch was not opened: correct the rules that are named."""


class InvalidGroup(InvalidRequest):
    """The group stays as it is: correct the settings that are named."""


class InvalidKeyLimit(InvalidRequest):
    """The limit of the key stays as it is: correct what is named."""


class InvalidBudget(InvalidRequest):
    """The budget stays as it is: correct what is named."""


class InvalidLimits(InvalidRequest):
    """The limits stay as they are: correct those that are named."""


class UnknownAccount(_WithFields):
    """No worker or setting has announced this account: a typo, or its worker never started."""

    account: str

    _sentence = "unknown account {account!r}"


class IdempotencyConflict(_WithFields):
    """The key already names a job with another body: the new one was not stored, the old one stays.

    Args:
        key: the idempotency key (a batch line's `custom_id`).
        job_id: the job that holds it.
    """

    key: str
    job_id: str

    _sentence = "key {key!r} was used for job {job_id} with another body"


class JobNotFound(_WithFields):
    """No such job is on record: the id is wrong, or its retention is over."""

    job_id: str

    _sentence = "no job {job_id!r} on record"


class JobArchived(_WithFields):
    """The job's result left Redis, and the archive alone has it: ask a gateway that reads it."""

    job_id: str

    _sentence = (
        "the archive alone has the result of job {job_id}: ask a gateway that has the archive, or"
        " read the job without its result"
    )


class BatchNotFound(_WithFields):
    """No such batch is on record: the id is wrong, or its retention is over."""

    batch_id: str

    _sentence = (
        "no batch {batch_id!r} on record: name it by its id, which `runqueue batch list` shows"
    )


class BatchCanceled(_WithFields):
    """The batch was canceled, for good: enqueue its jobs again, under another namespace."""

    batch_id: str

    _sentence = "batch {batch_id} was canceled, and does not go on"


class BatchExpired(_WithFields):
    """The upload was not finished in time, so none of its jobs was accepted: enqueue them again."""

    batch_id: str

    _sentence = (
        "batch {batch_id} expired before it was sealed, and holds no jobs any more:"
        " enqueue them again"
    )


class BatchMismatch(_WithFields):
    """The batch was not accepted: another upload has taken some of its jobs over.

    Args:
        batch_id: the batch; it is still open.
        expected: how many jobs were enqueued to it.
    """

    batch_id: str
    expected: int

    _sentence = (
        "batch {batch_id} does not hold the {expected} jobs that were enqueued to it, and was not"
        " accepted: an upload of the same keys may have some of them; enqueue them again once that"
        " is over"
    )


class ScheduleNotFound(_WithFields):
    """There is no such schedule: the name is wrong, or it was removed."""

    name: str

    _sentence = "no schedule {name!r}: `runqueue schedules list` shows those that there are"


class QueueUnavailable(RunQueueError):
    """Redis cannot be reached: try again; with a key, enqueuing twice makes one job.

    Args:
        url: the Redis URL; user name, password and query are dropped before anything is kept.
        reason: why, in words; the URL's password is blanked in it.
    """

    def __init__(self, url: str, reason: str = "cannot be reached") -> None:
        self.address, password = _address(url)
        self.reason = reason.replace(password, "***") if password else reason
        super().__init__(self.address, self.reason)

    def __str__(self) -> str:
        return f"Redis at {self.address}: {self.reason}"


class MalformedURL(QueueUnavailable):
    """The queue's URL cannot be read: correct it; it is not shown, as it may hold a password."""

    def __init__(self) -> None:
        super().__init__(
            "(malformed URL)",
            "expected a URL such as redis://localhost:6379/0, redis+cluster://host:port,…"
            " or redis+sentinel://host:port,…/name/0",
        )

    def __reduce__(self) -> tuple[type[MalformedURL], tuple[()]]:
        return type(self), ()


class NoQueueHere(QueueUnavailable):
    """No queue runs in this folder, and none is named: start one, or name one."""

    def __init__(self) -> None:
        super().__init__("", "no queue runs in this folder")

    def __str__(self) -> str:
        return (
            f"{self.reason}: start `runqueue up` (or `runqueue server` alone) here,"
            " or set RUNQUEUE_REDIS_URL"
        )

    def __reduce__(self) -> tuple[type[NoQueueHere], tuple[()]]:
        return type(self), ()


class GatewayUnavailable(QueueUnavailable):
    """The gateway cannot be reached, or its answer is none: try again, or check its URL.

    Args:
        url: the gateway's URL; what may be secret in it is dropped before anything is kept.
        reason: why, in words.
    """

    def __str__(self) -> str:
        return f"gateway at {self.address}: {self.reason}"


class ArchiveUnavailable(RunQueueError):
    """The archive does not answer, or is none that can be read; what Redis has can be."""


class NotAllowed(_WithFields):
    """The gateway knows no such token, or its bearer may not do that: ask who runs the gateway.

    Args:
        status: 401 (who are you?) or 403 (not you).
        reason: why, in words; never the token.
    """

    status: int
    reason: str

    _sentence = "{reason}"


class QueueFull(RunQueueError):
    """Redis refused the write for lack of memory: the job was not stored; try again later."""

    def __str__(self) -> str:
        return "Redis is out of memory and takes no new jobs; running jobs still finish"


class QuotaReached(QueueFull):
    """As much waits as may, so the jobs were not stored: try again once some were submitted.

    Args:
        words: whose quota it is, and how much may wait.
    """

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def of(cls, account: str, name: str | None, what: str, most: int) -> QuotaReached:
        """Say whose quota is reached.

        Args:
            account: the account.
            name: the caller's; None = the quota is the account's own.
            what: jobs or bytes.
            most: how many may wait.
        """
        whose = f"account {account!r}" if name is None else f"{name} in account {account!r}"
        return cls(f"quota: {whose} may have {most:,} {what} waiting, and this would be more")


class AmbiguousAccounts(_WithFields):
    """The ids of two accounts' jobs begin alike, so neither could be distinguished.

    Args:
        first, second: the accounts.
    """

    first: str
    second: str

    _sentence = (
        "the ids of the accounts {first} and {second} would begin alike, and an id alone has to"
        " show whose job it is: give the newer one another name"
    )


class EvictingRedis(_WithFields):
    """This Redis drops keys when it is full, so accepted jobs could vanish: set `noeviction`.

    Args:
        policy: the server's `maxmemory-policy`.
    """

    policy: str

    _sentence = "Redis has maxmemory-policy {policy}; runqueue needs noeviction"


class OtherFormat(_WithFields):
    """Redis holds what a version of another format wrote, which this one neither reads nor changes.

    Args:
        found: the format in Redis.
        own: this version's.
    """

    found: str
    own: int

    _sentence = (
        "Redis holds format {found}, and this version of runqueue has format {own}: run the version"
        " that wrote it until its jobs have ended, or use another Redis or database"
    )


def _address(url: str) -> tuple[str, str]:
    """Split a Redis URL into what may be shown and the password in it."""
    if "://" not in url:  # already an address (also when an error is unpickled)
        return url.rpartition("@")[2], ""
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:  # say, half an IPv6 address: better no address than a password
        return "(malformed URL)", ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", password
