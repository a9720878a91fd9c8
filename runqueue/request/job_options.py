"""What stands beside a job's body: its id, and when, for whom and how urgently it is to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from runqueue.errors import FieldError
from runqueue.request.moments import MOMENT_WORDS, SECONDS_WORDS, When, moment, seconds
from runqueue.request.pieces import MANY
from runqueue.request.retry_options import read_retry
from runqueue.request.retry_policy import Retry
from runqueue.request.run_limits import MAX_RUN_SECONDS
from runqueue.request.suggestions import MOST_GUESSED, did_you_mean
from runqueue.request.validation_errors import clean, got
from runqueue.tracing import is_traceparent, read_traceparent

#: Longest `custom_id`, in characters.
MAX_CUSTOM_ID: Final = 256
#: Fields of a line that asks for nothing out of the ordinary.
PLAIN_FIELDS = frozenset({"custom_id", "kind", "body"})
#: All fields of a line.
FIELDS = PLAIN_FIELDS | {
    "priority",
    "group",
    "run_at",
    "delay",
    "deadline",
    "account",
    "namespace",
    "on_unconfirmed",
    "retry",
    "traceparent",
    "max_run_seconds",
}
_TIMES = frozenset({"run_at", "delay", "deadline"})
_NOT_YET = frozenset({"redeliver"})
#: What becomes of a job whose submission's answer was lost, once no run of it is found.
ON_UNCONFIRMED = ("auto", "park", "resubmit")


class Priority(IntEnum):
    """Strict: no job is claimed while one of a smaller number waits."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


_PRIORITIES = {p.name.lower(): p for p in Priority}
_PRIORITY_WORDS = "urgent, high, normal, low or a whole number from 0 (urgent) to 3 (low)"
_POLICY_WORDS = "auto, park or resubmit"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RUN_SECONDS_WORDS = f"seconds (a number above 0, {MAX_RUN_SECONDS} at most)"
_NAME_WORDS = "1 to 32 of a-z, 0-9, _ and -, the first a letter or digit"
_TRACE_WORDS = "a traceparent of W3C Trace Context (00-<32 hex>-<16 hex>-<2 hex>)"
#: Control characters, and what is like them: breaks of lines, and signs that turn the direction of
#: text, so that another one is read than is there; but no marks of direction, which scripts need.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

T = TypeVar("T")
Line = dict[Any, Any]
Errors = list[FieldError]
Options = tuple[
    Priority, str, When | None, When | None, str, str, str, Retry | None, str, float | None
]


def read_custom_id(line: Line, field: str, errors: Errors) -> str | None:
    """Read the caller's name for the job; `field` is what the caller calls it."""
    value = line.get("custom_id")
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MAX_CUSTOM_ID:
        # Nearly every id is printable, the cheaper question; a joined emoji is not, yet is fine.
        if value.isprintable() or (found := _CONTROL.search(value)) is None:
            return _plain(value)
        said = f"control characters in it (U+{ord(found[0]):04X})"
    else:
        said = f"{len(value)} characters" if isinstance(value, str) else got(value)
    words = f"text of 1 to {MAX_CUSTOM_ID} characters without control characters"
    errors.append(FieldError(field, f"expected {words}, got {said}"))
    return None


def read_options(line: Line, errors: Errors) -> Options:
    """Read all that stands beside the body; null means "not given".

    Every fault is added to `errors`, with some legal value in its place.
    """
    priority = _read(line, "priority", _priority, _PRIORITY_WORDS, errors)
    start, deadline = (None, None) if _TIMES.isdisjoint(line) else _read_times(line, errors)
    return (
        Priority.NORMAL if priority is None else priority,
        _read(line, "group", _name, _NAME_WORDS, errors) or "default",
        start,
        deadline,
        _read(line, "account", _name, _NAME_WORDS, errors) or "default",
        _read(line, "namespace", _name_or_empty, f"{_NAME_WORDS}, or nothing", errors) or "",
        _read(line, "on_unconfirmed", _policy, _POLICY_WORDS, errors) or "",
        None if line.get("retry") is None else read_retry(line["retry"], _codes(line), errors),
        read_traceparent(_read(line, "traceparent", _traceparent, _TRACE_WORDS, errors)),
        _read(line, "max_run_seconds", _run_seconds, _RUN_SECONDS_WORDS, errors),
    )


def _codes(line: Line) -> Collection[object] | None:
    """Return the error codes that a task defines; a workflow's stand in its definition."""
    body = line.get("body")
    if line.get("kind") != "task" or not isinstance(body, Mapping):
        return None
    codes = body.get("error_code_mapping")
    return codes.keys() if isinstance(codes, Mapping) else ()


def _read_times(line: Line, errors: Errors) -> tuple[When | None, When | None]:
    """Read the start and the deadline, and check that they agree."""
    run_at = _read(line, "run_at", moment, MOMENT_WORDS, errors)
    delay = _read(line, "delay", seconds, SECONDS_WORDS, errors)
    deadline = _read(line, "deadline", moment, MOMENT_WORDS, errors)
    if line.get("run_at") is not None and line.get("delay") is not None:
        errors.append(FieldError("delay", "expected either run_at or delay, got both"))
    start = run_at or delay
    if deadline and not deadline.may_follow(start):
        errors.append(FieldError("deadline", "expected a time after the job's start"))
    return start, deadline


def unknown_fields(line: Line, models: Iterable[type[BaseModel]]) -> Errors:
    """Name fields of a line that mean nothing there, `MANY` at most, and guess what was meant."""
    in_body = {name for model in models for name in model.model_fields}
    errors = []
    for number, name in enumerate(sorted(line.keys() - FIELDS, key=str)[:MANY]):
        if name in _NOT_YET:
            message = "not supported yet"
        elif name in in_body:
            message = f"unknown field, {name!r} belongs in the body"
        else:
            guess = did_you_mean(str(name), FIELDS) if number < MOST_GUESSED else ""
            message = f"unknown field{guess}"
        errors.append(FieldError(clean(name), message))
    return sorted(errors, key=lambda error: error.field)


def _read(
    line: Line, name: str, read: Callable[[object], T | None], words: str, errors: Errors
) -> T | None:
    """Read one option if it is given; `read` answers None to a value that it cannot take."""
    value = line.get(name)
    if value is None:
        return None
    found = read(value)
    if found is None:
        errors.append(FieldError(name, f"expected {words}, got {got(value)}"))
    return found


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
    return _plain(str(value)) if is_traceparent(value) else None


def _name(value: object) -> str | None:
    return _plain(value) if isinstance(value, str) and _NAME.fullmatch(value) else None


def _name_or_empty(value: object) -> str | None:
    return "" if value == "" else _name(value)


def _plain(text: str) -> str:
    """Undo what a caller's text enum would add when it is written into a key."""
    return text if type(text) is str else str.__str__(text)
