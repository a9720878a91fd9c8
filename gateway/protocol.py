"""uvicorn's HTTP, with limits on what nobody can be asked for yet: a request's head.

Until a head is complete no application sees it, and uvicorn gathers it without end.
"""

import asyncio
import select
from asyncio import TimerHandle
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.connections import Connections
from gateway.problems import problem

#: Bytes of a head, but for a last read; bytes that follow a body count likewise.
MAX_HEAD = 64 * 1024
#: Seconds in which a head has to be here.
HEAD_SECONDS = 10.0

#: Where the scope of a request has what tells whether its sender has gone.
IS_GONE: Final = "runqueue.is_gone"
#: What the system says of a connection that the other side has closed (Linux says so at once, also
#: behind bytes that are not read yet).
_CLOSED: Final = getattr(select, "POLLRDHUP", 0)

_TOO_LARGE = problem(431, "expected a head of 64 KiB at most")
_BUSY = problem(503, "too many requests are under way; try again", headers={"Retry-After": "5"})


class Protocol(HttpToolsProtocol):
    """One connection.

    What is read in vain is counted: reads that bring neither a head's end, nor a body, nor its end.

    Args:
        connections: those of the process.
        given: what uvicorn gives to each.
    """

    def __init__(self, *given: Any, connections: Connections, **more: Any) -> None:
        super().__init__(*given, **more)
        self._of_process = connections

    _in_vain = 0
    _is_in_head = False
    _head_timer: TimerHandle | None = None
    _came = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a first head has to come."""
        super().connection_made(transport)
        if self._of_process.add(transport):
            self._await_head()
        else:
            self._end_with("503 Service Unavailable", _BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._await_no_head()
        self._of_process.remove(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, within the limits."""
        was_idle = self.timeout_keep_alive_task is not None
        self._came = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._in_vain = 0 if self._came else self._in_vain + len(data)
        if self._in_vain > MAX_HEAD:
            self._refuse()
        # What comes after an answer, and is no new request, keeps no connection open.
        elif self._is_in_head or (was_idle and self.cycle.response_complete):
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_in_head = True
        super().on_message_begin()
        self.scope[IS_GONE] = self.is_gone  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """End a head."""
        self._is_in_head = False
        self._came = True
        self._await_no_head()
        self._of_process.begin(self.transport)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """End an answer; who does not read it is not waited for longer than an idle connection."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._of_process.rest(self.transport)
            if self.transport.is_closing():
                self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that rests, also if its answer was not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def is_gone(self) -> bool:
        """Tell whether the other side waits for no answer any more.

        While a body waits to be taken nothing is read, so the system is asked.
        """
        if self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), _CLOSED)
        return bool(poll.poll(0))

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._came = True
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            # Ends the connection, once what was asked before is answered.
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.shutdown)

    def _await_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self) -> None:
        """End the connection; with an answer, unless it would fall into another one."""
        if self.cycle is None or self.cycle.response_complete:
            self._end_with("431 Request Header Fields Too Large", _TOO_LARGE)
        self.transport.close()

    def _end_with(self, status: str, answer: Response) -> None:
        """End the connection with an answer of ours."""
        lines = [f"HTTP/1.1 {status}".encode(), b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
