"""Reading a job's `retry`, with a message for each field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Any, Final

from runqueue.errors import FieldError
from runqueue.request.retry_policy import RUN_STATUSES, Retry
from runqueue.request.suggestions import MOST_GUESSED, did_you_mean
from runqueue.request.validation_errors import clean, got

#: Bounds: a year of waiting, and a number of runs that nobody asks for by mistake.
MAX_ATTEMPTS: Final = 100
MAX_BACKOFF: Final = 365 * 86_400
MAX_CODES, MAX_CODE, MAX_DOUBLINGS = 100, 256, 64
#: Error codes of a request that a name is compared with: each takes 20 microseconds.
_CODES_GUESSED: Final = 100
_HALF = re.compile(r"[\ud800-\udfff]")  # half of a surrogate pair, which JSON cannot carry
_STATUS_WORDS = ", ".join(RUN_STATUSES)
_WORDS = {
    "max_attempts": f"a whole number from 1 to {MAX_ATTEMPTS}",
    "retry_on": f"a list of {_STATUS_WORDS} and error codes, not empty",
    "min_backoff": f"seconds from 0 to {MAX_BACKOFF}",
    "max_backoff": f"seconds from 0 to {MAX_BACKOFF}",
    "max_doublings": f"a whole number from 0 to {MAX_DOUBLINGS}",
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
        value = {name: getattr(value, name) for name in _WORDS}
    if not isinstance(value, Mapping):
        errors.append(
            FieldError("retry", f"expected an object such as {_EXAMPLE}, got {got(value)}")
        )
        return None
    fields: dict[str, Any] = {}
    # One of more entries than there are fields has some at fault among these.
    for name, given in islice(value.items(), MOST_GUESSED + 1):
        if name not in _WORDS:
            hint = did_you_mean(str(name), _WORDS)
            errors.append(FieldError(f"retry.{clean(name)}", f"unknown field{hint}"))
        elif given is not None:
            read = _READ[name](given)
            if read is None:
                said = f"expected {_WORDS[name]}, got {got(given)}"
                errors.append(FieldError(f"retry.{name}", said))
            else:
                fields[name] = read
    wrong = (_wrong_name(name, codes) for name in fields.get("retry_on", ()))
    if fault := next(filter(None, wrong), None):
        errors.append(fault)
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


def _whole(least: int, most: int) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return int(value) if is_whole and least <= value <= most else None  # type: ignore[operator, call-overload]

    return read


def _seconds(value: object) -> float | None:
    # NaN fails the comparison, and a whole number of any length bears it.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= MAX_BACKOFF else None  # type: ignore[operator, arg-type]


def _names(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_CODES:
        return None
    names = [name for name in value if isinstance(name, str) and 0 < len(name) <= MAX_CODE]
    if any(map(_HALF.search, names)):
        return None
    return tuple(names) if len(names) == len(value) else None


_READ: dict[str, Callable[[object], Any]] = {
    "max_attempts": _whole(1, MAX_ATTEMPTS),
    "retry_on": _names,
    "min_backoff": _seconds,
    "max_backoff": _seconds,
    "max_doublings": _whole(0, MAX_DOUBLINGS),
}
