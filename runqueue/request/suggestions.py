"""Guess which name was meant by a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: difflib takes time in the square of a name's length; no name of ours is near this long.
_LONGEST_NAME = 64
#: Unknown names of one line that a guess is made for, as many as are told: each takes a fifth of a
#: millisecond.
MOST_GUESSED = 20


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'max_steps'?", or nothing if no known name comes close."""
    if len(name) > _LONGEST_NAME:
        return ""
    lower = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return f", did you mean {lower[close[0]]!r}?" if close else ""
