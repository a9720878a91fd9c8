"""How strictly run requests are checked against what Skyvern is known to take.

Some faults of a request are known only for the versions of Skyvern that this project was tried
with: an unknown field, a value that such a version refuses or ignores. A newer
server may take them. So their check has a switch; what no server could take is refused whatever it
says.
"""

import logging
import os
from collections.abc import Sequence
from enum import StrEnum

from runqueue.errors import FieldError

VARIABLE = "RUNQUEUE_REQUEST_CHECKS"
#: Faults that are logged, each once in the life of the process, and how many different ones are.
MOST_LOGGED = 1000
_logged: set[tuple[str, str]] = set()

log = logging.getLogger("runqueue")


class RequestChecks(StrEnum):
    """What becomes of a request with such a fault.

    REFUSE: it is not accepted. WARN: it is sent as it is, and each fault is logged once. PASS: it
    is sent as it is.
    """

    REFUSE = "refuse"
    WARN = "warn"
    PASS = "pass"  # noqa: S105 - no password


class ChecksError(ValueError):
    """RUNQUEUE_REQUEST_CHECKS names no mode; the message says which there are."""


class _ChosenChecks:
    """What this process is set to do; None = as the environment says."""

    chosen: RequestChecks | None = None


def read_checks(value: str) -> RequestChecks:
    """Read a mode by its name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return RequestChecks(value.strip().lower())
    except ValueError:
        raise ValueError(f"expected refuse, warn or pass, got {value[:40]!r}") from None


def use_checks(checks: RequestChecks | str | None) -> None:
    """Set the mode of this process, over that of the environment; None = the environment's again.

    Raises:
        ValueError: there is none of that name.
    """
    _ChosenChecks.chosen = None if checks is None else read_checks(checks)


def current_checks() -> RequestChecks:
    """Return the mode of this process: the one set, else RUNQUEUE_REQUEST_CHECKS, else REFUSE.

    Raises:
        ChecksError: the variable names none.
    """
    if _ChosenChecks.chosen is not None:
        return _ChosenChecks.chosen
    value = os.environ.get(VARIABLE, "")
    try:
        return read_checks(value) if value else RequestChecks.REFUSE
    except ValueError as error:
        raise ChecksError(f"{VARIABLE}: {error}") from None


def judged(
    kind: str, faults: Sequence[FieldError], checks: RequestChecks | None
) -> Sequence[FieldError]:
    """Return those of a request's faults that it is refused for: all of them, or none.

    Args:
        kind: the request's.
        faults: what a certified server is known not to take.
        checks: the mode; None = this process's.
    """
    if not faults:
        return faults
    mode = current_checks() if checks is None else checks
    if mode is RequestChecks.REFUSE:
        return faults
    if mode is RequestChecks.WARN:
        for fault in faults:  # the same field of a million lines is one line of the log
            if (kind, fault.field) not in _logged and len(_logged) < MOST_LOGGED:
                _logged.add((kind, fault.field))
                log.warning("a %s is sent although %s (logged once)", kind, fault)
    return ()
