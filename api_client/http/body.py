"""Reading an answer's body, chunk by chunk as it comes over the wire, within bounds.

A body of 2 kB can hold a gigabyte. So each chunk is decompressed only as far as the limit allows.
"""

import zlib
from typing import Final, Protocol

from api_client.errors import AnswerLostError, BodyTooLargeError
from api_client.http.messages import Request

#: Bytes that are kept of a body that is too large.
BEGINNING: Final = 4096

#: How zlib reads the encodings that we accept.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class Body(Protocol):
    """The body of one answer."""

    def add(self, chunk: bytes) -> None:
        """Take the next chunk from the wire.

        Raises:
            BodyTooLargeError: with it the body is larger than the limit.
            AnswerLostError: it is not what the answer says it is.
        """

    def whole(self) -> bytes:
        """Return the body; raises `AnswerLostError` if its end is missing."""


def body(request: Request, status: int, encoding: str, limit: int) -> Body:
    """Make the empty body of an answer.

    Args:
        request: what is answered; gives errors their name.
        status: the answer's.
        encoding: its `content-encoding`; empty = none.
        limit: bytes, decompressed.

    Raises:
        AnswerLostError: its encoding was not offered, or was applied more than once.
    """
    plain = _Plain(request, status, limit)
    if not encoding:
        return plain
    codings = [c for c in encoding.lower().replace(" ", "").split(",") if c not in {"", "identity"}]
    if not codings:
        return plain
    if len(codings) > 1 or codings[0] not in {"gzip", "deflate"}:
        # What it says is not quoted: it may echo the request.
        raise AnswerLostError(f"{plain.what} in an encoding that is neither gzip nor deflate alone")
    return _Compressed(plain, limit, is_gzip=codings[0] == "gzip")


class _Plain:
    __slots__ = ("_first", "_limit", "_more", "_request", "_room", "_status")

    def __init__(self, request: Request, status: int, limit: int) -> None:
        self._request = request
        self._status = status
        self._limit = limit
        self._first = b""
        # A list of chunks would take thirty times their bytes where a server sends them singly.
        self._more: bytearray | None = None
        self._room = limit

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"{self._request.name}: status {self._status} and a body"

    def add(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self._room < 0:
            raise BodyTooLargeError(
                f"{self.what} of more than {self._limit:,} bytes",
                status_code=self._status,
                beginning=self._beginning(chunk),
            )
        if self._more is not None:
            self._more += chunk
        elif self._first:
            self._more = bytearray(self._first)
            self._more += chunk
        else:
            self._first = chunk

    def _beginning(self, chunk: bytes) -> bytes:
        read = self._first if self._more is None else self._more
        return bytes(read[:BEGINNING] + chunk[: max(0, BEGINNING - len(read))])

    def whole(self) -> bytes:
        return self._first if self._more is None else bytes(self._more)


class _Compressed:
    def __init__(self, plain: _Plain, limit: int, *, is_gzip: bool) -> None:
        self._plain = plain
        self._room = limit
        self._is_gzip = is_gzip
        self._member: zlib._Decompress | None = None

    def add(self, chunk: bytes) -> None:
        try:
            while chunk:
                chunk = self._unpack(chunk)
        except zlib.error:
            raise AnswerLostError(f"{self._plain.what} that is not compressed as it says") from None

    def _unpack(self, chunk: bytes) -> bytes:
        """Decompress within the limit; return what is left for the next member."""
        if self._member is None or self._member.eof:  # gzip may come in several members
            # Servers send "deflate" with zlib's header, as they should, and without.
            deflate = _ZLIB if chunk[0] & 0x0F == 8 else _RAW_DEFLATE
            self._member = zlib.decompressobj(_GZIP if self._is_gzip else deflate)
        plain = self._member.decompress(chunk, self._room + 1)  # 0 would be no bound
        self._room -= len(plain)
        self._plain.add(plain)
        return self._member.unused_data

    def whole(self) -> bytes:
        if self._member is not None and not self._member.eof:
            raise AnswerLostError(f"{self._plain.what} that ends too early")
        return self._plain.whole()
