"""What the check of a body found."""

from dataclasses import dataclass, field

from gateway.refused import Refused
from runqueue.errors import FieldError, InvalidRequest
from runqueue.problem_types import ProblemType

#: Faults that are reported of one body.
MAX_FAULTS = 100


def not_readable(why: str) -> InvalidRequest:
    """Return the refusal of a body that cannot be read to its end."""
    return InvalidRequest([FieldError("body", why)])


def too_large(expected: str) -> Refused:
    """Return the refusal of a body that is over a limit."""
    return Refused(ProblemType.BODY_TOO_LARGE, expected)


@dataclass(slots=True)
class Findings:
    """The faults of a body, as far as it was checked.

    Args:
        bad: lines, or jobs of an array, that cannot be accepted.
        repeated: lines that repeat an earlier line's job.
        errors: why the first ones are bad, at most `MAX_FAULTS`.
        has_seen_enough: whether checking more would not change the report.
    """

    bad: int = 0
    repeated: int = 0
    errors: list[FieldError] = field(default_factory=list)
    has_seen_enough: bool = False
