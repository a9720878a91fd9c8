"""What the gateway and the processes that check bodies for it say to each other.

Nothing here, nor in what a check process runs, imports the web framework: such a process is small.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    """A body is larger than what is accepted; says what was expected."""


class Crashed(TooLarge):
    """The check of a body crashed, most likely for want of memory."""


class CheckFailed(Exception):  # noqa: N818 - likewise
    """A check ended for a reason that is a mistake of ours; names the kind of error."""


@dataclass(slots=True)
class Findings:
    """What is wrong with a body, as far as it was checked.

    Args:
        bad: lines, or jobs of an array, that cannot be accepted.
        repeated: lines that repeat an earlier line's job.
        errors: why the first ones are bad, at most `MAX_FAULTS`.
        has_seen_enough: whether checking on can change nothing that is reported.
        warnings: what of the good ones will not do what its sender may expect.
    """

    bad: int = 0
    repeated: int = 0
    errors: list[FieldError] = field(default_factory=list)
    has_seen_enough: bool = False
    warnings: list[FieldWarning] = field(default_factory=list)


class Check(Protocol):
    """One body under check, in its process; `feed` for each part, then `end`.

    Both yield packets of jobs, and None often enough that a step can be ended there.

    Raises (from both): `NotReadable`, `TooLarge`, `InvalidJob`, `NoRoom`.
    """

    findings: Findings

    def feed(self, part: bytes) -> Iterator[Packet | None]:
        """Take in a part of the body."""

    def end(self) -> Iterator[Packet | None]:
        """Check what is left once the body has ended."""


class CheckWork(Protocol):
    """What a body is to be checked as; it can be pickled."""

    def begin(self) -> Check:
        """Return the check of a body that has not been read yet."""


@dataclass(frozen=True, slots=True)
class CheckBudget:
    """The CPU time that one check may take: what a body may cost grows with its bytes as sent.

    Lines that compress a hundredfold take some 2.5 s a mebibyte; a gzip bomb takes thousands.

    Args:
        seconds: CPU seconds of any body.
        seconds_per_mib: CPU seconds more for each mebibyte that was sent.
        step: seconds after which a step is ended, so that it is another's turn.
    """

    seconds: float = 2.0
    seconds_per_mib: float = 20.0
    step: float = 0.02


class Begin(NamedTuple):
    """The first message to a check process: its work, and what the gateway's settings say."""

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
    """The answer to an order: what one step of a check came to.

    Args:
        packet: jobs that are ready; None = none yet.
        findings: what is wrong so far, once the order is carried out; None = `GO_ON` is next.
        error: why the check ended, if it did.
    """

    packet: Packet | None = None
    findings: Findings | None = None
    error: Exception | None = None
