"""uvicorn's HTTP protocol, with limits below the application: on heads and on unread answers.

uvicorn gathers a head without end, and no application sees it before it is complete. It also waits
without end for a client that does not read, and keeps a request until the next one comes.
"""

import asyncio
import fcntl
import select
import sys
import termios
from asyncio import TimerHandle
from contextlib import suppress
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade
from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.http.connections import Connections
from gateway.http.problems import AWAY_SECONDS, problem

#: Bytes of a head, but for a last read; bytes that follow a body count likewise.
MAX_HEAD = 64 * 1024
#: Headers of a head.
MAX_HEADERS: Final = 100
#: Requests that may be sent before the answer to an earlier one, and bytes of the head of each.
MAX_AHEAD, MAX_HEAD_AHEAD = 4, 8 * 1024
#: Seconds in which a head has to be here.
HEAD_SECONDS = 10.0
#: Seconds between two checks of whether the client reads its answers, and bytes a second that it
#: has to read.
UNREAD_SECONDS, SLOWEST = 30.0, 1_024
#: Bytes of answers that wait to be read before no more are written.
_WRITTEN_AHEAD: Final = 16 * 1024
#: Bytes of a body that nobody wants which are read without a pause: a small one is no trouble.
_SMALL_BODY: Final = 64 * 1024

#: The key of the connection in a request's ASGI scope.
_CONNECTION: Final = "runqueue.connection"
#: The TCP states of a connection that the other side has closed (Linux shows them at once, also
#: with bytes still unread).
_CLOSED: Final = getattr(select, "POLLRDHUP", 0)
#: Requests whose bodies mean nothing (RFC 9110, 9.3).
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})

_TOO_LARGE = problem(431, "expected a head of 64 KiB at most")
_TOO_MANY = problem(431, f"expected {MAX_HEADERS} headers at most")
_BUSY = problem(503, "too many requests are under way; try again", retry_after=AWAY_SECONDS)
_NO_REQUEST = problem(400, "expected a request of HTTP/1.1")


class _Refused(Exception):  # noqa: N818 - it is the other side's error
    """The connection is refused: nothing more is read of it.

    Args:
        answer: sent before it is closed.
    """

    def __init__(self, answer: Response = _NO_REQUEST) -> None:
        super().__init__()
        self.answer = answer


