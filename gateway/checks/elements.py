"""Splits the parts of a body into the elements of its JSON array, without parsing them.

Only brackets, commas and strings are read: the parser of an element finds one that is no JSON. An
array whose elements are JSON is JSON.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway.checks.messages import NotReadable

#: The array itself, or an object with nothing but it.
_HEAD = re.compile(rb'(\{\s*"jobs"\s*:\s*)?\[')
#: Bytes in which it has to begin.
_MAX_HEAD: Final = 4096
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
#: Inner arrays and objects without others inside: most are such, and are skipped at once.
_FLAT = rb'[\[{](?:[^"\[\]{}]++|%s)*+[\]}]' % _TEXT
_TO_MARK = rb'(?:[^"\[\]{}%s]++|%s|%s)*+([\[\]{}%s])'
#: To the next bracket, and among the elements to the next bracket or comma.
_TO_BRACKET = re.compile(_TO_MARK % (b"", _TEXT, _FLAT, b""), re.DOTALL)
_TO_COMMA = re.compile(_TO_MARK % (b",", _TEXT, _FLAT, b","), re.DOTALL)
_NOT_JSON: Final = "expected JSON"


class Elements:
    """Cuts an array into its elements, in the memory of one.

    Args:
        expected: the error text for a body that holds no such array.
    """

    def __init__(self, expected: str) -> None:
        self._expected = expected
        #: Bytes from the start of the current element on; how many of them were read.
        self._rest = b""
        self._seen = 0
        #: The size from which on it is worth while to read again.
        self._worth = 0
        self._depth = 0
        self._is_empty = True
        #: What has to follow the array; None while it goes on.
        self._tail: bytes | None = None
        self._closing = b""

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Yield elements that end in a part.

        Raises:
            NotReadable: the body is no such array.
        """
        self._rest += part
        if len(self._rest) >= self._worth:
            yield from self._advance(is_all=False)
            # A long string is read again from its start, so not for each little part of it.
            self._worth = 2 * len(self._rest) if self._tail is None else 0

    def end(self) -> Iterator[bytes]:
        """Yield the elements that are left, and check that the array is complete.

        Raises:
            NotReadable: it is not, or there was none.
        """
        yield from self._advance(is_all=True)
        if self._tail != self._closing:
            raise NotReadable(_NOT_JSON)

    def _advance(self, *, is_all: bool) -> Iterator[bytes]:
        if not self._depth and self._tail is None and not self._begin(is_all=is_all):
            return
        if self._tail is None:
            yield from self._elements()
        if self._tail is not None:
            self._tail, self._rest = self._tail + self._rest.strip(), b""
            if not self._closing.startswith(self._tail):
                raise NotReadable(_NOT_JSON)

    def _begin(self, *, is_all: bool) -> bool:
        """Find where the array begins; False = more input is needed."""
        self._rest = self._rest.lstrip()
        head = _HEAD.match(self._rest)
        if head is None:
            if is_all or len(self._rest) > _MAX_HEAD:
                raise NotReadable(self._expected)
            return False
        self._closing = b"}" if head[1] else b""
        self._rest = self._rest[head.end() :]
        self._depth = 1
        return True

    def _elements(self) -> Iterator[bytes]:
        rest, start, at, depth = self._rest, 0, self._seen, self._depth
        while found := (_TO_COMMA if depth == 1 else _TO_BRACKET).match(rest, at):
            at = found.end()
            mark = found[1]
            if mark in b"[{":
                depth += 1
            elif mark != b",":
                depth -= 1
            if mark == b"," or not depth:
                element = rest[start : at - 1]
                start = at
                if depth or not self._is_empty or element.strip():
                    self._is_empty = False
                    yield element
            if not depth:
                self._tail = b""
                break
        self._rest, self._seen, self._depth = rest[start:], at - start, depth
