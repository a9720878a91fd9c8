"""A batch's public view, and the rules that it may be opened with.

    validating → in_progress → finalizing → completed | failed | canceled | expired

`validating` is a batch that is not sealed yet. `finalizing` is one of which nothing more is
submitted, while runs of it are still under way: it was canceled, a rule of its own aborted it
(`failed`, then), or its time was up. A batch that is paused, or waits for its canary, is
`in_progress` and `held`. An upload that was not finished in time is `expired`, and has no jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from runqueue.connection.urls import endpoint_of
from runqueue.errors import FieldError, InvalidBatch
from runqueue.records.as_json import json_object
from runqueue.records.forecast import ENOUGH, EndRate, seconds_left
from runqueue.records.job import Job, JobState, fields_of, moment, text
from runqueue.records.run_figures import Usage, usage_of
from runqueue.records.waits import Wait, in_words, read_waits
from runqueue.request.job_options import LONGEST_WAIT_S, seconds
from runqueue.request.metadata import entries_of
from runqueue.request.requests import WEB_URL_WORDS, is_web_url
from runqueue.request.time_range import from_microseconds


class BatchStatus(StrEnum):
    """A batch's status, in the words of OpenAI's Batch API."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Return whether nothing more happens to the batch by itself."""
        return self in _FINAL


_FINAL = frozenset(
    {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELED, BatchStatus.EXPIRED}
)
#: What holds a batch until an operator resumes it, and its status once no run is under way.
STOPPED: Final = {
    "canceled": BatchStatus.CANCELED,
    "aborted": BatchStatus.FAILED,
    "expired": BatchStatus.EXPIRED,
}
#: States of jobs that may have a run under way.
LIVE = (JobState.SUBMITTING, JobState.UNCONFIRMED, JobState.RUNNING)
#: What the rules are where a batch does not say.
ABORT_AFTER, CANARY_RATIO = 20, 0.9
_JOBS_WORDS = "a number of jobs, 1 or more"
#: Characters of a callback's URL, and shares at which it is called, at most.
LONGEST_URL, MOST_SHARES = 8000, 100
_COUNTED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.DEAD)


def _is_number(value: object) -> bool:
    """Return whether it is a number: a bool is none, although Python counts it among them."""
    return type(value) in (int, float)


def _is_jobs(value: object) -> bool:
    return type(value) is int and 1 <= value < 2**53


