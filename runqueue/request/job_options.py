"""A job's options beside its body: its id, and when, for whom and how urgently it is to run.

A new option that results show is in four files: this one (`EnqueueOptions`, `GivenOptions`,
`_READERS`; a text also in `RECORDED`), `runqueue/records/job.py` (`Job`, with a default;
`read_job`, `COLUMNS`, `as_row`), `runqueue/schemas.py` (`_options`, `_job`; then `make schemas`)
and `docs/enqueue.md`. Nothing else names it: what `RECORDED` names goes into the job's record by
itself (`_options` of `runqueue/store/job_calls.py`, then `enqueue.lua`), and uploads, HTTP,
`RemoteQueue` and result files follow from the four. `FORMAT` stays, since a record may have fields
that another version does not read. There are two exceptions:

- An option that only the job's own answer shows is not in `COLUMNS`, `as_row` and `_job`, but in
  `_OF_JOBS` of `gateway/api/schemas.py` and `_job_values` of `runqueue/cli/commands/status.py`.
- An option that is no text is also in `_options` of `runqueue/store/job_calls.py`, and in `line_of`
  of `runqueue/producer/upload.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from heapq import nsmallest
from itertools import islice
from typing import Annotated, Any, Final, TypedDict, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from runqueue.errors import FieldError
from runqueue.ids import NAME_WORDS, is_name
from runqueue.request.job_keys import KEYS_WORDS, read_keys, refused_keys
from runqueue.request.metadata import METADATA_WORDS, read_metadata, refused_metadata
from runqueue.request.retry_policy import RUN_STATUSES, Retry
from runqueue.request.run_limits import MAX_RUN_SECONDS
from runqueue.request.time_range import MICROSECOND, in_microseconds
from runqueue.request.validation_errors import CONTROL, MOST_GUESSED, clean, did_you_mean, got
from runqueue.tracing import is_traceparent, read_traceparent

#: Latest moment that can be given, in µs since 1970 (year 2200): Lua's numbers are exact to 2^53.
LAST_MOMENT_US = 7_258_118_400_000_000
#: Longest time from now, in seconds (10 years of 365 days).
LONGEST_WAIT_S = 315_360_000

SECONDS_WORDS = f"seconds from now (a number from 0 to {LONGEST_WAIT_S})"
MOMENT_WORDS = f'a time with its zone such as "2030-01-31T12:00:00Z", or {SECONDS_WORDS}'


@dataclass(frozen=True, slots=True)
class When:
    """A point in time, kept as it was given, because the Redis server's clock decides "now".

    Args:
        microseconds: since 1970 (UTC), or from now if `relative`.
        relative: whether it counts from the moment the job is stored.
    """

    microseconds: int
    relative: bool

    def may_follow(self, start: When | None) -> bool:
        """Return whether it may be after `start` (None: now); true where only the server knows."""
        if start is None:
            return self.microseconds > 0 or not self.relative
        return self.relative != start.relative or self.microseconds > start.microseconds


def seconds(value: object) -> When | None:
    """Read a number of seconds from now or a timedelta; None if it is neither or out of range."""
    if isinstance(value, timedelta):
        microseconds = value // MICROSECOND
        ok = 0 <= microseconds <= LONGEST_WAIT_S * 1_000_000
        return When(microseconds, relative=True) if ok else None
    # Not a bool, although Python counts it among the whole numbers; NaN fails the comparison.
    if type(value) not in (int, float) or not 0 <= value <= LONGEST_WAIT_S:  # type: ignore[operator]
        return None
    return When(round(value * 1_000_000), relative=True)  # type: ignore[operator]


def moment(value: object) -> When | None:
    """Read what `seconds` reads, or an aware datetime or its ISO 8601 text; None if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return seconds(value)
    if value.utcoffset() is None:
        return None
    microseconds = in_microseconds(value)
    return When(microseconds, relative=False) if 0 <= microseconds <= LAST_MOMENT_US else None


#: Longest `custom_id`, in characters.
MAX_CUSTOM_ID: Final = 256
#: Entries of an object of which each is checked: one at fault takes 20 µs, and some hundred bytes.
MOST_ENTRIES: Final = 200
#: Fields of a line that requests nothing out of the ordinary.
PLAIN_FIELDS = frozenset({"custom_id", "kind", "body"})
_NOT_YET = frozenset({"redeliver"})
#: What becomes of a job whose submission's answer was lost, once no run of it is found.
ON_UNCONFIRMED = ("auto", "hold", "resubmit")


