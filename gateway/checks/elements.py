"""Splits a body into the elements of its JSON array, without parsing them.

So one element at a time is parsed: the objects of a whole body may take twenty times its bytes.

Only brackets, commas and strings are read: the parser of an element finds one that is no JSON. An
array whose elements are JSON is JSON.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway.checks.findings import not_readable

_HEAD = re.compile(rb"\s*+\[")
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
#: Inner arrays and objects without others inside: most are such, and are skipped at once.
_FLAT = rb'[\[{](?:[^"\[\]{}]++|%s)*+[\]}]' % _TEXT
_TO_MARK = rb'(?:[^"\[\]{}%s]++|%s|%s)*+([\[\]{}%s])'
#: To the next bracket, and among the elements to the next bracket or comma.
_TO_BRACKET = re.compile(_TO_MARK % (b"", _TEXT, _FLAT, b""), re.DOTALL)
_TO_COMMA = re.compile(_TO_MARK % (b",", _TEXT, _FLAT, b","), re.DOTALL)
_NOT_JSON: Final = "expected JSON"


def elements_of(body: bytes, expected: str) -> Iterator[bytes]:
    """Yield the elements of an array.

    Args:
        body: the array.
        expected: the error text for a body that is none.

    Raises:
        InvalidRequest: it is none, or does not end well.
    """
    head = _HEAD.match(body)
    if head is None:
        raise not_readable(expected)
    start = at = head.end()
    depth, is_empty = 1, True
    while depth:
        found = (_TO_COMMA if depth == 1 else _TO_BRACKET).match(body, at)
        if found is None:
            raise not_readable(_NOT_JSON)
        at, mark = found.end(), found[1]
        if mark in b"[{":
            depth += 1
        elif mark != b",":
            depth -= 1
        if mark == b"," or not depth:
            element = body[start : at - 1]
            start = at
            if depth or not is_empty or element.strip():
                is_empty = False
                yield element
    if body[at:].strip():
        raise not_readable(_NOT_JSON)