@dataclass(frozen=True, slots=True)
class BatchRules:
    """What a batch does by itself: if its jobs end badly, if its time is up, which URL it calls.

    Args:
        abort_at_failure_ratio: from this share of failed and dead jobs among those that ended on,
            nothing more of it is submitted; None = never.
        abort_after: the rule is not applied before so many jobs have ended.
        canary: only so many jobs, the first of the upload, go at first; None = all.
        canary_ratio: the share of these that has to complete before the others go. If fewer do,
            the batch is aborted.
        expires_after: so long after it was sealed nothing more of it is submitted, in seconds (or
            given as a timedelta); None = never. Runs under way go on.
        callback_url: is called when the batch is over; None = there is none.
        callback_at: also called when these shares of its jobs have ended, each above 0 and below 1.

    Raises:
        InvalidBatch: a value is of another type, or out of its range.
    """

    abort_at_failure_ratio: float | None = None
    abort_after: int = ABORT_AFTER
    canary: int | None = None
    canary_ratio: float = CANARY_RATIO
    expires_after: float | timedelta | None = None
    callback_url: str | None = field(default=None, repr=False)  # it may hold a secret
    callback_at: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check the values, a span of time as seconds and shares as a tuple."""
        span, shares = self.expires_after, self.callback_at
        if isinstance(span, timedelta):
            object.__setattr__(self, "expires_after", span.total_seconds())
        if isinstance(shares, Iterable) and not isinstance(shares, str | bytes):
            object.__setattr__(self, "callback_at", tuple(shares))
        wrong = [*self._wrong_limits(), *self._without_effect(), *self._wrong_callbacks()]
        if wrong:
            raise InvalidBatch(wrong)

    def _wrong_limits(self) -> Iterator[FieldError]:
        ratio = self.abort_at_failure_ratio
        if ratio is not None and not (_is_number(ratio) and 0 < ratio <= 1):
            yield _fault("abort_at_failure_ratio", "a number above 0, up to 1", ratio)
        if not (_is_number(self.canary_ratio) and 0 <= self.canary_ratio <= 1):
            yield _fault("canary_ratio", "a number from 0 to 1", self.canary_ratio)
        if not _is_jobs(self.abort_after):
            yield _fault("abort_after", _JOBS_WORDS, self.abort_after)
        if self.canary is not None and not _is_jobs(self.canary):
            yield _fault("canary", _JOBS_WORDS, self.canary)
        if self.expires_after is not None and not self._expires_us:
            words = f"a number of seconds above 0, up to {LONGEST_WAIT_S}"
            yield _fault("expires_after", words, self.expires_after)

    def _wrong_callbacks(self) -> Iterator[FieldError]:
        url = self.callback_url
        shares: object = self.callback_at
        if url is not None and not (is_web_url(url) and len(url) <= LONGEST_URL):
            words = f"expected {WEB_URL_WORDS}, of {LONGEST_URL} characters at most"
            yield FieldError("callback_url", words)
        if not isinstance(shares, tuple):
            yield _fault("callback_at", "a list of numbers", shares)
            return
        if shares and url is None:
            yield FieldError("callback_at", "expected a callback_url beside it")
        if len(shares) > MOST_SHARES:
            yield _fault("callback_at", f"{MOST_SHARES} shares at most", len(shares))
        for share in shares:
            if not (_is_number(share) and 0 < share < 1):
                yield _fault("callback_at", "shares above 0 and below 1", share)

    def _without_effect(self) -> Iterator[FieldError]:
        if self.abort_after != ABORT_AFTER and self.abort_at_failure_ratio is None:
            yield FieldError("abort_after", "expected an abort_at_failure_ratio beside it")
        if self.canary_ratio != CANARY_RATIO and self.canary is None:
            yield FieldError("canary_ratio", "expected a canary beside it")

    @property
    def _expires_us(self) -> int:
        """After how many microseconds it expires; 0 = never."""
        when = seconds(self.expires_after)
        return when.microseconds if when else 0

    def stored(self) -> list[str | int]:
        """Return the rules as `open_batch.lua` takes them."""
        ratio = self.abort_at_failure_ratio
        abort = "" if ratio is None else repr(float(ratio))
        shares = " ".join(repr(float(share)) for share in sorted(set(self.callback_at)))
        canary = (self.canary or 0, repr(float(self.canary_ratio)))
        return [abort, self.abort_after, *canary, self._expires_us, self.callback_url or "", shares]


#: A batch that goes on whatever comes of its jobs.
NO_RULES = BatchRules()


def _fault(name: str, expected: str, value: object) -> FieldError:
    return FieldError(name, f"expected {expected}, got {value!r}")


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """The rules of a batch that are in force: a resumed batch has dropped the one that held it.

    Args:
        abort_at_failure_ratio, abort_after: it is aborted when this share of its jobs that ended
            failed or is dead, once so many have ended; None = it has no such rule.
        canary, canary_ratio: so many jobs go first, and this share of them has to complete before
            the others go; None = there is no such rule, or they did.
        expires_after: seconds after its acceptance from which on nothing more is submitted.
        callback_at: shares of its jobs whose end is still to be reported to the callback_url.
    """

    abort_at_failure_ratio: float | None = None
    abort_after: int | None = None
    canary: int | None = None
    canary_ratio: float | None = None
    expires_after: float | None = None
    callback_at: tuple[float, ...] = ()

    @property
    def words(self) -> list[str]:
        """Each rule in words."""
        said = []
        if self.abort_at_failure_ratio is not None:
            share = f"{self.abort_at_failure_ratio:.4g} of the jobs that ended"
            said.append(f"aborts when {share} ({self.abort_after:,} at least) failed or are dead")
        if self.canary is not None:
            share = f"{self.canary_ratio:.4g} of them have to complete"
            said.append(f"the first {self.canary:,} jobs go alone, {share} before the others go")
        if self.expires_after is not None:
            said.append(f"expires {self.expires_after:,.0f} s after its acceptance")
        if self.callback_at:
            shares = ", ".join(f"{share:.4g}" for share in self.callback_at)
            said.append(f"its callback is sent at {shares} of its jobs, too")
        return said


@dataclass(frozen=True, slots=True)
class BatchCallback:
    """How a batch's `callback_url` was called; a number of events each.

    Args:
        endpoint: scheme, host and port of the URL: the rest of it may be secret.
        pending: still to be sent, or tried again.
        delivered: sent, and accepted.
        abandoned: not sent, for good.
        error: why the last one was not, in words; None = all that were tried have arrived.
    """

    endpoint: str
    pending: int = 0
    delivered: int = 0
    abandoned: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs enqueued together; a snapshot, read again with `RunQueue.get_batch`.

    Args:
        sealed: whether the upload is complete; before that none of its jobs runs.
        held: why nothing of it is claimed now, None if it runs: `paused`, `aborted` (by its rules),
            `canceled`, `expired`, or `canary` (its first jobs go, and decide on the others).
        held_reason: what a rule that aborted it saw, or why it expired, in words.
        states: how many of its jobs are in each state.
        finished_at: when its last job ended; of an aborted or expired one, its last run.
        expires_at: when what has not been submitted is not submitted any more; None = never.
        seconds_left, eta: how long it takes yet, and when that will be, by how fast its jobs
            ended; None = it is not known, jobs of it wait for something (`waits_for`), or
            nothing is left to end. Of a batch that was stopped: until its last run.
        eta_note: why there is no eta although jobs of it are to end.
        steps, credits, cached_credits, credits_estimated: what its runs took; see `Usage`.
        credits_runs: of how many runs the credits are known.
        metadata: names and texts of its caller's own.
        waits_for: why jobs of it are not submitted now: what holds it or its account, a budget
            that is spent, a paused group, a key's rate; what a person has to end first.
        paused_group: a paused group in which jobs of it wait; one of several.
        callback: how its callback_url was called; None = it has none.
        rules: what it does by itself.
        archived: whether the archive alone knows it: by its jobs that have ended, so without its
            name, rules and metadata, and created with the one that ended first.
    """

    id: str
    account: str
    name: str
    sealed: bool
    held: str | None
    total: int
    states: dict[JobState, int]
    created_at: datetime
    held_reason: str | None = None
    sealed_at: datetime | None = None
    canceled_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    seconds_left: float | None = None
    eta: datetime | None = None
    callback: BatchCallback | None = None
    rules: ActiveRules = ActiveRules()
    eta_note: str | None = None
    paused_group: str | None = None
    waits_for: tuple[Wait, ...] = ()
    steps: int | None = None
    credits: int | None = None
    cached_credits: int | None = None
    credits_estimated: int | None = None
    credits_runs: int = 0
    metadata: dict[str, str] = field(default_factory=dict, repr=False)
    archived: bool = False

    @property
    def usage(self) -> Usage:
        """What its runs took."""
        return Usage(self.steps, self.credits, self.cached_credits, self.credits_estimated)

    @property
    def is_over(self) -> bool:
        """Return whether every job of it has ended.

        Not so of a batch that was aborted, or has expired, while jobs wait in it: it may be
        resumed. `status.is_final` says whether anything happens by itself.
        """
        return self.sealed and sum(n for s, n in self.states.items() if s.is_over) >= self.total

    @property
    def status(self) -> BatchStatus:
        """Its status."""
        if self.held in STOPPED:
            is_live = any(self.states.get(state) for state in LIVE)
            return BatchStatus.FINALIZING if is_live else STOPPED[self.held]
        if not self.sealed:
            return BatchStatus.VALIDATING
        return BatchStatus.COMPLETED if self.is_over else BatchStatus.IN_PROGRESS

    @property
    def own_waits(self) -> tuple[Wait, ...]:
        """What jobs of it wait for, beside what holds it or its whole account."""
        return tuple(
            wait
            for wait in self.waits_for
            if (wait.kind in {"group_paused", "key_rate"} and wait.name != "?")
            or (wait.kind == "budget" and wait.name != "account")
        )

    @property
    def request_counts(self) -> dict[str, int]:
        """How many jobs it has, and how many ended in each way."""
        return {"total": self.total} | {s.value: self.states.get(s, 0) for s in _COUNTED}

    def as_dict(self) -> dict[str, Any]:
        """Return the batch as JSON values."""
        then = ("created_at", "sealed_at", "canceled_at", "finished_at", "expires_at")
        outlook = ("seconds_left", "eta", "eta_note", "waits_for", "paused_group")
        return {
            "batch": self.id,
            **json_object(self, "name", "account", "status", "sealed", "held", "held_reason"),
            "jobs": self.total,
            **json_object(self, "request_counts", "states", "is_over", *then, *outlook),
            **json_object(self, "callback", "rules", "credits_runs", "metadata", "archived"),
            **self.usage._asdict(),
        }


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches, and where the others are; cursor is '' on the last page.

    Args:
        unread: ids of batches of this page that cannot be read: they are left out.
    """

    batches: list[Batch]
    cursor: str
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and where the others are; cursor is '' on the last page.

    Args:
        unread: ids of jobs of this page that cannot be read: they are left out.
        lacks_archive: whether an archive has more, and was not read: it is away, or not known here.
    """

    jobs: list[Job]
    cursor: str
    unread: tuple[str, ...] = ()
    lacks_archive: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """What of a batch is done again.

    Args:
        states: how many jobs are ready again, by the states that they were in.
        canceled_left: canceled jobs that were left as they are (without `canceled=True`).
    """

    states: Mapping[JobState, int]
    canceled_left: int = 0

    @property
    def jobs(self) -> int:
        """How many jobs are ready again."""
        return sum(self.states.values())

    @property
    def words(self) -> str:
        """The states in words, after a colon: ': 10 failed, 2 dead'; '' = there is no job."""
        parts = [f"{self.states[s]:,} {s.value}" for s in JobState if self.states.get(s)]
        return f": {', '.join(parts)}" if parts else ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return json_object(self, "jobs", "states", "canceled_left")


