"""A server in threads of its own, which does what a script says while the client's loop waits.

Each request's body is its number; the honest answer to it is `answer-<number>`. What a server does
once it has answered waits until the client's side asks for it (`after`): so it is known to lie in
the client's socket before the next request is written, and nobody has looked there meanwhile.
"""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from tests.api_client.rawserver import response, server_tls

#: Seconds; far more than anything here takes.
PATIENCE = 30.0


class Form(StrEnum):
    """How an answer is written."""

    LENGTH = "with a length"
    CHUNKED = "in chunks"
    TRAILER = "in chunks, with a trailer"
    TO_THE_END = "without a length: it ends with the connection"


class After(StrEnum):
    """What a server does when it has answered, before it is asked again."""

    NOTHING = "nothing"
    ANSWER = "another answer"
    HALF_AN_ANSWER = "half of another answer"
    INFORMATION = "a 1xx"
    BYTE = "a byte"
    HALF_CLOSE = "closes its half"
    CLOSE = "closes"
    RESET = "resets"


POISON = response(200, b"answer-to-nobody")
_SENT = {
    After.ANSWER: POISON,
    After.HALF_AN_ANSWER: POISON[:-4],
    After.INFORMATION: b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    After.BYTE: b"x",
}


@dataclass(frozen=True)
class Turn:
    """What happens to one request.

    Args:
        form: how it is answered.
        information: how many 1xx come first.
        cuts: where the answer is cut into pieces, each written by itself.
        is_early: answered when its head was read, its body not yet.
        surplus: comes in one piece with the end of the answer.
        after: comes when all of that has been read.
        size: bytes of the request's body.
    """

    form: Form = Form.LENGTH
    information: int = 0
    cuts: tuple[int, ...] = ()
    is_early: bool = False
    surplus: bytes = b""
    after: After = After.NOTHING
    size: int = 10

    def answer(self, number: int) -> list[bytes]:
        """Return the pieces of the answer to a request."""
        wire = _SENT[After.INFORMATION] * self.information + _written(self.form, number)
        if self.form is not Form.TO_THE_END:  # whose end is not told by its bytes
            wire += self.surplus
        edges = [0, *sorted(cut % len(wire) for cut in self.cuts), len(wire)]
        return [wire[a:b] for a, b in pairwise(edges) if b > a]


def _written(form: Form, number: int) -> bytes:
    body = b"answer-%d" % number
    if form is Form.LENGTH:
        return response(200, body)
    if form is Form.TO_THE_END:
        return b"HTTP/1.1 200 OK\r\n\r\n" + body
    trailer = b"x-late: 1\r\n" if form is Form.TRAILER else b""
    chunks = b"3\r\n%b\r\n%x\r\n%b\r\n0\r\n" % (body[:3], len(body) - 3, body[3:])
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + trailer + b"\r\n"


@dataclass
class ScriptedServer:
    """A listening server.

    Args:
        turns: what happens to each request.
        tls: None = plain TCP.
        greeting: what it says to each connection before it is asked; empty = it closes it; None =
            nothing, as it should be.

    Attributes:
        url: where it is.
        read: the numbers of the requests that were read, even in part, in their order.
        connections: how many there were.
    """

    turns: Sequence[Turn]
    tls: ssl.SSLContext | None
    greeting: bytes | None = None
    url: str = ""
    read: list[int] = field(default_factory=list)
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def after(self) -> None:
        """Have the server do what it does behind its last answer; return when that is done."""
        self._go.release()
        assert self._done.acquire(timeout=PATIENCE)

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # it was closed
                return
            sock.settimeout(PATIENCE)
            with self._lock:
                self.connections += 1
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock,))
                self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End every connection, and wait for the threads."""
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for _ in self._threads:
            self._go.release()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._sockets.append(sock)
            if self.greeting is not None:
                sock.sendall(self.greeting)
            if self.greeting == b"":
                sock.shutdown(socket.SHUT_RDWR)
            while (asked := self._head(sock)) is not None:
                number, length = asked
                turn = self.turns[number]
                self.read.append(number)
                # A client may have done with the connection as soon as it has its answer.
                with suppress(OSError):
                    self._answer(sock, turn, number, length)
                assert self._go.acquire(timeout=PATIENCE)
                with suppress(OSError):
                    self._after(sock, turn.after)
                self._done.release()

    def _answer(self, sock: socket.socket, turn: Turn, number: int, length: int) -> None:
        if not turn.is_early:
            self._body(sock, length)
        for piece in turn.answer(number):
            sock.sendall(piece)
        if turn.form is Form.TO_THE_END:
            socket.socket.shutdown(sock, socket.SHUT_WR)
        if turn.is_early:
            self._body(sock, length)

    @staticmethod
    def _head(sock: socket.socket) -> tuple[int, int] | None:
        """Read a head, byte by byte; None = there is no more."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := sock.recv(1)):
                return None
            head += byte
        fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:-2])
        return int(fields[b"x-number"]), int(fields[b"content-length"])

    @staticmethod
    def _body(sock: socket.socket, length: int) -> None:
        while length:
            received = len(sock.recv(min(length, 65536)))
            if not received:
                raise ConnectionResetError
            length -= received

    @staticmethod
    def _after(sock: socket.socket, after: After) -> None:
        if after in _SENT:
            sock.sendall(_SENT[after])
        elif after is After.HALF_CLOSE:
            socket.socket.shutdown(sock, socket.SHUT_WR)
        elif after is After.CLOSE:
            # As `close`, but for the file descriptor.
            sock.shutdown(socket.SHUT_RDWR)
        elif after is After.RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


@contextmanager
def scripted(
    *turns: Turn, tls: bool = False, greeting: bytes | None = None
) -> Iterator[ScriptedServer]:
    """Have a server that gives each request the turn of its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(turns, server_tls() if tls else None, greeting)
        scheme = "https" if tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.accept, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            thread.join(PATIENCE)
            server.stop()


def wait_readable(fileno: int) -> None:
    """Wait until something lies in a socket: bytes, or its end."""
    looking = select.poll()
    looking.register(fileno, select.POLLIN)
    assert looking.poll(PATIENCE * 1000)
