"""How many values a JSON text holds, counted without parsing it.

A text of a megabyte may parse into a hundred: `[],` takes three bytes and becomes a list of sixty.
"""

import re
from collections.abc import Iterator
from itertools import islice

# One match for each mark that comes before a value, and two at the end. Strings are passed over,
# also one without an end, or each place in it would be tried again.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_MARK = rf'(?:[^",:\[{{]++|{_STRING})*+(?:[,:\[{{]|\Z)'
_IN_BYTES, _IN_TEXT = re.compile(_MARK.encode(), re.DOTALL), re.compile(_MARK, re.DOTALL)


def holds_more_values(raw: bytes | bytearray | str, most: int) -> bool:
    """Report whether a JSON text holds more than `most` values, names of fields included.

    A text that is not JSON may count as either.

    Args:
        raw: the text.
        most: how many values are allowed.
    """
    if len(raw) <= most:
        return False
    found: Iterator[object]
    if isinstance(raw, str):
        marks, found = sum(map(raw.count, ",:[{")), _IN_TEXT.finditer(raw)
    else:
        marks, found = sum(map(raw.count, (b",", b":", b"[", b"{"))), _IN_BYTES.finditer(raw)
    # Few texts have so many of these marks, those in strings included, that it takes more than this.
    return marks >= most and sum(1 for _ in islice(found, most + 2)) > most + 1