# How a batch's record reads: what the scripts give, as a `Batch`.

_WAITING = (JobState.READY, JobState.SCHEDULED)
_PENDING = "callback:"
_UNKNOWN = f"fewer than {ENOUGH} jobs of it have ended, or none for a while: how fast is not known"


def read_batch(
    account: str, batch: str, flat: Any, jobs: int, now_us: int, *, waits: list[Any]
) -> Batch | None:
    """Return a batch as the scripts give it; None where it is none (any more).

    Args:
        account, batch: whose it is, and its id.
        flat: its record, as HGETALL gives it inside a script's reply.
        jobs: how many jobs it has.
        now_us: when it was read, in µs since 1970.
        waits: what its jobs wait for, as `waits.lua` gives it.
    """
    fields = fields_of(flat)
    if "sealed" not in fields:
        return None
    held, sealed = text(fields.get("held")), fields["sealed"] == b"1"
    # An upload that expired holds no jobs, whether or not all of them have been removed yet.
    is_empty = held == "expired" and not sealed
    states = {} if is_empty else _states(fields, is_canceled=held == "canceled")
    open_jobs = _left(states, held) if sealed else []
    waiting = any(states.get(state) for state in _WAITING)
    waits_for = read_waits(account, waits, now_us) if waiting else ()
    # Of a stopped batch the runs alone are to end; the first jobs of a canary go.
    stops = [] if held in STOPPED or held == "canary" else waits_for
    left = _seconds_left(fields, open_jobs, now_us)
    if left is not None and any(_lasts(wait, now_us + left * 1e6) for wait in stops):
        left = None
    note = None
    if sealed and left is None and open_jobs:
        note = f"waits for: {in_words(stops)}" if stops else _UNKNOWN
    created_at = moment(fields["created"])
    assert created_at is not None  # noqa: S101 - every record has it
    return Batch(
        id=batch,
        account=account,
        name=fields.get("name", b"").decode(),
        sealed=sealed,
        held=held,
        total=0 if is_empty else jobs,
        states=states,
        created_at=created_at,
        held_reason=text(fields.get("why")) if held in {"aborted", "expired"} else None,
        sealed_at=moment(fields.get("sealed_at")),
        canceled_at=moment(fields.get("canceled_at")) if held == "canceled" else None,
        finished_at=moment(fields.get("finished_at")),
        expires_at=moment(fields.get("expires_at")),
        seconds_left=left,
        eta=None if left is None else _after(now_us, left),
        callback=_callback(fields),
        rules=_rules(fields),
        paused_group=_paused_group(waits_for),
        eta_note=note,
        waits_for=waits_for,
        **usage_of(fields)._asdict(),
        credits_runs=int(fields.get("credits_runs", 0)),
        metadata=entries_of(fields.get("metadata")),
    )


