"""A proxy over real sockets: it passes requests on, makes tunnels, and misbehaves.

`proxying()` begins one on an event loop of its own thread, so that processes and blocking code use
it as well.
"""

import asyncio
import ipaddress
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class ForwardingProxy:
    """A proxy, what it does, and what it has seen.

    Attributes:
        is_socks: it speaks SOCKS5, and makes nothing but tunnels.
        port: where it listens, on 127.0.0.1.
        user: `user:password` that it asks for; None = it serves everybody.
        refuses: the status that tunnels are refused with, of HTTP or SOCKS5; None = they are made.
        fails: the status that requests are answered with after they were passed on; None = it
            answers as the server does.
        cuts: it breaks off within each answer of this number (2 = every other one), and within
            each tunnel after so many bytes; None = never.
        date: the `Date` that it puts into answers instead of the server's.
        resolves: names that it knows, and their addresses.
        tunnels: what tunnels were asked for, as `host:port`.
        requests: what requests were passed on: method and URL.
        heads: the heads of all that it was asked for.
        connections: how many were made to it.
        broken: how often it broke off.
    """

    is_socks: bool = False
    port: int = 0
    user: str | None = None
    refuses: int | None = None
    fails: int | None = None
    cuts: int | None = None
    date: str | None = None
    resolves: dict[str, tuple[str, int]] = field(default_factory=dict)
    tunnels: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    broken: int = 0

    @property
    def url(self) -> str:
        """The proxy's URL, with the user if it asks for one."""
        scheme = "socks5" if self.is_socks else "http"
        return f"{scheme}://{f'{self.user}@' if self.user else ''}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        if self.is_socks:
            await self._serve_socks(reader, writer)
            return
        while await self._next(reader, writer):
            pass

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        body = await reader.readexactly(_length(head))
        if self.user is not None and not _is_from(head, self.user):
            writer.write(_answer(407, "proxy-authenticate: Basic"))
            return True
        if method == "CONNECT":
            await self._tunnel(target, reader, writer)
            return False
        self.requests.append(f"{method} {target}")
        number = len(self.requests)  # others come while it is passed on
        answer = await self._passed_on(head, target, body)
        if self.fails is not None:
            writer.write(_answer(self.fails))
            return True
        if self.cuts is not None and number % self.cuts == 0:
            self.broken += 1
            writer.write(answer[: len(answer) // 2])
            return False
        writer.write(answer)
        return True

    async def _tunnel(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.tunnels.append(target)
        if self.refuses is not None:
            writer.write(_answer(self.refuses))
            return
        host, _, port = target.rpartition(":")
        try:
            server = await self._connected(host.strip("[]"), int(port))
        except OSError:
            writer.write(_answer(502))
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._pass_on(server, reader, writer)

    async def _serve_socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Make one tunnel (RFC 1928, with the user and password of RFC 1929)."""
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        method = 0 if self.user is None else 2
        writer.write(bytes([5, method if method in methods else 255]))
        if method == 2:
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            is_theirs = f"{user.decode()}:{password.decode()}" == self.user
            writer.write(bytes([1, not is_theirs]))
            if not is_theirs:
                return
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.tunnels.append(f"[{host}]:{port}" if kind == 4 else f"{host}:{port}")
        reply, server = self.refuses or 0, None
        if not reply:
            try:
                server = await self._connected(host, port)
            except OSError:
                reply = 5
        writer.write(bytes([5, reply, 0, 1, *(0,) * 6]))
        if server is not None:
            await self._pass_on(server, reader, writer)

    async def _pass_on(
        self,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await asyncio.gather(copy_bytes(reader, server[1]), self._copy_back(server[0], writer))
        finally:
            await _close(server[1])

    async def _copy_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(65536):
            passed += len(data)
            if self.cuts is not None and passed > self.cuts:
                self.broken += 1
                writer.write(data[: len(data) // 2])
                break
            writer.write(data)
        writer.close()

    async def _passed_on(self, head: bytes, target: str, body: bytes) -> bytes:
        parts = urlsplit(target)
        reader, writer = await self._connected(parts.hostname or "", parts.port or 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        first, _, rest = head.partition(b"\r\n")
        lines = [
            line
            for line in rest.split(b"\r\n")
            if line and not line.lower().startswith((b"proxy-", b"host:", b"connection:"))
        ]
        lines += [b"host: " + parts.netloc.encode(), b"connection: close"]
        onward = first.replace(target.encode(), path.encode(), 1) + b"\r\n" + b"\r\n".join(lines)
        writer.write(onward + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        body = await _body(head, reader)
        await _close(writer)
        shown = [
            line
            for line in head.split(b"\r\n")
            if not line.lower().startswith(b"connection:")
            and not (self.date and line.lower().startswith(b"date:"))
        ]
        if self.date:
            shown.append(b"date: " + self.date.encode())
        return b"\r\n".join(shown) + b"\r\n\r\n" + body

    async def _connected(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.resolves.get(host, (host, port)))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


async def copy_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on to their end."""
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:  # the loop may end first
        writer.close()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    lines = head.lower().split(b"\r\n")
    if any(line.startswith(b"content-length:") for line in lines):
        return await reader.readexactly(_length(head))
    if any(line.startswith(b"transfer-encoding:") for line in lines):
        return await reader.readuntil(b"0\r\n\r\n")
    return await reader.read(-1)


def _length(head: bytes) -> int:
    lines = (line.lower() for line in head.split(b"\r\n"))
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


def _is_from(head: bytes, user: str) -> bool:
    return b"Basic " + b64encode(user.encode()) in head


def _answer(status: int, *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status} Words", "content-length: 0", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


@contextmanager
def proxying(proxy: ForwardingProxy | None = None) -> Iterator[ForwardingProxy]:
    """Run a proxy in a thread of its own; gives it once it listens."""
    made = proxy or ForwardingProxy()
    with _serving(made.serve) as made.port:
        yield made


@contextmanager
def _serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> Iterator[int]:
    """Serve connections on an event loop in a thread of its own; gives the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()

    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
            await _close(writer)
            writers.discard(writer)

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)

    async def end() -> None:
        server.close()
        for _ in range(3):  # a connection that was just accepted gets its handler, to be ended
            await asyncio.sleep(0)
        mine = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not mine]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
