"""The messages between the gateway and its check processes.

Neither this nor other code of a check process imports the web framework, to keep it small.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol

from runqueue.errors import FieldError
from runqueue.producer.chunks import Packet
from runqueue.request.private_targets import FieldWarning
from runqueue.request.request_checks import RequestChecks

#: Faults that are reported of one body.
MAX_FAULTS = 100


class NotReadable(Exception):  # noqa: N818 - what it says is in its name
    """A body cannot be read to its end; says why."""


class TooLarge(Exception):  # noqa: N818 - likewise
    """A body is too large; says what was expected."""


class Crashed(TooLarge):
    """The check of a body crashed, most likely because memory ran out."""


class CheckFailed(Exception):  # noqa: N818 - likewise
    """A check ended by a defect of the gateway; names the type of error."""


@dataclass(slots=True)
class Findings:
    """The faults of a body, as far as it was checked.

    Args:
        bad: lines, or jobs of an array, that cannot be accepted.
        repeated: lines that repeat an earlier line's job.
        errors: why the first ones are bad, at most `MAX_FAULTS`.
        has_seen_enough: whether checking more would not change the report.
        warnings: fields of good ones that will not do what their sender may expect.
    """

    bad: int = 0
    repeated: int = 0
    errors: list[FieldError] = field(default_factory=list)
    has_seen_enough: bool = False
    warnings: list[FieldWarning] = field(default_factory=list)


class Check(Protocol):
    """One body under check, in its process; `feed` for each part, then `end`.

    Both yield packets of jobs, and None often enough for a step to end in time.

    Raises (from both): `NotReadable`, `TooLarge`, `InvalidJob`, `NoRoom`.
    """

    findings: Findings

    def feed(self, part: bytes) -> Iterator[Packet | None]:
        """Add a part of the body."""

    def end(self) -> Iterator[Packet | None]:
        """Check what is left once the body has ended."""


#: Makes the check of a body that has not been read yet; it can be pickled.
CheckWork = Callable[[], Check]


@dataclass(frozen=True, slots=True)
class CheckBudget:
    """The CPU time that one check may take; it grows with the body's bytes as sent.

    Lines that compress a hundredfold take some 2.5 s a mebibyte; a gzip bomb takes thousands.

    Args:
        seconds: CPU seconds of any body.
        seconds_per_mib: CPU seconds more for each mebibyte that was sent.
        step: seconds after which a step ends, so that others get their turn.
    """

    seconds: float = 2.0
    seconds_per_mib: float = 20.0
    step: float = 0.02


class Begin(NamedTuple):
    """The first message to a check process: its work, and the gateway's settings for it."""

    work: CheckWork
    budget: CheckBudget
    checks: RequestChecks
    allows_private_targets: bool


class Order(Enum):
    """What a check process is to do next."""

    FEED = auto()
    END = auto()
    GO_ON = auto()


class CheckStep(NamedTuple):
    """The answer to an order: the result of one step of a check.

    Args:
        packet: jobs that are ready; None = none yet.
        findings: the faults so far, once the order is carried out; None = `GO_ON` is next.
        error: why the check ended, if it did.
    """

    packet: Packet | None = None
    findings: Findings | None = None
    error: Exception | None = None
