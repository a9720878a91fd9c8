"""One connection that speaks HTTP/1.1: a request is written at one go, its answer read whole.

The parser is httptools' (llhttp, which Node.js reads HTTP with). No bytes are taken for an answer
but those that come between a request and the end of its answer: what a server sends too much, or
late, ends the connection, so that it cannot be read as the answer to the next request. What the
loop has not come to read yet is seen by `has_unread`.
"""

import asyncio
import select
from typing import cast

import httptools
from multidict import CIMultiDict

from api_client.errors import SkyvernError
from api_client.http.body import Body, body
from api_client.http.messages import HttpAnswer, Request

#: Bytes. A server whose status line and headers are longer than this is not listened to any more;
#: likewise one that goes on for so long within a body without a byte of it (a trailer has no end).
MAX_HEAD_BYTES = 256 * 1024

#: Bytes. A larger body is written after the head, which otherwise is copied in front of it.
_LARGE_BODY = 64 * 1024

_ENCODING = "content-encoding"
#: An answer with neither of them ends where its connection does.
_LENGTHS = ("content-length", "transfer-encoding")


class Connection(asyncio.Protocol):
    """One connection to a server: one request at a time.

    Args:
        loop: whose it is.
        max_body_bytes: the largest body to accept, counted after decompression.

    Attributes:
        origin: scheme, host and port that it goes to; set by the pool.
        due: the time of the loop's clock at which its request is abandoned; likewise.
        idle_since: monotonic seconds; likewise.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_fields",
        "_head_bytes",
        "_headers",
        "_keeps",
        "_loop",
        "_max_body_bytes",
        "_parser",
        "_pending",
        "_request",
        "_transport",
        "_unread",
        "due",
        "idle_since",
        "origin",
    )
    _answer: HttpAnswer | None
    _body: Body
    _fields: list[tuple[str, str]]
    _headers: CIMultiDict[str] | None
    _request: Request
    _pending: "asyncio.Future[HttpAnswer] | None"
    _transport: asyncio.Transport
    _unread: select.poll

    def __init__(self, loop: asyncio.AbstractEventLoop, max_body_bytes: int) -> None:
        self._loop = loop
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._keeps = False
        self._pending = None
        self.origin = ""
        self.due = self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Say whether a request may be sent over it: it is open, and no other is under way."""
        # Between the server's end and `connection_lost` it is closing: what is written is dropped.
        return self._keeps and self._pending is None and not self._transport.is_closing()

    @property
    def has_unread(self) -> bool:
        """Say whether something lies in the socket that the loop has not read: bytes, or the end.

        Over TLS it may be what TLS says for itself, a session ticket; only the loop's read
        shows which. Only for a connection that is usable.
        """
        return bool(self._unread.poll(0))

    def ask(self, request: Request, head: bytes) -> "asyncio.Future[HttpAnswer]":
        """Write a request, and return the future of its answer.

        Args:
            request: its body is written, and it gives errors their name.
            head: its request line and headers, encoded.

        Raises (from the future): `BodyTooLargeError`, `AnswerLostError`, an `OSError` where the
        connection ended, whatever `end` was given, an error of the parser's. The server may have
        seen the request whichever it is.
        """
        pending = self._pending = self._loop.create_future()
        self._request = request
        self._answer = None
        self._begin_message()
        content = request.content
        if len(content) <= _LARGE_BODY:
            self._transport.write(head + content)
        else:
            self._transport.writelines((head, content))
            # Over TLS the size of the buffer leaves out what is encrypted but not yet written: the
            # next request would wait behind a body that the server need not read any more.
            if self._transport.get_extra_info("sslcontext") is not None:
                self._keeps = False
        return pending

    def retire(self) -> None:
        """Take no request any more; the one under way is answered."""
        self._keeps = False

    def end(self, error: Exception | None = None) -> None:
        """Close at once; a request that waits for its answer fails with the error."""
        self._keeps = False
        self._transport.abort()
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_exception(error or ConnectionAbortedError("the transport was closed"))

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._unread = select.poll()
        self._unread.register(transport.get_extra_info("socket"), select.POLLIN)
        self._keeps = True

    def data_received(self, data: bytes) -> None:
        pending = self._pending
        if pending is None:  # it answers no request
            self.end()
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except Exception as exc:  # noqa: BLE001 - of the parser, or of what it calls, wrapped
            self._keeps = False
            if self._answer is None:
                within = exc.__context__
                self.end(within if isinstance(within, SkyvernError) else exc)
                return
        if self._answer is not None:
            self._deliver(pending, self._answer)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.end(ValueError("the head of the answer, or what follows its body, is too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeps = False
        if self._pending is not None:
            self._end_of_stream(self._pending, exc)
        # Each holds the other: both, and the body of the last answer, would wait for the collector.
        del self._parser

    def _end_of_stream(self, pending: "asyncio.Future[HttpAnswer]", exc: Exception | None) -> None:
        headers = self._headers
        if exc or headers is None or any(name in headers for name in _LENGTHS):
            self.end(exc or ConnectionResetError("closed before the answer was whole"))
            return
        try:
            self._deliver(pending, self._complete(headers))
        except SkyvernError as error:
            self.end(error)

    # The parser's side

    def on_message_begin(self) -> None:
        if self._answer is not None:  # a second answer to one request
            self._keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those behind a chunked body are ignored.
        if self._headers is None:
            self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is not None or status < 200:
            return
        headers = self._headers = CIMultiDict(self._fields)
        encoding = ",".join(headers.getall(_ENCODING)) if _ENCODING in headers else ""
        self._body = body(self._request, status, encoding, self._max_body_bytes)
        if self._request.method == "HEAD":  # it has no body, whatever its headers say
            self._complete(headers)
            self._keeps = False

    def on_body(self, chunk: bytes) -> None:
        self._head_bytes = 0
        if self._answer is None:
            self._body.add(chunk)

    def on_message_complete(self) -> None:
        headers = self._headers
        if headers is None:  # a 1xx; the answer is yet to come
            self._begin_message()
        elif self._answer is None:
            self._complete(headers)

    def _begin_message(self) -> None:
        self._fields = []
        self._headers = None
        self._head_bytes = 0

    def _complete(self, headers: CIMultiDict[str]) -> HttpAnswer:
        status = self._parser.get_status_code()
        answer = self._answer = HttpAnswer(status, headers, self._body.whole())
        # Skyvern was seen to close kept-alive connections right after a 500; a submission that
        # meets the closing would be unconfirmed.
        if status >= 500 or not self._parser.should_keep_alive():
            self._keeps = False
        return answer

    def _deliver(self, pending: "asyncio.Future[HttpAnswer]", answer: HttpAnswer) -> None:
        self._pending = None
        # An answer may come before the request is written whole, a 413 say.
        if not self._keeps or self._transport.get_write_buffer_size():
            self.end()
        if not pending.done():
            pending.set_result(answer)
