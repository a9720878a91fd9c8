"""Quotas: how many jobs, and bytes of their requests, may wait to be submitted.

Those of an account are limits of it (`limits.py`) and hold for every caller. A caller with a
name, such as one with a gateway's token, may have a quota of its own in each account.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple


class Quota(NamedTuple):
    """How many jobs of one named caller may wait in one account.

    Args:
        name: the caller's, without spaces.
        jobs: jobs; 0 = any number.
        bytes: bytes of their requests; 0 = any number.
    """

    name: str
    jobs: int
    bytes: int

    def stored(self) -> str:
        """Return it as the scripts take it."""
        return f"{self.name} {self.jobs} {self.bytes}"


#: The quota of the caller whose jobs are being enqueued; None = it has none.
SUBMITTING_QUOTA: Final[ContextVar[Quota | None]] = ContextVar("SUBMITTING_QUOTA", default=None)