def _paused_group(waits_for: Iterable[Wait]) -> str | None:
    paused = (wait.name for wait in waits_for if wait.kind == "group_paused")
    return next(paused, "").removeprefix("?") or None


def _states(fields: dict[str, bytes], *, is_canceled: bool) -> dict[JobState, int]:
    """Return the counts; what waits in a canceled batch is canceled, swept or not."""
    counts = {state: int(fields.get(f"count:{state.value}", 0)) for state in JobState}
    if is_canceled:
        counts[JobState.CANCELED] += sum(counts[state] for state in _WAITING)
        counts |= dict.fromkeys(_WAITING, 0)
    return {state: n for state, n in counts.items() if n}


def _left(states: dict[JobState, int], held: str | None) -> list[tuple[JobState, int]]:
    """Return the jobs that are to end yet: of a batch that was stopped, its runs."""
    return [(s, n) for s, n in states.items() if (s in LIVE if held in STOPPED else not s.is_over)]


def _seconds_left(
    fields: dict[str, bytes], left: list[tuple[JobState, int]], now_us: int
) -> float | None:
    if not left:
        return None
    ends, took = (float(fields.get(name, 0)) for name in ("rate_n", "rate_us"))
    silence = max(0.0, now_us - float(fields.get("rate_at", now_us)))
    pace = EndRate(ends, took / 1e6, silence / 1e6)
    seconds = seconds_left(sum(n for _, n in left), pace)
    return None if seconds is None else round(seconds, 1)


