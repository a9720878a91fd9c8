"""Quotas: how many jobs, and bytes of their requests, may wait to be submitted.

Those of an account are limits of it (`limits.py`) and hold for whoever hands in. Who hands in by a
name, as bearers of the gateway's tokens do, may have a quota of his own in each account.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple


class Quota(NamedTuple):
    """What may wait in one account of who hands in by a name.

    Args:
        name: his, without spaces.
        jobs: jobs; 0 = any number.
        bytes: bytes of their requests; 0 = any number.
    """

    name: str
    jobs: int
    bytes: int

    def stored(self) -> str:
        """Return it as the scripts take it."""
        return f"{self.name} {self.jobs} {self.bytes}"


#: The quota of whom jobs are handed in for just now; None = of nobody.
HANDING_IN: Final[ContextVar[Quota | None]] = ContextVar("HANDING_IN", default=None)
