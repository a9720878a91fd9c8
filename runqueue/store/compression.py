"""How request and result of a job that is over lie in Redis, once the sweep has packed them.

A stored body is an envelope line, a newline and the request (`codec.py`). The envelope stays as it
is, since scripts read it. Behind it a packed body has a byte below nine, which no JSON begins
with; when the job ended, in microseconds; the bytes of the request; then
request and result as one deflated string, because an answer repeats its request. A result longer
than `APART` has a packed string of its own: a reader of the request does not have to take its
last result along.

Readers go through `request_of` and `result_of`, which return what is plain as it is.
"""

import struct
import zlib
from typing import Final

from runqueue.store.phrases import PHRASES

#: Bytes of a result from which on it stays by itself: deflate refers no further back.
APART: Final = 32 * 1024
#: What marks it, end of the job in microseconds, bytes of the request.
_HEAD = struct.Struct(">BQI")
_PACKED = 1
_FIRST_OF_JSON = 9  # a tab, which white space before a value begins with
# Copied for each record: a new one would learn the phrases again.
_EMPTY = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, PHRASES)


class _BrokenError(ValueError):
    """What was stored is not what was packed."""


def pack(request: bytes, result: bytes, ended_us: int) -> bytes:
    """Return a request and a result as one string.

    Args:
        request: the request's body as it is sent; b"" = the result is packed by itself.
        result: the API's answer; b"" = there is none, or it is packed by itself.
        ended_us: when the job ended. It distinguishes a result from that of an end before.
    """
    deflate = _EMPTY.copy()
    packed = deflate.compress(request + result) + deflate.flush()
    return _HEAD.pack(_PACKED, ended_us, len(request)) + packed


def is_packed(stored: bytes) -> bool:
    """Say whether a string is packed, and not plain."""
    return bool(stored) and stored[0] < _FIRST_OF_JSON


def request_of(stored: bytes) -> bytes:
    """Return the request in what is behind a body's envelope.

    Raises:
        ValueError: it cannot be read.
    """
    if not is_packed(stored):
        return stored
    _, size = _head(stored)
    request = _inflate(stored, size)[0] if size else b""
    if len(request) != size:
        raise _BrokenError("a packed request is cut off")
    return request


def result_of(stored: bytes, ended_us: int) -> bytes:
    """Return the result of the end at `ended_us`; b"" = there is none.

    A job that is done again keeps its packed body, and with it the result of its end before. A
    broken one is none: it hides no other job of a list.
    """
    if not is_packed(stored):
        return stored
    try:
        ended, size = _head(stored)
        both, is_whole = _inflate(stored)
    except _BrokenError:
        return b""
    return both[size:] if is_whole and ended == ended_us else b""


def _head(stored: bytes) -> tuple[int, int]:
    """Return when the job ended, and the bytes of its request."""
    try:
        _, ended_us, size = _HEAD.unpack_from(stored)
    except struct.error:
        raise _BrokenError("a packed record is cut off") from None
    return ended_us, size


def _inflate(stored: bytes, most: int = 0) -> tuple[bytes, bool]:
    """Return the first `most` bytes (0 = all) and whether the string came to its end."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, PHRASES)
    try:
        return inflate.decompress(stored[_HEAD.size :], most), inflate.eof
    except zlib.error:
        raise _BrokenError("a packed record is broken") from None
