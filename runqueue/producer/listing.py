"""Which jobs a list is of, and the indexes that such lists are read by (`async_pages.py`)."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar, get_args

from runqueue.errors import FieldError, InvalidRequest
from runqueue.ids import is_name
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.records.reasons import check_words, has_words
from runqueue.records.waits import utc
from runqueue.request.job_options import read_custom_id
from runqueue.request.metadata import METADATA_WORDS, refused_metadata
from runqueue.request.time_range import check_range, in_microseconds

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

#: Words of a text that is searched for, and characters of it.
MOST_WORDS, MOST_TEXT = 8, 500
_WORD = re.compile(r"[^\W_]+")
_ERROR = re.compile(r"-?[0-9]{1,19}")
#: What a record in Redis does not tell: only an archive finds jobs by it.
_ARCHIVED: Final = ("text", "error")
#: What is said where only an archive could answer.
NO_ARCHIVE: Final = (
    "expected a queue with an archive (RUNQUEUE_ARCHIVE_URL), which gateways and the command line"
    " read"
)

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
        text: words, each of which a word of its prompt, URL, custom_id or reason begins with. Only
            an archive finds jobs by text or error.
        metadata: entries that it has, all of them; in an archive its batch's count, too.
        workflow: the workflow that it runs.
        error: the id of the group of errors that it failed with.
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
    text: str | None = None
    metadata: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    workflow: str | None = None
    error: int | str | None = None

    def checked(self) -> Self:
        """Return it, states and an error's id that are given by their texts as such.

        Raises:
            InvalidRequest: a state, a custom_id, a namespace, a reason, a time, a text, metadata or
                an error's id that is none, or a state of webhooks without an index.
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
        _check_text(self.text)
        metadata, error = _read_entries(self.metadata), _read_error(self.error)
        return self._replace(state=state, webhook=webhook, metadata=metadata, error=error)

    @property
    def archived_field(self) -> str:
        """The first of its fields by which only an archive finds jobs; '' = there is none."""
        return next((name for name in _ARCHIVED if getattr(self, name) is not None), "")

    @property
    def is_of_ended(self) -> bool:
        """Whether jobs that have ended may be among them."""
        is_over = self.state is None or JobState(self.state).is_over
        return is_over and not (self.is_open or self.is_paused)

    @property
    def words(self) -> str:
        """What is not a state, a name or a webhook's state, in words; '' = all are meant."""
        parts = [f"group {self.group}"] if self.group else []
        parts += [f"batch {self.batch}"] if self.batch else []
        parts += [f"reason with “{self.reason}”"] if self.reason else []
        parts += [f"since {utc(self.since)}"] if self.since else []
        parts += [f"until {utc(self.until)}"] if self.until else []
        parts += ["paused runs"] if self.is_paused else []
        parts += [f"text “{self.text}”"] if self.text else []
        parts += [f"metadata {name}={value}" for name, value in dict(self.metadata).items()]
        parts += [f"workflow {self.workflow}"] if self.workflow else []
        parts += [f"error {self.error}"] if self.error is not None else []
        return ", ".join(parts)

    def fits(self, job: Job) -> bool:
        """Return whether a job is one of them; none is, by what only an archive finds jobs by."""
        return (
            not self.archived_field
            and self.state in {None, job.state}
            and self.group in {None, job.group}
            and self.batch in {None, job.batch}
            and self.custom_id in {None, job.custom_id}
            and (self.custom_id is None or self.namespace == job.namespace)
            and self.workflow in {None, job.workflow}
            and has_words(job.reason, self.reason)
            and dict(self.metadata).items() <= job.metadata.items()
            and self.webhook in {None, job.webhook.state}
            and not (self.is_open and job.is_over)
            and not (self.is_paused and job.paused_since is None)
            and self._is_of_time(job)
        )

    def _is_of_time(self, job: Job) -> bool:
        at = (job.is_over and job.ended_at) or job.created_at
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def _check_text(text: object) -> None:
    if text is None:
        return
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise refused("text", f"expected text of at most {MOST_TEXT} characters")
    if not 1 <= (found := len(_WORD.findall(text))) <= MOST_WORDS:
        raise refused(
            "text", f"expected 1 to {MOST_WORDS} words of letters and digits, got {found}"
        )


def _read_entries(given: Any) -> tuple[tuple[str, str], ...]:
    """Return entries of metadata as pairs."""
    with suppress(TypeError, ValueError):
        given = dict(given)
    if fault := refused_metadata(given):
        raise refused("metadata", f"expected {METADATA_WORDS}, got {fault}")
    return tuple(given.items())


def read_entries(pairs: Iterable[str]) -> dict[str, str]:
    """Read metadata from `name=value`, as options and query parameters give it.

    Raises:
        InvalidRequest: one has no `=`.
    """
    entries = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise refused("metadata", f"expected name=value, got {pair[:40]!r}")
        entries[name] = text
    return entries


def _read_error(given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, str) and _ERROR.fullmatch(given):
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or abs(given) >= 2**63:
        raise refused("error", "expected the id of a group of errors, a number")
    return given


#: Every job.
ALL = Filter()
#: The fields of a filter that choose a chart.
Dimension = Literal["group", "workflow", "batch"]
DIMENSIONS: Final = get_args(Dimension)


def charted(wanted: Filter, by: str | None = None) -> tuple[str, str]:
    """Return what a chart is of: `group`, `workflow` or `batch`, and which; '' = all jobs.

    Raises:
        InvalidRequest: the filter names anything else but times, also `by` what is compared.
    """
    if by not in {None, *DIMENSIONS}:
        raise refused("by", f"expected one of {', '.join(DIMENSIONS)}")
    wanted = wanted.checked()
    chosen = [(name, found) for name in DIMENSIONS if (found := getattr(wanted, name)) is not None]
    of_times = Filter(since=wanted.since, until=wanted.until)
    others = wanted._replace(group=None, workflow=None, batch=None)
    if len(chosen) > (by is None) or others != of_times:
        words = "expected times, and without `by` one of group, workflow and batch at most"
        raise refused("filter", words)
    return chosen[0] if chosen else ("", "")


class JobCount(NamedTuple):
    """How many jobs are meant.

    Args:
        jobs: how many were counted.
        is_exact: False = there are at least so many.
    """

    jobs: int
    is_exact: bool


def life_name(job: Job) -> str:
    """Return what tells a job from others under its id in an archive; it begins with the id."""
    return f"{job.id} {in_microseconds(job.created_at)}"


def check_limit(limit: int) -> None:
    """Refuse a number of items of a page that is out of its range."""
    if not 1 <= limit <= MOST:
        raise refused("limit", f"expected 1 to {MOST}, got {limit}")


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