def _lasts(wait: Wait, end_us: float) -> bool:
    """Return whether a reason says that jobs will not have ended by then."""
    is_rate = wait.kind == "key_rate"  # at which jobs end, too, unless the next is later than all
    return not is_rate or wait.until is None or wait.until.timestamp() * 1e6 > end_us


def _after(now_us: int, seconds: float) -> datetime | None:
    try:
        return from_microseconds(now_us) + timedelta(seconds=seconds)
    except OverflowError:  # at a rate of next to nothing, beyond the year 9999
        return None


def _rules(fields: dict[str, bytes]) -> ActiveRules:
    abort, canary, expires_us = (fields.get(f) for f in ("abort", "canary", "expires_after"))
    return ActiveRules(
        abort_at_failure_ratio=float(abort) if abort else None,
        abort_after=int(fields["abort_after"]) if abort else None,
        canary=int(canary) if canary else None,
        canary_ratio=float(fields["canary_ratio"]) if canary else None,
        expires_after=int(expires_us) / 1e6 if expires_us else None,
        callback_at=tuple(map(float, fields.get("callback_at", b"").split())),
    )


def _callback(fields: dict[str, bytes]) -> BatchCallback | None:
    if "callback_url" not in fields:
        return None
    return BatchCallback(
        endpoint=endpoint_of(fields["callback_url"].decode()),
        pending=sum(name.startswith(_PENDING) for name in fields),
        delivered=int(fields.get("callbacks:delivered", 0)),
        abandoned=int(fields.get("callbacks:abandoned", 0)),
        error=text(fields.get("callback_error")),
    )