class Priority(IntEnum):
    """Strict: no job is claimed while one of a smaller number waits."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class EnqueueOptions(TypedDict, total=False):
    """What a producer may say of a job beside its run request.

    Args:
        priority: urgent, high, normal or low (0 to 3); strict. Normal if it is not given.
        group: whose share of the account it takes; groups take turns.
        run_at: not before this time: ISO 8601 with zone, an aware datetime, or seconds from now.
        delay: seconds from now; instead of `run_at`.
        deadline: not submitted after, and canceled if it still runs; given as `run_at` is.
        idempotency_key: the same key with the same request is the same job.
        account: the Skyvern account.
        namespace: where the key is unique; keeps those of several producers apart.
        on_unconfirmed: what becomes of the job when the submission's answer was lost and no run of
            it is found: auto (submitted again once that is sure), hold (stays, for people) or
            resubmit (submitted again after the grace, sure or not).
        retry: when its run is tried again after a bad end; None = never.
        max_run_seconds: the longest that its run may take, from the start of the run's current
            attempt; None = Skyvern's own limit (`max_elapsed_time_minutes` of the body) plus a
            margin, or else the account's.
        keys: what it uses together with other jobs, such as `host:shop.example` or `login:acme`,
            four at most; operators set limits on them.
        metadata: names and texts of your own, such as `{"order": "17"}`, 20 at most: they are shown
            with the job and its result, and a workflow's run gets them as `run_metadata`.
    """

    priority: Priority | str | int
    group: str
    run_at: datetime | timedelta | str | float | None
    delay: timedelta | float | None
    deadline: datetime | timedelta | str | float | None
    idempotency_key: str | None
    account: str
    namespace: str
    on_unconfirmed: str | None
    retry: Retry | Mapping[str, Any] | None
    max_run_seconds: timedelta | float | None
    keys: Sequence[str] | None
    metadata: Mapping[str, str] | None


#: All fields of a line.
FIELDS = (PLAIN_FIELDS | {"traceparent"} | EnqueueOptions.__annotations__.keys()) - {
    "idempotency_key"
}
#: Options whose texts a job's record keeps as they are.
RECORDED: Final = ("on_unconfirmed", "metadata")
_PRIORITIES = {p.name.lower(): p for p in Priority}
_PRIORITY_WORDS = "urgent, high, normal, low or a whole number from 0 (urgent) to 3 (low)"
_POLICY_WORDS = "auto, hold or resubmit"
_RUN_SECONDS_WORDS = f"seconds (a number above 0, {MAX_RUN_SECONDS} at most)"
_TRACE_WORDS = "a traceparent of W3C Trace Context (00-<32 hex>-<16 hex>-<2 hex>)"

T = TypeVar("T")
Line = dict[Any, Any]
Errors = list[FieldError]


@dataclass(slots=True, kw_only=True)
class GivenOptions:
    """A job's options as they were read; see `EnqueueOptions`.

    Args:
        run_at: not before; None means at once.
        deadline: None means never too late.
        on_unconfirmed: '' = auto.
        traceparent: the trace that it belongs to (W3C Trace Context); '' = that of the caller,
            if there is one.
        metadata: as JSON; '' = none.
    """

    priority: Priority = Priority.NORMAL
    group: str = "default"
    run_at: When | None = None
    deadline: When | None = None
    account: str = "default"
    namespace: str = ""
    on_unconfirmed: str = ""
    retry: Retry | None = None
    traceparent: str = ""
    max_run_seconds: float | None = None
    keys: tuple[str, ...] = ()
    metadata: str = field(default="", repr=False)


def read_custom_id(line: Line, field: str, errors: Errors) -> str | None:
    """Read the caller's name for the job; `field` is what the caller calls it."""
    value = line.get("custom_id")
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MAX_CUSTOM_ID:
        # Nearly every id is printable, the cheaper question; a joined emoji is not, yet is fine.
        if value.isprintable() or (found := CONTROL.search(value)) is None:
            return _plain(value)
        said = f"control characters in it (U+{ord(found[0]):04X})"
    else:
        said = f"{len(value)} characters" if isinstance(value, str) else got(value)
    words = f"text of 1 to {MAX_CUSTOM_ID} characters without control characters"
    errors.append(FieldError(field, f"expected {words}, got {said}"))
    return None


