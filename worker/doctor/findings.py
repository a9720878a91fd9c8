"""What `runqueue doctor` finds: one line a check, and what to do about it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class FindingLevel(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """What one check found.

    Args:
        check: what was checked.
        level: how it came out.
        said: what was seen; it holds no secret.
        do: what to do about it; '' = nothing.
    """

    check: str
    level: FindingLevel
    said: str
    do: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return {"check": self.check, "level": self.level.value, "said": self.said, "do": self.do}


def ok(check: str, said: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(check, FindingLevel.OK, said)


def warning(check: str, said: str, do: str) -> Finding:
    """Return a finding that may become trouble."""
    return Finding(check, FindingLevel.WARNING, said, do)


def wrong(check: str, said: str, do: str) -> Finding:
    """Return a finding that keeps jobs from running, or may lose them."""
    return Finding(check, FindingLevel.WRONG, said, do)


def worst(findings: Iterable[Finding]) -> FindingLevel:
    """Return the worst level among findings."""
    order = list(FindingLevel)
    return max((found.level for found in findings), key=order.index, default=FindingLevel.OK)
