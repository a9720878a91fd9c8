"""Which versions of Skyvern this client and the queue were certified with.

A version is listed once the contract of the calls was seen to hold there
(`tests/real`). On any other the same rules apply, but no test has seen that
it keeps them.
"""

from typing import Final

#: Newest first.
CERTIFIED_VERSIONS: Final = ("1.0.56", "1.0.40")


def is_certified(version: str | None) -> bool:
    """Say whether a version is a certified one.

    Args:
        version: as `GET /v1/version` reports it; None or '' = it is not known.
    """
    return version in CERTIFIED_VERSIONS
