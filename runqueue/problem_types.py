"""The types of the gateway's problems (RFC 9457): the gateway writes by them, `RemoteQueue` reads.

A new refusal of the gateway takes a type of this table, or adds one with a meaning of its own.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum, unique
from typing import Any, get_type_hints

from runqueue import errors

#: What each URI begins with; they name a type, and lead nowhere.
PREFIX = "urn:runqueue:problem:"


@unique
class ProblemType(Enum):
    """A type of problem: its status, its meaning, and the error that a client raises.

    Without an error a client raises what the status means.
    """

    # Who calls.
    TOKEN_UNKNOWN = 401, "No known token was sent.", errors.NotAllowed
    SCOPE_MISSING = 403, "The token lacks the scope.", errors.NotAllowed
    ACCOUNTS_LIMITED = 403, "The token is not for all accounts.", errors.NotAllowed
    TOO_MANY_WRONG_TOKENS = 429, "Too many wrong tokens were sent."

    # Fields.
    INVALID_REQUEST = 422, "Fields or parameters are wrong.", errors.InvalidRequest
    INVALID_JOB = 422, "Fields of jobs are wrong.", errors.InvalidJob
    INVALID_BATCH = 422, "The batch's rules are wrong.", errors.InvalidBatch
    INVALID_GROUP = 422, "The group's settings are wrong.", errors.InvalidGroup
    INVALID_KEY_LIMIT = 422, "The key's limit cannot be set.", errors.InvalidKeyLimit
    INVALID_BUDGET = 422, "The budget cannot be set.", errors.InvalidBudget
    INVALID_LIMITS = 422, "The account's limits are wrong.", errors.InvalidLimits
    UNKNOWN_ACCOUNT = 422, "No account of this name is known.", errors.UnknownAccount

    # Addresses and bodies.
    ADDRESS_NOT_FOUND = 404, "Nothing is at this address."
    METHOD_NOT_ALLOWED = 405, "The address does not take this method."
    BODY_INCOMPLETE = 400, "The body broke off."
    BODY_TIMEOUT = 408, "The body came too slowly."
    BODY_TOO_LARGE = 413, "The body is over a limit.", errors.InvalidRequest
    UNSUPPORTED_MEDIA_TYPE = 415, "The body has an unknown type or encoding."

    # Jobs and batches.
    JOB_NOT_FOUND = 404, "No such job is on record.", errors.JobNotFound
    JOB_ARCHIVED = 409, "The archive alone has the job's result.", errors.JobArchived
    BATCH_NOT_FOUND = 404, "No such batch is on record.", errors.BatchNotFound
    IDEMPOTENCY_CONFLICT = 409, "The key has another request.", errors.IdempotencyConflict
    BATCH_CANCELED = 409, "The batch was canceled.", errors.BatchCanceled
    BATCH_EXPIRED = 409, "The batch expired before it was sealed.", errors.BatchExpired
    BATCH_MISMATCH = 409, "The batch lacks jobs: another upload has them.", errors.BatchMismatch
    UPLOAD_DISCARDED = 409, "The upload was discarded before its end.", errors.BatchNotFound
    SCHEDULE_NOT_FOUND = 404, "There is no such schedule.", errors.ScheduleNotFound
    NOT_CONFIRMABLE = 409, "The job has not ended, or has no webhook."

    # Limits, after which it helps to try again.
    TOO_MUCH_IN_FLIGHT = 429, "The token has too much in flight."
    QUOTA_REACHED = 429, "Too many jobs or bytes wait.", errors.QuotaReached

    # The queue and the gateway.
    QUEUE_UNAVAILABLE = 503, "The queue cannot be reached."
    ARCHIVE_UNAVAILABLE = 503, "The archive cannot be read.", errors.ArchiveUnavailable
    QUEUE_FULL = 503, "Redis is out of memory.", errors.QueueFull
    OTHER_FORMAT = 503, "Redis holds another version's format.", errors.OtherFormat
    EVICTING_REDIS = 503, "Redis evicts keys.", errors.EvictingRedis
    DATA_DAMAGED = 503, "The account's data cannot be read."
    DISK_FULL = 503, "The gateway's disk is full."
    INTERNAL_ERROR = 500, "The gateway failed."

    # Skyvern's webhooks.
    WRONG_SIGNATURE = 401, "The signature is wrong."
    RUN_MISMATCH = 409, "The run is another job's or attempt's."

    def __init__(
        self, status: int, meaning: str, error: type[errors.RunQueueError] | None = None
    ) -> None:
        self.status = status
        self.meaning = meaning
        self.error = error
        self.uri = PREFIX + self.name.lower().replace("_", "-")


BY_URI = {one.uri: one for one in ProblemType}
#: The first of the table wins.
_BY_ERROR = {one.error: one for one in reversed(ProblemType) if one.error}


def type_of(error: BaseException) -> ProblemType:
    """Return the type of an error of the queue, or of the next class above it that has one."""
    found = (
        _BY_ERROR.get(kind)
        for kind in type(error).__mro__
        if issubclass(kind, errors.RunQueueError)
    )
    return next(filter(None, found), ProblemType.QUEUE_UNAVAILABLE)


def member_types(kind: type[errors.RunQueueError]) -> dict[str, Any]:
    """Return the types of an error's values: its problem has them as members of their names."""
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)} if is_dataclass(kind) else {}


def members_of(error: errors.RunQueueError) -> dict[str, Any]:
    """Return the values of an error."""
    return {name: getattr(error, name) for name in member_types(type(error))}
