"""How many values a JSON text holds, counted without parsing it.

A text of a megabyte may parse into a hundred: `[],` takes three bytes and becomes a list of sixty.
"""

import re
from functools import cache
from typing import Any

#: What comes before every value but the first, with what lies before it; strings are passed over.
_MARK = r'(?:[^",:\[{]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[,:\[{]'
#: Marks that are counted in one step, while there are so many.
_MANY = 256


def holds_more_values(raw: bytes | bytearray | str, most: int) -> bool:
    """Report whether a JSON text holds more than `most` values, names of fields included.

    A text that is not JSON may count as either.

    Args:
        raw: the text.
        most: how many values are allowed.
    """
    if len(raw) <= most:
        return False
    if isinstance(raw, str):
        marks = sum(map(raw.count, ",:[{"))
    else:
        marks = sum(map(raw.count, (b",", b":", b"[", b"{")))
    # Few texts have so many, those in strings included, that the exact count is needed.
    return marks >= most and _reaches(raw, most)


def _reaches(raw: bytes | bytearray | str, marks: int) -> bool:
    """Report whether there are so many marks outside strings."""
    at, found = 0, 0
    for step in (_MANY, 1):
        pattern = _pattern(is_text=isinstance(raw, str), times=step)
        while found < marks and (match := pattern.match(raw, at)):
            at, found = match.end(), found + step
    return found >= marks


@cache
def _pattern(*, is_text: bool, times: int) -> re.Pattern[Any]:
    pattern = f"(?:{_MARK}){{{times}}}"
    return re.compile(pattern if is_text else pattern.encode(), re.DOTALL)