class _Flow(FlowControl):
    """uvicorn's, and pauses that it does not end: it resumes reading after each answer."""

    is_held = False

    def resume_reading(self) -> None:
        """Go on, once it is not held any more."""
        if self.is_held:
            self.read_paused = False
        else:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing until `let_go`."""
        self.is_held = True
        self._transport.pause_reading()

    def let_go(self) -> None:
        """Go on, unless uvicorn pauses."""
        self.is_held = False
        if not self.read_paused:
            self._transport.resume_reading()


class Protocol(HttpToolsProtocol):
    """One connection.

    Idle reads are counted: those that bring neither a head's end, nor a body, nor its end.

    Args:
        connections: those of the process.
        given: what uvicorn gives to each.
    """

    def __init__(self, *given: Any, connections: Connections, **more: Any) -> None:
        super().__init__(*given, **more)
        self._of_process = connections

    _in_vain = 0
    _is_in_head = False
    _is_deaf = False
    _head_timer: TimerHandle | None = None
    _reader_timer: TimerHandle | None = None
    _came = False
    flow: _Flow
    #: Bytes of a request's body that nobody wants, since the last pause for them.
    _unwanted = 0
    _pause_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a first head has to come."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        transport.set_write_buffer_limits(high=_WRITTEN_AHEAD)
        if self._of_process.add(transport):
            self._await_head()
        else:
            self._end_with(_BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._await_no_head()
        self._await_no_reader()
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._of_process.end_pause()
        self._unset_keepalive_if_required()
        self._of_process.remove(self.transport)
        self.url, self.headers, self.scope = b"", [], None  # type: ignore[assignment]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, within the limits."""
        if self._is_deaf:
            return
        was_idle = self.timeout_keep_alive_task is not None
        self._came = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._go_on_behind(data, offer)
        except HttpParserError as error:
            self._refuse_for(error)
        if self.transport.is_closing() or self._is_deaf:
            return
        self._in_vain = 0 if self._came else self._in_vain + len(data)
        if self._in_vain > MAX_HEAD:
            self._refuse(_TOO_LARGE)
        # Bytes after an answer that are no new request keep no connection open.
        elif self._is_in_head or (was_idle and self.cycle.response_complete):
            self._await_head()
        if self._unwanted > _SMALL_BODY and self._pause_timer is None:
            self._pause()

    def _go_on_behind(self, data: bytes, offer: HttpParserUpgrade) -> None:
        """Read a request that offers another protocol; the offer is ignored.

        The parser ends such a request at its head, whatever body it has, so it gets that head once
        more, without the offer.
        """
        left = memoryview(data)
        while True:
            left = left[offer.args[0] :]
            try:
                self.parser.feed_data(self._head_without_offer())
                self.parser.feed_data(left)
            except HttpParserUpgrade as another:
                offer = another
            except HttpParserError as error:
                self._refuse_for(error)
                return
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_in_head = True
        self._unwanted = 0
        super().on_message_begin()
        self.scope[_CONNECTION] = self  # type: ignore[typeddict-unknown-key]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one behind a body is none of the request's.

        Raises:
            _Refused: there are too many.
        """
        if not self._is_in_head:
            return
        if len(self.headers) == MAX_HEADERS:
            raise _Refused(_TOO_MANY)
        name = name.lower()
        if name == b"cookie":
            # Ours have no quotes, and Python takes seconds for some that have (CVE-2024-7592).
            value = value.replace(b'"', b"")
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """End a head.

        Raises:
            _Refused: nothing more is read, this request included.
        """
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refused
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._check_ahead()
        self._is_in_head = False
        self._came = True
        self._await_no_head()
        if not self.flow.write_paused:
            self._of_process.begin(self.transport)
        super().on_headers_complete()
        # The task that answers it has them.
        self.url, self.headers, self.scope = b"", [], None  # type: ignore[assignment]

    def _check_ahead(self) -> None:
        """Check a request that was sent before the answer to an earlier one."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.pipeline) >= MAX_AHEAD or size > MAX_HEAD_AHEAD:
            raise _Refused

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, if the application may still read it."""
        self._came = True
        if self.cycle.response_complete or self.cycle.scope["method"] in _WITHOUT_BODY:
            self._unwanted += len(body)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._is_in_head:
            return  # it offers another protocol
        self._came = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer; nothing of its request is kept."""
        super().on_response_complete()
        cycle = self.cycle
        if cycle.response_complete:
            cycle.scope = None  # type: ignore[assignment]
            cycle.body.clear()
            self._of_process.rest(self.transport)
            if self.transport.is_closing():
                self._end_once_read()

    def pause_writing(self) -> None:
        """Wait for a client that does not read; its connection counts as idle."""
        super().pause_writing()
        self._of_process.rest(self.transport)
        self._await_reader()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._await_no_reader()
        if self.cycle is not None and not self.cycle.response_complete:
            self._of_process.begin(self.transport)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, even if the end of its answer was not read."""
        if self.flow.write_paused:
            self._end_once_read()
            return
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def is_gone(self) -> bool:
        """Say whether the client has gone.

        While a body waits to be taken nothing is read, so the socket's TCP state is checked.
        """
        if self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), _CLOSED)
        return bool(poll.poll(0))

    async def answers_read(self) -> None:
        """Wait until next to nothing of the answers is unread, or the connection has ended."""
        await self.flow.drain()

    def _pause(self) -> None:
        """Read on in a while: others come first. Until then no head has to come."""
        seconds = self._of_process.begin_pause(self._unwanted)
        self._unwanted = 0
        is_head_awaited = self._head_timer is not None
        self._await_no_head()
        self.flow.hold()
        self._pause_timer = self.loop.call_later(seconds, self._end_pause, is_head_awaited)

    def _end_pause(self, is_head_awaited: bool) -> None:
        self._pause_timer = None
        self._of_process.end_pause()
        if not self.transport.is_closing():
            self.flow.let_go()
            if is_head_awaited:
                self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None:
            # Ends the connection once earlier requests are answered.
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.shutdown)

    def _await_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_reader(self) -> None:
        unread = self._unread()
        self._reader_timer = self.loop.call_later(UNREAD_SECONDS, self._check_reader, unread)

    def _unread(self) -> int:
        """Return how many bytes of the answers have not reached the other side."""
        held = b"\0" * 4
        # The system holds megabytes, and takes the next ones in large steps.
        with suppress(OSError, ValueError):
            file = self.transport.get_extra_info("socket").fileno()
            held = fcntl.ioctl(file, termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def _check_reader(self, unread: int) -> None:
        """End the connection of a client that reads nothing, or next to nothing."""
        if unread - self._unread() < UNREAD_SECONDS * SLOWEST:
            self.transport.abort()
        else:
            self._await_reader()

    def _await_no_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _end_once_read(self) -> None:
        """End the connection, in a while although its answer is not read."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _refuse_for(self, error: HttpParserError) -> None:
        why = error.__context__
        self._refuse(why.answer if isinstance(why, _Refused) else _NO_REQUEST)

    def _refuse(self, answer: Response) -> None:
        """Read nothing more, and end the connection.

        Args:
            answer: sent, unless it would fall into another answer.
        """
        self._is_deaf = True
        self._of_process.report(self.client[0] if self.client else "", answer.status_code)
        if self.cycle is None or self.cycle.response_complete:
            self._end_with(answer)
        elif self.cycle.more_body:
            self.transport.close()  # the rest of the request never comes
        else:
            self.cycle.keep_alive = False  # once earlier requests are answered

    def _end_with(self, answer: Response) -> None:
        """End the connection with an answer of ours."""
        lines = [b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        head = STATUS_LINE[answer.status_code] + b"\r\n".join([*lines, b"", b""])
        self.transport.write(head + bytes(answer.body))
        self.transport.close()


def connection_of(scope: Scope) -> Protocol:
    """Return the connection on which a request came."""
    return cast(Protocol, scope[_CONNECTION])
