"""Groups of errors: failures with the same category and the same words, but for what varies."""

import re
from hashlib import blake2b
from typing import Final, NamedTuple

#: Characters of a group's words.
LONGEST: Final = 200
#: What varies, the specific before the general, and what stands in its place.
_VARIES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)\]}]+", "<url>"),
        (r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "<email>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"\b[a-z]{1,5}_[0-9a-z_-]*\d[0-9a-z_-]*", "<id>"),
        (r"\b\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", "<id>"),
        (r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b", "<address>"),
        (r"\d+(?:[.,:]\d+)*", "<n>"),
    )
)
#: Characters of a reason that are looked at.
_READ: Final = 2000


class ErrorKind(NamedTuple):
    """What a group of errors has in common.

    Args:
        account: whose jobs they are.
        category: Skyvern's word for it, such as `LLM_ERROR`; '' = none is known.
        words: the reason, with names in place of what varies.
    """

    account: str
    category: str
    words: str

    @property
    def id(self) -> int:
        """The group's id: 63 bits of a hash of all three."""
        digest = blake2b("\0".join(self).encode(errors="replace"), digest_size=8).digest()
        return int.from_bytes(digest) >> 1


def generic(reason: str) -> str:
    """Return a reason without its numbers, ids, times, addresses and URLs."""
    words = reason[:_READ]
    for pattern, instead in _VARIES:
        words = pattern.sub(instead, words)
    return " ".join(words.split())[:LONGEST]