def read_options(line: Line, errors: Errors) -> dict[str, Any]:
    """Read all that is given beside the body, as `GivenOptions` takes it; null means "not given".

    Every fault is added to `errors`.
    """
    found = dict[str, Any]()
    for name, (read, words) in _READERS.items():
        if (value := line.get(name)) is None:
            continue
        if (one := read(value)) is not None:
            found[name] = one
            continue
        said = _REFUSED.get(name, got)(value)
        errors.append(FieldError(name, f"expected {words}, got {said}"))
    if "delay" in found and "run_at" in found:
        errors.append(FieldError("delay", "expected either run_at or delay, got both"))
    start, deadline = found.pop("delay", None) or found.get("run_at"), found.get("deadline")
    if start:
        found["run_at"] = start
    if deadline and not deadline.may_follow(start):
        errors.append(FieldError("deadline", "expected a time after the job's start"))
    if line.get("retry") is not None:
        found["retry"] = read_retry(line["retry"], _codes(line), errors)
    return found


def _codes(line: Line) -> Collection[object] | None:
    """Return the error codes that a task defines; a workflow's are in its definition."""
    body = line.get("body")
    if line.get("kind") != "task" or not isinstance(body, Mapping):
        return None
    codes = body.get("error_code_mapping")
    return codes.keys() if isinstance(codes, Mapping) else ()


def unknown_fields(line: Line, models: Iterable[type[BaseModel]]) -> Errors:
    """Name the first fields of a line that mean nothing there, and guess what was meant."""
    in_body = {name for model in models for name in model.model_fields}
    errors = []
    unknown = (name for name in line if name not in FIELDS)
    for number, name in enumerate(nsmallest(MOST_ENTRIES, unknown, key=str)):
        if name in _NOT_YET:
            message = "not supported yet"
        elif name in in_body:
            message = f"unknown field, {name!r} belongs in the body"
        else:
            guess = did_you_mean(str(name), FIELDS) if number < MOST_GUESSED else ""
            message = f"unknown field{guess}"
        errors.append(FieldError(clean(name), message))
    return sorted(errors, key=lambda error: error.field)


