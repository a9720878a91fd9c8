"""What the check of a body found."""

from dataclasses import dataclass, field

from runqueue.errors import FieldError

#: Faults that are reported of one body.
MAX_FAULTS = 100


class NotReadable(Exception):  # noqa: N818 - what it says is in its name
    """A body cannot be read to its end; says why."""


class TooLarge(Exception):  # noqa: N818 - likewise
    """A body is too large; says what was expected."""


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
