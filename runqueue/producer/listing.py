"""Which jobs a list is of, and the indexes that such lists are read by (`async_pages.py`)."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self, TypeVar

from runqueue.errors import FieldError, InvalidRequest
from runqueue.ids import is_name
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.records.reasons import check_words, has_words
from runqueue.records.waits import utc
from runqueue.request.job_options import read_custom_id
from runqueue.request.time_range import check_range

#: Jobs of a page, at most; and of one for those who read all pages.
MOST, PAGE = 1000, 500
#: Jobs that one call reads: others wait for it, at Redis and for the reply to be taken in.
READ_AT_ONCE = 100
#: Where jobs of a state, or whose webhook is in a state, are indexed by time, and those whose runs
#: are paused; unconfirmed ones without a slot are apart, and so are webhooks that Skyvern sends.
INDEXES: dict[str, tuple[str, ...]] = {
    JobState.SCHEDULED: ("due",),
    JobState.UNCONFIRMED: ("unconfirmed", "unconfirmed_no_slot"),
    JobState.RUNNING: ("poll",),
    JobState.DEAD: ("dead",),
    DeliveryState.PENDING: ("relays", "watches"),
    DeliveryState.ABANDONED: ("abandoned",),
    DeliveryState.UNKNOWN: ("unknown",),
    "paused": ("paused",),
}
#: Webhooks that are found by their state; the others have no index.
FOUND: Final = tuple(state for state in INDEXES if isinstance(state, DeliveryState))

S = TypeVar("S", bound=StrEnum)


class Filter(NamedTuple):
    """Which jobs are meant; a field that is None does not matter.

    Args:
        group, batch: as the job names them.
        reason: text that the job's reason contains, whatever its case.
        state: its state.
        custom_id, namespace: its name.
        webhook: the state of its webhook, one of `FOUND`.
        since, until: it ended then or later, and before; one that has not ended was enqueued then.
        is_open: only jobs that have not ended.
        is_paused: only jobs whose runs wait for a person.
    """

    group: str | None = None
    batch: str | None = None
    reason: str | None = None
    state: JobState | str | None = None
    custom_id: str | None = None
    namespace: str = ""
    webhook: DeliveryState | str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_open: bool = False
    is_paused: bool = False

    def checked(self) -> Self:
        """Return it, states that are given by their texts as such.

        Raises:
            InvalidRequest: a state, a custom_id, a namespace, a reason or a time that is none, or a
                state of webhooks without an index.
        """
        check_words(self.reason)
        check_range(self.since, self.until)
        state = one_of("state", self.state, JobState)
        webhook = one_of("webhook", self.webhook, FOUND)
        if self.custom_id is None and self.namespace:
            raise refused("namespace", "expected with a custom_id only")
        errors: list[FieldError] = []
        read_custom_id({"custom_id": self.custom_id}, "custom_id", errors)
        if errors:
            raise InvalidRequest(errors)
        if self.namespace and not is_name(self.namespace):
            words = f"expected the name of a namespace, got {self.namespace[:40]!r}"
            raise refused("namespace", words)
        return self._replace(state=state, webhook=webhook)

    @property
    def words(self) -> str:
        """The group, batch, reason and times in words; '' = all are meant."""
        parts = [f"group {self.group}"] if self.group else []
        parts += [f"batch {self.batch}"] if self.batch else []
        parts += [f"reason with “{self.reason}”"] if self.reason else []
        parts += [f"since {utc(self.since)}"] if self.since else []
        parts += [f"until {utc(self.until)}"] if self.until else []
        parts += ["paused runs"] if self.is_paused else []
        return ", ".join(parts)

    def fits(self, job: Job) -> bool:
        """Return whether a job is one of them."""
        return (
            self.state in {None, job.state}
            and self.group in {None, job.group}
            and self.batch in {None, job.batch}
            and has_words(job.reason, self.reason)
            and self.webhook in {None, job.webhook.state}
            and not (self.is_open and job.is_over)
            and not (self.is_paused and job.paused_since is None)
            and self._is_of_time(job)
        )

    def _is_of_time(self, job: Job) -> bool:
        at = (job.is_over and job.ended_at) or job.created_at
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


#: Every job.
ALL = Filter()


def one_of(field: str, given: str | None, values: Iterable[S]) -> S | None:
    """Return the value that is given by its text; None = none is given.

    Raises:
        InvalidRequest: it is none of these.
    """
    names = list(values)
    for value in names:
        if value == given:
            return value
    if given is None:
        return None
    raise refused(field, f"expected one of {', '.join(names)}, got {str(given)[:40]!r}")


def refused(field: str, message: str) -> InvalidRequest:
    """Return the error of a field that does not say which jobs are meant."""
    return InvalidRequest([FieldError(field, message)])