def _priority(value: object) -> Priority | None:
    if isinstance(value, str):
        return _PRIORITIES.get(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= max(Priority):
        return Priority(value)
    return None


def _policy(value: object) -> str | None:
    return _plain(value) if isinstance(value, str) and value in ON_UNCONFIRMED else None


def _run_seconds(value: object) -> float | None:
    found = seconds(value)  # as `delay` is read: a number, or a timedelta
    if found is None or not 0 < found.microseconds <= MAX_RUN_SECONDS * 1_000_000:
        return None
    return found.microseconds / 1e6


def _traceparent(value: object) -> str | None:
    return read_traceparent(value) if is_traceparent(value) else None


def _name(value: object) -> str | None:
    return _plain(value) if isinstance(value, str) and is_name(value) else None


def _name_or_empty(value: object) -> str | None:
    return "" if value == "" else _name(value)


def _plain(text: str) -> str:
    """Undo what a caller's text enum would add when it is written into a key."""
    return text if type(text) is str else str.__str__(text)


#: How each option is read, of those that are read alone: None is what cannot be taken; and what is
#: expected.
_READERS: Final[Mapping[str, tuple[Callable[[object], Any], str]]] = {
    "priority": (_priority, _PRIORITY_WORDS),
    "group": (_name, NAME_WORDS),
    "run_at": (moment, MOMENT_WORDS),
    "delay": (seconds, SECONDS_WORDS),
    "deadline": (moment, MOMENT_WORDS),
    "account": (_name, NAME_WORDS),
    "namespace": (_name_or_empty, f"{NAME_WORDS}, or nothing"),
    "on_unconfirmed": (_policy, _POLICY_WORDS),
    "traceparent": (_traceparent, _TRACE_WORDS),
    "max_run_seconds": (_run_seconds, _RUN_SECONDS_WORDS),
    "keys": (read_keys, KEYS_WORDS),
    "metadata": (read_metadata, METADATA_WORDS),
}
#: What says of a refused value what is wrong with it, where it has parts.
_REFUSED: Final[Mapping[str, Callable[[object], str]]] = {
    "keys": refused_keys,
    "metadata": refused_metadata,
}


# Reading a job's `retry`, with a message for each field that is wrong.

#: Bounds: a year of waiting, and more runs than are requested by mistake.
MAX_ATTEMPTS: Final = 100
MAX_BACKOFF: Final = 365 * 86_400
MAX_CODES, MAX_CODE, MAX_DOUBLINGS = 100, 256, 64
#: Error codes of a request that a name is compared with: each takes 20 microseconds.
_CODES_GUESSED: Final = 100
_STATUS_WORDS = ", ".join(RUN_STATUSES)


def _number(kind: type, least: int, most: int, words: str) -> tuple[TypeAdapter[Any], str]:
    bounded: Any = Annotated[kind, Field(strict=True, ge=least, le=most)]
    return TypeAdapter(bounded), f"{words} from {least} to {most}"


_Code = Annotated[str, Field(strict=True, min_length=1, max_length=MAX_CODE)]
_Codes = Annotated[list[_Code], Field(min_length=1, max_length=MAX_CODES)]
#: What each field of a policy may be, and the same in words.
RETRY_FIELDS: Final[Mapping[str, tuple[TypeAdapter[Any], str]]] = {
    "max_attempts": _number(int, 1, MAX_ATTEMPTS, "a whole number"),
    "retry_on": (TypeAdapter(_Codes), f"a list of {_STATUS_WORDS} and error codes, not empty"),
    "min_backoff": _number(float, 0, MAX_BACKOFF, "seconds"),
    "max_backoff": _number(float, 0, MAX_BACKOFF, "seconds"),
    "max_doublings": _number(int, 0, MAX_DOUBLINGS, "a whole number"),
}


def read_retry(
    value: object, codes: Collection[object] | None, errors: list[FieldError]
) -> Retry | None:
    """Read a retry policy; every fault is added to `errors`, as `retry.<field>`.

    Args:
        value: an object of the fields of `Retry`, or a `Retry`.
        codes: the error codes that the request defines; None = others define them.
        errors: takes the faults.
    """
    if isinstance(value, Retry):
        value = {name: getattr(value, name) for name in RETRY_FIELDS}
    if not isinstance(value, Mapping):
        errors.append(
            FieldError("retry", f"expected an object such as {_EXAMPLE}, got {got(value)}")
        )
        return None
    fields: dict[str, Any] = {}
    # One of more entries than there are fields has some at fault among these.
    for name, given in islice(value.items(), MOST_GUESSED + 1):
        if name not in RETRY_FIELDS:
            hint = did_you_mean(str(name), RETRY_FIELDS)
            errors.append(FieldError(f"retry.{clean(name)}", f"unknown field{hint}"))
        elif given is not None:
            kind, words = RETRY_FIELDS[name]
            try:
                fields[name] = kind.validate_python(given)
            except ValidationError:
                errors.append(FieldError(f"retry.{name}", f"expected {words}, got {got(given)}"))
    if "retry_on" in fields:
        fields["retry_on"] = tuple(fields["retry_on"])
        wrong = (_wrong_name(name, codes) for name in fields["retry_on"])
        errors += islice(filter(None, wrong), 1)
    retry = Retry(**fields)
    if retry.max_backoff < retry.min_backoff:
        said = f"expected at least min_backoff ({retry.min_backoff:g})"
        errors.append(FieldError("retry.max_backoff", said))
    return retry


def _wrong_name(name: str, codes: Collection[object] | None) -> FieldError | None:
    """Refuse what is neither a status nor a code: a typo would never match, and never be seen."""
    if name in RUN_STATUSES or (codes is not None and name in codes):
        return None
    hint = did_you_mean(name, RUN_STATUSES)
    if codes is None:
        # Codes are written in capitals: TIMEOUT is one, FAILED and timeout are not.
        if not hint or (name.isupper() and name.lower() not in RUN_STATUSES):
            return None
        expected = f"{_STATUS_WORDS} or an error code"
    else:
        hint = hint or did_you_mean(name, map(str, islice(codes, _CODES_GUESSED)))
        expected = f"{_STATUS_WORDS} or a code of error_code_mapping"
    return FieldError("retry.retry_on", f"expected {expected}, got {got(name)}{hint}")


_EXAMPLE = '{"max_attempts": 3}'
